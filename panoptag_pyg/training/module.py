"""The Lightning module: one optimisation step, and sums that make exact epoch numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg import __version__
from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.tasks import Sums, Task
from panoptag_pyg.tasks.base import prepared
from panoptag_pyg.training.checkpoint import ENTRY
from panoptag_pyg.training.data_card import TrainingCard
from panoptag_pyg.training.finite import FiniteWatch
from panoptag_pyg.training.optimizer import build_optimizer
from panoptag_pyg.training.position import (
    begin_epoch_anew,
    of_all_ranks,
    random_state,
    saved_position,
    set_random_state,
)
from panoptag_pyg.training.pretrained import freeze, parameter_groups
from panoptag_pyg.training.recipe import Recipe
from panoptag_pyg.training.schedule import WarmupCosineRestarts
from panoptag_pyg.training.step_loss import NORMS, reach_all, step_loss

#: Key of what each rank needs to go on within an epoch: its random numbers and the epoch's sums so far.
RANKS = "panoptag_ranks"


class TaggerModule(pl.LightningModule):
    """A tagger, its task and the optimisation that the recipe asks for.

    Losses and metrics are kept as numerator and denominator over an epoch and over all ranks, and divided once. So is
    the loss of each optimiser step, over its batches and all ranks: their gradients are those of the one large batch.

    Args:
        model: called with a batch, answers for its jets.
        task: gives the loss and the metrics.
        recipe: stored in every checkpoint; its ``[train]`` says how to optimise.
        num_steps: called once training starts; optimiser steps of the whole run on this rank.
        data_summary: numbers of events that a resumed run must find again.
        taken: pieces of the model that an earlier run gave, as :func:`~panoptag_pyg.training.pretrained.pieces` calls
            them. Default: none.
        data_card: what the training events are; stored in every checkpoint. Default: nothing is known of them.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        recipe: Recipe,
        num_steps: Callable[[], int],
        data_summary: dict[str, int] | None = None,
        taken: Sequence[str] = (),
        data_card: TrainingCard | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.task = task
        self.recipe = recipe
        self.num_steps = num_steps
        self.data_summary = data_summary or {}
        self.taken = tuple(taken)
        self.frozen = freeze(model, task, recipe.train, self.taken)
        self.data_card = data_card or TrainingCard()
        #: Numbers of the epoch that just ended, as logged.
        self.epoch_metrics: dict[str, float] = {}
        self._sums: dict[str, Tensor] = {}
        #: What a run resumed within an epoch goes on with, until that epoch begins.
        self._resumed: dict[str, Any] | None = None
        self.finite = FiniteWatch(self)

    def forward(self, batch: HeteroData) -> Tensor:
        return self.model(batch)

    def training_step(self, batch: HeteroData, batch_index: int) -> dict[str, Tensor]:
        sums = self.task.measure(self.model, batch)
        self._add("train", sums)
        loss = _ratio(*sums["loss"])
        step = self._of_step(sums, loss, batch, batch_index)
        if self.logger is not None and self._is_logged(batch_index):
            rate = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
            self.logger.log_metrics({"step/loss": loss.item(), "step/lr": rate}, step=self.global_step)
        return {"loss": step, "batch_loss": loss.detach()}

    def _of_step(self, sums: Sums, loss: Tensor, batch: HeteroData, batch_index: int) -> Tensor:
        """What to go backwards from: this batch's share of its optimiser step, once it is known to be finite."""
        ranks, accumulated = self.trainer.world_size, self.trainer.accumulate_grad_batches
        parts = self.task.loss_parts(sums)
        value = loss.detach().double()
        if ranks == accumulated == 1:
            share = loss
        else:
            norms = batch[NORMS] if NORMS in batch else torch.stack([norm.detach().double() for _, _, norm in parts])
            if ranks > 1:
                shared = torch.cat([norms, value.reshape(1)])
                torch.distributed.all_reduce(shared)
                norms, value = shared[:-1], shared[-1]  # the sum isn't finite where one rank's loss isn't
            # Lightning divides by the batches, and DDP by the ranks.
            share = step_loss(parts, norms, ranks * accumulated)
        self.finite.look(value, "loss", self._batches(batch_index, batch_index))
        return reach_all(share, self) if ranks > 1 else share

    def _batches(self, first: int, last: int) -> range:
        """Batches ``first`` to ``last`` of this sitting, counted from the beginning of the epoch."""
        done = self.trainer.datamodule.first_batch(self.current_epoch)  # type: ignore[attr-defined]
        return range(done + first, done + last + 1)

    def _is_logged(self, batch_index: int) -> bool:
        train = self.recipe.train
        return self.global_step % train.log_every_steps == 0 and batch_index % train.accumulate_batches == 0

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip, and stop at a gradient that isn't finite; with gradient scaling such a step is left out instead."""
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        if gradient_clip_val:
            norm = torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val)
        elif not scaled:
            norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if not scaled:
            last = self.trainer.fit_loop.batch_idx
            first = last - last % self.trainer.accumulate_grad_batches
            self.finite.look(norm, "gradient", self._batches(first, last))

    def validation_step(self, batch: HeteroData, batch_index: int) -> None:
        # What a task draws at random is the same in every epoch, so that losses differ by the weights alone.
        batch = prepared(self.task, batch, batch_index * self.trainer.world_size + self.global_rank)
        self._add("val", self.task.measure(self.model, batch))

    def on_train_start(self) -> None:
        self.trainer.datamodule.begun.check(self.trainer.world_size)  # type: ignore[attr-defined]

    def on_train_epoch_start(self) -> None:
        # Each epoch has its own random numbers: a run resumed at an epoch's end repeats them.
        torch.manual_seed((self.recipe.train.seed * 1_000_003 + self.current_epoch) * 4096 + self.global_rank)
        # What a loader used to draw when it began: committed results hold with it.
        torch.empty((), dtype=torch.int64).random_()
        self._sums.clear()
        for module in self.frozen:
            module.eval()
        if self._resumed is not None:
            set_random_state(self._resumed["random"], self.device)
            self._sums = {name: pair.to(self.device) for name, pair in self._resumed["sums"].items()}
            self._resumed = None

    def on_validation_epoch_start(self) -> None:
        self.finite.settle()

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
        optimizer = build_optimizer(parameter_groups(self.model, self.task, train, self.taken), train)
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
            "taken": list(self.taken),
            "data_card": json.dumps(self.data_card.to_dict()),
        }
        if saved_position(checkpoint).batches:
            sums = {name: pair.cpu() for name, pair in self._sums.items()}
            checkpoint[RANKS] = of_all_ranks({"random": random_state(self.device), "sums": sums})

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if saved_position(checkpoint).batches:
            ranks = checkpoint[RANKS]
            self._resumed = ranks[self.global_rank] if self.global_rank < len(ranks) else None
            begin_epoch_anew(checkpoint)

    def _add(self, stage: str, sums: Sums) -> None:
        for name, pair in sums.items():
            new = torch.stack([value.detach().double() for value in pair])
            key = f"{stage}_{name}"
            self._sums[key] = self._sums[key] + new if key in self._sums else new


def _ratio(total: Tensor, norm: Tensor) -> Tensor:
    return total / torch.where(norm > 0, norm, torch.ones_like(norm))
