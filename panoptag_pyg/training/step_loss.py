"""The loss of one optimiser step, divided once: over all its batches and all ranks, however their labels are spread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

#: Name under which a batch carries the denominators of all the batches that share its optimiser step.
NORMS = "loss_norms"
Parts = list[tuple[float, Tensor, Tensor]]


def with_step_norms(
    batches: Iterable[HeteroData], number: int, norms: Callable[[HeteroData], Tensor]
) -> Iterator[HeteroData]:
    """Batches that know the denominators of their optimiser step's loss: ``number`` of them are read ahead.

    Args:
        batches: of one epoch.
        number: how many make an optimiser step.
        norms: denominators of a batch's losses, from its labels.
    """
    iterator = iter(batches)
    while group := list(islice(iterator, number)):
        total = torch.stack([norms(batch) for batch in group]).sum(0)
        for batch in group:
            batch[NORMS] = total
        yield from group


def step_loss(parts: Parts, norms: Tensor, factor: int) -> Tensor:
    r"""This rank's share of the loss of an optimiser step.

    .. math:: \sum_i w_i \frac{N_i}{D_i}

    where :math:`N_i` is this batch's numerator and :math:`D_i` the denominator of all batches and ranks together.
    Summed over these it is the loss of the one large batch, and so are the gradients.

    Args:
        parts: weight, numerator and this batch's own denominator of each loss.
        norms: the denominators of all.
        factor: by which ranks and accumulated batches are divided again elsewhere.

    Shapes:
        norms [parts]; returns a scalar.
    """
    total = torch.stack([weight * numerator for weight, numerator, _ in parts])
    scale = factor / torch.where(norms > 0, norms, torch.ones_like(norms))
    return (total * scale.to(total.dtype)).sum()


def reach_all(loss: Tensor, module: nn.Module) -> Tensor:
    """``loss``, with every parameter of ``module`` in its graph.

    Ranks add up their gradients when each parameter has been reached; a rank whose batch is empty, or a model that
    doesn't use a parameter, would leave the others waiting. Costs no arithmetic.
    """
    return _Reach.apply(loss, *(p for p in module.parameters() if p.requires_grad))  # type: ignore[no-any-return]


class _Reach(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Tensor, *parameters: Tensor) -> Tensor:
        ctx.number = len(parameters)
        return loss.view_as(loss)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return gradient, *[None] * ctx.number
