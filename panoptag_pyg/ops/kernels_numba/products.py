"""Matrix products on buffers that stay in a core's cache, from packed weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from panoptag_pyg.ops.kernels_numba.tiles import (
    COLUMNS,
    LANES,
    ROWS,
    combine_narrow,
    combine_wide,
    product_tile,
    transposed_tile,
)

#: Columns that ``combine_wide`` takes at once.
WIDE = 8 * LANES


def padded_columns(width: int) -> int:
    """Columns of a buffer that holds ``width`` of them: whole tiles."""
    return -(-width // COLUMNS) * COLUMNS


def leading_dimension(width: int) -> int:
    """Floats from one row to the next: not a power of two, or all rows would share a few lines of the cache."""
    return padded_columns(width) + 16


def padded_rows(rows: int) -> int:
    """Rows of a buffer that holds ``rows`` of them: whole tiles."""
    return -(-rows // ROWS) * ROWS


@njit(nogil=True, cache=True)
def pack(weight: Any, out: Any) -> None:
    """weight [width, depth] → out [panels, depth, COLUMNS], where it isn't zero: what a tile reads lies in one run."""
    width, depth = weight.shape
    for panel in range(out.shape[0]):
        for j in range(min(COLUMNS, width - panel * COLUMNS)):
            for d in range(depth):
                out[panel, d, j] = weight[panel * COLUMNS + j, d]


@njit(nogil=True, cache=True)
def pack_transposed(weight: Any, out: Any) -> None:
    """weight [depth, width] → out [panels, depth, COLUMNS], where it isn't zero: for the gradient's product."""
    depth, width = weight.shape
    for panel in range(out.shape[0]):
        columns = min(COLUMNS, width - panel * COLUMNS)
        for d in range(depth):
            for j in range(columns):
                out[panel, d, j] = weight[d, panel * COLUMNS + j]


def packed(weight: np.ndarray, depth: int, width: int, transposed: bool = False) -> np.ndarray:
    """Weights as :func:`product` takes them.

    Args:
        weight: [out, in] as of :class:`torch.nn.Linear`, C-contiguous.
        depth: terms of each sum, at least as many as the weight has.
        width: results, likewise.
        transposed: pack for the gradient's product (out → in). Default ``False``.
    """
    out = np.zeros((padded_columns(width) // COLUMNS, depth, COLUMNS), np.float32)
    (pack_transposed if transposed else pack)(weight, out)
    return out


@njit(nogil=True, cache=True)
def product(a: Any, rows: int, weight: Any, bias: Any, c: Any) -> None:
    """C[rows] = A[rows] · W + b for packed W [panels, depth, COLUMNS]; writes whole tiles.

    Args:
        a: [≥ padded_rows(rows), ld].
        rows: rows wanted.
        weight: packed.
        bias: [≥ panels · COLUMNS].
        c: [≥ padded_rows(rows), ld].
    """
    panels, depth, columns = weight.shape
    for panel in range(panels):
        for row in range(0, rows, ROWS):
            product_tile(
                a[row:].ctypes.data,
                a.shape[1],
                weight[panel:].ctypes.data,
                columns,
                bias.ctypes.data + 4 * panel * columns,
                0,
                c[row:].ctypes.data + 4 * panel * columns,
                c.shape[1],
                depth,
            )


@njit(nogil=True, cache=True)
def add_transposed_product(a: Any, b: Any, rows: int, c: Any) -> None:
    """C += A[:rows]ᵀ · B[:rows]; writes whole tiles of C.

    Args:
        a: [≥ rows, ld].
        b: [≥ rows, ld].
        rows: rows to sum over.
        c: [whole tiles of A's columns, whole tiles of B's columns].
    """
    for column in range(0, c.shape[1], COLUMNS):
        for row in range(0, c.shape[0], ROWS):
            transposed_tile(
                a.ctypes.data + 4 * row,
                a.shape[1],
                b.ctypes.data + 4 * column,
                b.shape[1],
                c[row:].ctypes.data + 4 * column,
                c.shape[1],
                c[row:].ctypes.data + 4 * column,
                c.shape[1],
                rows,
            )


@njit(nogil=True, cache=True)
def add_combination(weight: Any, number: Any, count: int, b: Any, columns: int, c: Any) -> None:
    """c[:columns] += Σ_t weight[t] · B[number[t], :columns]; ``columns`` is a multiple of COLUMNS, or padded to it.

    Args:
        weight: float32 [≥ count].
        number: int32 [≥ count].
        count: terms, ≥ 1.
        b: [rows, ld].
        columns: columns wanted.
        c: [≥ whole tiles of columns].
    """
    column = 0
    while column < columns:
        arguments = weight.ctypes.data, number.ctypes.data, count
        if columns - column >= WIDE:
            combine_wide(*arguments, b.ctypes.data + 4 * column, b.shape[1], c.ctypes.data + 4 * column)
            column += WIDE
        else:
            combine_narrow(*arguments, b.ctypes.data + 4 * column, b.shape[1], c.ctypes.data + 4 * column)
            column += COLUMNS
