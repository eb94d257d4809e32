"""Ragged attention by torch's own kernel for sequences of variable length: flash attention, on CUDA, in 16 bits.

What :func:`torch.nn.attention.varlen.varlen_attn` calls, without its autograd, whose place our operation takes. Its
tiles are made for heads of 64 to 128 and heads of 8 fill an eighth of them, so the Triton kernels come before it.
It needs the longest lengths on the host, and is told to add gradients in a fixed order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.ops import self_check
from panoptag_pyg.ops.ragged import batch_from_ptr
from panoptag_pyg.ops.registry import register_backend

MAX_DIM = 256


@lru_cache(maxsize=1)
def unusable() -> str | None:
    """Why flash attention can't run here, or ``None``."""
    if not torch.cuda.is_available():
        return "it needs a CUDA device: flash attention runs nowhere else"
    if torch.version.hip is not None or torch.cuda.get_device_capability() < (8, 0):
        return f"it needs an NVIDIA Ampere GPU or newer, this is a {torch.cuda.get_device_name()}"
    return None


def supports(dtype: torch.dtype, dim: int) -> bool:
    """Half precision, heads up to 256."""
    return dtype in (torch.float16, torch.bfloat16) and dim <= MAX_DIM


def forward(
    q: Tensor, k: Tensor, v: Tensor, q_ptr: Tensor | None, k_ptr: Tensor, max_q: int | None, max_k: int | None
) -> tuple[Tensor, Tensor]:
    """See :mod:`panoptag_pyg.ops.attention`."""
    dim = q.size(2)
    if not supports(q.dtype, dim):
        raise ConfigError(
            f"backend 'varlen' of 'ragged_attention' takes float16 or bfloat16 and heads up to {MAX_DIM} wide, got "
            f"{dim} in {q.dtype}: use backend='padded'"
        )
    q, q_ptr, max_q, max_k = _own_queries(q, q_ptr, k_ptr, max_q, max_k)
    if q.numel() == 0 or k.numel() == 0:
        return torch.zeros_like(q), q.new_full(q.shape[:2], -math.inf, dtype=torch.float32)
    bounds = q_ptr.int(), k_ptr.int(), max_q, max_k
    out, log_sum = _flash_forward(_padded(q), _padded(k), _padded(v), *bounds, 1 / math.sqrt(dim))
    alone = _without(q_ptr, k_ptr, len(q))
    return (
        out[..., :dim].masked_fill(alone[:, None, None], 0).contiguous(),
        log_sum.t().masked_fill(alone[:, None], -math.inf).contiguous(),
    )


def backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    log_sum: Tensor,
    q_ptr: Tensor | None,
    k_ptr: Tensor,
    max_q: int | None,
    max_k: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """See :mod:`panoptag_pyg.ops.attention`."""
    shape, dim = q.shape, q.size(2)
    shared = q_ptr is None
    q, q_ptr, max_q, max_k = _own_queries(q, q_ptr, k_ptr, max_q, max_k)
    if q.numel() == 0 or k.numel() == 0:
        return grad_out.new_zeros(shape), torch.zeros_like(k), torch.zeros_like(v)
    alone = _without(q_ptr, k_ptr, len(q))
    grads = _flash_backward(
        _padded(grad_out),
        _padded(q),
        _padded(k),
        _padded(v),
        _padded(out),
        log_sum.masked_fill(alone[:, None], 0).t().contiguous(),
        q_ptr.int(),
        k_ptr.int(),
        max_q,
        max_k,
        1 / math.sqrt(dim),
    )
    grad_q = grads[0][..., :dim].masked_fill(alone[:, None, None], 0)
    unasked = _without(k_ptr, q_ptr, len(k))[:, None, None]
    grad_k, grad_v = (grad[..., :dim].masked_fill(unasked, 0) for grad in grads[1:])
    if shared:
        grad_q = grad_q.view(-1, *shape).sum(0, dtype=torch.float32).to(q.dtype)
    return grad_q.contiguous(), grad_k.contiguous(), grad_v.contiguous()


def _own_queries(
    q: Tensor, q_ptr: Tensor | None, k_ptr: Tensor, max_q: int | None, max_k: int | None
) -> tuple[Tensor, Tensor, int, int]:
    """Shared queries once per event, and lengths that nobody told."""
    num_events = k_ptr.numel() - 1
    if q_ptr is None:
        max_q = len(q)
        q_ptr = torch.arange(num_events + 1, device=q.device) * max_q
        q = q.expand(num_events, *q.shape).flatten(0, 1)
    if num_events == 0:
        return q, q_ptr, 0, 0
    max_q = int(q_ptr.diff().max()) if max_q is None else max_q
    return q, q_ptr, max_q, int(k_ptr.diff().max()) if max_k is None else max_k


def _without(ptr: Tensor, other: Tensor, num_rows: int) -> Tensor:
    """Rows whose event has none in the other set: [N], bool."""
    return (other.diff() == 0)[batch_from_ptr(ptr, num_rows)]


def _padded(x: Tensor) -> Tensor:
    """Heads as wide as flash attention takes them, a multiple of 8; zeros change nothing."""
    return F.pad(x, (0, -x.size(2) % 8))


def _flash_forward(
    q: Tensor, k: Tensor, v: Tensor, q_ptr: Tensor, k_ptr: Tensor, max_q: int, max_k: int, scale: float
) -> tuple[Tensor, Tensor]:
    """Output [Q, H, d] and log-sum-exp [H, Q]."""
    return torch.ops.aten._flash_attention_forward(q, k, v, q_ptr, k_ptr, max_q, max_k, 0.0, False, False, scale=scale)[
        :2
    ]


def _flash_backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    log_sum: Tensor,
    q_ptr: Tensor,
    k_ptr: Tensor,
    max_q: int,
    max_k: int,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    state = torch.zeros(2, dtype=torch.uint64, device=q.device)  # of the dropout that there isn't
    unused = torch.empty(0, device=q.device)
    with _deterministic():
        return torch.ops.aten._flash_attention_backward(
            grad_out, q, k, v, out, log_sum, q_ptr, k_ptr, max_q, max_k, 0.0, False, state, unused, scale=scale
        )


@contextmanager
def _deterministic() -> Iterator[None]:
    before, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn)


def _supports(dtype: torch.dtype, num_heads: int, dim: int, shared: bool, **info: Any) -> bool:
    if not supports(dtype, dim):
        return False
    return self_check.passes("ragged_attention", "varlen", "cuda", dtype, num_heads, dim, shared)


register_backend(
    "ragged_attention",
    "varlen",
    forward,
    backward=backward,
    unusable=unusable,
    devices=("cuda",),
    supports=_supports,
)
