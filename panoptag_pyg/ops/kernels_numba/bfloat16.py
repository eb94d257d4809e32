"""Products of bfloat16 rows with packed weights, and bits to numbers and back; sums are float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from panoptag_pyg.ops.kernels_numba.elementary import bits_of_float, float_of_bits
from panoptag_pyg.ops.kernels_numba.products import padded_columns
from panoptag_pyg.ops.kernels_numba.tiles import COLUMNS, ROWS, bfloat16_tile


def bits(x: Tensor) -> np.ndarray:
    """The same memory as int16, which NumPy can name."""
    return x.detach().view(torch.int16).numpy()


@njit(inline="always")
def widened(x):
    """The float32 of bfloat16 bits."""
    return float_of_bits(np.int32(x) << np.int32(16))


@njit(inline="always")
def rounded(x):
    """Bits of the bfloat16 nearest to a float32, ties to even."""
    b = bits_of_float(x)
    return np.int16((b + np.int32(0x7FFF) + ((b >> np.int32(16)) & np.int32(1))) >> np.int32(16))


@njit(nogil=True, cache=True)
def pack_pairs(weight: Any, out: Any) -> None:
    """weight [width, depth] → out [panels, depth / 2, COLUMNS, 2], where it isn't zero: two steps side by side."""
    width, depth = weight.shape
    for panel in range(out.shape[0]):
        for j in range(min(COLUMNS, width - panel * COLUMNS)):
            for d in range(depth):
                out[panel, d // 2, j, d % 2] = weight[panel * COLUMNS + j, d]


def packed_pairs(weight: Tensor, depth: int, width: int) -> np.ndarray:
    """Weights as :func:`product_of_pairs` takes them: bits of bfloat16.

    Args:
        weight: bfloat16 [out, in] as of :class:`torch.nn.Linear`.
        depth: terms of each sum, at least ``in``; made even.
        width: results, at least ``out``.
    """
    out = np.zeros((padded_columns(width) // COLUMNS, (depth + 1) // 2, COLUMNS, 2), np.int16)
    pack_pairs(bits(weight.contiguous()), out)
    return out


@njit(nogil=True, cache=True)
def product_of_pairs(a: Any, rows: int, weight: Any, bias: Any, c: Any) -> None:
    """C[rows] = A[rows] · W + b in float32, for bits of bfloat16 A [rows, ld] and packed W; writes whole tiles.

    Args:
        a: [≥ padded_rows(rows), ld], ld even; what lies beyond the depth up to an even number is finite.
        rows: rows wanted.
        weight: packed.
        bias: float32 [≥ panels · COLUMNS].
        c: float32 [≥ padded_rows(rows), ld].
    """
    panels, depth, columns, _ = weight.shape
    for panel in range(panels):
        for row in range(0, rows, ROWS):
            bfloat16_tile(
                a[row:].ctypes.data,
                a.shape[1] // 2,
                weight[panel:].ctypes.data,
                columns,
                bias.ctypes.data + 4 * panel * columns,
                0,
                c[row:].ctypes.data + 4 * panel * columns,
                c.shape[1],
                depth,
            )
