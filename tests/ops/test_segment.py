"""Reductions and softmax over segments against one loop over them, empty segments too."""

import pytest
import torch
from helpers.backends import assert_as_exact, backends
from helpers.batches import ptr_of
from torch.autograd import gradcheck

from panoptag_pyg import ops
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.ops import segment

LENGTHS = (0, 3, 1, 0, 0, 13, 2, 0)
REDUCING, NORMALISING = backends("segment_reduce", "reference"), backends("segment_softmax", "reference")


@pytest.mark.parametrize("backend", REDUCING)
@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min"])
@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
def test_reduce_equals_the_reference(rng, backend, reduce, shape):
    x = torch.from_numpy(rng.normal(size=(19, *shape))).requires_grad_()
    results = []
    for name in (backend, "reference"):
        y = ops.segment_reduce(x, ptr_of(LENGTHS), reduce, backend=name)
        results.append((y, torch.autograd.grad((y * torch.arange(y.numel()).view_as(y)).sum(), x)[0]))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min"])
@pytest.mark.parametrize("backend", [*REDUCING, "reference"])
def test_reduce_gradcheck_and_empty(rng, backend, reduce):
    x = torch.from_numpy(rng.normal(size=(19, 2))).requires_grad_()
    assert gradcheck(lambda x: ops.segment_reduce(x, ptr_of(LENGTHS), reduce, backend), (x,))
    for lengths, expected in (((0, 0), [[0, 0]] * 2), ((), [])):
        nothing = torch.zeros(0, 2, requires_grad=True)
        y = ops.segment_reduce(nothing, ptr_of(lengths), reduce, backend)
        assert y.tolist() == expected
        assert y.shape == (len(lengths), 2)
        y.sum().backward()
        assert nothing.grad.shape == (0, 2)


def test_equal_extremes_share_the_gradient():
    x = torch.tensor([3.0, 1.0, 3.0, 2.0], requires_grad=True)
    ops.segment_reduce(x, ptr_of((3, 1)), "max").sum().backward()
    assert x.grad.tolist() == [0.5, 0, 0.5, 1]


def test_an_unknown_reduction_is_answered_with_the_nearest(rng):
    with pytest.raises(ConfigError, match="did you mean 'mean'"):
        ops.segment_reduce(torch.zeros(19, 2), ptr_of(LENGTHS), "maen")


@pytest.mark.parametrize("backend", NORMALISING)
def test_softmax_equals_the_reference_in_any_order(rng, backend):
    x = torch.from_numpy(rng.normal(size=(40, 3)) * 100).requires_grad_()
    index = torch.from_numpy(rng.integers(0, 9, 40))
    y = ops.segment_softmax(x, index, 11, backend)
    torch.testing.assert_close(y, ops.segment_softmax(x, index, 11, backend="reference"))
    assert ops.segment_softmax(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), 4, backend).shape == (0, 3)


@pytest.mark.parametrize("backend", [*NORMALISING, "reference"])
def test_softmax_gradcheck(rng, backend):
    x = torch.from_numpy(rng.normal(size=(17, 2))).requires_grad_()
    index = torch.from_numpy(rng.integers(0, 5, 17))
    assert gradcheck(lambda x: ops.segment_softmax(x, index, 7, backend), (x,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_precisions_strides_and_the_same_bits_on_every_run(rng, dtype):
    x = torch.from_numpy(rng.normal(size=(3, 5000))).to(dtype).t()
    index = torch.from_numpy(rng.integers(0, 100, 5000))
    ptr = ptr_of([50] * 100)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    for function, where in ((ops.segment_reduce, (ptr, "mean")), (ops.segment_softmax, (index, 100))):
        runs = []
        for _ in range(3):
            leaf = x.clone().requires_grad_()
            y = function(leaf, *where)
            y[::3].float().square().sum().backward()
            runs.append((y, leaf.grad))
        assert all(torch.equal(a, b) for run in runs[1:] for a, b in zip(run, runs[0], strict=True))
        exact = function(x.double(), *where, backend="reference")
        assert_as_exact(runs[0][0].detach(), exact)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("backend", [*REDUCING, "reference"])
def test_torch_can_trace_the_reduction(rng, backend):
    x = torch.from_numpy(rng.normal(size=(19, 2))).requires_grad_()
    torch.library.opcheck(segment._segment_reduce, (x, ptr_of(LENGTHS), "max", backend))


@pytest.mark.parametrize("backend", [*NORMALISING, "reference"])
def test_torch_can_trace_the_softmax(rng, backend):
    x = torch.from_numpy(rng.normal(size=(19, 2))).requires_grad_()
    torch.library.opcheck(segment._segment_softmax, (x, torch.from_numpy(rng.integers(0, 5, 19)), 7, backend))


def test_ptr_and_batch(rng):
    ptr = ptr_of(LENGTHS)
    batch = ops.batch_from_ptr(ptr, 19)
    assert torch.equal(ops.ptr_from_batch(batch, len(LENGTHS)), ptr)
    assert ops.ptr_from_batch(torch.zeros(0, dtype=torch.long)).tolist() == [0]
    with pytest.raises(ValueError, match="sorted"):
        ops.ptr_from_batch(torch.tensor([1, 0]))
