"""Reductions and softmax over segments: an event's PFOs, or the edges of one jet."""

from __future__ import annotations

import torch
from torch import Tensor

from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.ops.ragged import add_rows_, take_rows
from panoptag_pyg.ops.registry import find, register_backend

REDUCTIONS = ("sum", "mean", "max", "min")


@torch.compiler.disable
def segment_reduce(x: Tensor, ptr: Tensor, reduce: str = "sum", backend: str = "auto") -> Tensor:
    """Reduce the rows of each segment; an empty segment gives 0.

    Args:
        x: rows.
        ptr: first row of each segment, and P at the end.
        reduce: ``"sum"`` (default), ``"mean"``, ``"max"`` or ``"min"``.
        backend: ``"auto"`` (default), or a name of ``ops.available("segment_reduce")``.

    Shapes:
        x [P, ...], ptr [B+1] → [B, ...].

    Raises:
        ConfigError: for an unknown reduction or backend.
    """
    if reduce not in REDUCTIONS:
        raise ConfigError(f"there is no reduction '{reduce}'{suggest(reduce, REDUCTIONS)}")
    return find("segment_reduce", backend, x.device)(x, ptr, reduce)


@torch.compiler.disable
def segment_softmax(x: Tensor, index: Tensor, num_segments: int, backend: str = "auto") -> Tensor:
    r"""Softmax over the rows that share an index, in any order.

    .. math:: y_e = \exp(x_e - m) / \sum_{f: i_f = i_e} \exp(x_f - m), \quad m = \max_{f: i_f = i_e} x_f

    Args:
        x: scores.
        index: segment of each row.
        num_segments: number of segments, empty ones included.
        backend: ``"auto"`` (default), or a name of ``ops.available("segment_softmax")``.

    Shapes:
        x [E, ...], index [E] → [E, ...].
    """
    return find("segment_softmax", backend, x.device)(x, index, num_segments)


def segment_sum(x: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Sum the rows that share an index, in any order; the same bits on every run, also on a GPU.

    Args:
        x: rows.
        index: segment of each row.
        num_segments: S, empty ones included.

    Shapes:
        x [E, ...], index [E] → [S, ...].
    """
    return add_rows_(x.new_zeros(num_segments, *x.shape[1:]), index, x)


def reduce_reference(x: Tensor, ptr: Tensor, reduce: str) -> Tensor:
    """One segment after the other."""
    rows = []
    for start, stop in zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True):
        part = x[start:stop]
        if start == stop:
            rows.append(x.new_zeros(x.shape[1:]))
        else:
            rows.append(getattr(part, {"max": "amax", "min": "amin"}.get(reduce, reduce))(dim=0))
    return torch.stack(rows) if rows else x.new_zeros(0, *x.shape[1:])


def reduce_torch(x: Tensor, ptr: Tensor, reduce: str) -> Tensor:
    """:func:`torch.segment_reduce`, with empty segments set to 0."""
    if ptr.numel() <= 1 or x.numel() == 0:
        return x.sum() * 0 + x.new_zeros(max(ptr.numel() - 1, 0), *x.shape[1:])
    total = torch.segment_reduce(x.contiguous(), reduce, offsets=ptr, axis=0, initial=None, unsafe=True)
    if reduce == "sum":
        return total
    empty = (ptr.diff() == 0).view(-1, *[1] * (x.dim() - 1))
    return torch.where(empty, 0.0, total)


def softmax_reference(x: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """One segment after the other."""
    out = torch.zeros_like(x)
    for segment in range(num_segments):
        rows = (index == segment).nonzero().flatten()
        if rows.numel():
            out = out.index_copy(0, rows, x[rows].softmax(0))
    return out


def softmax_torch(x: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Three gathers and two reductions; the shift by the maximum carries no gradient."""
    with torch.no_grad():
        rows = index.view(-1, *[1] * (x.dim() - 1)).expand_as(x)
        largest = x.new_full((num_segments, *x.shape[1:]), float("-inf"))
        largest.scatter_reduce_(0, rows, x.detach(), "amax")
    exponential = (x - take_rows(largest, index)).exp()
    return exponential / take_rows(segment_sum(exponential, index, num_segments), index)


register_backend("segment_reduce", "reference", reduce_reference)
register_backend("segment_reduce", "torch", reduce_torch, devices=("cpu", "cuda"))
register_backend("segment_softmax", "reference", softmax_reference)
register_backend("segment_softmax", "torch", softmax_torch, devices=("cpu", "cuda"))
