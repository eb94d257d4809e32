"""``train``: from a recipe and event files to a run folder that explains itself."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from panoptag_pyg import __version__
from panoptag_pyg.errors import CheckpointError, ConfigError
from panoptag_pyg.tasks import build_task
from panoptag_pyg.training.callbacks import InterruptWatch, MetricsFile, Reporter, RunCheckpoints
from panoptag_pyg.training.checkpoint import (
    BEST,
    LAST,
    SafeCheckpointIO,
    build_model,
    checkpoint_recipe,
    find_checkpoint,
    misfit,
    read_checkpoint,
    write_text,
)
from panoptag_pyg.training.data import Paths, TaggerData
from panoptag_pyg.training.module import TaggerModule
from panoptag_pyg.training.quiet import quiet_lightning
from panoptag_pyg.training.recipe import Recipe

RECIPE, METRICS, SUMMARY, TENSORBOARD = "recipe.toml", "metrics.csv", "summary.json", "tensorboard"


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM while training; the run folder is complete up to the last finished epoch."""


@dataclass
class Run:
    """A finished run.

    Attributes:
        folder: the run folder.
        summary: what its ``summary.json`` holds.
    """

    folder: Path
    summary: dict[str, Any]


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

    The folder gets ``recipe.toml``, ``best.ckpt``, ``last.ckpt``, ``metrics.csv``, ``summary.json`` and
    ``tensorboard/``. Nothing is written before recipe, data and model have been found good.

    Args:
        recipe: what to do.
        data: file, files, folder or glob of the training events.
        output: the run folder.
        validation: validation events. Default ``None``: a share of ``data``, see :class:`TaggerData`.
        resume: go on from the last finished epoch in ``output``; from the start, if there is none. The result is that
            of a run never stopped. Default ``False``.
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
    datamodule = TaggerData(recipe.data, data, validation, recipe.train.seed)
    torch.manual_seed(recipe.train.seed)
    model = build_model(recipe)
    task = build_task(recipe.task.name, **recipe.task.options)
    task.fit(datamodule.training)
    last = output / LAST if resume and (output / LAST).is_file() else None
    module = TaggerModule(
        model,
        task,
        recipe,
        datamodule.num_steps(recipe.train.max_epochs),
        {"training": len(datamodule.training), "validation": len(datamodule.validation)},
    )
    if last is not None:
        _check_resumable(last, module)
    elif hasattr(model, "fit_normalisation"):
        model.fit_normalisation(*datamodule.normalisation_sample())

    if rank_zero_only.rank == 0:
        prepare_output(output, overwrite)
        write_text(output / RECIPE, f"# Resolved by panoptag-pyg {__version__}\n{recipe.to_toml()}")
    summary = _summary(recipe, module, datamodule, output if last is not None else None)
    checkpoints, watch = RunCheckpoints(output), InterruptWatch()
    with quiet_lightning(), cpu_threads(recipe.train.threads), _signals_restored():
        trainer = _trainer(recipe, output, [Reporter(), MetricsFile(output / METRICS), checkpoints, watch], callbacks)
        _save_summary(output, summary)
        start = time.monotonic()
        try:
            trainer.fit(module, datamodule=datamodule, ckpt_path=last)
        except (SystemExit, KeyboardInterrupt) as stop:
            if watch.reason is None and not isinstance(stop, KeyboardInterrupt):
                raise
            _finish(summary, "interrupted", trainer, checkpoints, start)
            _save_summary(output, summary)
            raise TrainingInterrupted(f"stopped; {summary['epochs']} epochs are kept in {output}") from stop
        _finish(summary, "finished", trainer, checkpoints, start)
    _save_summary(output, summary)
    return Run(output, summary)


def check_output(output: Path, resume: bool, overwrite: bool) -> None:
    """Refuse an output that would be overwritten without being asked.

    Raises:
        ConfigError: naming ``output`` and what to do.
    """
    if resume and overwrite:
        raise ConfigError("give --resume or --overwrite, not both")
    if output.exists() and not output.is_dir():
        raise ConfigError(f"{output}: is a file; choose another folder for the run")
    if rank_zero_only.rank != 0 or not output.is_dir() or not any(output.iterdir()):
        return
    if not (output / RECIPE).is_file():
        raise ConfigError(f"{output}: exists and is no run folder; choose another folder for the run")
    if not resume and not overwrite:
        raise ConfigError(f"{output}: there is a run in it; --resume goes on with it, --overwrite starts anew")


def prepare_output(output: Path, overwrite: bool) -> None:
    """Make the folder; with ``overwrite``, remove what an earlier run wrote and nothing else."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        if overwrite:
            for name in (RECIPE, METRICS, SUMMARY, BEST, LAST):
                (output / name).unlink(missing_ok=True)
            shutil.rmtree(output / TENSORBOARD, ignore_errors=True)
    except OSError as error:
        raise ConfigError(f"{output}: can't be made or emptied ({error.strerror})") from error


@contextmanager
def cpu_threads(number: int | None) -> Iterator[None]:
    """Run with ``number`` CPU threads; ``None`` takes ``OMP_NUM_THREADS`` or the cores this process may use.

    torch counts the machine's cores, also where a container or a batch system grants fewer of them.
    """
    before = torch.get_num_threads()
    if number is None and "OMP_NUM_THREADS" not in os.environ:
        number = min(before, usable_cores())
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def usable_cores() -> int:
    """Cores granted to this process by its affinity and its control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, -(-int(quota) // int(period)))
    except (OSError, ValueError):
        pass  # no version-2 control group: nothing more is known
    return max(cores, 1)


def _trainer(recipe: Recipe, output: Path, own: list[Callback], further: list[Callback] | None) -> pl.Trainer:
    section = recipe.train
    callbacks = [*own, *(further or [])]
    if section.early_stopping is not None:
        callbacks.append(
            EarlyStopping("val_loss", patience=section.early_stopping, mode="min", check_on_train_epoch_end=True)
        )
    return pl.Trainer(
        accelerator=section.accelerator,
        devices=section.devices,
        num_nodes=section.num_nodes,
        precision=section.precision,
        max_epochs=section.max_epochs,
        gradient_clip_val=section.gradient_clip,
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


def _check_resumable(last: Path, module: TaggerModule) -> None:
    """Refuse to go on where the result would be a mixture of two runs."""
    checkpoint = read_checkpoint(last)
    before, now = checkpoint_recipe(checkpoint, last).model_dump(), module.recipe.model_dump()
    for section in ("model", "data", "task"):
        for key in sorted({*before[section], *now[section]}):
            old, new = before[section].get(key), now[section].get(key)
            # Workers change the speed, not the result.
            if old != new and key != "num_workers":
                raise ConfigError(
                    f"{last.parent}: was started with {section}.{key} = {old!r}, the recipe now says {new!r}; "
                    "go on with the old value, or choose another folder"
                )
    data = checkpoint["panoptag"].get("data", {})
    if data != module.data_summary:
        raise ConfigError(
            f"{last.parent}: was started on {data.get('training')} training and {data.get('validation')} validation "
            f"events, now there are {module.data_summary['training']} and {module.data_summary['validation']}; "
            "give the same files, or choose another folder"
        )
    problem = misfit(module.state_dict(), checkpoint.get("state_dict", {}))
    if problem:
        raise CheckpointError(f"{last} doesn't fit its recipe ({module.recipe.model.name}): {problem}")
    done = checkpoint["epoch"] + 1
    if done > module.recipe.train.max_epochs:
        raise ConfigError(
            f"{last.parent}: has {done} epochs already, more than train.max_epochs = "
            f"{module.recipe.train.max_epochs}; raise it to go on"
        )


def _summary(recipe: Recipe, module: TaggerModule, data: TaggerData, earlier: Path | None) -> dict[str, Any]:
    seconds = 0.0
    if earlier is not None and (earlier / SUMMARY).is_file():
        try:
            seconds = float(json.loads((earlier / SUMMARY).read_text(encoding="utf-8"))["seconds"])
        except (ValueError, KeyError, TypeError):
            seconds = 0.0  # an unreadable summary costs the time of the first part, nothing else
    return {
        "status": "running",
        "model": recipe.model.name,
        "parameters": sum(p.numel() for p in module.model.parameters() if p.requires_grad),
        "task": {"name": recipe.task.name, **module.task.summary()},
        "data": data.summary(),
        "epochs": 0,
        "best_epoch": 0,
        "best": {},
        "seconds": seconds,
        "device": "",
        "versions": {
            "panoptag_pyg": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torch_geometric": version("torch-geometric"),
            "lightning": pl.__version__,
        },
    }


def _finish(
    summary: dict[str, Any], status: str, trainer: pl.Trainer, checkpoints: RunCheckpoints, start: float
) -> None:
    device = trainer.strategy.root_device
    summary |= {
        "status": status,
        "epochs": trainer.fit_loop.epoch_progress.current.processed,
        "best_epoch": checkpoints.best_epoch,
        "best": checkpoints.best_metrics,
        "seconds": round(summary["seconds"] + time.monotonic() - start, 3),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.processor() or 'CPU'}",
        "threads": torch.get_num_threads(),
    }


@rank_zero_only
def _save_summary(output: Path, summary: dict[str, Any]) -> None:
    write_text(output / SUMMARY, json.dumps(summary, indent=2) + "\n")


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


__all__ = ["Run", "TrainingInterrupted", "check_output", "cpu_threads", "find_checkpoint", "train", "usable_cores"]
