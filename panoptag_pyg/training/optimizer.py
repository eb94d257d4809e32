"""The optimiser that a recipe asks for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from panoptag_pyg.training.recipe import TrainSection


def build_optimizer(
    parameters: Iterable[nn.Parameter] | list[dict[str, Any]], train: TrainSection
) -> torch.optim.AdamW:
    """AdamW at the recipe's rate and weight decay.

    Args:
        parameters: what it moves, or groups of it with rates of their own.
        train: the recipe's ``[train]``.
    """
    return torch.optim.AdamW(
        parameters,
        lr=train.lr,
        weight_decay=train.weight_decay,
        # One kernel for all parameters. With 16-bit gradient scaling it can't be combined with clipping.
        fused=train.precision != "16-mixed",
    )
