"""EdgeConv: the factored, chunked backend against the formula, gradients too."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from helpers.batches import ptr_of
from torch.autograd import gradcheck

from panoptag_pyg import ops
from panoptag_pyg.ops import edge_convolution_torch


def parameters(rng, dim, widths, dtype=torch.float64):
    channels = [2 * dim, *widths]
    draw = lambda *shape: torch.from_numpy(rng.normal(size=shape)).to(dtype).requires_grad_()  # noqa: E731
    linears = [(draw(o, i), draw(o)) for i, o in itertools.pairwise(channels)]
    return linears, [(draw(c), draw(c)) for c in widths[:-1]]


def flat(*groups):
    return [p for group in groups for pair in group for p in pair]


@pytest.mark.parametrize("chunk", [1, 200, 1 << 17])
@pytest.mark.parametrize("widths", [(5,), (7, 3), (4, 6, 5), (3, 3, 3, 3)])
@pytest.mark.parametrize("k", [1, 4, 13])
def test_value_and_gradients_equal_the_reference(rng, monkeypatch, chunk, widths, k):
    monkeypatch.setattr(edge_convolution_torch, "CHUNK", chunk)
    ptr = ptr_of((0, 1, 2, 5, 11, 0))
    x = torch.from_numpy(rng.normal(size=(19, 3))).requires_grad_()
    table = ops.neighbour_table(x, k, ptr)
    linears, norms = parameters(rng, 3, widths)
    weight = torch.from_numpy(rng.normal(size=(19, widths[-1])))
    inputs = [x, *flat(linears, norms)]
    results = []
    for backend in ("torch", "reference"):
        y = ops.edge_conv(x, table, linears, norms, backend=backend)
        results.append((y, torch.autograd.grad((y * weight).sum(), inputs)))
    (y, grads), (expected, expected_grads) = results
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(grad, expected_grad, rtol=1e-8, atol=1e-8)


def test_reference_is_the_formula(rng):
    """One node, written out."""
    x = torch.from_numpy(rng.normal(size=(3, 2)))
    (linears, norms) = parameters(rng, 2, (4, 3))
    table = torch.tensor([[1, 2], [0, 2], [0, 1]])
    messages = []
    for j in (0, 2):
        h = linears[0][0] @ torch.cat([x[j] - x[1], x[1]]) + linears[0][1]
        h = (h - h.mean()) / (h.var(correction=0) + 1e-5).sqrt() * norms[0][0] + norms[0][1]
        messages.append(linears[1][0] @ F.gelu(h) + linears[1][1])
    y = ops.edge_conv(x, table, linears, norms, backend="reference")
    torch.testing.assert_close(y[1], torch.maximum(*messages))


@pytest.mark.parametrize("widths", [(4,), (4, 3), (4, 3, 5)])
def test_gradcheck(rng, widths):
    x = torch.from_numpy(rng.normal(size=(7, 3))).requires_grad_()
    table = ops.neighbour_table(x, 3, ptr_of((5, 2)))
    linears, norms = parameters(rng, 3, widths)

    def function(x, *tensors):
        pairs = list(zip(tensors[::2], tensors[1::2], strict=True))
        return ops.edge_conv(x, table, pairs[: len(widths)], pairs[len(widths) :])

    assert gradcheck(function, (x, *flat(linears, norms)))


@pytest.mark.parametrize("widths", [(4,), (4, 3)])
def test_no_points(rng, widths):
    x = torch.zeros(0, 3, dtype=torch.float64, requires_grad=True)
    linears, norms = parameters(rng, 3, widths)
    y = ops.edge_conv(x, torch.zeros(0, 5, dtype=torch.long), linears, norms)
    assert y.shape == (0, widths[-1])
    y.sum().backward()
    assert linears[0][0].grad.abs().sum() == 0


def test_same_bits_on_every_run(rng):
    x = torch.from_numpy(rng.normal(size=(300, 8))).float().requires_grad_()
    table = ops.neighbour_table(x, 6, ptr_of((100, 200)))
    linears, norms = parameters(rng, 8, (8, 8), torch.float32)
    runs = []
    for _ in range(3):
        y = ops.edge_conv(x, table, linears, norms)
        runs.append([y, *torch.autograd.grad(y.square().sum(), [x, *flat(linears, norms)])])
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(run, runs[0], strict=True))


def test_bfloat16_autocast(rng):
    x = torch.from_numpy(rng.normal(size=(50, 8))).float().requires_grad_()
    table = ops.neighbour_table(x, 4, ptr_of((50,)))
    linears, norms = parameters(rng, 8, (8, 8), torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = ops.edge_conv(x, table, linears, norms)
    assert y.dtype == torch.bfloat16
    y.float().square().mean().backward()
    assert x.grad.dtype == torch.float32
    expected = ops.edge_conv(x, table, linears, norms, backend="reference")
    assert (y - expected).abs().mean() < 0.03 * expected.abs().mean()
