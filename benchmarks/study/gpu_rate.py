"""How fast a recipe trains on this machine, reading included; and a stop when the time is over."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from panoptag_pyg.tasks import build_task
from panoptag_pyg.training import Recipe
from panoptag_pyg.training.checkpoint import build_model, needed_fields
from panoptag_pyg.training.data import TaggerData
from panoptag_pyg.training.engine import fit_normalisation

#: Steps that compile kernels and fill caches, and don't count.
WARM_UP = 8


class Deadline(Callback):
    """End a training at a time, after the batch that is at work; the epoch is validated and kept.

    Args:
        deadline: by :func:`time.monotonic`.
    """

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if time.monotonic() > self.deadline:
            trainer.should_stop = True


def training_rate(
    recipe: Recipe, files: Sequence[Path], validation: Sequence[Path], device: torch.device, seconds: float
) -> float:
    """Training events per second: loader, forward, backward and AdamW, as the training will do them.

    Args:
        recipe: of the training.
        files: to train on.
        validation: to validate on; not read but for its header.
        device: where to.
        seconds: of measuring.
    """
    model = build_model(recipe)
    task = build_task(recipe.task.name, **recipe.task.options)
    data = TaggerData(recipe.data, list(files), list(validation), 0, needed_fields(model, task), task.processes)
    task.fit(data.training)
    fit_normalisation(model, data.normalisation_sample())
    model, task = model.to(device).train(), task.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    short = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(recipe.train.precision)
    events, step, start = 0, 0, time.monotonic()
    while True:
        for batch in data.loader(training=True):
            batch = batch.to(device, non_blocking=True)
            arithmetic: AbstractContextManager[Any] = (
                nullcontext() if short is None else torch.autocast(device.type, dtype=short)
            )
            with arithmetic:
                total, norm = task.sums(model(batch), batch)["loss"]
            optimizer.zero_grad()
            (total / norm.clamp(min=1e-12)).backward()
            optimizer.step()
            step += 1
            if step <= WARM_UP:
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                events, start = 0, time.monotonic()
                continue
            events += batch["pfo"].ptr.numel() - 1
            if step % 8 == 0 and time.monotonic() - start > seconds:
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                return events / (time.monotonic() - start)
