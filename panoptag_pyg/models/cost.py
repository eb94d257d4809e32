"""What a network costs: parameters, and floating-point operations per event, counted by torch as it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from torch_geometric.data import HeteroData

from panoptag_pyg.events.jets import pfo_momentum
from panoptag_pyg.models.base import encode, event_ptr
from panoptag_pyg.ops import flops

del flops  # importing it has registered the formulas of our operations


def _attention_flops(q: torch.Size, k: torch.Size, v: torch.Size, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(q, k, v)


#: Of torch's own operations, those that its counter leaves out.
_FURTHER = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}


class Cost(NamedTuple):
    """Size of a network.

    Attributes:
        parameters: numbers that are trained.
        flops_per_event: multiplications and additions of a forward pass.
    """

    parameters: int
    flops_per_event: float


def num_parameters(module: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def forward_flops(model: nn.Module, batch: HeteroData) -> int:
    """Multiplications and additions of a tagger's forward pass on a batch.

    Matrix products, attention and distances, as :mod:`panoptag_pyg.ops.flops` says; elementwise work isn't counted.
    Nothing is padded, so that only real PFOs count, but for layers that pad inside.

    Args:
        model: the tagger.
        batch: events, with the fields that it needs.
    """
    return _counted(model, lambda: model(batch))


def tagger_cost(model: nn.Module, batch: HeteroData) -> Cost:
    """Size of a tagger, per event of a batch.

    Args:
        model: the tagger.
        batch: at least one event, with the fields that it needs.
    """
    return Cost(num_parameters(model), forward_flops(model, batch) / _num_events(batch))


def backbone_cost(backbone: nn.Module, batch: HeteroData) -> Cost:
    """Size of an event encoder by itself, per event of a batch.

    Args:
        backbone: the encoder, for as many features as the batch's PFOs have.
        batch: at least one event.
    """
    pfo = batch["pfo"]
    inputs = (pfo.x, pfo.pos, event_ptr(pfo), pfo.get("max_length"), pfo_momentum(batch))
    return Cost(num_parameters(backbone), _counted(backbone, lambda: encode(backbone, *inputs)) / _num_events(batch))


def _counted(module: nn.Module, run: Callable[[], Any]) -> int:
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with FlopCounterMode(display=False, custom_mapping=_FURTHER) as counter, torch.no_grad():
            run()
    finally:
        for part, training in modes.items():
            part.training = training
    return int(counter.get_total_flops())


def _num_events(batch: HeteroData) -> int:
    return max(event_ptr(batch["pfo"]).numel() - 1, 1)
