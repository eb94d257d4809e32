"""Mean and maximum of weighted neighbours on a CPU: one pass over each point's edges, nothing of an edge stored."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from panoptag_pyg.ops.kernels_numba.elementary import FAST
from panoptag_pyg.ops.kernels_numba.parallel import run_blocks
from panoptag_pyg.ops.kernels_numba.transposed import edges_to_each

#: Points of a block.
POINTS = 256


def forward(features: Tensor, weight: Tensor, table: Tensor, count: Tensor, training: bool) -> tuple[Tensor, Tensor]:
    """See :mod:`panoptag_pyg.ops.weighted_neighbours`; float32 or float64."""
    num_points, width = features.shape
    out = features.new_empty(num_points, 2 * width)
    winner = torch.empty(num_points if training else 0, width, dtype=torch.int16)
    _run(forward_block, num_points, _arrays(features, weight, table, count, out, winner))
    return out, winner


def backward(
    grad_out: Tensor, features: Tensor, weight: Tensor, table: Tensor, count: Tensor, winner: Tensor
) -> tuple[Tensor, Tensor]:
    """See :mod:`panoptag_pyg.ops.weighted_neighbours`; float32 or float64."""
    grad_features, grad_weight = torch.empty_like(features), torch.empty_like(weight)
    edges = edges_to_each(*_arrays(table, count))
    arrays = _arrays(grad_out, features, weight, table, count, winner, grad_features, grad_weight)
    _run(backward_block, len(features), [*arrays, *edges])
    return grad_features, grad_weight


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().numpy() for tensor in tensors]


def _run(kernel: Any, num_points: int, arrays: list[np.ndarray]) -> None:
    run_blocks(kernel, -(-num_points // POINTS), *arrays)


@njit(nogil=True, cache=True, fastmath=FAST)
def forward_block(block: int, features: Any, weight: Any, table: Any, count: Any, out: Any, winner: Any) -> None:
    """Points block · POINTS … of the forward pass."""
    width = features.shape[1]
    first = block * POINTS
    zero = features.dtype.type(0.0)
    slots = np.empty(width, features.dtype)  # as wide as what is compared: else LLVM doesn't vectorise the loop
    for i in range(first, min(first + POINTS, features.shape[0])):
        total, largest = out[i, :width], out[i, width:]
        total[:] = zero
        largest[:] = features.dtype.type(-np.inf) if count[i] > 0 else zero
        slots[:] = features.dtype.type(-1.0)
        for slot in range(count[i]):
            w, row, number = weight[i, slot], features[table[i, slot]], features.dtype.type(slot)
            for c in range(width):
                message, before, winning = w * row[c], largest[c], slots[c]
                total[c] += message
                largest[c] = max(message, before)
                slots[c] = number if message > before else winning
        share = features.dtype.type(1.0 / max(count[i], 1))
        for c in range(width):
            total[c] *= share
        if winner.shape[0] > 0:
            for c in range(width):
                winner[i, c] = np.int16(slots[c])


@njit(nogil=True, cache=True, fastmath=FAST)
def backward_block(
    block: int,
    grad_out: Any,
    features: Any,
    weight: Any,
    table: Any,
    count: Any,
    winner: Any,
    grad_features: Any,
    grad_weight: Any,
    first_edge: Any,
    centres: Any,
    slots: Any,
) -> None:
    """Points block · POINTS … of the backward pass: as centres for their weights, as neighbours for their features."""
    width, k = features.shape[1], table.shape[1]
    first = block * POINTS
    zero = features.dtype.type(0.0)
    for i in range(first, min(first + POINTS, features.shape[0])):
        of_mean, of_largest, won = grad_out[i, :width], grad_out[i, width:], winner[i]
        share = features.dtype.type(1.0 / max(count[i], 1))
        for slot in range(k):
            if slot >= count[i]:
                grad_weight[i, slot] = zero
                continue
            row, number = features[table[i, slot]], features.dtype.type(slot)
            mean_part, largest_part = zero, zero
            for c in range(width):
                # Loaded in any case, and chosen after: else LLVM doesn't vectorise the loop.
                entry, grad = row[c], of_largest[c]
                mean_part += entry * of_mean[c]
                largest_part += entry * (grad if features.dtype.type(won[c]) == number else zero)
            grad_weight[i, slot] = share * mean_part + largest_part
        total = grad_features[i]
        total[:] = zero
        for e in range(first_edge[i], first_edge[i + 1]):
            centre, slot = centres[e], slots[e]
            w, number = weight[centre, slot], features.dtype.type(slot)
            share = w * features.dtype.type(1.0 / count[centre])
            of_mean, of_largest, won = grad_out[centre, :width], grad_out[centre, width:], winner[centre]
            for c in range(width):
                grad = of_largest[c]
                total[c] += share * of_mean[c] + w * (grad if features.dtype.type(won[c]) == number else zero)
