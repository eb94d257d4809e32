"""Small helpers on ragged batches: ``ptr`` [B+1], ``batch`` [P], and all pairs of two sets."""

from __future__ import annotations

import torch
from torch import Tensor


def ptr_from_batch(batch: Tensor, num_events: int | None = None) -> Tensor:
    """Start of each event: ``batch`` [P], ascending, to ``ptr`` [B+1].

    Args:
        batch: event of each row, ascending.
        num_events: B; needed where the last events are empty. Default: the last row's event + 1.

    Raises:
        ValueError: if ``batch`` isn't ascending, or has events that aren't among the B.
    """
    if batch.numel() > 1 and bool((batch[1:] < batch[:-1]).any()):
        raise ValueError("batch must be sorted by event; sort the rows, or use ptr")
    if batch.numel() and (int(batch[0]) < 0 or (num_events is not None and int(batch[-1]) >= num_events)):
        expected = "0 or more" if num_events is None else f"0 to {num_events - 1}, since there are {num_events}"
        raise ValueError(f"batch must have events {expected}; got {int(batch[0])} to {int(batch[-1])}")
    if num_events is None:
        num_events = int(batch[-1]) + 1 if batch.numel() else 0
    events = torch.arange(num_events + 1, device=batch.device, dtype=batch.dtype)
    return torch.searchsorted(batch, events)


def batch_from_ptr(ptr: Tensor, num_rows: int) -> Tensor:
    """Event of each row: ``ptr`` [B+1] to ``batch`` [P]; no device synchronisation.

    Args:
        ptr: first row of each event, and P at the end.
        num_rows: P.
    """
    events = torch.arange(ptr.numel() - 1, device=ptr.device)
    return torch.repeat_interleave(events, ptr.diff(), output_size=num_rows)


def complete_edges(q_ptr: Tensor, k_ptr: Tensor) -> Tensor:
    """All (query, key) pairs of the same event, query by query.

    Args:
        q_ptr: first query of each event.
        k_ptr: first key of each event.

    Shapes:
        q_ptr [B+1], k_ptr [B+1] → edge_index [2, E].
    """
    num_queries = int(q_ptr[-1])
    event = batch_from_ptr(q_ptr, num_queries)
    degree = k_ptr.diff()[event]
    total = int(degree.sum())
    query = torch.repeat_interleave(torch.arange(num_queries, device=q_ptr.device), degree, output_size=total)
    first_edge = degree.cumsum(0) - degree
    key = torch.arange(total, device=q_ptr.device) - first_edge[query] + k_ptr[event][query]
    return torch.stack([query, key])


def compute_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype that matrix products should run in: autocast's where it is on, else the tensor's own."""
    if torch.is_autocast_enabled(tensor.device.type) and tensor.dtype != torch.float64:
        return torch.get_autocast_dtype(tensor.device.type)
    return tensor.dtype


def take_rows(x: Tensor, index: Tensor) -> Tensor:
    """Rows of ``x``, whose gradient is the same on every run: ``index`` of any shape [...] to [..., D]."""
    if x.device.type == "cpu":
        return x.index_select(0, index.reshape(-1)).view(*index.shape, *x.shape[1:])
    return x[index]


def add_rows_(x: Tensor, index: Tensor, rows: Tensor) -> Tensor:
    """Add rows to those of ``x`` at ``index`` [N], which may repeat; the same bits on every run.

    With several threads, ``index_put_`` adds in any order on a CPU, and ``index_add_`` does so on a GPU; the other
    doesn't.
    """
    if x.device.type == "cpu":
        return x.index_add_(0, index, rows)
    return x.index_put_((index,), rows, accumulate=True)


def sorted_by_length(ptr: Tensor, num_rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sets in ascending order of their length, those of equal length in their own order.

    Args:
        ptr: first row of each set, and N at the end.
        num_rows: N.

    Shapes:
        ptr [B+1] → the sets in their new order [B]; the rows in their new order [N]; the new ``ptr`` [B+1].
    """
    length = ptr.diff()
    order = torch.argsort(length, stable=True)
    sorted_length = length[order]
    new_ptr = torch.cat([ptr.new_zeros(1), sorted_length.cumsum(0)])
    shift = torch.repeat_interleave(ptr[:-1][order] - new_ptr[:-1], sorted_length, output_size=num_rows)
    return order, torch.arange(num_rows, device=ptr.device) + shift, new_ptr
