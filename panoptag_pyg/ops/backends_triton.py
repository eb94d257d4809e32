"""Triton's CUDA kernels as backends; Triton itself is imported when the first of them is looked for.

``"auto"`` takes them for CUDA tensors of the sizes and dtypes that they are made for, once they have passed
:mod:`panoptag_pyg.ops.self_check` on that GPU. Under ``TRITON_INTERPRET=1``,
which must be set before Triton is first imported, they also run on CPU tensors: slowly, and asked for by name only.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.ops import attention as _attention
from panoptag_pyg.ops import attention_varlen as _attention_varlen
from panoptag_pyg.ops import edge_convolution as _edge_convolution
from panoptag_pyg.ops import neighbours as _neighbours
from panoptag_pyg.ops import self_check
from panoptag_pyg.ops.registry import register_backend

#: Imported for their backends, which must be registered before: the last registered is "auto"'s first choice.
_EARLIER = (_attention, _attention_varlen, _edge_convolution, _neighbours)


def unusable() -> str | None:
    """Why Triton's kernels can't be used, or ``None``."""
    if not torch.cuda.is_available() and not _interpreter_wanted():
        return "it needs a CUDA device (or TRITON_INTERPRET=1, which runs the kernels on the CPU, for tests)"
    from panoptag_pyg.ops.kernels_triton import language

    return language.unusable()


def _interpreter_wanted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def neighbour_table(x: Tensor, k: int, ptr: Tensor, metric: str, loop: bool) -> Tensor:
    """See :func:`panoptag_pyg.ops.neighbour_table`."""
    from panoptag_pyg.ops.kernels_triton import neighbours

    _check_device(x)
    if metric not in ("euclidean", "wrapped_phi") or not neighbours.supports(k, x.size(1), x.dtype):
        raise ConfigError(
            f"backend 'triton' of 'knn_graph' finds up to {neighbours.MAX_K} neighbours of float32 points of up to "
            f"{neighbours.MAX_DIM} coordinates by the metrics 'euclidean' and 'wrapped_phi', got k={k}, {x.dtype}, "
            f"{x.size(1)} coordinates, '{metric}': use backend='torch'"
        )
    return neighbours.neighbour_table(x, k, ptr, metric, loop)


def edge_conv(x: Tensor, table: Tensor, parameters: list[Tensor], training: bool) -> tuple[Tensor, Tensor]:
    """Forward pass of :func:`panoptag_pyg.ops.edge_conv`."""
    from panoptag_pyg.ops.kernels_triton import edge_convolution

    _check_device(x)
    return edge_convolution.forward(x, table, parameters, training)


def edge_conv_backward(
    grad_out: Tensor, x: Tensor, table: Tensor, parameters: list[Tensor], winner: Tensor
) -> list[Tensor]:
    """Backward pass of :func:`panoptag_pyg.ops.edge_conv`."""
    from panoptag_pyg.ops.kernels_triton import edge_gradient

    return edge_gradient.backward(grad_out, x, table, parameters, winner)


def ragged_attention(
    q: Tensor, k: Tensor, v: Tensor, q_ptr: Tensor | None, k_ptr: Tensor, max_q: int | None, max_k: int | None
) -> tuple[Tensor, Tensor]:
    """Forward pass of :func:`panoptag_pyg.ops.ragged_attention`."""
    from panoptag_pyg.ops.kernels_triton import attention

    _check_device(q)
    if not attention.supports(q.size(2), q.dtype):
        raise ConfigError(
            f"backend 'triton' of 'ragged_attention' takes heads up to {attention.MAX_DIM} wide in float32, float16 or "
            f"bfloat16, got {q.size(2)} in {q.dtype}: use backend='padded'"
        )
    return attention.forward(q, k, v, q_ptr, k_ptr, max_q, max_k)


def ragged_attention_backward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Backward pass of :func:`panoptag_pyg.ops.ragged_attention`."""
    from panoptag_pyg.ops.kernels_triton import attention

    return attention.backward(*arguments)


def _check_device(x: Tensor) -> None:
    if x.device.type != "cuda" and not _interpreter_wanted():
        raise ConfigError(f"backend 'triton' takes CUDA tensors, got one on '{x.device}'")


def _supports_neighbour_table(dtype: torch.dtype, k: int, dim: int, metric: str, **info: Any) -> bool:
    from panoptag_pyg.ops.kernels_triton import neighbours

    if not neighbours.supports(k, dim, dtype):
        return False
    return self_check.passes("neighbour_table", "triton", "cuda", dtype, k, dim, metric)


def _supports_edge_conv(dtype: torch.dtype, k: int, dim: int, widths: tuple[int, ...], **info: Any) -> bool:
    from panoptag_pyg.ops.kernels_triton import edge_convolution, language

    if not language.roomy() and max(widths) > (128 if dtype.itemsize == 2 else 64):
        return False
    if not edge_convolution.supports(widths, dtype):
        return False
    return self_check.passes("edge_conv", "triton", "cuda", dtype, k, dim, widths)


def _supports_attention(dtype: torch.dtype, num_heads: int, dim: int, shared: bool, **info: Any) -> bool:
    from panoptag_pyg.ops.kernels_triton import attention, language

    if not language.roomy() and (dtype.itemsize > 2 or dim > 32):
        return False
    if not attention.supports(dim, dtype):
        return False
    return self_check.passes("ragged_attention", "triton", "cuda", dtype, num_heads, dim, shared)


register_backend(
    "neighbour_table",
    "triton",
    neighbour_table,
    unusable=unusable,
    devices=("cuda",),
    supports=_supports_neighbour_table,
)
register_backend(
    "edge_conv",
    "triton",
    edge_conv,
    backward=edge_conv_backward,
    unusable=unusable,
    devices=("cuda",),
    supports=_supports_edge_conv,
)
register_backend(
    "ragged_attention",
    "triton",
    ragged_attention,
    backward=ragged_attention_backward,
    unusable=unusable,
    devices=("cuda",),
    supports=_supports_attention,
)
