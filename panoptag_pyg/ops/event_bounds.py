"""Where events start, from what PyG's users give: a batch vector, its size, or nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from panoptag_pyg.ops.ragged import ptr_from_batch


def event_ptrs(
    x: Tensor, y: Tensor, batch_x: Tensor | None, batch_y: Tensor | None, batch_size: int | None = None
) -> tuple[Tensor, Tensor]:
    """First row of each event in x and in y, from their batch vectors; also inside ``torch.compile``.

    Args:
        x: rows of all events.
        y: rows of all events of another set.
        batch_x: event of each row of x, ascending. Default: one event.
        batch_y: event of each row of y, ascending. Default: one event.
        batch_size: number of events. Default: that of the last row of either, + 1.

    Shapes:
        x [P, …], y [Q, …] → ptr [B+1], ptr [B+1].

    Raises:
        ValueError: for a batch that isn't sorted, doesn't fit, or is missing.
    """
    ptr_x, ptr_y = _event_ptrs_op(x.detach(), y.detach(), batch_x, batch_y, batch_size)
    return ptr_x, ptr_y


def ptr_of(rows: Tensor, batch: Tensor | None, ptr: Tensor | None, num_events: int, name: str) -> Tensor:
    """``ptr`` as it is given, or from ``batch``, which is checked; all rows are one event where neither is given."""
    if ptr is not None:
        return ptr
    if batch is None:
        bounds = torch.full((num_events + 1,), len(rows), device=rows.device)
        bounds[:1] = 0
        return bounds
    if batch.shape != rows.shape[:1]:
        expected = f"one event for each of the {len(rows)} rows"
        raise ValueError(f"{name} must have {expected}, got the shape {list(batch.shape)}")
    return ptr_from_batch(batch, num_events)


def count_events(batch_size: int | None, *batches: Tensor | None) -> int:
    """The number of events, at least 1."""
    if batch_size is not None:
        return batch_size
    return max(1, *(int(batch[-1]) + 1 if batch is not None and batch.numel() else 1 for batch in batches))


def ptrs_of(
    x: Tensor,
    y: Tensor,
    batch_x: Tensor | None,
    batch_y: Tensor | None,
    ptr_x: Tensor | None,
    ptr_y: Tensor | None,
    batch_size: int | None,
) -> tuple[Tensor, Tensor]:
    """Those of two sets of the same events."""
    num_events = count_events(batch_size, batch_x, batch_y)
    for ptr in (ptr_x, ptr_y):
        num_events = num_events if ptr is None else ptr.numel() - 1
    for given, batch, ptr in (("x", batch_x, ptr_x), ("y", batch_y, ptr_y)):
        if num_events > 1 and batch is None and ptr is None:
            raise ValueError(f"there are {num_events} events, so the event of each row of {given} must be given too")
    return ptr_of(x, batch_x, ptr_x, num_events, "batch_x"), ptr_of(y, batch_y, ptr_y, num_events, "batch_y")


@torch.library.custom_op("panoptag_pyg::event_ptrs", mutates_args=())
def _event_ptrs_op(
    x: Tensor, y: Tensor, batch_x: Tensor | None, batch_y: Tensor | None, batch_size: int | None
) -> Tensor:
    return torch.stack(ptrs_of(x, y, batch_x, batch_y, None, None, batch_size))


@_event_ptrs_op.register_fake
def _(x: Tensor, y: Tensor, batch_x: Tensor | None, batch_y: Tensor | None, batch_size: int | None) -> Tensor:
    num_bounds = torch.library.get_ctx().new_dynamic_size() if batch_size is None else batch_size + 1
    return x.new_empty((2, num_bounds), dtype=torch.long)
