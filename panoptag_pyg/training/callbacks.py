"""What a run shows, writes and keeps at the end of every epoch."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping
from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from panoptag_pyg.output import write_text
from panoptag_pyg.progress import redraws
from panoptag_pyg.training.averaging import averaged_weights
from panoptag_pyg.training.checkpoint import BEST, LAST
from panoptag_pyg.training.position import Position, position

#: Seconds between two looks at the loss while an epoch runs: each look waits for the device.
LOSS_INTERVAL = 2.0
#: Seconds between two plain lines inside an epoch, where the output is no terminal.
PLAIN_INTERVAL = 60.0


class Reporter(Callback):
    """A bar on a terminal, and one line per epoch anywhere: losses, accuracy, speed, share of waiting for data.

    Args:
        console: where to; standard error by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self.bar: Progress | None = None
        self.task: Any = None
        self.best = float("inf")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.events = 0
        # A resumed epoch begins where it was stopped; its rate counts what is done now.
        self.before = trainer.datamodule.events_before(trainer.current_epoch) * trainer.world_size  # type: ignore[attr-defined]
        self.total = len(trainer.datamodule.training)  # type: ignore[attr-defined]
        self.label = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self.start = self.last_loss = self.last_line = time.monotonic()
        if trainer.is_global_zero and redraws(self.console):
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TextColumn("{task.fields[loss]}"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self.task = self.bar.add_task(self.label, total=self.total, completed=self.before, rate="", loss="")
            self.bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.events += (batch["pfo"].ptr.numel() - 1) * trainer.world_size
        now = time.monotonic()
        self.seconds = now - self.start
        if not trainer.is_global_zero:
            return
        rate = f"{self.events / max(self.seconds, 1e-9):,.0f} events/s"
        done = min(self.before + self.events, self.total)
        if self.bar is not None:
            self.bar.update(self.task, completed=done, rate=rate)
            if now - self.last_loss >= LOSS_INTERVAL:
                self.last_loss = now
                self.bar.update(self.task, loss=f"loss {float(outputs['batch_loss']):.4f}")
        elif now - self.last_line >= PLAIN_INTERVAL:
            self.last_line = now
            self.console.print(f"{self.label}: {done}/{self.total} events, {rate}")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        # The rate is that of training alone; the device may still be busy with the last batches.
        if trainer.strategy.root_device.type == "cuda":
            import torch

            torch.cuda.synchronize(trainer.strategy.root_device)
        self.seconds = time.monotonic() - self.start
        # A loader of another kind, which counts no waiting, counts as none.
        loader = getattr(trainer.train_dataloader, "loader", None)
        self.waited = getattr(loader, "seconds_waited", 0.0)
        if self.bar is not None:
            self.bar.update(self.task, description=f"{self.label}, validating")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._close()
        metrics = pl_module.epoch_metrics
        metrics["events_per_second"] = self.events / max(self.seconds, 1e-9)
        metrics["seconds"] = time.monotonic() - self.start
        metrics["data_wait"] = self.waited / max(self.seconds, 1e-9)
        if not trainer.is_global_zero:
            return
        words = [f"{name.replace('_', ' ')} {value:.4f}" for name, value in metrics.items() if _is_score(name)]
        mark = " *" if metrics["val_loss"] < self.best else ""
        self.best = min(self.best, metrics["val_loss"])
        self.console.print(
            f"{self.label}  {'  '.join(words)}  {metrics['events_per_second']:,.0f} events/s"
            f"  {metrics['seconds']:.0f} s, {metrics['data_wait']:.0%} waiting for data{mark}"
        )

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]


class MetricsFile(Callback):
    """``metrics.csv``: one row per epoch, rewritten whole; a resumed run drops rows of epochs it repeats."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.rows = [row for row in read_metrics(self.path) if row["epoch"] <= trainer.current_epoch]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        row = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step, **pl_module.epoch_metrics}
        self.rows.append(row)
        for logger in trainer.loggers:
            scores = {f"epoch/{name}": value for name, value in pl_module.epoch_metrics.items()}
            logger.log_metrics(scores, step=trainer.global_step)
        if trainer.is_global_zero:
            text = io.StringIO()
            writer = csv.DictWriter(text, list(self.rows[-1]), extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
            write_text(self.path, text.getvalue())


class RunCheckpoints(Checkpoint):
    """``best.ckpt`` (weights of the lowest validation loss) and ``last.ckpt`` (all that resuming needs), each epoch.

    Args:
        folder: the run folder.
        every_steps: optimiser steps between two ``last.ckpt`` within an epoch. Default: none there.
    """

    def __init__(self, folder: Path, every_steps: int | None = None) -> None:
        self.folder = folder
        self.every_steps = every_steps
        #: What ``last.ckpt`` holds.
        self.kept = Position()
        self.best_loss = float("inf")
        self.best_epoch = 0
        self.best_metrics: dict[str, float] = {}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        loss = pl_module.epoch_metrics["val_loss"]
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, trainer.current_epoch + 1
            self.best_metrics = dict(pl_module.epoch_metrics)
            with averaged_weights(trainer):
                trainer.save_checkpoint(self.folder / BEST, weights_only=True)
        self._save(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.kept = trainer.datamodule.begun  # type: ignore[attr-defined]

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        # Between two steps only: gradients that wait for more batches are in no checkpoint.
        accumulating = (batch_idx + 1) % trainer.accumulate_grad_batches
        if not self.every_steps or accumulating or trainer.is_last_batch or trainer.global_step % self.every_steps:
            return
        pl_module.finite.settle()
        self._save(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        # SIGTERM stops between two batches, where the state is whole; Ctrl-C stops anywhere. Of several ranks each
        # stops when the signal reaches it: they could not agree on a state.
        if isinstance(exception, SIGTERMException) and trainer.world_size == 1:
            now = position(trainer, trainer.datamodule.begun)  # type: ignore[attr-defined]
            between_steps = now.batches and now.batches % trainer.accumulate_grad_batches == 0
            # After the last batch validation is under way, and no batch would be left for a resumed run to begin with.
            if now != self.kept and between_steps and not trainer.is_last_batch:
                self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.folder / LAST)
        self.kept = position(trainer, trainer.datamodule.begun)  # type: ignore[attr-defined]

    def state_dict(self) -> dict[str, Any]:
        return {"best_loss": self.best_loss, "best_epoch": self.best_epoch, "best_metrics": self.best_metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_loss, self.best_epoch = state_dict["best_loss"], state_dict["best_epoch"]
        self.best_metrics = state_dict["best_metrics"]


class Patience(EarlyStopping):
    """``train.early_stopping``; a resumed run that had stopped by it trains no further, unless it got more patience.

    Args:
        epochs: how many without a lower validation loss end the run.
    """

    def __init__(self, epochs: int) -> None:
        super().__init__("val_loss", patience=epochs, mode="min", check_on_train_epoch_end=True)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.wait_count >= self.patience:
            trainer.should_stop = True

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # Lightning's own would take the patience of before.
        super().load_state_dict({**state_dict, "patience": self.patience})


class InterruptWatch(Callback):
    """Remembers what stopped the loop, because Lightning turns it into a bare ``SystemExit``."""

    def __init__(self) -> None:
        self.reason: BaseException | None = None

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        self.reason = exception


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Rows of a ``metrics.csv`` as numbers; empty if there is no such file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            # Blank is what an earlier version, whose run goes on, didn't write.
            {key: int(value) if key in ("epoch", "step") else float(value or "nan") for key, value in row.items()}
            for row in csv.DictReader(file)
        ]


def _is_score(name: str) -> bool:
    return name.startswith("val_") or name == "train_loss"
