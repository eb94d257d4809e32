"""Ragged attention in plain torch: one event after the other, or padded once to the longest.

A loop over events with torch's own fused attention beats segment softmax and nested tensors several-fold on a CPU. A
GPU, which a launch per event would leave idle, pads.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_flash_on_cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_on_cpu_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_ptr: Tensor | None,
    k_ptr: Tensor,
    max_q: int | None = None,
    max_k: int | None = None,
) -> tuple[Tensor, Tensor]:
    """See :mod:`panoptag_pyg.ops.attention`."""
    queries, _, k_lengths = _queries(q, q_ptr, k_ptr)
    results, log_sums = [], []
    for query, key, value in zip(queries, _heads_first(k, k_lengths), _heads_first(v, k_lengths), strict=True):
        if query.size(2) == 0 or key.size(2) == 0:
            result, log_sum = _zeros(query), query.new_full(query.shape[:3], -torch.inf, dtype=_sum_dtype(q))
        else:
            result, log_sum = _attend(query, key, value)
        results.append(result)
        log_sums.append(log_sum)
    if not results:
        return torch.empty_like(q[:0]), q.new_empty(0, q.size(1), dtype=_sum_dtype(q))
    return _joined(results, q), torch.cat(log_sums, dim=2)[0].t().contiguous()


def backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    log_sum: Tensor,
    q_ptr: Tensor | None,
    k_ptr: Tensor,
    max_q: int | None = None,
    max_k: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """See :mod:`panoptag_pyg.ops.attention`."""
    queries, q_lengths, k_lengths = _queries(q, q_ptr, k_ptr)
    log_sums = log_sum.t().contiguous().unsqueeze(0).split(q_lengths, dim=2)
    grads_q, grads_k, grads_v = [], [], []
    for query, key, value, result, grad, log_sum in zip(
        queries,
        _heads_first(k, k_lengths),
        _heads_first(v, k_lengths),
        _heads_first(out, q_lengths),
        _heads_first(grad_out, q_lengths),
        log_sums,
        strict=True,
    ):
        if query.size(2) == 0 or key.size(2) == 0:
            grad_q, grad_k, grad_v = _zeros(query), _zeros(key), _zeros(value)
        else:
            grad_q, grad_k, grad_v = _attend_backward(grad, query, key, value, result, log_sum)
        grads_q.append(grad_q)
        grads_k.append(grad_k)
        grads_v.append(grad_v)
    total_q = _joined(grads_q, q)
    if q_ptr is None:
        total_q = total_q.view(len(k_lengths), *q.shape).sum(0)
    return total_q, _joined(grads_k, k), _joined(grads_v, v)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Attention of one event, and the log of each query's sum of exponentials."""
    if query.device.type == "cpu":
        return _flash_on_cpu(query, key, value)
    score = _scores(query, key)
    log_sum = score.logsumexp(-1)
    return (score - log_sum.unsqueeze(-1)).exp().to(value.dtype) @ value, log_sum


def _attend_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, result: Tensor, log_sum: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of one event's queries, keys and values; as Dao et al., arXiv:2205.14135, algorithm 4, untiled."""
    if query.device.type == "cpu":
        return _flash_on_cpu_backward(grad, query, key, value, result, log_sum, 0.0, False)
    weight = (_scores(query, key) - log_sum.unsqueeze(-1)).exp()
    drift = (grad * result).sum(-1, keepdim=True, dtype=weight.dtype)
    grad_score = (weight * ((grad @ value.mT).to(weight.dtype) - drift) / math.sqrt(query.size(-1))).to(query.dtype)
    return grad_score @ key, grad_score.mT @ query, weight.to(grad.dtype).mT @ grad


def _scores(query: Tensor, key: Tensor) -> Tensor:
    return (query @ key.mT).to(_sum_dtype(query)) / math.sqrt(query.size(-1))


def _queries(q: Tensor, q_ptr: Tensor | None, k_ptr: Tensor) -> tuple[tuple[Tensor, ...], list[int], list[int]]:
    """Each event's queries, and how many queries and keys each has."""
    k_lengths = k_ptr.diff().tolist()
    if q_ptr is None:
        return _heads_first(q, [len(q)]) * len(k_lengths), [len(q)] * len(k_lengths), k_lengths
    q_lengths = q_ptr.diff().tolist()
    return _heads_first(q, q_lengths), q_lengths, k_lengths


def _heads_first(x: Tensor, lengths: list[int]) -> tuple[Tensor, ...]:
    """[N, H, d] → one view [1, H, n, d] per event."""
    return x.transpose(0, 1).unsqueeze(0).split(lengths, dim=2) if lengths else ()


def _joined(parts: list[Tensor], like: Tensor) -> Tensor:
    """[1, H, n, d] of every event → [N, H, d]."""
    if not parts:
        return like.new_empty(0, *like.shape[1:])
    return torch.cat([part.transpose(1, 2) for part in parts], dim=1)[0]


def _zeros(part: Tensor) -> Tensor:
    # In the memory layout that torch's attention gives.
    return part.new_zeros(1, part.size(2), part.size(1), part.size(3)).transpose(1, 2)


def _sum_dtype(q: Tensor) -> torch.dtype:
    return torch.float64 if q.dtype == torch.float64 else torch.float32


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
    max_q, max_k = _longest(q_ptr, k_ptr, max_q, max_k)
    key_row, key_real = _padding(k_ptr, max_k)
    if q_ptr is None:
        heads = q.expand(num_events, *q.shape)
    else:
        query_row, query_real = _padding(q_ptr, max_q)
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


def _longest(q_ptr: Tensor | None, k_ptr: Tensor, max_q: int | None, max_k: int | None) -> tuple[int, int]:
    """Most queries and keys of an event, where they aren't known, by one synchronisation of the device."""
    if max_k is not None and (max_q is not None or q_ptr is None):
        return max_q or 0, max_k
    lengths = torch.stack([k_ptr.diff() if q_ptr is None else q_ptr.diff(), k_ptr.diff()])
    found_q, found_k = lengths.amax(1).tolist()
    return found_q if max_q is None else max_q, found_k if max_k is None else max_k


def _padding(ptr: Tensor, longest: int) -> tuple[Tensor, Tensor]:
    """Row of every padded slot, and whether it is real: two [B, L]."""
    length = ptr.diff()
    slot = torch.arange(max(longest, 1), device=ptr.device)
    real = slot < length[:, None]
    return torch.where(real, ptr[:-1, None] + slot, 0), real


def _flat_position(ptr: Tensor, num_rows: int, longest: int) -> Tensor:
    """Padded slot of every row: [Q]."""
    event = torch.repeat_interleave(torch.arange(ptr.numel() - 1, device=ptr.device), ptr.diff(), output_size=num_rows)
    return event * longest + torch.arange(num_rows, device=ptr.device) - ptr[event]
