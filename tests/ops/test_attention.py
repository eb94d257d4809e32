"""Ragged attention: each backend against the reference, and that against torch's."""

import pytest
import torch
import torch.nn.functional as F
from helpers.batches import ptr_of
from torch.autograd import gradcheck

from panoptag_pyg import ops

Q_LENGTHS = (0, 3, 2, 1, 0, 7, 4)
K_LENGTHS = (5, 0, 1, 37, 0, 13, 2)


def inputs(rng, q_lengths, k_lengths, heads=3, dim=5, dtype=torch.float64):
    draw = lambda n: torch.from_numpy(rng.normal(size=(n, heads, dim))).to(dtype).requires_grad_()  # noqa: E731
    return draw(sum(q_lengths)), draw(sum(k_lengths)), draw(sum(k_lengths))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("backend", ["torch", "padded"])
def test_value_and_gradients_equal_the_reference(rng, backend, shared):
    q, k, v = inputs(rng, (11,) if shared else Q_LENGTHS, K_LENGTHS)
    q_ptr = None if shared else ptr_of(Q_LENGTHS)
    results = []
    for name in (backend, "reference"):
        y = ops.ragged_attention(q, k, v, q_ptr, ptr_of(K_LENGTHS), backend=name)
        weight = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
        results.append((y, *torch.autograd.grad((y * weight).sum(), (q, k, v))))
    assert results[0][0].shape == (7 * 11 if shared else 17, 3, 5)
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_reference_is_torchs_attention_on_one_event(rng):
    q, k, v = inputs(rng, (4,), (9,))
    y = ops.ragged_attention(q, k, v, ptr_of((4,)), ptr_of((9,)), backend="reference")
    expected = F.scaled_dot_product_attention(*(t.transpose(0, 1)[None] for t in (q, k, v)))
    torch.testing.assert_close(y, expected[0].transpose(0, 1))


@pytest.mark.parametrize("backend", ["torch", "padded", "reference"])
def test_queries_without_keys_give_zero(rng, backend):
    q, k, v = inputs(rng, (2, 3), (0, 4))
    y = ops.ragged_attention(q, k, v, ptr_of((2, 3)), ptr_of((0, 4)), backend=backend)
    assert y[:2].abs().max() == 0
    assert y[2:].abs().min() > 0


@pytest.mark.parametrize("backend", ["torch", "padded", "reference"])
@pytest.mark.parametrize(("q_lengths", "k_lengths"), [((0, 0), (3, 1)), ((2, 1), (0, 0)), ((), ())])
def test_nothing_to_attend(rng, backend, q_lengths, k_lengths):
    q, k, v = inputs(rng, q_lengths, k_lengths)
    y = ops.ragged_attention(q, k, v, ptr_of(q_lengths), ptr_of(k_lengths), backend=backend)
    assert y.shape == q.shape
    assert y.abs().sum() == 0
    y.sum().backward()


@pytest.mark.parametrize("shared", [False, True])
def test_gradcheck(rng, shared):
    lengths = (1, 0, 4)
    q, k, v = inputs(rng, (2,) if shared else (2, 1, 3), lengths, heads=2, dim=3)
    q_ptr = None if shared else ptr_of((2, 1, 3))
    assert gradcheck(lambda *t: ops.ragged_attention(*t, q_ptr, ptr_of(lengths)), (q, k, v))


def test_strided_inputs(rng):
    pair = torch.from_numpy(rng.normal(size=(30, 2, 3, 4)))
    k, v = pair[:, 0], pair[:, 1]
    q = torch.from_numpy(rng.normal(size=(6, 3, 4)))
    ptrs = ptr_of((2, 4)), ptr_of((13, 17))
    y = ops.ragged_attention(q, k, v, *ptrs)
    torch.testing.assert_close(y, ops.ragged_attention(q, k.clone(), v.clone(), *ptrs))


def test_weights_sum_to_one_and_give_the_output(rng):
    q, k, v = inputs(rng, Q_LENGTHS, K_LENGTHS)
    edge_index = ops.complete_edges(ptr_of(Q_LENGTHS), ptr_of(K_LENGTHS))
    assert edge_index.size(1) == sum(a * b for a, b in zip(Q_LENGTHS, K_LENGTHS, strict=True))
    weight = ops.attention_weights(q, k, edge_index)
    total = ops.segment_sum(weight, edge_index[0], len(q))
    assert torch.allclose(total, torch.where(total > 0, 1.0, 0.0).double())
    y = ops.segment_sum(weight[..., None] * v[edge_index[1]], edge_index[0], len(q))
    torch.testing.assert_close(y, ops.ragged_attention(q, k, v, ptr_of(Q_LENGTHS), ptr_of(K_LENGTHS)))
