"""Reductions and softmax over segments: an event's PFOs, or the edges of one jet.

A backend of ``segment_reduce`` is one differentiable function ``(x, ptr, reduce) → y``, one of ``segment_softmax``
``(x, index, num_segments) → y``; or a pair with ``backward(grad_y, y, …same arguments…) → grad_x``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.ops.ragged import add_rows_, batch_from_ptr, take_rows
from panoptag_pyg.ops.recompute import gradients
from panoptag_pyg.ops.registry import Backend, choose, get, register_backend

REDUCTIONS = ("sum", "mean", "max", "min")


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
    name = choose("segment_reduce", backend, x.device.type, dtype=x.dtype, reduce=reduce)
    return _segment_reduce(x, ptr, reduce, name)


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
    name = choose("segment_softmax", backend, x.device.type, dtype=x.dtype)
    return _segment_softmax(x, index, num_segments, name)


@torch.library.custom_op("panoptag_pyg::segment_reduce", mutates_args=())
def _segment_reduce(x: Tensor, ptr: Tensor, reduce: str, backend: str) -> Tensor:
    return get("segment_reduce", backend).function(x.contiguous(), ptr, reduce)


@_segment_reduce.register_fake
def _(x: Tensor, ptr: Tensor, reduce: str, backend: str) -> Tensor:
    return x.new_empty(ptr.size(0) - 1, *x.shape[1:])


@torch.library.custom_op("panoptag_pyg::segment_softmax", mutates_args=())
def _segment_softmax(x: Tensor, index: Tensor, num_segments: int, backend: str) -> Tensor:
    return get("segment_softmax", backend).function(x.contiguous(), index, num_segments)


@_segment_softmax.register_fake
def _(x: Tensor, index: Tensor, num_segments: int, backend: str) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.custom_op("panoptag_pyg::segment_reduce_backward", mutates_args=())
def _segment_reduce_backward(grad: Tensor, y: Tensor, x: Tensor, ptr: Tensor, reduce: str, backend: str) -> Tensor:
    return _pulled_back(get("segment_reduce", backend), grad, y, x, ptr, reduce)


@torch.library.custom_op("panoptag_pyg::segment_softmax_backward", mutates_args=())
def _segment_softmax_backward(
    grad: Tensor, y: Tensor, x: Tensor, index: Tensor, num_segments: int, backend: str
) -> Tensor:
    return _pulled_back(get("segment_softmax", backend), grad, y, x, index, num_segments)


@_segment_reduce_backward.register_fake
@_segment_softmax_backward.register_fake
def _(grad: Tensor, y: Tensor, x: Tensor, *_: object) -> Tensor:
    return x.new_empty(x.shape)


def _pulled_back(implementation: Backend, grad: Tensor, y: Tensor, x: Tensor, *others: Any) -> Tensor:
    x, grad = x.contiguous(), grad.contiguous()
    if implementation.backward is not None:
        return implementation.backward(grad, y, x, *others)
    return gradients(lambda x: implementation.function(x, *others), [x], grad)[0]


def _setup(ctx, inputs, output):  # type: ignore[no-untyped-def]
    x, where, ctx.how, ctx.backend = inputs
    ctx.save_for_backward(output, x, where)


def _reduce_backward(ctx, grad):  # type: ignore[no-untyped-def]
    return _segment_reduce_backward(grad, *ctx.saved_tensors, ctx.how, ctx.backend), None, None, None


def _softmax_backward(ctx, grad):  # type: ignore[no-untyped-def]
    return _segment_softmax_backward(grad, *ctx.saved_tensors, ctx.how, ctx.backend), None, None, None


_segment_reduce.register_autograd(_reduce_backward, setup_context=_setup)
_segment_softmax.register_autograd(_softmax_backward, setup_context=_setup)


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
    """:func:`torch.segment_reduce`, with empty segments set to 0.

    On a CPU, wide rows go through ``scatter_reduce_``, which is quicker there: one index for a whole row makes it add
    rows as vectors, in their order.
    """
    if ptr.numel() <= 1 or x.numel() == 0:
        return x.new_zeros(max(ptr.numel() - 1, 0), *x.shape[1:])
    if x.device.type == "cpu" and x.dim() > 1 and x.dtype in (torch.float32, torch.float64):
        index = _like_rows(batch_from_ptr(ptr, len(x)), x).expand_as(x)
        name = {"max": "amax", "min": "amin"}.get(reduce, reduce)
        out = x.new_zeros(ptr.numel() - 1, *x.shape[1:])
        return out.scatter_reduce_(0, index, x, name, include_self=False)
    total = torch.segment_reduce(x, reduce, offsets=ptr, axis=0, initial=None, unsafe=True)
    if reduce == "sum":
        return total
    return torch.where(_like_rows(ptr.diff() == 0, x), 0.0, total)


def reduce_torch_backward(grad: Tensor, y: Tensor, x: Tensor, ptr: Tensor, reduce: str) -> Tensor:
    """Each row's share: all of a sum, 1/n of a mean, and of an extremum what its equals leave."""
    if reduce == "mean":
        grad = grad / _like_rows(ptr.diff().clamp(min=1), x)
    segment = batch_from_ptr(ptr, len(x))
    share = take_rows(grad, segment)
    if reduce in ("sum", "mean"):
        return share
    winner = x == take_rows(y, segment)
    return share.div_(take_rows(segment_sum(winner.to(x.dtype), segment, ptr.numel() - 1), segment)).mul_(winner)


def softmax_reference(x: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """One segment after the other."""
    out = torch.zeros_like(x)
    for segment in range(num_segments):
        rows = (index == segment).nonzero().flatten()
        if rows.numel():
            out = out.index_copy(0, rows, x[rows].softmax(0))
    return out


def softmax_torch(x: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Two gathers and two reductions."""
    rows = _like_rows(index, x).expand_as(x)
    largest = x.new_full((num_segments, *x.shape[1:]), float("-inf"))
    largest.scatter_reduce_(0, rows, x, "amax")
    exponential = (x - take_rows(largest, index)).exp_()
    return exponential.div_(take_rows(segment_sum(exponential, index, num_segments), index))


def softmax_torch_backward(grad: Tensor, y: Tensor, x: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """y (g − Σ g y)."""
    product = grad * y
    return product.sub_(y * take_rows(segment_sum(product, index, num_segments), index))


def _like_rows(values: Tensor, x: Tensor) -> Tensor:
    return values.view(-1, *[1] * (x.dim() - 1))


register_backend("segment_reduce", "reference", reduce_reference)
register_backend("segment_reduce", "torch", reduce_torch, backward=reduce_torch_backward, devices=("cpu", "cuda"))
register_backend("segment_softmax", "reference", softmax_reference)
register_backend("segment_softmax", "torch", softmax_torch, backward=softmax_torch_backward, devices=("cpu", "cuda"))
