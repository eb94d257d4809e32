"""Numba's ragged attention against the float64 reference: values, gradients, threads, scores of any size."""

import math

import numpy as np
import pytest
import torch
from helpers.batches import ptr_of
from torch.autograd import gradcheck

from panoptag_pyg import ops

pytestmark = pytest.mark.skipif(ops.available("ragged_attention")["numba"] is not None, reason="numba absent")

Q_LENGTHS = (0, 3, 17, 1, 0, 31, 16, 5)
K_LENGTHS = (5, 0, 1, 37, 0, 113, 16, 47)


def inputs(rng, num_queries, num_keys, heads, dim, dtype, scale=1.0):
    """Queries, and keys and values that are the halves of one product."""
    q = torch.from_numpy(scale * rng.normal(size=(num_queries, heads, dim))).to(dtype)
    k, v = torch.from_numpy(rng.normal(size=(num_keys, 2, heads, dim))).to(dtype).unbind(1)
    return q, k, v


def value_and_gradients(tensors, ptrs, backend):
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    y = ops.ragged_attention(*leaves, *ptrs, backend=backend)
    weight = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)
    return y.detach(), *torch.autograd.grad((y * weight).sum(), leaves)


@pytest.mark.parametrize(
    ("dim", "dtype"), [(3, torch.float32), (8, torch.float32), (12, torch.float32), (8, torch.float64)]
)
@pytest.mark.parametrize("shared", [False, True])
def test_value_and_gradients_equal_the_reference(rng, dim, dtype, shared):
    tensors = inputs(rng, 23 if shared else sum(Q_LENGTHS), sum(K_LENGTHS), 3, dim, dtype)
    ptrs = None if shared else ptr_of(Q_LENGTHS), ptr_of(K_LENGTHS)
    results = value_and_gradients(tensors, ptrs, "numba")
    expected = value_and_gradients([tensor.double() for tensor in tensors], ptrs, "reference")
    tolerance = 2e-5 if dtype == torch.float32 else 1e-12
    for result, value in zip(results, expected, strict=True):
        assert result.dtype == dtype
        assert result.shape == value.shape
        assert (result - value).abs().max() <= tolerance * value.abs().max()


@pytest.mark.parametrize("scale", [0.0, 30.0, 1e4])
def test_scores_of_any_size(rng, scale):
    tensors = inputs(rng, 19, 53, 2, 8, torch.float32, scale)
    ptrs = ptr_of((19,)), ptr_of((53,))
    results = value_and_gradients(tensors, ptrs, "numba")
    expected = value_and_gradients([tensor.double() for tensor in tensors], ptrs, "reference")
    for result, value in zip(results, expected, strict=True):
        assert torch.isfinite(result).all()
        assert (result - value).abs().max() <= 2e-6 * max(scale, 10) * value.abs().max().clamp(min=1)


def test_log_sum_is_that_of_the_scaled_scores(rng):
    q, k, v = inputs(rng, sum(Q_LENGTHS), sum(K_LENGTHS), 2, 8, torch.float32)
    q_ptr, k_ptr = ptr_of(Q_LENGTHS), ptr_of(K_LENGTHS)
    _, log_sum = torch.ops.panoptag_pyg.ragged_attention(q, k, v, q_ptr, k_ptr, None, None, "numba")
    for event in range(len(Q_LENGTHS)):
        rows, keys = slice(*q_ptr[event : event + 2].tolist()), slice(*k_ptr[event : event + 2].tolist())
        scores = torch.einsum("qhd,khd->qhk", q[rows].double(), k[keys].double()) / math.sqrt(8)
        torch.testing.assert_close(log_sum[rows].double(), scores.logsumexp(2), rtol=1e-5, atol=1e-5)


def test_the_same_bits_with_any_number_of_threads(rng):
    lengths = rng.integers(0, 90, 11).tolist()
    tensors = inputs(rng, 48, sum(lengths), 4, 8, torch.float32)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(value_and_gradients(tensors, (None, ptr_of(lengths)), "numba"))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize(("q_lengths", "k_lengths"), [((0, 0), (3, 1)), ((2, 1), (0, 0)), ((), ()), (None, (0, 2, 0))])
def test_nothing_to_attend(rng, q_lengths, k_lengths):
    tensors = inputs(rng, 2 if q_lengths is None else sum(q_lengths), sum(k_lengths), 3, 8, torch.float32)
    ptrs = None if q_lengths is None else ptr_of(q_lengths), ptr_of(k_lengths)
    y, *grads = value_and_gradients(tensors, ptrs, "numba")
    expected = value_and_gradients(tensors, ptrs, "reference")
    torch.testing.assert_close((y, *grads), expected)


def test_nan_concerns_its_own_event_and_head(rng):
    q, k, v = inputs(rng, 40, 60, 2, 8, torch.float32)
    k[7, 1, 3] = math.nan
    y, *_ = value_and_gradients((q, k, v), (ptr_of((20, 20)), ptr_of((30, 30))), "numba")
    assert y[:20, 1].isnan().all()
    assert torch.isfinite(y[:20, 0]).all()
    assert torch.isfinite(y[20:]).all()


def test_bfloat16_is_computed_in_float32(rng):
    tensors = inputs(rng, 20, 60, 2, 8, torch.bfloat16)
    ptrs = ptr_of((9, 11)), ptr_of((30, 30))
    results = value_and_gradients(tensors, ptrs, "numba")
    expected = value_and_gradients([tensor.float() for tensor in tensors], ptrs, "numba")
    assert torch.equal(results[0], expected[0].bfloat16())
    assert all(result.dtype == torch.bfloat16 for result in results)


@pytest.mark.parametrize("shared", [False, True])
def test_gradcheck(rng, shared):
    lengths = (1, 0, 4, 19)
    draw = lambda n: torch.from_numpy(rng.normal(size=(n, 2, 8))).requires_grad_()  # noqa: E731
    q, k, v = draw(2 if shared else 8), draw(24), draw(24)
    q_ptr = None if shared else ptr_of((2, 1, 3, 2))
    assert gradcheck(lambda *t: ops.ragged_attention(*t, q_ptr, ptr_of(lengths), backend="numba"), (q, k, v))


def test_auto_takes_it_for_narrow_heads():
    from panoptag_pyg.ops.registry import choose

    narrow, wide = (choose("ragged_attention", "auto", "cpu", dtype=torch.float32, dim=dim) for dim in (8, 64))
    assert (narrow, wide) == ("numba", "torch")


def test_strides_of_every_kind(rng):
    wide = torch.from_numpy(rng.normal(size=(30, 4, 24)).astype(np.float32))
    k, v = wide[:, ::2, 3:11], wide[:, 1::2, 13:21]
    q = torch.from_numpy(rng.normal(size=(2, 6, 8)).astype(np.float32)).transpose(0, 1)
    ptrs = ptr_of((2, 4)), ptr_of((13, 17))
    for a, b in zip(
        value_and_gradients((q, k, v), ptrs, "numba"),
        value_and_gradients([t.contiguous() for t in (q, k, v)], ptrs, "numba"),
        strict=True,
    ):
        assert torch.equal(a, b)
