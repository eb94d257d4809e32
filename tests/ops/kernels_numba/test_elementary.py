"""exp, GELU and its slope in float32 against float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("numba")
from numba import njit

from panoptag_pyg.ops.kernels_numba import bfloat16, elementary


def elementwise(function, x, dtype=np.float32):
    @njit
    def run(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    out = np.empty(x.size, dtype)
    run(x, out)
    return out


@pytest.fixture
def x(rng):
    return np.concatenate([rng.normal(size=4000) * 3, rng.uniform(-90, 90, 500), [0.0, -0.0]]).astype(np.float32)


def test_exp_of_negative_numbers(x):
    x = -np.abs(x)
    exact = np.exp(x.astype(np.float64))
    assert np.abs(elementwise(elementary.exp, x) / np.maximum(exact, 1e-38) - 1)[x > -86].max() < 3e-7


def test_gelu_and_its_slope(x):
    leaf = torch.from_numpy(x).double().requires_grad_()
    exact = F.gelu(leaf)
    (slope,) = torch.autograd.grad(exact.sum(), leaf)
    error = np.abs(elementwise(elementary.gelu, x) - exact.detach().numpy())
    assert (error / np.maximum(1.0, np.abs(x))).max() < 4e-7
    assert np.abs(elementwise(elementary.gelu_slope, x) - slope.numpy()).max() < 4e-7


def test_gelu_in_bfloat16_is_the_rounded_one_but_for_a_hair(x):
    given = torch.from_numpy(elementwise(elementary.gelu_rounded, x, np.int16)).view(torch.bfloat16).double()
    exact = F.gelu(torch.from_numpy(x).double())
    assert ((given - exact).abs() <= exact.abs() * 2**-8 + 3e-4 * torch.from_numpy(x).abs().clamp(min=1)).all()


def test_nan_and_infinity():
    x = np.array([np.nan, np.inf], np.float32)
    given = elementwise(elementary.gelu, x)
    assert np.isnan(given[0])
    assert given[1] == np.inf


def test_bfloat16_rounds_as_torch_does(rng):
    x = np.concatenate(
        [rng.normal(size=3000) * 10.0 ** rng.integers(-30, 30, 3000), [0, -0.0, 1 + 2**-8, 1 + 3 * 2**-8]]
    )
    x = x.astype(np.float32)
    bits = elementwise(bfloat16.rounded, x, np.int16)
    assert torch.equal(torch.from_numpy(bits).view(torch.bfloat16), torch.from_numpy(x).bfloat16())
    assert np.array_equal(elementwise(bfloat16.widened, bits), torch.from_numpy(x).bfloat16().float().numpy())
