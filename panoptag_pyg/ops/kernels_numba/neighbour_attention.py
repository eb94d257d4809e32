"""Attention over a neighbour table on a CPU: a point's edges stay in the cache, and only their weights are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from panoptag_pyg.ops.kernels_numba.elementary import FAST, exp
from panoptag_pyg.ops.kernels_numba.parallel import run_blocks
from panoptag_pyg.ops.kernels_numba.transposed import edges_to_each

#: Points of a block.
POINTS = 256
SLOPE = np.float32(0.2)


def forward(
    centre: Tensor, neighbour: Tensor, score: Tensor, weight: Tensor, table: Tensor, count: Tensor, training: bool
) -> tuple[Tensor, Tensor]:
    """See :mod:`panoptag_pyg.ops.neighbour_attention`; float32."""
    out = centre.new_empty(len(centre), 2, *centre.shape[1:])
    winner = torch.empty_like(centre if training else centre[:0], dtype=torch.int16)
    arrays = _arrays(centre.flatten(1), neighbour.flatten(1), score, weight, table, count)
    run_blocks(forward_block, _blocks(centre), *arrays, *_arrays(out.flatten(2), winner.flatten(1)))
    return out, winner


def backward(
    grad_out: Tensor,
    centre: Tensor,
    neighbour: Tensor,
    score: Tensor,
    weight: Tensor,
    table: Tensor,
    count: Tensor,
    winner: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See :mod:`panoptag_pyg.ops.neighbour_attention`; float32."""
    grad_centre, grad_neighbour, grad_score = map(torch.empty_like, (centre, neighbour, score))
    # Weight and gradient of the score of every edge and head: all that the neighbours' turn needs.
    kept = centre.new_empty(2, *table.shape, weight.size(0))
    grad_weight = centre.new_empty(_blocks(centre), *weight.shape)
    inputs = _arrays(grad_out.flatten(2), centre.flatten(1), neighbour.flatten(1))
    further = _arrays(score, weight, table, count, winner.flatten(1))
    results = _arrays(grad_centre.flatten(1), grad_score, grad_weight, kept)
    run_blocks(centres_block, _blocks(centre), *inputs, *further, *results)
    edges = edges_to_each(*_arrays(table, count))
    arrays = _arrays(weight, winner.flatten(1), kept, grad_neighbour.flatten(1))
    run_blocks(neighbours_block, _blocks(centre), *inputs, *arrays, *edges)
    return grad_centre, grad_neighbour, grad_score, grad_weight.sum(0)


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().numpy() for tensor in tensors]


def _blocks(centre: Tensor) -> int:
    return -(-len(centre) // POINTS)


@njit(nogil=True, cache=True, fastmath=FAST)
def attend(own: Any, neighbour: Any, score: Any, weight: Any, neighbours: Any, y: Any, a: Any, slope: Any) -> None:
    """Of one point's edges: features y [≥ n, H·F], weights a [≥ n, H] and slopes of the LeakyReLU [≥ n, H].

    Args:
        own: the point's part [H·F].
        neighbour: all points' parts [P, H·F].
        score: the point's part [H].
        weight: [H, F].
        neighbours: [n].
        y: written.
        a: written.
        slope: written.
    """
    heads, width = weight.shape
    for slot in range(neighbours.size):
        row, result = neighbour[neighbours[slot]], y[slot]
        for c in range(own.size):
            result[c] = max(own[c] + row[c], np.float32(0.0))
        for h in range(heads):
            z = score[h]
            for f in range(width):
                z += weight[h, f] * result[h * width + f]
            slope[slot, h] = np.float32(1.0) if z > 0 else SLOPE
            a[slot, h] = z * slope[slot, h]
    for h in range(heads):
        largest = np.float32(-np.inf)
        for slot in range(neighbours.size):
            largest = max(largest, a[slot, h])
        total = np.float32(0.0)
        for slot in range(neighbours.size):
            a[slot, h] = exp(a[slot, h] - largest)
            total += a[slot, h]
        for slot in range(neighbours.size):
            a[slot, h] /= total


@njit(nogil=True, cache=True, fastmath=FAST)
def forward_block(
    block: int,
    centre: Any,
    neighbour: Any,
    score: Any,
    weight: Any,
    table: Any,
    count: Any,
    out: Any,
    winner: Any,
) -> None:
    """Points block · POINTS … of the forward pass."""
    heads, width = weight.shape
    k, columns, first = table.shape[1], centre.shape[1], block * POINTS
    y = np.empty((k, columns), np.float32)
    a, slope = np.empty((k, heads), np.float32), np.empty((k, heads), np.float32)
    slots = np.empty(columns, np.float32)  # as wide as what is compared: else LLVM doesn't vectorise the loop
    for i in range(first, min(first + POINTS, centre.shape[0])):
        n = count[i]
        attend(centre[i], neighbour, score[i], weight, table[i, :n], y, a, slope)
        total, largest = out[i, 0], out[i, 1]
        total[:] = np.float32(0.0)
        largest[:] = np.float32(0.0)  # no edge is below it; of an edge that is 0, the gradient is too
        slots[:] = np.float32(-1.0)
        for slot in range(n):
            row, number = y[slot], np.float32(slot)
            for h in range(heads):
                share = a[slot, h]
                for c in range(h * width, (h + 1) * width):
                    total[c] += share * row[c]
            for c in range(columns):
                entry, before, winning = row[c], largest[c], slots[c]
                largest[c] = max(entry, before)
                slots[c] = number if entry > before else winning
        if winner.shape[0] > 0:
            for c in range(columns):
                winner[i, c] = np.int16(slots[c])


@njit(nogil=True, cache=True, fastmath=FAST)
def centres_block(
    block: int,
    grad_out: Any,
    centre: Any,
    neighbour: Any,
    score: Any,
    weight: Any,
    table: Any,
    count: Any,
    winner: Any,
    grad_centre: Any,
    grad_score: Any,
    grad_weight: Any,
    kept: Any,
) -> None:
    """Points block · POINTS … of the backward pass, as centres; sums the weight's gradient for this block alone."""
    heads, width = weight.shape
    k, columns, first = table.shape[1], centre.shape[1], block * POINTS
    y = np.empty((k, columns), np.float32)
    a, slope = np.empty((k, heads), np.float32), np.empty((k, heads), np.float32)
    of_weight = grad_weight[block]
    of_weight[:] = np.float32(0.0)
    for i in range(first, min(first + POINTS, centre.shape[0])):
        n = count[i]
        attend(centre[i], neighbour, score[i], weight, table[i, :n], y, a, slope)
        of_sum, of_largest, won, total = grad_out[i, 0], grad_out[i, 1], winner[i], grad_centre[i]
        total[:] = np.float32(0.0)
        for slot in range(n):
            row = y[slot]
            for h in range(heads):
                of_a = np.float32(0.0)
                for c in range(h * width, (h + 1) * width):
                    of_a += row[c] * of_sum[c]
                kept[1, i, slot, h] = of_a
        for h in range(heads):
            mean, of_score = np.float32(0.0), np.float32(0.0)
            for slot in range(n):
                mean += a[slot, h] * kept[1, i, slot, h]
            for slot in range(n):
                g = a[slot, h] * (kept[1, i, slot, h] - mean) * slope[slot, h]
                kept[0, i, slot, h] = a[slot, h]
                kept[1, i, slot, h] = g
                of_score += g
            grad_score[i, h] = of_score
        for slot in range(n):
            row, number = y[slot], np.float32(slot)
            for h in range(heads):
                share, g = kept[0, i, slot, h], kept[1, i, slot, h]
                for f in range(width):
                    # Loaded in any case, and chosen after: else LLVM doesn't vectorise the loop.
                    c = h * width + f
                    entry, extreme = row[c], of_largest[c]
                    of_weight[h, f] += g * entry
                    grad = share * of_sum[c] + g * weight[h, f]
                    grad += extreme if np.float32(won[c]) == number else np.float32(0.0)
                    total[c] += grad if entry > 0 else np.float32(0.0)


@njit(nogil=True, cache=True, fastmath=FAST)
def neighbours_block(
    block: int,
    grad_out: Any,
    centre: Any,
    neighbour: Any,
    weight: Any,
    winner: Any,
    kept: Any,
    grad_neighbour: Any,
    first_edge: Any,
    centres: Any,
    slots: Any,
) -> None:
    """Points block · POINTS … of the backward pass, as neighbours."""
    heads, width = weight.shape
    first = block * POINTS
    for j in range(first, min(first + POINTS, centre.shape[0])):
        own, total = neighbour[j], grad_neighbour[j]
        total[:] = np.float32(0.0)
        for e in range(first_edge[j], first_edge[j + 1]):
            i, slot = centres[e], slots[e]
            number = np.float32(slot)
            of_sum, of_largest, won, other = grad_out[i, 0], grad_out[i, 1], winner[i], centre[i]
            for h in range(heads):
                share, g = kept[0, i, slot, h], kept[1, i, slot, h]
                for f in range(width):
                    c = h * width + f
                    extreme, entry = of_largest[c], own[c] + other[c]
                    grad = share * of_sum[c] + g * weight[h, f]
                    grad += extreme if np.float32(won[c]) == number else np.float32(0.0)
                    total[c] += grad if entry > 0 else np.float32(0.0)
