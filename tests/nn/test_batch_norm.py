"""Batch normalisation of rows: torch's own where that has an answer, and no NaN where it hasn't."""

import copy

import pytest
import torch

from panoptag_pyg.nn.batch_norm import RowBatchNorm


@pytest.mark.parametrize("rows", [2, 3, 17])
def test_against_torch(rng, rows):
    ours, theirs = RowBatchNorm(5).double(), torch.nn.BatchNorm1d(5).double()
    with torch.no_grad():
        for name in ("weight", "bias"):
            value = torch.from_numpy(rng.normal(size=5))
            getattr(ours, name).copy_(value)
            getattr(theirs, name).copy_(value)
    for _ in range(3):
        x = torch.from_numpy(rng.normal(2, 3, (rows, 5))).requires_grad_()
        grad = torch.from_numpy(rng.normal(size=(rows, 5)))
        for a, b in zip(
            (ours(x), *torch.autograd.grad(ours(x), [x, *ours.parameters()], grad)),
            (theirs(x), *torch.autograd.grad(theirs(x), [x, *theirs.parameters()], grad)),
            strict=True,
        ):
            torch.testing.assert_close(a, b)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize("rows", [2, 17])
def test_traced_is_the_same(rng, rows):
    eager = RowBatchNorm(5).double()
    traced = copy.deepcopy(eager)
    compiled = torch.compile(traced, dynamic=True, fullgraph=True, backend="eager")
    for more in range(3):
        x = torch.from_numpy(rng.normal(2, 3, (rows + more, 5)))
        torch.testing.assert_close(compiled(x), eager(x))
    torch.testing.assert_close(dict(traced.named_buffers()), dict(eager.named_buffers()))


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_rows_leave_the_averages(rng, rows):
    norm = RowBatchNorm(3)
    norm(torch.from_numpy(rng.normal(size=(9, 3))).float())
    before = [norm.running_mean.clone(), norm.running_var.clone()]
    x = torch.from_numpy(rng.normal(size=(rows, 3))).float().requires_grad_()
    y = norm(x)
    y.sum().backward()
    assert y.shape == (rows, 3)
    assert all(torch.isfinite(value).all() for value in (y, x.grad, norm.weight.grad, norm.bias.grad))
    torch.testing.assert_close([norm.running_mean, norm.running_var], before, rtol=0, atol=0)
    norm.reset_parameters()
    assert norm.running_mean.eq(0).all()
    assert norm.running_var.eq(1).all()


def test_bfloat16_rows_with_float32_parameters(rng):
    norm = RowBatchNorm(4)
    x = torch.from_numpy(rng.normal(3, 2, size=(50, 4))).bfloat16()
    y = norm(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, RowBatchNorm(4)(x.float()).bfloat16(), rtol=0.01, atol=0.01)
    assert norm.running_mean.dtype == torch.float32
