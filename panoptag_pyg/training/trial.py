"""Optimiser steps outside a run, to find out something about it: on copies, so that the run begins untouched."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.tasks import Task
from panoptag_pyg.tasks.base import divided
from panoptag_pyg.training.optimizer import build_optimizer
from panoptag_pyg.training.recipe import TrainSection

_HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def check_precision(train: TrainSection, device: torch.device) -> None:
    """Refuse fp16 on the CPU, where Lightning would take bf16 without a word.

    Raises:
        ConfigError: saying what to take.
    """
    if train.precision == "16-mixed" and device.type == "cpu":
        raise ConfigError("train.precision = '16-mixed' needs a GPU; on the CPU set it to 'bf16-mixed' or '32-true'")


class Trial:
    """The steps that a run would make, on a copy of its tagger and task.

    Args:
        model: the tagger.
        task: its task.
        train: the recipe's ``[train]``.
        device: where.
    """

    def __init__(self, model: nn.Module, task: Task, train: TrainSection, device: torch.device) -> None:
        self.model, self.task = deepcopy(model).to(device).train(), deepcopy(task).to(device)
        self.optimizer = build_optimizer(self.model.parameters(), train)
        self.device, self.clip = device, train.gradient_clip
        self.half = _HALF.get(train.precision)
        self.scaler = torch.amp.GradScaler(device.type, enabled=train.precision == "16-mixed")

    def step(self, batch: HeteroData, rate: float | None = None) -> Tensor:
        """One optimiser step; returns its loss.

        Args:
            batch: on any device.
            rate: learning rate. Default: the recipe's.
        """
        if rate is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = rate
        batch = self.task.prepare(batch.to(self.device))
        with torch.autocast(self.device.type, self.half, enabled=self.half is not None):
            loss = divided(*self.task.measure(self.model, batch)["loss"])
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        if self.clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach()
