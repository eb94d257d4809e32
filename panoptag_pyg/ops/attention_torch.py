"""Ragged attention in plain torch: one event after the other on a CPU, padded once on a GPU.

A loop over events with torch's own fused attention beats segment softmax and nested tensors several-fold on a
CPU. It runs inside one autograd function that writes into the results' slices: no graph of slices and
concatenations, one node instead of several per event.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def event_by_event(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_ptr: Tensor | None,
    k_ptr: Tensor,
    max_q: int | None = None,
    max_k: int | None = None,
) -> Tensor:
    """See :func:`panoptag_pyg.ops.ragged_attention`."""
    return _EventByEvent.apply(q, k, v, None if q_ptr is None else q_ptr.tolist(), k_ptr.tolist())


def _heads_first(x: Tensor) -> Tensor:
    return x.transpose(0, 1).unsqueeze(0)


def _slices(q: Tensor, q_bounds: list[int] | None, k_bounds: list[int]) -> list[tuple[slice, slice, slice]]:
    """Of every event: rows of the result, of the queries, of the keys."""
    events = []
    for b in range(len(k_bounds) - 1):
        keys = slice(k_bounds[b], k_bounds[b + 1])
        if q_bounds is None:
            events.append((slice(b * len(q), (b + 1) * len(q)), slice(0, len(q)), keys))
        else:
            rows = slice(q_bounds[b], q_bounds[b + 1])
            events.append((rows, rows, keys))
    return events


class _EventByEvent(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, q_bounds: list[int] | None, k_bounds: list[int]
    ) -> Tensor:
        num_rows = (len(k_bounds) - 1) * len(q) if q_bounds is None else len(q)
        out = q.new_empty(num_rows, *q.shape[1:])
        heads, keys, values = _heads_first(q), _heads_first(k), _heads_first(v)
        ctx.events, log_sums = [], []
        for rows, own, key in _slices(q, q_bounds, k_bounds):
            if rows.start == rows.stop:
                continue
            if key.start == key.stop:
                out[rows] = 0
                continue
            y, log_sum = _flash(heads[:, :, own], keys[:, :, key], values[:, :, key])
            out[rows] = y[0].transpose(0, 1)
            ctx.events.append((rows, own, key))
            log_sums.append(log_sum)
        ctx.shared = q_bounds is None
        ctx.save_for_backward(q, k, v, out, *log_sums)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, *log_sums = ctx.saved_tensors
        # Keys of events without queries, and queries without keys, get no gradient.
        grad_q, grad_k, grad_v = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
        heads, keys, values, results = (_heads_first(t) for t in (q, k, v, out))
        grads = _heads_first(grad_out.contiguous())
        for (rows, own, key), log_sum in zip(ctx.events, log_sums, strict=True):
            g_q, g_k, g_v = _flash_backward(
                grads[:, :, rows],
                heads[:, :, own],
                keys[:, :, key],
                values[:, :, key],
                results[:, :, rows],
                log_sum,
                0.0,
                False,
            )
            if ctx.shared:
                grad_q += g_q[0].transpose(0, 1)
            else:
                grad_q[own] = g_q[0].transpose(0, 1)
            grad_k[key] = g_k[0].transpose(0, 1)
            grad_v[key] = g_v[0].transpose(0, 1)
        return grad_q, grad_k, grad_v, None, None


def padded(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_ptr: Tensor | None,
    k_ptr: Tensor,
    max_q: int | None = None,
    max_k: int | None = None,
) -> Tensor:
    """Pad every event to the longest and mask: few launches, for GPUs."""
    num_events = k_ptr.numel() - 1
    if num_events == 0 or len(q) == 0 or len(k) == 0:
        rows = num_events * len(q) if q_ptr is None else len(q)
        return q.new_zeros(rows, *q.shape[1:]) + (q.sum() + k.sum() + v.sum()) * 0
    key_row, key_real = _padding(k_ptr, len(k), max_k)
    if q_ptr is None:
        heads = q.expand(num_events, *q.shape)
    else:
        query_row, query_real = _padding(q_ptr, len(q), max_q)
        heads = q[query_row]
    # An event without keys must not give NaN: it attends to a zero that stands in the first slot.
    mask = key_real.clone()
    mask[:, 0] = True
    values = torch.where(key_real[..., None, None], v[key_row], 0.0)
    y = F.scaled_dot_product_attention(
        heads.transpose(1, 2), k[key_row].transpose(1, 2), values.transpose(1, 2), mask[:, None, None, :]
    ).transpose(1, 2)
    if q_ptr is None:
        return y.reshape(-1, *q.shape[1:])
    return y.reshape(-1, *q.shape[1:])[_flat_position(q_ptr, len(q), query_real.size(1))]


def _padding(ptr: Tensor, num_rows: int, longest: int | None) -> tuple[Tensor, Tensor]:
    """Row of every padded slot, and whether it is real: two [B, L]."""
    length = ptr.diff()
    if longest is None:
        longest = int(length.max())
    slot = torch.arange(max(longest, 1), device=ptr.device)
    real = slot < length[:, None]
    return torch.where(real, ptr[:-1, None] + slot, 0), real


def _flat_position(ptr: Tensor, num_rows: int, longest: int) -> Tensor:
    """Padded slot of every row: [Q]."""
    event = torch.repeat_interleave(
        torch.arange(ptr.numel() - 1, device=ptr.device), ptr.diff(), output_size=num_rows
    )
    return event * longest + torch.arange(num_rows, device=ptr.device) - ptr[event]
