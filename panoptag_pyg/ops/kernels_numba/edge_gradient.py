"""EdgeConv's backward pass on a CPU: each group's edges computed again, then gradients while they are in the cache.

Of the last product's gradient one edge per point and channel is not zero: its two products are sums of a few rows.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from panoptag_pyg.ops.kernels_numba.edge_convolution import NORM_EPS, POINTS, Layers, chunk_of, first_rows
from panoptag_pyg.ops.kernels_numba.elementary import FAST, gelu, gelu_slope
from panoptag_pyg.ops.kernels_numba.parallel import run_blocks
from panoptag_pyg.ops.kernels_numba.products import (
    add_combination,
    add_transposed_product,
    leading_dimension,
    padded_columns,
    padded_rows,
    product,
)
from panoptag_pyg.ops.kernels_numba.tiles import ROWS

#: Most blocks of the backward pass: each sums gradients of all weights for itself.
BLOCKS = 32


@njit(nogil=True, cache=True, fastmath=FAST)
def normalise_keep(h: Any, rows: int, width: int, weight: Any, bias: Any, deviations: Any, out: Any) -> None:
    """The same, leaving the normalised rows in ``h`` and 1/σ in ``deviations``."""
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
        deviations[r] = deviation
        for c in range(width):
            normed = (row[c] - mean) * deviation
            row[c] = normed
            activated[c] = gelu(normed * weight[c] + bias[c])


@njit(nogil=True, cache=True, fastmath=FAST)
def normalise_backward(
    grad: Any, normed: Any, deviations: Any, rows: int, width: int, weight: Any, bias: Any, grad_w: Any, grad_b: Any
) -> None:
    """Gradient through GELU(LayerNorm(·)), in place; adds to those of the norm's weight and bias."""
    scale = np.float32(1.0 / width)
    for r in range(rows):
        row, n = grad[r], normed[r]
        total = np.float32(0.0)
        product_total = np.float32(0.0)
        for c in range(width):
            g = row[c] * gelu_slope(n[c] * weight[c] + bias[c])
            grad_b[c] += g
            grad_w[c] += g * n[c]
            g *= weight[c]
            row[c] = g
            total += g
            product_total += g * n[c]
        deviation = deviations[r]
        mean = total * scale
        slope = product_total * scale
        for c in range(width):
            row[c] = deviation * (row[c] - mean - n[c] * slope)


@njit(nogil=True, cache=True)
def last_layer_backward(
    grad_out: Any, winner: Any, k: int, active: Any, weight: Any, columns: int, grad: Any, grad_weight: Any
) -> None:
    """Gradients of the last product from the winners alone.

    Args:
        grad_out: [points, W].
        winner: [points, W].
        k: edges of a point.
        active: input of the product [edges, ld].
        weight: [W, ld].
        columns: width of the input, in whole tiles.
        grad: [edges, ld], written: gradient of the input.
        grad_weight: [≥ W, ≥ columns], added to.
    """
    points, width = grad_out.shape
    count = np.zeros(k + 1, np.int64)
    number = np.empty(max(width, points), np.int32)
    value = np.empty(max(width, points), np.float32)
    for point in range(points):
        # Channels sorted by the edge that won them.
        count[:] = 0
        for c in range(width):
            count[winner[point, c] + 1] += 1
        for slot in range(k):
            count[slot + 1] += count[slot]
        for c in range(width):
            slot = winner[point, c]
            number[count[slot]] = c
            value[count[slot]] = grad_out[point, c]
            count[slot] += 1
        start = 0
        for slot in range(k):
            row = grad[point * k + slot]
            row[:columns] = np.float32(0.0)
            if count[slot] > start:
                add_combination(value[start:], number[start:], count[slot] - start, weight, columns, row)
            start = count[slot]
    for c in range(width):
        for point in range(points):
            number[point] = point * k + winner[point, c]
            value[point] = grad_out[point, c]
        add_combination(value, number, points, active, columns, grad_weight[c])


@njit(nogil=True, cache=True)
def backward_block(
    block: int,
    grad_out: Any,
    winner: Any,
    neighbour: Any,
    centre: Any,
    table: Any,
    widths: Any,
    norm_weights: Any,
    norm_biases: Any,
    weights: Any,
    gradient_weights: Any,
    last_weight: Any,
    biases: Any,
    bounds: Any,
    chunk: int,
    ld: int,
    grad_neighbour: Any,
    starts: Any,
    lowest: Any,
    grad_centre: Any,
    grad_norm_weights: Any,
    grad_norm_biases: Any,
    grad_weights: Any,
    grad_biases: Any,
) -> None:
    """Points bounds[block] … bounds[block + 1] − 1 of the backward pass; sums for this block alone."""
    k, width = table.shape[1], neighbour.shape[1]
    rows = -(-chunk * k // ROWS) * ROWS
    number = gradient_weights.shape[0]
    normed = np.zeros((number, rows, ld), np.float32)
    active = np.zeros((number, rows, ld), np.float32)
    deviations = np.empty((number, rows), np.float32)
    grad = np.zeros((rows, ld), np.float32)
    grad_input = np.zeros((rows, ld), np.float32)
    nothing = np.zeros(ld, np.float32)
    for first in range(bounds[block], bounds[block + 1], chunk):
        last = min(first + chunk, bounds[block + 1])
        points = last - first
        edges = points * k
        first_rows(neighbour, centre, table, first, last, normed[0])
        for layer in range(number):
            normalise_keep(
                normed[layer],
                edges,
                widths[layer],
                norm_weights[layer],
                norm_biases[layer],
                deviations[layer],
                active[layer],
            )
            if layer + 1 < number:
                product(active[layer], edges, weights[layer], biases[layer], normed[layer + 1])
        final = number - 1
        columns = grad_weights.shape[3]
        last_layer_backward(
            grad_out[first:last],
            winner[first:last],
            k,
            active[final],
            last_weight,
            columns,
            grad,
            grad_weights[block, final],
        )
        for layer in range(final, -1, -1):
            normalise_backward(
                grad,
                normed[layer],
                deviations[layer],
                edges,
                widths[layer],
                norm_weights[layer],
                norm_biases[layer],
                grad_norm_weights[block, layer],
                grad_norm_biases[block, layer],
            )
            if layer > 0:
                total = grad_biases[block, layer - 1]
                for r in range(edges):
                    row = grad[r]
                    for c in range(total.size):
                        total[c] += row[c]
                add_transposed_product(grad, active[layer - 1], edges, grad_weights[block, layer - 1])
                product(grad, edges, gradient_weights[layer - 1], nothing, grad_input)
                grad, grad_input = grad_input, grad
        for point in range(points):
            own = grad_centre[first + point]
            own[:] = np.float32(0.0)
            for slot in range(k):
                row = grad[point * k + slot]
                target = grad_neighbour[starts[block] + table[first + point, slot] - lowest[block]]
                for c in range(width):
                    own[c] += row[c]
                    target[c] += row[c]


def edge_layers_backward(
    grad_out: Tensor, neighbour: Tensor, centre: Tensor, table: Tensor, parameters: list[Tensor], winner: Tensor
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Gradients of :func:`edge_layers`: of ``neighbour``, ``centre`` and each parameter after the first layer's.

    Args:
        grad_out: [P, W].
        neighbour: as in the forward pass, and so on.
        winner: [P, W].
    """
    layers = Layers(parameters)
    num_points, k = table.shape
    chunk = chunk_of(k)
    blocks = min(BLOCKS, max(1, num_points // POINTS))
    bounds = np.linspace(0, num_points, blocks + 1).astype(np.int64)
    index = table.numpy()
    lowest = np.array([index[a:b].min() for a, b in itertools.pairwise(bounds)])
    highest = np.array([index[a:b].max() for a, b in itertools.pairwise(bounds)])
    # Each block adds to rows of its own; the neighbours of a block's points lie in few events.
    starts = np.concatenate([[0], np.cumsum(highest - lowest + 1)])
    width = neighbour.size(1)
    own_rows = torch.zeros(int(starts[-1]), width)
    grad_centre = torch.empty_like(centre)
    columns = padded_columns(layers.width)
    norm_weights, norm_biases = layers.padded(layers.norm_weights), layers.padded(layers.norm_biases)
    grad_norm_weights, grad_norm_biases, grad_biases = (
        np.zeros((blocks, layers.number, columns), np.float32) for _ in range(3)
    )
    grad_weights = np.zeros((blocks, layers.number, padded_rows(columns), columns), np.float32)
    last_weight = np.zeros((layers.widths[-1], columns), np.float32)
    last_weight[:, : layers.weights[-1].shape[1]] = layers.weights[-1]
    run_blocks(
        backward_block,
        blocks,
        grad_out.contiguous().numpy(),
        winner.numpy(),
        neighbour.numpy(),
        centre.numpy(),
        index,
        np.array(layers.widths),
        norm_weights,
        norm_biases,
        layers.packed(transposed=False),
        layers.packed(transposed=True),
        last_weight,
        layers.padded(layers.biases),
        bounds,
        chunk,
        leading_dimension(layers.width),
        own_rows.numpy(),
        starts,
        lowest,
        grad_centre.numpy(),
        grad_norm_weights,
        grad_norm_biases,
        grad_weights,
        grad_biases,
    )
    grad_neighbour = torch.zeros_like(neighbour)
    for block in range(blocks):
        grad_neighbour[lowest[block] : highest[block] + 1] += own_rows[starts[block] : starts[block + 1]]
    grads = []
    for layer in range(layers.number):
        inputs, outputs = layers.widths[layer], layers.widths[layer + 1]
        grads.append(torch.from_numpy(grad_norm_weights[:, layer, :inputs].sum(0)))
        grads.append(torch.from_numpy(grad_norm_biases[:, layer, :inputs].sum(0)))
        grads.append(torch.from_numpy(grad_weights[:, layer, :outputs, :inputs].sum(0)))
        if layer + 1 < layers.number:
            grads.append(torch.from_numpy(grad_biases[:, layer, :outputs].sum(0)))
        else:
            grads.append(grad_out.sum(0))
    return grad_neighbour, grad_centre, grads
