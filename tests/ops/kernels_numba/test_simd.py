"""Vectors of floats: powers and logarithms against NumPy's in extended precision."""

import numpy as np
import pytest

pytest.importorskip("numba")
from numba import njit

from panoptag_pyg.ops.kernels_numba import simd

LANES = 16


@njit
def powers_and_logarithms(x, powers, logarithms):
    for i in range(0, len(x), LANES):
        power = simd.exp2(simd.load(x, i, LANES))
        simd.store(powers, i, power)
        simd.store(logarithms, i, simd.log2(power))


@njit
def reductions(x, whole):
    a = simd.load(x, 0, LANES)
    b = simd.load(whole, 0, LANES)
    counts = simd.add_where_less(b, b, simd.splat(whole.dtype.type(3), LANES))
    return simd.sum_of_lanes(a), simd.largest(simd.absolute(a)), simd.sum_of_lanes(counts)


@pytest.mark.parametrize(("dtype", "lowest"), [(np.float32, -126), (np.float64, -1022)])
def test_powers_and_logarithms(rng, dtype, lowest):
    x = rng.uniform(lowest, 126, 160 * LANES).astype(dtype)
    x[:LANES] = np.r_[lowest, -1, -0.5, -1e-6, 0, 1e-6, 0.5, 1, np.full(LANES - 8, 126)]
    powers, logarithms = np.empty_like(x), np.empty_like(x)
    powers_and_logarithms(x, powers, logarithms)
    expected = np.exp2(x.astype(np.longdouble))
    eps = np.finfo(dtype).eps
    assert np.max(np.abs(powers - expected) / expected) < (1 if dtype == np.float32 else 16) * eps
    error = np.abs(logarithms - np.log2(powers.astype(np.longdouble)))
    assert np.max(error / np.maximum(1, np.abs(x))) < 4 * eps


def test_nan_stays_nan():
    x = np.full(LANES, np.nan, np.float32)
    powers, logarithms = np.empty_like(x), np.empty_like(x)
    powers_and_logarithms(x, powers, logarithms)
    assert np.isnan(powers).all()


def test_reductions(rng):
    x = rng.normal(size=LANES)
    whole = rng.integers(0, 6, LANES)
    total, largest, counts = reductions(x, whole)
    assert total == pytest.approx(x.sum())
    assert largest == np.abs(x).max()
    assert counts == whole.sum() + (whole < 3).sum()
