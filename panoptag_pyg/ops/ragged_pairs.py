"""All pairs of each event's particles as one ragged list [Σ n²], and the few rows that pairs are affordable for.

Sizes depend on the data, so these are operations of torch's own: ``torch.compile`` neither looks inside nor breaks its
graph here.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from panoptag_pyg.ops.pairs import pair_index
from panoptag_pyg.ops.ragged import batch_from_ptr, ptr_from_batch, take_rows


class Pairs(NamedTuple):
    """All n² ordered pairs of every event, row by row: an [n, n] matrix per event, laid out flat one after the other.

    Attributes:
        row: particle i of each pair [S].
        column: particle j of each pair [S].
        mirrored: where the pair (j, i) stands [S].
        diagonal: where each particle's pair with itself stands [P].
        row_ptr: first pair of each particle, and S at the end [P+1].
        ptr: first particle of each event, and P at the end [B+1].
        event: event of each particle [P].
    """

    row: Tensor
    column: Tensor
    mirrored: Tensor
    diagonal: Tensor
    row_ptr: Tensor
    ptr: Tensor
    event: Tensor


def all_pairs(ptr: Tensor, num_rows: int) -> Pairs:
    """The pairs of every event's particles.

    Args:
        ptr: first particle of each event, and P at the end.
        num_rows: P.

    Shapes:
        ptr [B+1] → :class:`Pairs`.
    """
    row, column = pair_index(ptr)
    event = batch_from_ptr(ptr, num_rows)
    length, first = take_rows(ptr.diff(), event), take_rows(ptr, event)
    row_ptr = torch.cat([ptr.new_zeros(1), length.cumsum(0)])
    place = torch.arange(num_rows, device=ptr.device) - first
    mirrored = take_rows(row_ptr, column) + take_rows(place, row)
    return Pairs(row, column, mirrored, row_ptr[:-1] + place, row_ptr, ptr, event)


def complete_graph(ptr: Tensor) -> Tensor:
    """All ordered pairs of different particles of the same event, centre by centre.

    Shapes:
        ptr [B+1] → edge_index [2, E]: row 0 centres, ascending, row 1 the others.
    """
    return pair_index(ptr, self_pairs=False)


@torch.library.custom_op("panoptag_pyg::transpose_pairs", mutates_args=())
def transpose_pairs(x: Tensor, mirrored: Tensor) -> Tensor:
    """The value of (j, i) in the place of (i, j): each event's matrix transposed.

    Being its own inverse, it is its own backward pass too: no scatter.

    Shapes:
        x [S, C], mirrored [S] → [S, C].
    """
    return x.index_select(0, mirrored)


@transpose_pairs.register_fake
def _(x: Tensor, mirrored: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _transpose_setup(ctx, inputs, output):  # type: ignore[no-untyped-def]
    ctx.save_for_backward(inputs[1])


def _transpose_backward(ctx, grad):  # type: ignore[no-untyped-def]
    return transpose_pairs(grad, ctx.saved_tensors[0]), None


transpose_pairs.register_autograd(_transpose_backward, setup_context=_transpose_setup)


@torch.library.custom_op("panoptag_pyg::leading_rows", mutates_args=())
def leading_rows(key: Tensor, ptr: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The ``count`` rows of each event with the largest key, and the others; both in the batch's order.

    Equal keys: the earlier row leads.

    Args:
        key: what rows are ranked by.
        ptr: first row of each event, and P at the end.
        count: how many lead in each event.

    Shapes:
        key [P], ptr [B+1] → leading rows [M], their ptr [B+1], other rows [P − M], their ptr [B+1].
    """
    num_events = ptr.numel() - 1
    event = batch_from_ptr(ptr, len(key))
    order = key.argsort(descending=True, stable=True)
    order = order[event[order].argsort(stable=True)]
    leads = torch.zeros(len(key), dtype=torch.bool, device=key.device)
    leads[order] = torch.arange(len(key), device=key.device) - ptr[event] < count
    first, second = leads.nonzero().flatten(), (~leads).nonzero().flatten()
    return first, ptr_from_batch(event[first], num_events), second, ptr_from_batch(event[second], num_events)


@leading_rows.register_fake
def _(key: Tensor, ptr: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    first, second = (torch.library.get_ctx().new_dynamic_size() for _ in range(2))
    return ptr.new_empty(first), torch.empty_like(ptr), ptr.new_empty(second), torch.empty_like(ptr)
