"""``train``: from a recipe and event files to a run folder that explains itself."""

from __future__ import annotations

import platform
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import nn
from torch_geometric.data import HeteroData

from panoptag_pyg.errors import ConfigError, PanopTagError
from panoptag_pyg.output import write_text
from panoptag_pyg.tasks import build_task
from panoptag_pyg.training.averaging import WeightAverage
from panoptag_pyg.training.budget import BudgetSearch, known_budget, resolved_text
from panoptag_pyg.training.callbacks import InterruptWatch, MetricsFile, Patience, Reporter, RunCheckpoints
from panoptag_pyg.training.checkpoint import LAST, SafeCheckpointIO, build_model, needed_fields
from panoptag_pyg.training.compilation import compile_model
from panoptag_pyg.training.cpu import cpu_threads
from panoptag_pyg.training.data import Paths, TaggerData, epochs_done
from panoptag_pyg.training.data_card import training_card
from panoptag_pyg.training.launch import accelerator_of, devices_and_nodes
from panoptag_pyg.training.module import TaggerModule
from panoptag_pyg.training.pretrained import Start, begin
from panoptag_pyg.training.process_weights import check_weighted
from panoptag_pyg.training.provenance import provenance
from panoptag_pyg.training.quiet import quiet_lightning
from panoptag_pyg.training.recipe import Recipe
from panoptag_pyg.training.record import RunRecord
from panoptag_pyg.training.run_folder import (
    METRICS,
    RECIPE,
    TENSORBOARD,
    check_output,
    check_resumable,
    drop_stillborn,
    earlier_seconds,
    earlier_start,
    is_main_process,
    prepare_output,
    save_summary,
    taken_before,
)
from panoptag_pyg.training.trial import check_precision


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM while training; the run folder is complete up to its last checkpoint."""


@dataclass
class Run:
    """A finished run.

    Attributes:
        folder: the run folder.
        summary: what its ``summary.json`` holds.
        main_process: whether this process wrote it; false in the other processes of a distributed run.
    """

    folder: Path
    summary: dict[str, Any]
    main_process: bool = True


def train(
    recipe: Recipe,
    data: Paths,
    output: str | Path,
    validation: Paths | None = None,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: list[Callback] | None = None,
) -> Run:
    """Train a tagger and write its run folder.

    The folder gets ``README.md``, which says what else is in it: recipe, checkpoints, metrics per epoch and their
    curves, a summary, checksums of the data and TensorBoard's files. Nothing is written before recipe, data and model
    have been found good.

    Args:
        recipe: what to do.
        data: file, files, folder or glob of the training events.
        output: the run folder.
        validation: validation events. Default ``None``: a share of ``data``, see :class:`TaggerData`.
        resume: go on from ``last.ckpt`` in ``output``; from the start, if there is none. The result is that of a run
            never stopped. Default ``False``.
        overwrite: remove an earlier run in ``output`` first. Default ``False``.
        callbacks: further Lightning callbacks.

    Raises:
        ConfigError: if the recipe doesn't fit, ``output`` exists, or a resumed run would be another one.
        EventFileError: if the events can't be read.
        CheckpointError: if the checkpoint to go on from is damaged, or can't be written.
        TrainingInterrupted: on Ctrl-C or SIGTERM.
    """
    output = Path(output)
    check_output(output, resume, overwrite)
    if resume:
        recipe = known_budget(recipe, output / LAST)
    torch.manual_seed(recipe.train.seed)
    model = build_model(recipe)
    task = build_task(recipe.task.name, **recipe.task.options)
    fields = needed_fields(model, task)
    datamodule = TaggerData(recipe.data, data, validation, recipe.train.seed, fields, task.processes)
    check_weighted(recipe.data.process_weights, task)
    task.fit(datamodule.training)
    sample = datamodule.normalisation_sample()
    card = training_card(datamodule, needed_fields(model), sample)
    last = output / LAST if resume and (output / LAST).is_file() else None
    if last is None:
        fit_normalisation(model, sample)
        start = begin(model, task, recipe)
    else:  # what it began from may be gone by now
        start = Start(taken_before(last))
    del sample
    module = TaggerModule(
        model,
        task,
        recipe,
        lambda: datamodule.num_steps(
            recipe.train.max_epochs, recipe.train.accumulate_batches
        ),  # asked for when the number of ranks is known
        {"training": len(datamodule.training), "validation": len(datamodule.validation)},
        start.taken,
        card,
    )
    if last is not None:
        check_resumable(last, module)

    # Reads and validates all events, validation's too: what is wrong with them must show before anything is written.
    summary = _summary(recipe, module, datamodule, earlier_seconds(output) if last is not None else 0.0)
    summary["start"] = start.sentence() if start.source else earlier_start(output) if last is not None else ""
    checkpoints, watch = RunCheckpoints(output, recipe.train.checkpoint_every_steps), InterruptWatch()
    with quiet_lightning(), cpu_threads(recipe.train.threads), _signals_restored():
        reporter = Reporter()
        own = [reporter, MetricsFile(output / METRICS), checkpoints, watch, RunRecord(output)]
        trainer = _trainer(recipe, output, own, callbacks)
        compile_model(model, recipe.train.compile, trainer.strategy.root_device)
        summary |= provenance(trainer.strategy.root_device)
        clock = time.monotonic()
        try:
            if is_main_process():
                prepare_output(output, overwrite)
                write_text(output / RECIPE, resolved_text(recipe))
            save_summary(output, summary)
            if start.source and is_main_process():
                reporter.console.print(start.sentence())
            trainer.fit(module, datamodule=datamodule, ckpt_path=last)
        except (PanopTagError, OSError, torch.OutOfMemoryError) as error:
            drop_stillborn(output)
            if (output / LAST).exists():
                _finish(summary, "failed", trainer, checkpoints, clock)
                with suppress(PanopTagError, OSError):
                    save_summary(output, summary)
            if isinstance(error, torch.OutOfMemoryError):
                raise PanopTagError(
                    "the device's memory ran out; give a smaller data.batch_size with more train.accumulate_batches, "
                    'or data.max_pfos_per_batch = "auto", which looks for the largest that fits'
                ) from error
            raise
        except (SystemExit, KeyboardInterrupt) as stop:
            if watch.reason is None and not isinstance(stop, KeyboardInterrupt):
                raise
            _finish(summary, "interrupted", trainer, checkpoints, clock)
            save_summary(output, summary)
            kept = checkpoints.kept
            batches = f", and {kept.batches} batches of the next" if kept.batches else ""
            raise TrainingInterrupted(f"stopped; epochs kept in {output}: {kept.epoch}{batches}") from stop
        _finish(summary, "finished", trainer, checkpoints, clock)
    save_summary(output, summary)
    return Run(output, summary, is_main_process())


def fit_normalisation(model: nn.Module, sample: HeteroData) -> None:
    """Let a model that normalises its inputs take their means and scales from a sample of the training events."""
    fit = getattr(model, "fit_normalisation", None)
    if callable(fit):
        fit(sample)


def _trainer(recipe: Recipe, output: Path, own: list[Callback], further: list[Callback] | None) -> pl.Trainer:
    section = recipe.train
    devices, num_nodes = devices_and_nodes(section)
    callbacks = [BudgetSearch(output / RECIPE), *own, *(further or [])]
    if section.ema_decay is not None or section.swa_epochs is not None:
        callbacks.append(WeightAverage(section))
    if section.early_stopping is not None:
        callbacks.append(Patience(section.early_stopping))
    try:
        trainer = pl.Trainer(
            accelerator=accelerator_of(section),
            devices=devices,
            num_nodes=num_nodes,
            precision=section.precision,
            max_epochs=section.max_epochs,
            gradient_clip_val=section.gradient_clip,
            accumulate_grad_batches=section.accumulate_batches,
            logger=TensorBoardLogger(output, name="", version=TENSORBOARD),
            callbacks=callbacks,
            plugins=[SafeCheckpointIO()],
            default_root_dir=output,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # EventLoader shares events out among the ranks itself
            reload_dataloaders_every_n_epochs=1,
        )
    except (MisconfigurationException, ValueError) as error:  # a GPU that isn't there, a precision it can't do
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"train.accelerator = {section.accelerator!r} with train.devices = {section.devices!r} and "
            f"train.precision = {section.precision!r} can't be used here ({reason})"
        ) from error
    check_precision(section, trainer.strategy.root_device)
    return trainer


def _summary(recipe: Recipe, module: TaggerModule, data: TaggerData, seconds: float) -> dict[str, Any]:
    return {
        "status": "running",
        "model": recipe.model.name,
        "parameters": sum(p.numel() for p in module.model.parameters() if p.requires_grad),
        "task": {"name": recipe.task.name, **module.task.summary()},
        "data": data.summary(),
        "data_card": module.data_card.to_dict(),
        "notes": module.task.notes(),
        "epochs": 0,
        "best_epoch": 0,
        "best": {},
        "seconds": seconds,
        "device": "",
    }


def _finish(
    summary: dict[str, Any], status: str, trainer: pl.Trainer, checkpoints: RunCheckpoints, start: float
) -> None:
    device = trainer.strategy.root_device
    summary |= {
        "status": status,
        "epochs": epochs_done(trainer),
        "best_epoch": checkpoints.best_epoch,
        "best": checkpoints.best_metrics,
        "seconds": round(summary["seconds"] + time.monotonic() - start, 3),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.processor() or 'CPU'}",
        "threads": torch.get_num_threads(),
    }


@contextmanager
def _signals_restored() -> Iterator[None]:
    """Lightning leaves Ctrl-C switched off after an interrupt; a notebook needs it back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
