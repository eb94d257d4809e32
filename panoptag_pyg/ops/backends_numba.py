"""Numba's CPU kernels as backends; Numba itself is imported when the first of them runs."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from panoptag_pyg.ops import edge_convolution_torch, norm_linear
from panoptag_pyg.ops.edge_convolution_torch import first_products, grad_of_first_products
from panoptag_pyg.ops.registry import register_backend

#: Rows below which packing the weights costs more than the kernel saves.
FEW_ROWS = 192


@lru_cache(maxsize=1)
def unusable() -> str | None:
    """Why Numba's kernels can't be used, or ``None``."""
    if find_spec("numba") is None:
        return "the package 'numba' is not installed: pip install 'panoptag-pyg[numba]'"
    return None


def edge_conv(x: Tensor, table: Tensor, parameters: list[Tensor], training: bool) -> tuple[Tensor, Tensor]:
    """Forward pass of :func:`panoptag_pyg.ops.edge_conv`; what the kernel isn't for runs in plain torch."""
    if not _is_for_kernel(x, table, parameters):
        return edge_convolution_torch.forward(x, table, parameters, training)
    from panoptag_pyg.ops.kernels_numba.edge_convolution import edge_layers

    return edge_layers(*first_products(x, parameters), table, parameters, training)


def edge_conv_backward(
    grad_out: Tensor, x: Tensor, table: Tensor, parameters: list[Tensor], winner: Tensor
) -> list[Tensor]:
    """Backward pass of :func:`panoptag_pyg.ops.edge_conv`."""
    if not _is_for_kernel(x, table, parameters):
        return edge_convolution_torch.backward(grad_out, x, table, parameters, winner)
    from panoptag_pyg.ops.kernels_numba.edge_convolution import edge_layers_backward

    grads = [torch.empty_like(parameter) for parameter in parameters[:2]]
    grad_neighbour, grad_centre, further = edge_layers_backward(
        grad_out, *first_products(x, parameters), table, parameters, winner
    )
    return [grad_of_first_products(grad_neighbour, grad_centre, x, parameters, grads), *grads, *further]


def _is_for_kernel(x: Tensor, table: Tensor, parameters: list[Tensor]) -> bool:
    return x.dtype == torch.float32 and table.numel() > 0 and len(parameters) > 2


def _supports_edge_conv(dtype: torch.dtype, widths: tuple[int, ...], **info: Any) -> bool:
    return dtype == torch.float32 and len(widths) > 1


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


def _supports_norm_linear(dtype: torch.dtype, **info: Any) -> bool:
    return dtype == torch.float32


register_backend(
    "norm_linear",
    "numba",
    norm_linear_forward,
    backward=norm_linear_backward,
    unusable=unusable,
    devices=("cpu",),
    supports=_supports_norm_linear,
)
