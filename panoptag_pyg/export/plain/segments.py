"""Reductions over sets in plain ATen."""

from __future__ import annotations

import torch
from torch import Tensor

from panoptag_pyg.export.plain.layout import layout_of
from panoptag_pyg.export.plain.registry import plain


@plain("segment_reduce")
def segment_reduce(x: Tensor, ptr: Tensor, reduce: str, backend: str) -> Tensor:
    """See :func:`panoptag_pyg.ops.segment_reduce`."""
    layout = layout_of(ptr, x.size(0))
    table = layout.pad(x)
    if reduce in ("sum", "mean"):
        total = table.sum(1)
        return total if reduce == "sum" else total / _like_rows(layout.count.clamp(min=1), total)
    real = layout.real.view(*layout.real.shape, *[1] * (x.dim() - 1))
    limit = -torch.inf if reduce == "max" else torch.inf
    table = torch.where(real, table, limit)
    extremum = table.amax(1) if reduce == "max" else table.amin(1)
    return torch.where(_like_rows(layout.count > 0, extremum), extremum, 0.0)


@plain("segment_softmax")
def segment_softmax(x: Tensor, index: Tensor, num_segments: int, backend: str) -> Tensor:
    """See :func:`panoptag_pyg.ops.segment_softmax`."""
    rows = _like_rows(index, x).expand_as(x)
    largest = x.new_full((num_segments, *x.shape[1:]), -torch.inf).scatter_reduce(0, rows, x, "amax")
    exponential = (x - largest.index_select(0, index)).exp()
    total = torch.zeros_like(largest).scatter_add(0, rows, exponential)
    return exponential / total.index_select(0, index)


def _like_rows(values: Tensor, x: Tensor) -> Tensor:
    return values.view(-1, *[1] * (x.dim() - 1))
