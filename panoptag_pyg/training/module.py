"""The Lightning module: one optimisation step, and sums that make exact epoch numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg import __version__
from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.tasks import Sums, Task
from panoptag_pyg.training.augmentation import Augmentation
from panoptag_pyg.training.checkpoint import ENTRY
from panoptag_pyg.training.recipe import Recipe
from panoptag_pyg.training.schedule import WarmupCosineRestarts


class TaggerModule(pl.LightningModule):
    """A tagger, its task and the optimisation that the recipe asks for.

    Losses and metrics are kept as numerator and denominator over an epoch and over all ranks, and divided once.

    Args:
        model: called with a batch, answers for its jets.
        task: gives the loss and the metrics.
        recipe: stored in every checkpoint; its ``[train]`` says how to optimise.
        num_steps: called once training starts; optimiser steps of the whole run on this rank.
        data_summary: numbers of events that a resumed run must find again.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        recipe: Recipe,
        num_steps: Callable[[], int],
        data_summary: dict[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.task = task
        self.recipe = recipe
        self.num_steps = num_steps
        self.data_summary = data_summary or {}
        #: Numbers of the epoch that just ended, as logged.
        self.epoch_metrics: dict[str, float] = {}
        self._sums: dict[str, Tensor] = {}

    def forward(self, batch: HeteroData) -> Tensor:
        return self.model(batch)

    def on_after_batch_transfer(self, batch: HeteroData, dataloader_idx: int) -> HeteroData:
        return Augmentation(self.recipe.augmentation)(batch) if self.trainer.training else batch

    def training_step(self, batch: HeteroData, batch_index: int) -> Tensor:
        sums = self.task.sums(self.model(batch), batch)
        self._add("train", sums)
        loss = _ratio(*sums["loss"])
        if self.logger is not None and self.global_step % self.recipe.train.log_every_steps == 0:
            rate = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
            self.logger.log_metrics({"step/loss": loss.item(), "step/lr": rate}, step=self.global_step)
        return loss

    def validation_step(self, batch: HeteroData, batch_index: int) -> None:
        self._add("val", self.task.sums(self.model(batch), batch))

    def on_train_epoch_start(self) -> None:
        # Each epoch has its own random numbers: a run resumed at an epoch's end repeats them.
        torch.manual_seed((self.recipe.train.seed * 1_000_003 + self.current_epoch) * 4096 + self.global_rank)
        self._sums.clear()

    def on_validation_epoch_end(self) -> None:
        """Divide the sums of training and validation; validation ends an epoch, before any checkpoint."""
        if self.trainer.sanity_checking:
            return
        self.epoch_metrics = {}
        for name, pair in self._sums.items():
            total, norm = self.trainer.strategy.reduce(pair, reduce_op="sum").tolist()
            self.epoch_metrics[name] = total / norm if norm else 0.0
        self._sums.clear()
        for stage in ("train", "val"):
            self.task.finish(self.epoch_metrics, stage)
        self.epoch_metrics["lr"] = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
        for name in ("train_loss", "val_loss"):
            if not abs(self.epoch_metrics[name]) < float("inf"):
                raise PanopTagError(
                    f"the {name.replace('_', 'ing ' if name[0] == 't' else 'idation ')} became "
                    f"{self.epoch_metrics[name]} in epoch {self.current_epoch + 1}; lower train.lr or set "
                    "train.gradient_clip, and check the events with panoptag inspect --check"
                )
        self.log_dict(
            {name: torch.tensor(value, dtype=torch.float64) for name, value in self.epoch_metrics.items()}, logger=False
        )

    def configure_optimizers(self) -> Any:
        train = self.recipe.train
        optimizer = torch.optim.AdamW(
            self.parameters(),
            lr=train.lr,
            weight_decay=train.weight_decay,
            # One kernel for all parameters. With 16-bit gradient scaling it can't be combined with clipping.
            fused=train.precision != "16-mixed",
        )
        num_steps = self.num_steps()
        epoch = num_steps / train.max_epochs
        warmup = round(train.warmup_epochs * epoch)
        restart = train.restart_epochs
        scheduler = WarmupCosineRestarts(
            optimizer,
            peak=train.lr,
            start=train.warmup_start_lr,
            floor=train.min_lr,
            warmup_steps=warmup,
            cosine_steps=round(restart * epoch) if restart else num_steps - warmup,
            restart=bool(restart),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[ENTRY] = {
            "recipe": self.recipe.to_json(),
            "version": __version__,
            "data": dict(self.data_summary),
            "metrics": dict(self.epoch_metrics),
        }

    def _add(self, stage: str, sums: Sums) -> None:
        for name, pair in sums.items():
            new = torch.stack([value.detach().double() for value in pair])
            key = f"{stage}_{name}"
            self._sums[key] = self._sums[key] + new if key in self._sums else new


def _ratio(total: Tensor, norm: Tensor) -> Tensor:
    return total / torch.where(norm > 0, norm, torch.ones_like(norm))
