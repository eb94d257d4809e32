"""Tiled products against NumPy's in float64, at sizes that fill tiles and that don't."""

import numpy as np
import pytest
import torch

pytest.importorskip("numba")

from panoptag_pyg.ops.kernels_numba import products as p
from panoptag_pyg.ops.kernels_numba.bfloat16 import bits, packed_pairs, product_of_pairs
from panoptag_pyg.ops.kernels_numba.tiles import BFLOAT16, COLUMNS, ROWS, make_product_tile

SIZES = [(1, 1, 1), (3, 7, 2), (ROWS, COLUMNS, 5), (ROWS + 1, COLUMNS + 1, 64), (61, 131, 37)]


def buffer(rng, rows, width):
    """Numbers, in a buffer of whole tiles that holds NaN beyond them."""
    full = np.full((p.padded_rows(rows), p.leading_dimension(width)), np.nan, np.float32)
    full[:rows, :width] = rng.normal(size=(rows, width))
    return full


def close(actual, exact, depth):
    np.testing.assert_allclose(actual, exact, rtol=0, atol=1e-6 * max(depth, 1))


@pytest.mark.parametrize(("rows", "width", "depth"), SIZES)
@pytest.mark.parametrize("transposed", [False, True])
def test_product_with_packed_weights(rng, rows, width, depth, transposed):
    a, c = buffer(rng, rows, depth), np.zeros((p.padded_rows(rows), p.leading_dimension(width)), np.float32)
    weight = rng.normal(size=(depth, width) if transposed else (width, depth)).astype(np.float32)
    bias = np.zeros(p.padded_columns(width), np.float32)
    bias[:width] = rng.normal(size=width)
    p.product(a, rows, p.packed(weight, depth, width, transposed), bias, c)
    exact = a[:rows, :depth].astype(np.float64) @ (weight if transposed else weight.T) + bias[:width]
    close(c[:rows, :width], exact, depth)


@pytest.mark.parametrize(("rows", "width", "depth"), SIZES)
def test_product_of_a_transposed_buffer_is_added(rng, rows, width, depth):
    a, b = np.nan_to_num(buffer(rng, depth, rows)), np.nan_to_num(buffer(rng, depth, width))
    start = rng.normal(size=(p.padded_rows(rows), p.padded_columns(width))).astype(np.float32)
    c = start.copy()
    p.add_transposed_product(a, b, depth, c)
    exact = start[:rows, :width] + a[:depth, :rows].astype(np.float64).T @ b[:depth, :width]
    close(c[:rows, :width], exact, depth)


@pytest.mark.parametrize("width", [1, COLUMNS, p.WIDE, p.WIDE + 1, 3 * p.WIDE - 5])
@pytest.mark.parametrize("count", [1, 2, 13])
def test_combination_of_rows(rng, width, count):
    columns = p.padded_columns(width)
    b = rng.normal(size=(9, columns)).astype(np.float32)
    weight, number = rng.normal(size=count).astype(np.float32), rng.integers(0, 9, count).astype(np.int32)
    start = rng.normal(size=columns).astype(np.float32)
    c = start.copy()
    p.add_combination(weight, number, count, b, columns, c)
    close(c, start + weight.astype(np.float64) @ b[number], count)


@pytest.mark.parametrize("shape", [(6, 2, 8), (8, 2, 4), (12, 2, 16)], ids=["avx", "neon", "avx512"])
def test_tiles_of_other_processors(rng, shape):
    from numba import njit

    rows, vectors, lanes = shape
    tile = make_product_tile(rows, vectors, lanes, transposed=False)
    columns, depth = vectors * lanes, 29

    @njit
    def run(a, b, start, c):
        tile(a.ctypes.data, depth, b.ctypes.data, columns, start.ctypes.data, 0, c.ctypes.data, columns, depth)

    a, b = rng.normal(size=(rows, depth)).astype(np.float32), rng.normal(size=(depth, columns)).astype(np.float32)
    start, c = rng.normal(size=columns).astype(np.float32), np.empty((rows, columns), np.float32)
    run(a, b, start, c)
    close(c, a.astype(np.float64) @ b + start, depth)


@pytest.mark.skipif(not BFLOAT16, reason="this processor doesn't multiply bfloat16")
@pytest.mark.parametrize(("rows", "width", "depth"), SIZES)
def test_product_of_bfloat16(rng, rows, width, depth):
    a = torch.zeros(p.padded_rows(rows), p.leading_dimension(depth), dtype=torch.bfloat16)
    a[:rows, :depth] = torch.from_numpy(rng.normal(size=(rows, depth)))
    weight = torch.from_numpy(rng.normal(size=(width, depth))).bfloat16()
    bias = np.zeros(p.padded_columns(width), np.float32)
    c = np.zeros((p.padded_rows(rows), p.leading_dimension(width)), np.float32)
    product_of_pairs(bits(a), rows, packed_pairs(weight, depth, width), bias, c)
    close(c[:rows, :width], a[:rows, :depth].double().numpy() @ weight.double().numpy().T, depth)
