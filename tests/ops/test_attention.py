"""Ragged attention: each backend against the reference, and that against torch's."""

import pytest
import torch
import torch.nn.functional as F
from helpers.backends import assert_as_exact, backends
from helpers.batches import ptr_of
from torch.autograd import gradcheck

from panoptag_pyg import ops
from panoptag_pyg.ops import attention
from panoptag_pyg.ops.registry import get

ALL = backends("ragged_attention", "reference")
Q_LENGTHS = (0, 3, 2, 1, 0, 7, 4)
K_LENGTHS = (5, 0, 1, 37, 0, 13, 2)
SHARED = pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])


def inputs(rng, q_lengths, k_lengths, heads=3, dim=5, dtype=torch.float64):
    draw = lambda n: torch.from_numpy(rng.normal(size=(n, heads, dim))).to(dtype).requires_grad_()  # noqa: E731
    return draw(sum(q_lengths)), draw(sum(k_lengths)), draw(sum(k_lengths))


def value_and_gradients(backend, tensors, q_ptr, k_ptr, dtype=torch.float64, lengths=(None, None)):
    leaves = [t.detach().to(dtype).requires_grad_() for t in tensors]
    y = ops.ragged_attention(*leaves, q_ptr, k_ptr, *lengths, backend=backend)
    weight = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).to(dtype).view_as(y)
    return [y.detach(), *torch.autograd.grad((y * weight).sum(), leaves)]


@pytest.mark.parametrize("lengths", [False, True], ids=["looked up", "given"])
@SHARED
@pytest.mark.parametrize("backend", ALL)
def test_value_and_gradients_equal_the_reference(rng, backend, shared, lengths):
    tensors = inputs(rng, (11,) if shared else Q_LENGTHS, K_LENGTHS)
    ptrs = None if shared else ptr_of(Q_LENGTHS), ptr_of(K_LENGTHS)
    longest = (11 if shared else max(Q_LENGTHS), max(K_LENGTHS)) if lengths else (None, None)
    actual = value_and_gradients(backend, tensors, *ptrs, lengths=longest)
    assert actual[0].shape == (7 * 11 if shared else 17, 3, 5)
    for a, b in zip(actual, value_and_gradients("reference", tensors, *ptrs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("heads", "dim"), [(1, 1), (4, 8), (3, 12), (2, 17), (2, 64)])
@SHARED
@pytest.mark.parametrize("backend", ALL)
def test_precisions_widths_and_awkward_sizes(rng, backend, shared, heads, dim, dtype):
    q_lengths, k_lengths = (48,) if shared else (1, 5, 0, 53), (131, 0, 1, 61)
    tensors = [t.detach().to(dtype) for t in inputs(rng, q_lengths, k_lengths, heads, dim)]
    ptrs = None if shared else ptr_of(q_lengths), ptr_of(k_lengths)
    actual = value_and_gradients(backend, tensors, *ptrs, dtype)
    for a, b in zip(actual, value_and_gradients("reference", tensors, *ptrs), strict=True):
        assert a.dtype == dtype
        assert_as_exact(a, b)


def test_reference_is_torchs_attention_on_one_event(rng):
    q, k, v = inputs(rng, (4,), (9,))
    y = ops.ragged_attention(q, k, v, ptr_of((4,)), ptr_of((9,)), backend="reference")
    expected = F.scaled_dot_product_attention(*(t.transpose(0, 1)[None] for t in (q, k, v)))
    torch.testing.assert_close(y, expected[0].transpose(0, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("backend", [*ALL, "reference"])
def test_queries_without_keys_give_zero(rng, backend, dtype):
    q, k, v = inputs(rng, (2, 3), (0, 4), dtype=dtype)
    y = ops.ragged_attention(q, k, v, ptr_of((2, 3)), ptr_of((0, 4)), backend=backend)
    assert y[:2].abs().max() == 0
    assert y[2:].abs().min() > 0
    y.sum().backward()
    assert q.grad[:2].abs().max() == 0
    assert all(t.grad.isfinite().all() for t in (q, k, v))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@SHARED
@pytest.mark.parametrize(("q_lengths", "k_lengths"), [((0, 0), (3, 1)), ((2, 1), (0, 0)), ((), ())], ids=str)
@pytest.mark.parametrize("backend", [*ALL, "reference"])
def test_nothing_to_attend(rng, backend, shared, q_lengths, k_lengths, dtype):
    q, k, v = inputs(rng, q_lengths, k_lengths, dtype=dtype)
    ptrs = None if shared else ptr_of(q_lengths), ptr_of(k_lengths)
    y = ops.ragged_attention(q, k, v, *ptrs, backend=backend)
    assert y.shape == (len(k_lengths) * len(q) if shared else len(q), 3, 5)
    assert y.abs().sum() == 0
    y.sum().backward()
    assert all(t.grad is not None and t.grad.abs().sum() == 0 for t in (q, k, v))


@SHARED
@pytest.mark.parametrize("backend", [*ALL, "auto", "reference"])
def test_gradcheck(rng, backend, shared):
    lengths = (1, 0, 4)
    q, k, v = inputs(rng, (2,) if shared else (2, 1, 3), lengths, heads=2, dim=3)
    q_ptr = None if shared else ptr_of((2, 1, 3))
    assert gradcheck(lambda *t: ops.ragged_attention(*t, q_ptr, ptr_of(lengths), backend=backend), (q, k, v))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("backend", ALL)
def test_keys_and_values_as_halves_of_one_product(rng, backend, dtype):
    """Strides as nn.BipartiteAttention makes them, and others."""
    q, k, v = (t.detach() for t in inputs(rng, (2, 4), (13, 17), 3, 4, dtype))
    pair = torch.stack([k.flatten(1), v.flatten(1)], dim=1).view(30, 2, 3, 4)
    ptrs = ptr_of((2, 4)), ptr_of((13, 17))
    expected = value_and_gradients(backend, (q, k, v), *ptrs, dtype)
    leaf = pair.clone().requires_grad_()
    y = ops.ragged_attention(q, leaf.select(1, 0), leaf.select(1, 1), *ptrs, backend=backend)
    torch.testing.assert_close(y, expected[0])
    weight = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).to(dtype).view_as(y)
    (grad,) = torch.autograd.grad((y * weight).sum(), leaf)
    torch.testing.assert_close(grad[:, 0], expected[2])
    torch.testing.assert_close(grad[:, 1], expected[3])
    turned = [t.permute(2, 1, 0).contiguous().permute(2, 1, 0) for t in (q, k, v)]
    torch.testing.assert_close(ops.ragged_attention(*turned, *ptrs, backend=backend), expected[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@SHARED
@pytest.mark.parametrize("backend", [*ALL, "auto"])
def test_same_bits_on_every_run(rng, backend, shared, dtype):
    q_lengths, k_lengths = (48,) if shared else (300, 1, 170), (300, 0, 211)
    tensors = inputs(rng, q_lengths, k_lengths, 4, 8)
    ptrs = None if shared else ptr_of(q_lengths), ptr_of(k_lengths)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    runs = [value_and_gradients(backend, tensors, *ptrs, dtype) for _ in range(3)]
    torch.set_num_threads(threads)
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(run, runs[0], strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@SHARED
@pytest.mark.parametrize("backend", [*ALL, "reference"])
def test_it_is_an_operation_that_torch_can_trace(rng, backend, shared, dtype):
    q, k, v = inputs(rng, (4,) if shared else (2, 3, 0), (5, 0, 8), dtype=dtype)
    where = None if shared else ptr_of((2, 3, 0)), ptr_of((5, 0, 8)), 5, 8
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(attention._ragged_attention, (q, k, v, *where, backend), test_utils=tests)
    plain = [t.detach() for t in (q, k, v)]
    out, log_sum = attention._ragged_attention(*plain, *where, backend)
    arguments = (torch.ones_like(out), *plain, out, log_sum, *where, backend)
    torch.library.opcheck(attention._ragged_attention_backward, arguments, test_utils=tests)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@SHARED
@pytest.mark.parametrize("backend", ALL)
def test_the_pair_keeps_its_contract(rng, backend, shared, dtype):
    implementation = get("ragged_attention", backend)
    if implementation.backward is None:
        pytest.skip("autograd differentiates it")
    q, k, v = (t.detach() for t in inputs(rng, (6,) if shared else (2, 1, 3), (5, 0, 8), 2, 4, dtype))
    q_ptr, k_ptr = None if shared else ptr_of((2, 1, 3)), ptr_of((5, 0, 8))
    out, log_sum = implementation.function(q, k, v, q_ptr, k_ptr, None, None)
    rows = q.double().repeat(3, 1, 1) if shared else q.double()
    event = torch.arange(3).repeat_interleave(6) if shared else ops.batch_from_ptr(q_ptr, 6)
    score = torch.einsum("qhd,khd->qkh", rows, k.double()) / 2
    same = event[:, None] == ops.batch_from_ptr(k_ptr, 13)
    exact = score.masked_fill(~same[..., None], -torch.inf).logsumexp(1)
    assert log_sum.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert_as_exact(log_sum, exact, 1 if dtype != torch.bfloat16 else 1000)
    assert (out.shape, out.dtype, out.is_contiguous()) == (rows.shape, dtype, True)


def test_shapes_that_do_not_fit_are_refused(rng):
    q, k, v = inputs(rng, (2,), (3,))
    with pytest.raises(ValueError, match=r"k and v \[P, H, d\]"):
        ops.ragged_attention(q, k, v[:2], ptr_of((2,)), ptr_of((3,)))
    with pytest.raises(ValueError, match=r"\[B\+1\], got \[2\] and \[3\]"):
        ops.ragged_attention(q, k, v, ptr_of((2,)), ptr_of((2, 1)))


def test_weights_sum_to_one_and_give_the_output(rng):
    q, k, v = inputs(rng, Q_LENGTHS, K_LENGTHS)
    edge_index = ops.complete_edges(ptr_of(Q_LENGTHS), ptr_of(K_LENGTHS))
    assert edge_index.size(1) == sum(a * b for a, b in zip(Q_LENGTHS, K_LENGTHS, strict=True))
    weight = ops.attention_weights(q, k, edge_index)
    total = ops.segment_sum(weight, edge_index[0], len(q))
    assert torch.allclose(total, torch.where(total > 0, 1.0, 0.0).double())
    y = ops.segment_sum(weight[..., None] * v[edge_index[1]], edge_index[0], len(q))
    torch.testing.assert_close(y, ops.ragged_attention(q, k, v, ptr_of(Q_LENGTHS), ptr_of(K_LENGTHS)))
