"""Reductions and softmax over segments against one loop over them, empty segments too."""

import pytest
import torch
from helpers.batches import ptr_of
from torch.autograd import gradcheck

from panoptag_pyg import ops
from panoptag_pyg.errors import ConfigError

LENGTHS = (0, 3, 1, 0, 0, 13, 2, 0)
USABLE = [name for name, reason in ops.available("segment_reduce").items() if reason is None]


@pytest.mark.parametrize("backend", USABLE)
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


def test_reduce_gradcheck_and_empty(rng):
    x = torch.from_numpy(rng.normal(size=(19, 2))).requires_grad_()
    for reduce in ("sum", "mean", "max", "min"):
        assert gradcheck(lambda x, r=reduce: ops.segment_reduce(x, ptr_of(LENGTHS), r), (x,))
        assert ops.segment_reduce(torch.zeros(0, 2), ptr_of((0, 0)), reduce).tolist() == [[0, 0]] * 2
        assert ops.segment_reduce(torch.zeros(0, 2), ptr_of(()), reduce).shape == (0, 2)
    with pytest.raises(ConfigError, match="did you mean 'mean'"):
        ops.segment_reduce(x, ptr_of(LENGTHS), "maen")


def test_softmax_equals_the_reference_in_any_order(rng):
    x = torch.from_numpy(rng.normal(size=(40, 3)) * 100).requires_grad_()
    index = torch.from_numpy(rng.integers(0, 9, 40))
    y = ops.segment_softmax(x, index, 11)
    torch.testing.assert_close(y, ops.segment_softmax(x, index, 11, backend="reference"))
    small = (x.detach() / 100).requires_grad_()
    assert gradcheck(lambda x: ops.segment_softmax(x, index, 11), (small,))
    assert ops.segment_softmax(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), 4).shape == (0, 3)


def test_ptr_and_batch(rng):
    ptr = ptr_of(LENGTHS)
    batch = ops.batch_from_ptr(ptr, 19)
    assert torch.equal(ops.ptr_from_batch(batch, len(LENGTHS)), ptr)
    assert ops.ptr_from_batch(torch.zeros(0, dtype=torch.long)).tolist() == [0]
    with pytest.raises(ValueError, match="sorted"):
        ops.ptr_from_batch(torch.tensor([1, 0]))
