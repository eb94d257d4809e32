"""LayerNorm, linear layer and what follows, some rows at a time: what lies between stays in a core's cache."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from panoptag_pyg.ops.kernels_numba.elementary import FAST, gelu, gelu_slope
from panoptag_pyg.ops.kernels_numba.parallel import run_blocks
from panoptag_pyg.ops.kernels_numba.products import (
    add_transposed_product,
    leading_dimension,
    packed,
    padded_columns,
    padded_rows,
    product,
)
from panoptag_pyg.ops.kernels_numba.tiles import ROWS as TILE_ROWS

NORM_EPS = np.float32(1e-5)
#: Rows of a block of the forward pass: 96 × 256 floats are a tenth of a core's 1 MiB L2.
ROWS = 96
#: Most blocks of the backward pass: each sums gradients of the weights for itself.
BLOCKS = 32


@njit(nogil=True, cache=True, fastmath=FAST)
def normalise(x: Any, first: int, rows: int, out: Any, deviations: Any) -> None:
    """(x − mean) / σ of rows first … first + rows − 1, and 1 / σ of each."""
    width = x.shape[1]
    scale = np.float32(1.0 / width)
    for r in range(rows):
        row, normed = x[first + r], out[r]
        total = np.float32(0.0)
        for c in range(width):
            total += row[c]
        mean = total * scale
        square = np.float32(0.0)
        for c in range(width):
            delta = row[c] - mean
            square += delta * delta
        deviation = np.float32(1.0) / np.sqrt(square * scale + NORM_EPS)
        deviations[r] = deviation
        for c in range(width):
            normed[c] = (row[c] - mean) * deviation


@njit(nogil=True, cache=True, fastmath=FAST)
def scale_and_shift(x: Any, rows: int, weight: Any, bias: Any, out: Any) -> None:
    """out = x · weight + bias, column by column."""
    for r in range(rows):
        row, result = x[r], out[r]
        for c in range(weight.size):
            result[c] = row[c] * weight[c] + bias[c]


@njit(nogil=True, cache=True, fastmath=FAST)
def forward_block(
    block: int,
    x: Any,
    norm_weight: Any,
    norm_bias: Any,
    weight: Any,
    bias: Any,
    residual: bool,
    out: Any,
    active: Any,
    ld: int,
) -> None:
    """Rows block · ROWS … of the forward pass."""
    first = block * ROWS
    rows = min(ROWS, x.shape[0] - first)
    normed = np.zeros((ROWS + TILE_ROWS, ld), np.float32)
    h = np.empty((ROWS + TILE_ROWS, ld), np.float32)
    deviations = np.empty(ROWS, np.float32)
    normalise(x, first, rows, normed, deviations)
    scale_and_shift(normed, rows, norm_weight, norm_bias, normed)
    product(normed, rows, weight, bias, h)
    width = out.shape[1]
    for r in range(rows):
        row, result = h[r], out[first + r]
        if not residual:
            for c in range(width):
                result[c] = row[c]
            continue
        own = x[first + r]
        if active.shape[0] > 0:
            kept = active[first + r]
            for c in range(width):
                kept[c] = row[c]
        for c in range(width):
            result[c] = own[c] + gelu(row[c])


@njit(nogil=True, cache=True, fastmath=FAST)
def backward_block(
    block: int,
    grad_out: Any,
    x: Any,
    norm_weight: Any,
    norm_bias: Any,
    weight: Any,
    active: Any,
    residual: bool,
    bounds: Any,
    ld: int,
    grad_x: Any,
    grad_norm_weight: Any,
    grad_norm_bias: Any,
    grad_weight: Any,
    grad_bias: Any,
) -> None:
    """Rows bounds[block] … of the backward pass; sums for this block alone."""
    normed = np.zeros((ROWS + TILE_ROWS, ld), np.float32)
    shifted = np.zeros((ROWS + TILE_ROWS, ld), np.float32)
    grad = np.zeros((ROWS + TILE_ROWS, ld), np.float32)
    grad_input = np.zeros((ROWS + TILE_ROWS, ld), np.float32)
    nothing = np.zeros(ld, np.float32)
    deviations = np.empty(ROWS, np.float32)
    dim, width = x.shape[1], grad_out.shape[1]
    scale = np.float32(1.0 / dim)
    total_bias, total_w, total_b = grad_bias[block], grad_norm_weight[block], grad_norm_bias[block]
    for first in range(bounds[block], bounds[block + 1], ROWS):
        rows = min(ROWS, bounds[block + 1] - first)
        normalise(x, first, rows, normed, deviations)
        scale_and_shift(normed, rows, norm_weight, norm_bias, shifted)
        for r in range(rows):
            incoming, row = grad_out[first + r], grad[r]
            if residual:
                kept = active[first + r]
                for c in range(width):
                    row[c] = incoming[c] * gelu_slope(kept[c])
            else:
                for c in range(width):
                    row[c] = incoming[c]
            for c in range(width):
                total_bias[c] += row[c]
        add_transposed_product(grad, shifted, rows, grad_weight[block])
        product(grad, rows, weight, nothing, grad_input)
        for r in range(rows):
            row, n = grad_input[r], normed[r]
            total = np.float32(0.0)
            product_total = np.float32(0.0)
            for c in range(dim):
                g = row[c]
                total_b[c] += g
                total_w[c] += g * n[c]
                g *= norm_weight[c]
                row[c] = g
                total += g
                product_total += g * n[c]
            deviation = deviations[r]
            mean = total * scale
            slope = product_total * scale
            result = grad_x[first + r]
            for c in range(dim):
                result[c] = deviation * (row[c] - mean - n[c] * slope)
            if residual:
                incoming = grad_out[first + r]
                for c in range(dim):
                    result[c] += incoming[c]


def forward(
    x: Tensor, norm_weight: Tensor, norm_bias: Tensor, weight: Tensor, bias: Tensor, residual: bool, training: bool
) -> tuple[Tensor, Tensor]:
    """Forward pass of :func:`panoptag_pyg.ops.norm_linear`."""
    width, dim = weight.shape
    out = x.new_empty(len(x), width)
    active = x.new_empty(len(x) if residual and training else 0, width)
    run_blocks(
        forward_block,
        -(-len(x) // ROWS),
        x.numpy(),
        norm_weight.numpy(),
        norm_bias.numpy(),
        packed(weight.numpy(), dim, width),
        np.pad(bias.numpy(), (0, padded_columns(width) - width)),
        residual,
        out.numpy(),
        active.numpy(),
        leading_dimension(max(dim, width)),
    )
    return out, active


def backward(
    grad_out: Tensor,
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    weight: Tensor,
    active: Tensor,
    residual: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Backward pass of :func:`panoptag_pyg.ops.norm_linear`."""
    width, dim = weight.shape
    blocks = min(BLOCKS, max(1, len(x) // (2 * ROWS)))
    bounds = np.linspace(0, len(x), blocks + 1).astype(np.int64)
    grad_x = torch.empty_like(x)
    grad_norm_weight, grad_norm_bias = np.zeros((blocks, dim), np.float32), np.zeros((blocks, dim), np.float32)
    grad_weight = np.zeros((blocks, padded_rows(width), padded_columns(dim)), np.float32)
    grad_bias = np.zeros((blocks, width), np.float32)
    run_blocks(
        backward_block,
        blocks,
        grad_out.numpy(),
        x.numpy(),
        norm_weight.numpy(),
        norm_bias.numpy(),
        packed(weight.numpy(), width, dim, transposed=True),
        active.numpy(),
        residual,
        bounds,
        leading_dimension(max(dim, width)),
        grad_x.numpy(),
        grad_norm_weight,
        grad_norm_bias,
        grad_weight,
        grad_bias,
    )
    return (
        grad_x,
        torch.from_numpy(grad_norm_weight.sum(0)),
        torch.from_numpy(grad_norm_bias.sum(0)),
        torch.from_numpy(grad_weight.sum(0)[:width, :dim].copy()),
        torch.from_numpy(grad_bias.sum(0)),
    )
