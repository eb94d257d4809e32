"""Attention with a bias per pair: each backend against the reference, and that against torch's."""

import pytest
import torch
import torch.nn.functional as F
from helpers.backends import assert_as_exact, backends
from helpers.batches import ptr_of
from torch.autograd import gradcheck

from panoptag_pyg import ops
from panoptag_pyg.ops import pair_attention_torch
from panoptag_pyg.ops.pair_attention import reference

ALL = backends("pair_attention", "reference")
LENGTHS = {
    "mixed": (3, 0, 1, 7, 3, 13, 2, 3, 0),
    "often repeated": (3, 1, 2, 3, 1, 2, 3, 1, 2),
    "sorted": (0, 1, 1, 3, 3, 3, 8, 11),
    "equal": (5, 5, 5),
    "one": (1,),
    "empty sets": (0, 0),
    "none": (),
}


def inputs(rng, lengths, heads=3, dim=5, dtype=torch.float64):
    draw = lambda *shape: torch.from_numpy(rng.normal(size=shape)).to(dtype)  # noqa: E731
    num_points, num_pairs = sum(lengths), sum(n * n for n in lengths)
    return [*(draw(num_points, heads, dim) for _ in range(3)), 3 * draw(num_pairs, heads)]


def value_and_gradients(backend, tensors, ptr, max_length=None, dropout=0.0, seed=0):
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    torch.manual_seed(seed)
    y = ops.pair_attention(*leaves, ptr, max_length, dropout, backend=backend)
    weight = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).to(y.dtype).view_as(y)
    return [y.detach(), *torch.autograd.grad((y * weight).sum(), leaves)]


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("backend", ALL)
def test_value_and_gradients_equal_the_reference(rng, backend, lengths, dropout):
    tensors, ptr = inputs(rng, lengths), ptr_of(lengths)
    for longest in (None, max(lengths, default=0)):
        actual = value_and_gradients(backend, tensors, ptr, longest, dropout)
        for a, b in zip(actual, value_and_gradients("reference", tensors, ptr, None, dropout), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("heads", "dim"), [(1, 1), (8, 16), (2, 37)])
@pytest.mark.parametrize("backend", ALL)
def test_precisions_and_widths(rng, backend, heads, dim, dtype):
    lengths = (1, 17, 0, 53, 17)
    tensors = [tensor.to(dtype) for tensor in inputs(rng, lengths, heads, dim)]
    actual = value_and_gradients(backend, tensors, ptr_of(lengths))
    expected = value_and_gradients("reference", [tensor.double() for tensor in tensors], ptr_of(lengths))
    for a, b in zip(actual, expected, strict=True):
        assert a.dtype == dtype
        assert_as_exact(a, b)


@pytest.mark.parametrize("backend", ALL)
def test_blocks_smaller_than_their_sets(rng, backend, monkeypatch):
    monkeypatch.setattr(pair_attention_torch, "BLOCK", 60)
    tensors, ptr = inputs(rng, (4, 4, 4, 2, 2, 9)), ptr_of((4, 4, 4, 2, 2, 9))
    for a, b in zip(
        value_and_gradients(backend, tensors, ptr), value_and_gradients("reference", tensors, ptr), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_reference_is_torchs_attention_with_a_mask(rng):
    q, k, v, bias = inputs(rng, (6, 4))
    y = reference(q, k, v, bias, None, ptr_of((6, 4)))
    for points, pairs, n in ((slice(0, 6), slice(0, 36), 6), (slice(6, 10), slice(36, 52), 4)):
        mask = bias[pairs].view(n, n, -1).permute(2, 0, 1)
        expected = F.scaled_dot_product_attention(*(t[points].transpose(0, 1) for t in (q, k, v)), mask)
        torch.testing.assert_close(y[points], expected.transpose(0, 1))


@pytest.mark.parametrize("backend", ALL)
def test_numerical_gradient(rng, backend):
    tensors = [tensor.requires_grad_() for tensor in inputs(rng, (2, 0, 3), heads=2, dim=2)]
    assert gradcheck(lambda *leaves: ops.pair_attention(*leaves, ptr_of((2, 0, 3)), backend=backend), tensors)


@pytest.mark.parametrize("backend", ALL)
def test_a_bias_of_minus_infinity_hides_a_pair(rng, backend):
    q, k, v, bias = inputs(rng, (3,))
    bias[1] = -torch.inf  # the first point doesn't see the second
    changed = v.clone()
    changed[1] += 100
    before, after = (ops.pair_attention(q, k, value, bias, ptr_of((3,)), backend=backend) for value in (v, changed))
    torch.testing.assert_close(before[0], after[0])
    assert not torch.allclose(before[2], after[2])


def test_dropout_keeps_the_mean(rng):
    tensors, ptr = inputs(rng, (3, 5)), ptr_of((3, 5))
    torch.manual_seed(1)
    mean = torch.stack([ops.pair_attention(*tensors, ptr, dropout=0.3) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(mean, ops.pair_attention(*tensors, ptr), rtol=0, atol=0.15)


def test_wrong_shapes_are_told(rng):
    q, k, v, bias = inputs(rng, (3, 2))
    with pytest.raises(ValueError, match="each of the 13 pairs"):
        ops.pair_attention(q, k, v, bias[:-1], ptr_of((3, 2)))
    with pytest.raises(ValueError, match=r"bias \[N, H\]"):
        ops.pair_attention(q, k, v, bias[:, :1], ptr_of((3, 2)))


def test_compiles_whole(rng):
    def step(q, k, v, bias, ptr):
        heads = (tensor.view(-1, 3, 5) for tensor in (q, k, v))  # as of a layer, whose widths don't change
        return ops.pair_attention(*heads, bias.view(-1, 3), ptr).square().sum()

    compiled = torch.compile(step, fullgraph=True, dynamic=True, backend="aot_eager")
    for lengths in ((3, 1, 4), (2, 5, 5, 0)):
        tensors, ptr = inputs(rng, lengths), ptr_of(lengths)
        leaves = [[tensor.clone().requires_grad_() for tensor in tensors] for _ in range(2)]
        torch.testing.assert_close(compiled(*leaves[0], ptr), step(*leaves[1], ptr))
        compiled(*leaves[0], ptr).backward()
        step(*leaves[1], ptr).backward()
        for a, b in zip(*leaves, strict=True):
            torch.testing.assert_close(a.grad, b.grad)
