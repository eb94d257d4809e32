"""Ragged attention on a CPU, for heads so narrow that matrix products would leave most of their tiles empty."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from panoptag_pyg.ops.kernels_numba import attention_kernels
from panoptag_pyg.ops.kernels_numba.parallel import run_blocks


def forward(q: Tensor, k: Tensor, v: Tensor, q_ptr: Tensor | None, k_ptr: Tensor) -> tuple[Tensor, Tensor]:
    """See :mod:`panoptag_pyg.ops.attention`; float32, float64, or bfloat16 computed in float32."""
    num_heads, dim = q.shape[1:]
    num_rows = len(q) * (k_ptr.numel() - 1) if q_ptr is None else len(q)
    out = q.new_empty(num_rows, num_heads, dim)
    log_sum = q.new_empty(num_rows, num_heads, dtype=torch.promote_types(q.dtype, torch.float32))
    arguments = *_inputs(q, k, v), *_bounds(q_ptr, k_ptr), num_heads, _flat(out), _flat(log_sum)
    _run(attention_kernels.forward, q, k_ptr, *arguments)
    return out, log_sum


def backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    log_sum: Tensor,
    q_ptr: Tensor | None,
    k_ptr: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """See :mod:`panoptag_pyg.ops.attention`; float32 or float64."""
    num_heads = q.size(1)
    grad_q, grad_k, grad_v = torch.empty_like(grad_out), *(k.new_empty(k.shape) for _ in range(2))
    forwards = _flat(out.contiguous()), _flat(log_sum.contiguous()), _flat(grad_out.contiguous())
    grads = _flat(grad_q), _flat(grad_k), _flat(grad_v)
    arguments = *_inputs(q, k, v), *forwards, *_bounds(q_ptr, k_ptr), num_heads, *grads
    _run(attention_kernels.backward, q, k_ptr, *arguments)
    if q_ptr is None:
        # Each event has a share in the gradient of the queries they have in common.
        grad_q = grad_q.view(k_ptr.numel() - 1, *q.shape).sum(0)
    return grad_q, grad_k, grad_v


def _run(kernel: Any, q: Tensor, k_ptr: Tensor, *arguments: Any) -> None:
    # Blocks of eight heads or more: long enough for the call, and enough of them to share evenly.
    num_blocks = min(-(-(k_ptr.numel() - 1) * q.size(1) // 8), 8 * torch.get_num_threads())
    run_blocks(kernel, num_blocks, num_blocks, _columns(q), *arguments)


def _columns(q: Tensor) -> tuple[np.floating, ...]:
    return (np.float64(0.0) if q.dtype == torch.float64 else np.float32(0.0),) * q.size(2)


def _inputs(*tensors: Tensor) -> list[Any]:
    """Of each tensor [N, H, d] its memory, as one row of numbers, and its first two strides."""
    inputs: list[Any] = []
    for tensor in tensors:
        tensor = tensor.detach()
        span = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)) + 1
        inputs += [_array(tensor.as_strided((span if tensor.numel() else 0,), (1,))), tensor.stride()[:2]]
    return inputs


def _bounds(q_ptr: Tensor | None, k_ptr: Tensor) -> tuple[np.ndarray, np.ndarray]:
    shared = np.empty(0, np.int64)
    return shared if q_ptr is None else q_ptr.contiguous().numpy(), k_ptr.contiguous().numpy()


def _flat(tensor: Tensor) -> np.ndarray:
    return _array(tensor.detach().view(-1))


def _array(tensor: Tensor) -> np.ndarray:
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
