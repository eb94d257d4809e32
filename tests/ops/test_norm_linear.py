"""LayerNorm and linear layer in one: each backend against the formula, gradients too."""

import pytest
import torch
import torch.nn.functional as F
from helpers.backends import assert_as_exact, backends
from torch.autograd import gradcheck

from panoptag_pyg import ops

ALL = backends("norm_linear", "reference")


def inputs(rng, rows, dim, width):
    """Rows with a mean and spread of their own, float32 numbers in float64."""
    draw = lambda *shape: torch.from_numpy(rng.normal(size=shape)).float().double()  # noqa: E731
    x = draw(rows, dim) * (1 + draw(rows, 1).abs()) + draw(rows, 1)
    return [x, draw(dim), draw(dim), draw(width, dim) / dim**0.5, draw(width)]


def call(tensors, residual, backend):
    x, norm_weight, norm_bias, weight, bias = tensors
    return ops.norm_linear(x, (norm_weight, norm_bias), (weight, bias), residual, backend=backend)


def value_and_gradients(tensors, dtype, residual, backend, weight):
    leaves = [tensor.to(dtype).requires_grad_() for tensor in tensors]
    y = call(leaves, residual, backend)
    return [y.detach(), *torch.autograd.grad((y * weight.to(dtype)).sum(), leaves)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(("dim", "width", "residual"), [(5, 3, False), (64, 96, False), (1, 1, True), (37, 37, True)])
@pytest.mark.parametrize("rows", [0, 1, 7, 191, 389])
@pytest.mark.parametrize("backend", ALL)
def test_value_and_gradients_equal_the_formula(rng, backend, rows, dim, width, residual, dtype):
    tensors = inputs(rng, rows, dim, width)
    weight = torch.from_numpy(rng.normal(size=(rows, width)))
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    x, norm_weight, norm_bias, linear_weight, bias = leaves
    y = F.linear(F.layer_norm(x, (dim,), norm_weight, norm_bias), linear_weight, bias)
    y = x + F.gelu(y) if residual else y
    exact = [y.detach(), *torch.autograd.grad((y * weight).sum(), leaves)]
    for a, b in zip(value_and_gradients(tensors, dtype, residual, backend, weight), exact, strict=True):
        # Sums over all rows; a width of 1 divides rounding errors by √ε = 0.003.
        assert_as_exact(a, b, factor=300 if dim == 1 else 4)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("backend", ALL)
def test_gradcheck(rng, backend, residual):
    tensors = [tensor.requires_grad_() for tensor in inputs(rng, 5, 4, 4)]
    assert gradcheck(lambda *leaves: call(leaves, residual, backend), tensors)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("backend", ALL)
def test_bfloat16_is_as_near_as_its_digits(rng, backend, residual):
    tensors = [tensor.bfloat16() for tensor in inputs(rng, 401, 48, 48)]
    exact = call([tensor.double() for tensor in tensors], residual, "reference")
    with torch.no_grad():
        assert_as_exact(call(tensors, residual, backend), exact, factor=0.3)


def test_autocast_gives_its_dtype_and_takes_float32(rng):
    tensors = [tensor.float() for tensor in inputs(rng, 300, 32, 64)]
    with torch.autocast("cpu", torch.bfloat16):
        assert call(tensors, False, "auto").dtype == torch.bfloat16


@pytest.mark.parametrize("backend", ALL)
def test_same_bits_for_any_number_of_threads_and_any_layout(rng, backend):
    tensors = [tensor.float() for tensor in inputs(rng, 997, 40, 40)]
    weight = torch.from_numpy(rng.normal(size=(997, 40)))
    threads = torch.get_num_threads()
    results = []
    try:
        for number in (1, 2, 2):
            torch.set_num_threads(number)
            results.append(value_and_gradients(tensors, torch.float32, True, backend, weight))
    finally:
        torch.set_num_threads(threads)
    if backend == "numba":  # torch's own products may add in another order on two threads
        assert all(torch.equal(a, b) for a, b in zip(results[0], results[1], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(results[1], results[2], strict=True))
    strided = [tensors[0].t().contiguous().t(), *tensors[1:]]
    torch.testing.assert_close(call(strided, True, backend), call(tensors, True, backend), rtol=0, atol=0)


def test_wrong_shapes_are_told(rng):
    tensors = inputs(rng, 3, 4, 5)
    with pytest.raises(ValueError, match=r"\[3, 4\] and \[5, 4\]"):
        call(tensors, True, "auto")
