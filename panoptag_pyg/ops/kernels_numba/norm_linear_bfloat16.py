"""LayerNorm, linear layer, GELU and residual of bfloat16 rows, on processors that multiply bfloat16: forward only."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from panoptag_pyg.ops.kernels_numba.bfloat16 import bits, packed_pairs, product_of_pairs, rounded, widened
from panoptag_pyg.ops.kernels_numba.elementary import FAST, gelu
from panoptag_pyg.ops.kernels_numba.norm_linear import NORM_EPS, ROWS
from panoptag_pyg.ops.kernels_numba.parallel import run_blocks
from panoptag_pyg.ops.kernels_numba.products import leading_dimension, padded_columns
from panoptag_pyg.ops.kernels_numba.tiles import ROWS as TILE_ROWS


@njit(nogil=True, cache=True, fastmath=FAST)
def forward_block(
    block: int, x: Any, norm_weight: Any, norm_bias: Any, weight: Any, bias: Any, residual: bool, out: Any, ld: int
) -> None:
    """Rows block · ROWS … ."""
    first = block * ROWS
    rows = min(ROWS, x.shape[0] - first)
    dim, width = x.shape[1], out.shape[1]
    scale = np.float32(1.0 / dim)
    own = np.empty(dim, np.float32)
    normed = np.zeros((ROWS + TILE_ROWS, ld), np.int16)
    h = np.empty((ROWS + TILE_ROWS, ld), np.float32)
    for r in range(rows):
        row, result = x[first + r], normed[r]
        total = np.float32(0.0)
        for c in range(dim):
            own[c] = widened(row[c])
            total += own[c]
        mean = total * scale
        square = np.float32(0.0)
        for c in range(dim):
            delta = own[c] - mean
            square += delta * delta
        deviation = np.float32(1.0) / np.sqrt(square * scale + NORM_EPS)
        for c in range(dim):
            result[c] = rounded((own[c] - mean) * deviation * norm_weight[c] + norm_bias[c])
    product_of_pairs(normed, rows, weight, bias, h)
    for r in range(rows):
        total_row, result = h[r], out[first + r]
        if residual:
            row = x[first + r]
            for c in range(width):
                result[c] = rounded(widened(row[c]) + gelu(total_row[c]))
        else:
            for c in range(width):
                result[c] = rounded(total_row[c])


def forward(x: Tensor, norm_weight: Tensor, norm_bias: Tensor, weight: Tensor, bias: Tensor, residual: bool) -> Tensor:
    """Forward pass of :func:`panoptag_pyg.ops.norm_linear` for bfloat16 tensors."""
    width, dim = weight.shape
    out = torch.empty(len(x), width, dtype=torch.bfloat16)
    run_blocks(
        forward_block,
        -(-len(x) // ROWS),
        bits(x),
        norm_weight.float().numpy(),
        norm_bias.float().numpy(),
        packed_pairs(weight, dim, width),
        np.pad(bias.float().numpy(), (0, padded_columns(width) - width)),
        residual,
        bits(out),
        leading_dimension(max(dim, width)),
    )
    return out
