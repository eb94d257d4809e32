"""Attention over a neighbour table: each backend against a loop over points and heads, gradients too."""

import pytest
import torch
import torch.nn.functional as F
from helpers.backends import assert_as_exact, backends
from helpers.batches import ptr_of
from torch.autograd import gradcheck

from panoptag_pyg import ops

ALL = backends("neighbour_attention")
LENGTHS = (5, 0, 1, 13, 2, 37)


def inputs(rng, k, heads, width, lengths=LENGTHS):
    """Float32 numbers in float64, neighbours at random."""
    ptr, total = ptr_of(lengths), sum(lengths)
    draw = lambda *shape: torch.from_numpy(rng.normal(size=shape)).float().double()  # noqa: E731
    floats = [draw(total, heads, width), draw(total, heads, width), draw(total, heads), draw(heads, width)]
    table = ops.neighbour_table(draw(total, 2), k, ptr)
    return floats, table, ops.neighbour_count(ptr, k, total)


def loop(centre, neighbour, score, weight, table, count):
    attended, largest = torch.zeros_like(centre), torch.zeros_like(centre)
    for i in range(len(table)):
        for h in range(centre.size(1)):
            if count[i] == 0:
                continue
            y = F.relu(centre[i, h] + neighbour[table[i, : count[i]], h])
            a = F.leaky_relu(score[i, h] + y @ weight[h], 0.2).softmax(0)
            attended = attended.index_put((torch.tensor(i), torch.tensor(h)), a @ y)
            largest = largest.index_put((torch.tensor(i), torch.tensor(h)), y.amax(0))
    return attended, largest


def value_and_gradients(function, floats, *others):
    leaves = [tensor.detach().requires_grad_() for tensor in floats]
    y = torch.cat(function(*leaves, *others))
    weight = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)
    return y.detach(), *torch.autograd.grad((y * weight).sum(), leaves)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(("k", "heads", "width"), [(1, 1, 1), (7, 3, 5), (50, 2, 16)])
@pytest.mark.parametrize("backend", ALL)
def test_value_and_gradients_equal_a_loop(rng, backend, k, heads, width, dtype):
    floats, table, count = inputs(rng, k, heads, width)
    exact = value_and_gradients(loop, floats, table, count)
    cast = [tensor.to(dtype) for tensor in floats]
    for a, b in zip(value_and_gradients(ops.neighbour_attention, cast, table, count, backend), exact, strict=True):
        assert a.dtype == dtype
        assert_as_exact(a, b, factor=4)


@pytest.mark.parametrize("backend", ALL)
def test_gradcheck(rng, backend):
    floats, table, count = inputs(rng, 3, 2, 3, (6, 1, 3))
    leaves = [tensor.requires_grad_() for tensor in floats]
    assert gradcheck(lambda *leaves: ops.neighbour_attention(*leaves, table, count, backend), leaves)


@pytest.mark.parametrize("backend", backends("neighbour_attention", "reference"))
def test_chunks_and_threads_change_nothing(rng, backend):
    """Several chunks, an event longer than one, and the same bits on every run."""
    floats, table, count = inputs(rng, 9, 4, 8, (411, 3, 700))
    cast = [tensor.float() for tensor in floats]
    threads = torch.get_num_threads()
    results = []
    try:
        for number in (1, 2, 2):
            torch.set_num_threads(number)
            results.append(value_and_gradients(ops.neighbour_attention, cast, table, count, backend))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(results[1], results[2], strict=True))
    exact = value_and_gradients(ops.neighbour_attention, floats, table, count, "reference")
    for a, b in zip(results[0], exact, strict=True):
        assert_as_exact(a, b, factor=20)  # the weight's gradient sums over all edges


@pytest.mark.parametrize("backend", ALL)
def test_no_points_large_scores_and_bfloat16(rng, backend):
    floats, table, count = inputs(rng, 4, 2, 6, (0, 0))
    assert ops.neighbour_attention(*floats, table, count, backend)[0].shape == (0, 2, 6)
    floats, table, count = inputs(rng, 4, 2, 6)
    floats[3] *= 1e4
    for a, b in zip(ops.neighbour_attention(*floats, table, count, backend), loop(*floats, table, count), strict=True):
        assert_as_exact(a, b)
    floats[3] /= 1e4
    cast = [tensor.bfloat16() for tensor in floats]
    exact = ops.neighbour_attention(*[tensor.double() for tensor in cast], table, count, "reference")
    for a, b in zip(ops.neighbour_attention(*cast, table, count, backend), exact, strict=True):
        assert a.dtype == torch.bfloat16
        assert_as_exact(a, b)


def test_wrong_shapes_are_told(rng):
    floats, table, count = inputs(rng, 4, 2, 6)
    with pytest.raises(ValueError, match=r"got \[58, 2, 6\], \[58, 2, 6\], \[58, 2\], \[6, 2\]"):
        ops.neighbour_attention(*floats[:3], floats[3].t(), table, count)
