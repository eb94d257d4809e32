"""EdgeConv's forward pass with bfloat16 products, for processors that have them; norms, GELU and sums in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from panoptag_pyg.ops.kernels_numba.bfloat16 import packed_pairs, product_of_pairs
from panoptag_pyg.ops.kernels_numba.edge_convolution import (
    NORM_EPS,
    POINTS,
    Layers,
    chunk_of,
    first_rows,
    largest,
    largest_slots,
)
from panoptag_pyg.ops.kernels_numba.elementary import FAST, gelu_rounded
from panoptag_pyg.ops.kernels_numba.parallel import run_blocks
from panoptag_pyg.ops.kernels_numba.products import leading_dimension
from panoptag_pyg.ops.kernels_numba.tiles import ROWS


@njit(nogil=True, cache=True, fastmath=FAST)
def normalise_activate_rounded(h: Any, rows: int, width: int, weight: Any, bias: Any, out: Any) -> None:
    """GELU(LayerNorm(h)) of the first ``rows`` rows as bits of bfloat16."""
    scale = np.float32(1.0 / width)
    for r in range(rows):
        row, activated = h[r], out[r]
        total = np.float32(0.0)
        for c in range(width):
            total += row[c]
        mean = total * scale
        square = np.float32(0.0)
        for c in range(width):
            delta = row[c] - mean
            square += delta * delta
        deviation = np.float32(1.0) / np.sqrt(square * scale + NORM_EPS)
        for c in range(width):
            activated[c] = gelu_rounded((row[c] - mean) * deviation * weight[c] + bias[c])


@njit(nogil=True, cache=True)
def forward_block(
    block: int,
    neighbour: Any,
    centre: Any,
    table: Any,
    widths: Any,
    norm_weights: Any,
    norm_biases: Any,
    weights: Any,
    biases: Any,
    points: int,
    chunk: int,
    ld: int,
    out: Any,
    winner: Any,
) -> None:
    """Points block · points … of the forward pass."""
    k = table.shape[1]
    rows = -(-chunk * k // ROWS) * ROWS
    h = np.zeros((rows, ld), np.float32)
    active = np.zeros((rows, ld), np.int16)
    number = weights.shape[0]
    end = min((block + 1) * points, table.shape[0])
    for first in range(block * points, end, chunk):
        last = min(first + chunk, end)
        edges = (last - first) * k
        first_rows(neighbour, centre, table, first, last, h)
        for layer in range(number):
            normalise_activate_rounded(h, edges, widths[layer], norm_weights[layer], norm_biases[layer], active)
            product_of_pairs(active, edges, weights[layer], biases[layer], h)
        if winner.shape[0] > 0:
            largest_slots(h, last - first, k, out[first:last], winner[first:last])
        else:
            largest(h, last - first, k, out[first:last])


def edge_layers(
    neighbour: Tensor, centre: Tensor, table: Tensor, parameters: list[Tensor], training: bool
) -> tuple[Tensor, Tensor]:
    """As :func:`panoptag_pyg.ops.kernels_numba.edge_convolution.edge_layers`, for bfloat16 tensors."""
    layers = Layers([parameter.float() for parameter in parameters])
    num_points, k = table.shape
    out = torch.empty(num_points, layers.widths[-1])
    winner = torch.empty(num_points if training else 0, layers.widths[-1], dtype=torch.int16)
    chunk = chunk_of(k)
    points = -(-POINTS // chunk) * chunk
    run_blocks(
        forward_block,
        -(-num_points // points),
        neighbour.float().numpy(),
        centre.float().numpy(),
        table.numpy(),
        np.array(layers.widths),
        layers.padded(layers.norm_weights),
        layers.padded(layers.norm_biases),
        np.stack([packed_pairs(weight, layers.width, layers.width) for weight in parameters[4::4]]),
        layers.padded(layers.biases),
        points,
        chunk,
        leading_dimension(layers.width),
        out.numpy(),
        winner.numpy(),
    )
    return out.bfloat16(), winner
