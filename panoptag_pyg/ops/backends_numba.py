"""Numba's CPU kernels as backends; Numba itself is imported when the first of them runs."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from panoptag_pyg.ops import (
    attention,
    edge_convolution,
    edge_convolution_torch,
    neighbour_attention,
    neighbours,
    neighbours_torch,
    norm_linear,
    weighted_neighbours,
)
from panoptag_pyg.ops.edge_convolution_torch import first_products, grad_of_first_products
from panoptag_pyg.ops.registry import register_backend

#: ``"auto"`` takes what is registered last, so the operations' own modules must come first.
_FIRST = (attention, edge_convolution, neighbours)
#: Rows below which packing the weights costs more than the kernel saves.
FEW_ROWS = 192


@lru_cache(maxsize=1)
def unusable() -> str | None:
    """Why Numba's kernels can't be used, or ``None``."""
    if find_spec("numba") is None:
        return "the package 'numba' is not installed: pip install 'panoptag-pyg[numba]'"
    return None


@lru_cache(maxsize=1)
def multiplies_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16, and the kernel can tell it to."""
    if unusable() is not None:
        return False
    from panoptag_pyg.ops.kernels_numba.tiles import BFLOAT16

    return BFLOAT16


def edge_conv(x: Tensor, table: Tensor, parameters: list[Tensor], training: bool) -> tuple[Tensor, Tensor]:
    """Forward pass of :func:`panoptag_pyg.ops.edge_conv`; what the kernels aren't for runs in plain torch."""
    if not _is_for_kernel(x, table, parameters):
        return edge_convolution_torch.forward(x, table, parameters, training)
    if x.dtype == torch.bfloat16:
        from panoptag_pyg.ops.kernels_numba.edge_convolution_bfloat16 import edge_layers
    else:
        from panoptag_pyg.ops.kernels_numba.edge_convolution import edge_layers
    return edge_layers(*first_products(x, parameters), table, parameters, training)


def edge_conv_backward(
    grad_out: Tensor, x: Tensor, table: Tensor, parameters: list[Tensor], winner: Tensor
) -> list[Tensor]:
    """Backward pass of :func:`panoptag_pyg.ops.edge_conv`; that of bfloat16 is computed in float32."""
    if not _is_for_kernel(x, table, parameters):
        return edge_convolution_torch.backward(grad_out, x, table, parameters, winner)
    from panoptag_pyg.ops.kernels_numba.edge_gradient import edge_layers_backward

    dtype = x.dtype
    grad_out, x, parameters = grad_out.float(), x.float(), [parameter.float() for parameter in parameters]
    grads = [torch.empty_like(parameter) for parameter in parameters[:2]]
    grad_neighbour, grad_centre, further = edge_layers_backward(
        grad_out, *first_products(x, parameters), table, parameters, winner
    )
    grad_x = grad_of_first_products(grad_neighbour, grad_centre, x, parameters, grads)
    return [grad.to(dtype) for grad in (grad_x, *grads, *further)]


def _is_for_kernel(x: Tensor, table: Tensor, parameters: list[Tensor]) -> bool:
    fits = x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and multiplies_bfloat16())
    return fits and table.numel() > 0 and len(parameters) > 2


def _supports_edge_conv(dtype: torch.dtype, widths: tuple[int, ...], **info: Any) -> bool:
    fits = dtype == torch.float32 or (dtype == torch.bfloat16 and multiplies_bfloat16())
    return fits and len(widths) > 1


def neighbour_table(x: Tensor, k: int, ptr: Tensor, metric: Any, loop: bool) -> Tensor:
    """See :func:`panoptag_pyg.ops.neighbour_table`; what the kernels aren't for runs in plain torch."""
    if metric not in ("euclidean", "wrapped_phi") or (x.dtype != torch.float32 and x.size(1) > 4):
        return neighbours_torch.neighbour_table(x, k, ptr, metric, loop)
    from panoptag_pyg.ops.kernels_numba import neighbours

    return neighbours.neighbour_table(x, k, ptr, metric, loop)


def ragged_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_ptr: Tensor | None,
    k_ptr: Tensor,
    max_q: int | None = None,
    max_k: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Forward pass of :func:`panoptag_pyg.ops.ragged_attention`; half precision is computed in float32."""
    from panoptag_pyg.ops.kernels_numba import attention

    if q.dtype == torch.bfloat16:
        return attention.forward(q, k, v, q_ptr, k_ptr)
    out, log_sum = attention.forward(_widened(q), _widened(k), _widened(v), q_ptr, k_ptr)
    return out.to(q.dtype), log_sum


def ragged_attention_backward(
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
    """Backward pass of :func:`panoptag_pyg.ops.ragged_attention`."""
    from panoptag_pyg.ops.kernels_numba import attention

    grad_out, out = _widened(grad_out), _widened(out)
    grads = attention.backward(grad_out, _widened(q), _widened(k), _widened(v), out, log_sum, q_ptr, k_ptr)
    return grads[0].to(q.dtype), grads[1].to(q.dtype), grads[2].to(q.dtype)


def _widened(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _supports_attention(dim: int, **info: Any) -> bool:
    # A wider head's columns don't fit the registers, and fill the tiles of torch's products.
    return dim <= 16


register_backend(
    "edge_conv",
    "numba",
    edge_conv,
    backward=edge_conv_backward,
    unusable=unusable,
    devices=("cpu",),
    supports=_supports_edge_conv,
)


def norm_linear_forward(
    x: Tensor, norm_weight: Tensor, norm_bias: Tensor, weight: Tensor, bias: Tensor, residual: bool, training: bool
) -> tuple[Tensor, Tensor]:
    """Forward pass of :func:`panoptag_pyg.ops.norm_linear`; few rows run in plain torch."""
    tensors = x, norm_weight, norm_bias, weight, bias
    if x.dtype == torch.bfloat16 and multiplies_bfloat16() and len(x) >= FEW_ROWS and not training:
        from panoptag_pyg.ops.kernels_numba import norm_linear_bfloat16

        return norm_linear_bfloat16.forward(*tensors, residual), x.new_empty(0, len(weight))
    if x.dtype != torch.float32 or len(x) < FEW_ROWS:
        return norm_linear.torch_forward(*tensors, residual, training)
    from panoptag_pyg.ops.kernels_numba.norm_linear import forward

    return forward(*tensors, residual, training)


def norm_linear_backward(
    grad_out: Tensor,
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    weight: Tensor,
    active: Tensor,
    residual: bool,
) -> tuple[Tensor, ...]:
    """Backward pass of :func:`panoptag_pyg.ops.norm_linear`."""
    tensors = grad_out, x, norm_weight, norm_bias, weight, active
    if x.dtype != torch.float32 or len(x) < FEW_ROWS:
        return norm_linear.torch_backward(*tensors, residual)
    from panoptag_pyg.ops.kernels_numba.norm_linear import backward

    return backward(*tensors, residual)


def _supports_norm_linear(dtype: torch.dtype, training: bool, **info: Any) -> bool:
    return dtype == torch.float32 or (dtype == torch.bfloat16 and not training and multiplies_bfloat16())


register_backend(
    "norm_linear",
    "numba",
    norm_linear_forward,
    backward=norm_linear_backward,
    unusable=unusable,
    devices=("cpu",),
    supports=_supports_norm_linear,
)
register_backend("neighbour_table", "numba", neighbour_table, unusable=unusable, devices=("cpu",))
register_backend(
    "ragged_attention",
    "numba",
    ragged_attention,
    backward=ragged_attention_backward,
    unusable=unusable,
    devices=("cpu",),
    supports=_supports_attention,
)


def weighted_neighbours_forward(
    features: Tensor, weight: Tensor, table: Tensor, count: Tensor, training: bool
) -> tuple[Tensor, Tensor]:
    """Forward pass of :func:`panoptag_pyg.ops.weighted_neighbours`; half precision runs in plain torch."""
    if features.dtype not in (torch.float32, torch.float64) or table.numel() == 0:
        return weighted_neighbours.torch_forward(features, weight, table, count, training)
    from panoptag_pyg.ops.kernels_numba.weighted_neighbours import forward

    return forward(features, weight, table, count, training)


def weighted_neighbours_backward(
    grad_out: Tensor, features: Tensor, weight: Tensor, table: Tensor, count: Tensor, winner: Tensor
) -> tuple[Tensor, Tensor]:
    """Backward pass of :func:`panoptag_pyg.ops.weighted_neighbours`."""
    if features.dtype not in (torch.float32, torch.float64) or table.numel() == 0:
        return weighted_neighbours.torch_backward(grad_out, features, weight, table, count, winner)
    from panoptag_pyg.ops.kernels_numba.weighted_neighbours import backward

    return backward(grad_out, features, weight, table, count, winner)


def neighbour_attention_forward(
    centre: Tensor, neighbour: Tensor, score: Tensor, weight: Tensor, table: Tensor, count: Tensor, training: bool
) -> tuple[Tensor, Tensor]:
    """Forward pass of :func:`panoptag_pyg.ops.neighbour_attention`; what isn't float32 runs in plain torch."""
    inputs = centre, neighbour, score, weight, table, count
    if centre.dtype != torch.float32 or table.numel() == 0:
        return neighbour_attention.torch_forward(*inputs, training)
    from panoptag_pyg.ops.kernels_numba.neighbour_attention import forward

    return forward(*inputs, training)


def neighbour_attention_backward(
    grad_out: Tensor,
    centre: Tensor,
    neighbour: Tensor,
    score: Tensor,
    weight: Tensor,
    table: Tensor,
    count: Tensor,
    winner: Tensor,
) -> tuple[Tensor, ...]:
    """Backward pass of :func:`panoptag_pyg.ops.neighbour_attention`."""
    inputs = centre, neighbour, score, weight, table, count
    if centre.dtype != torch.float32 or table.numel() == 0:
        return neighbour_attention.torch_backward(grad_out, *inputs, winner)
    from panoptag_pyg.ops.kernels_numba.neighbour_attention import backward

    return backward(grad_out, *inputs, winner)


def _is_float32(dtype: torch.dtype, **info: Any) -> bool:
    return dtype == torch.float32


register_backend(
    "weighted_neighbours",
    "numba",
    weighted_neighbours_forward,
    backward=weighted_neighbours_backward,
    unusable=unusable,
    devices=("cpu",),
    supports=_is_float32,
)
register_backend(
    "neighbour_attention",
    "numba",
    neighbour_attention_forward,
    backward=neighbour_attention_backward,
    unusable=unusable,
    devices=("cpu",),
    supports=_is_float32,
)
