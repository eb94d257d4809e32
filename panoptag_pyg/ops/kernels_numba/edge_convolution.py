r"""EdgeConv on a CPU as one pass per group of points: gather, norm, GELU, products, maximum, all in a core's cache.

With :math:`W_1 = [A, B]`, the first layer :math:`A (x_j - x_i) + B x_i = A x_j + (B - A) x_i` is two products over
points. What remains are products over edges, which run at the processor's full rate while nothing of an edge reaches
memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from panoptag_pyg.ops.kernels_numba.elementary import FAST, gelu
from panoptag_pyg.ops.kernels_numba.parallel import run_blocks
from panoptag_pyg.ops.kernels_numba.products import (
    leading_dimension,
    packed,
    padded_columns,
    product,
)
from panoptag_pyg.ops.kernels_numba.tiles import ROWS

NORM_EPS = np.float32(1e-5)
#: Edges whose activations are held at a time: two buffers of 240 × 256 floats are half of a core's 1 MiB L2.
EDGES = 240
#: Points of one block of the forward pass, the unit that threads take.
POINTS = 96


class Layers:
    """The layers after the first, as the kernels want them; all of one width, padded where they differ."""

    def __init__(self, parameters: list[Tensor]) -> None:
        arrays = [p.detach().numpy() for p in parameters]
        self.widths = [len(arrays[1]), *[len(bias) for bias in arrays[5::4]]]
        self.norm_weights, self.norm_biases, self.weights, self.biases = (arrays[i::4] for i in range(2, 6))
        self.number = len(self.weights)
        self.width = max(self.widths)

    def padded(self, vectors: list[np.ndarray]) -> np.ndarray:
        """Vectors of each layer as rows of one array, zeros beyond their width."""
        out = np.zeros((len(vectors), padded_columns(self.width)), np.float32)
        for row, vector in zip(out, vectors, strict=True):
            row[: len(vector)] = vector
        return out

    def packed(self, transposed: bool) -> np.ndarray:
        """[layers, panels, width, COLUMNS]: weights of the forward product, or of its gradient."""
        return np.stack([packed(weight, self.width, self.width, transposed) for weight in self.weights])


@njit(nogil=True, cache=True, fastmath=FAST)
def first_rows(neighbour: Any, centre: Any, table: Any, first: int, last: int, h: Any) -> None:
    """Pre-activations of the first layer of points first … last − 1, edges of one point side by side."""
    k, width = table.shape[1], neighbour.shape[1]
    for point in range(first, last):
        for slot in range(k):
            row = h[(point - first) * k + slot]
            other = neighbour[table[point, slot]]
            own = centre[point]
            for c in range(width):
                row[c] = other[c] + own[c]


@njit(nogil=True, cache=True, fastmath=FAST)
def normalise_activate(h: Any, rows: int, width: int, weight: Any, bias: Any, out: Any) -> None:
    """GELU(LayerNorm(h)) of the first ``rows`` rows."""
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
            activated[c] = gelu((row[c] - mean) * deviation * weight[c] + bias[c])


@njit(nogil=True, cache=True)
def largest(h: Any, points: int, k: int, out: Any) -> None:
    """Maximum over each point's k rows."""
    for point in range(points):
        best = out[point]
        width = best.size
        row = h[point * k]
        for c in range(width):
            best[c] = row[c]
        for slot in range(1, k):
            row = h[point * k + slot]
            for c in range(width):
                # NaN stays NaN, as amax keeps it.
                best[c] = row[c] if not row[c] <= best[c] else best[c]


@njit(nogil=True, cache=True)
def largest_slots(h: Any, points: int, k: int, out: Any, winner: Any) -> None:
    """The same, with the slot of the first of the largest."""
    for point in range(points):
        best, slots = out[point], winner[point]
        width = best.size
        row = h[point * k]
        for c in range(width):
            best[c] = row[c]
            slots[c] = 0
        for slot in range(1, k):
            row = h[point * k + slot]
            for c in range(width):
                larger = not row[c] <= best[c]
                best[c] = row[c] if larger else best[c]
                slots[c] = np.int16(slot) if larger else slots[c]


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
    active = np.zeros((rows, ld), np.float32)
    number = weights.shape[0]
    end = min((block + 1) * points, table.shape[0])
    for first in range(block * points, end, chunk):
        last = min(first + chunk, end)
        edges = (last - first) * k
        first_rows(neighbour, centre, table, first, last, h)
        for layer in range(number):
            normalise_activate(h, edges, widths[layer], norm_weights[layer], norm_biases[layer], active)
            product(active, edges, weights[layer], biases[layer], h)
        if winner.shape[0] > 0:
            largest_slots(h, last - first, k, out[first:last], winner[first:last])
        else:
            largest(h, last - first, k, out[first:last])


def chunk_of(k: int) -> int:
    """Points whose edges are held at a time."""
    return max(1, EDGES // k)


def edge_layers(
    neighbour: Tensor, centre: Tensor, table: Tensor, parameters: list[Tensor], training: bool
) -> tuple[Tensor, Tensor]:
    """Everything after the first layer's products: (norm, GELU, linear) …, maximum over the neighbours.

    Args:
        neighbour: A x [P, w].
        centre: (B − A) x + b [P, w].
        table: [P, k].
        parameters: as of the operation, the first layer's included.
        training: whether to return the winners.
    """
    layers = Layers(parameters)
    num_points, k = table.shape
    width = layers.widths[-1]
    out = neighbour.new_empty(num_points, width)
    winner = torch.empty(num_points if training else 0, width, dtype=torch.int16)
    chunk = chunk_of(k)
    points = -(-POINTS // chunk) * chunk
    run_blocks(
        forward_block,
        -(-num_points // points),
        neighbour.numpy(),
        centre.numpy(),
        table.numpy(),
        np.array(layers.widths),
        layers.padded(layers.norm_weights),
        layers.padded(layers.norm_biases),
        layers.packed(transposed=False),
        layers.padded(layers.biases),
        points,
        chunk,
        leading_dimension(layers.width),
        out.numpy(),
        winner.numpy(),
    )
    return out, winner
