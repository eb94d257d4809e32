"""Mean and maximum of weighted neighbours: each backend against a loop over points, gradients too."""

import pytest
import torch
from helpers.backends import assert_as_exact, backends
from helpers.batches import ptr_of
from torch.autograd import gradcheck

from panoptag_pyg import ops
from panoptag_pyg.ops.ragged import take_rows

ALL = backends("weighted_neighbours")
LENGTHS = (5, 0, 1, 13, 2, 37)


def inputs(rng, k, width, lengths=LENGTHS, loop=False):
    """Features and coordinates whose numbers are float32's, neighbours by the coordinates."""
    ptr, total = ptr_of(lengths), sum(lengths)
    features, space = (torch.from_numpy(rng.normal(size=(total, n))).float().double() for n in (width, 3))
    table = ops.neighbour_table(space, k, ptr, loop=loop)
    return features, space, table, ops.neighbour_count(ptr, k, total, loop)


def call(features, space, table, count, backend):
    weight = (-0.4 * (space[:, None] - take_rows(space, table)).square().sum(-1)).exp()
    return ops.weighted_neighbours(features, weight, table, count, backend=backend)


def loop_over_points(features, space, table, count):
    rows = []
    for i in range(len(table)):
        neighbours = table[i, : count[i]]
        messages = (-0.4 * (space[i] - space[neighbours]).square().sum(-1)).exp()[:, None] * features[neighbours]
        none = features.new_zeros(2 * features.size(1))
        rows.append(torch.cat([messages.mean(0), messages.amax(0)]) if len(neighbours) else none)
    return torch.stack(rows)


def value_and_gradients(function, features, space, *others):
    leaves = [tensor.detach().requires_grad_() for tensor in (features, space)]
    y = function(*leaves, *others)
    weight = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)
    return y.detach(), *torch.autograd.grad((y * weight).sum(), leaves)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(("k", "width", "loop"), [(1, 1, False), (7, 22, False), (11, 5, True), (50, 3, False)])
@pytest.mark.parametrize("backend", ALL)
def test_value_and_gradients_equal_a_loop(rng, backend, k, width, loop, dtype):
    features, space, table, count = inputs(rng, k, width, loop=loop)
    exact = value_and_gradients(loop_over_points, features, space, table, count)
    cast = features.to(dtype), space.to(dtype)
    for a, b in zip(value_and_gradients(call, *cast, table, count, backend), exact, strict=True):
        assert a.dtype == dtype
        assert_as_exact(a, b, factor=4)


@pytest.mark.parametrize("backend", ALL)
def test_gradcheck(rng, backend):
    features, space, table, count = inputs(rng, 3, 4, (6, 1, 3))
    leaves = [tensor.requires_grad_() for tensor in (features, space)]
    assert gradcheck(lambda f, s: call(f, s, table, count, backend), leaves)


@pytest.mark.parametrize("backend", backends("weighted_neighbours", "reference"))
def test_chunks_and_threads_change_nothing(rng, backend):
    """Several chunks, an event longer than one, and the same bits on every run."""
    features, space, table, count = inputs(rng, 9, 33, (411, 3, 700))
    cast = features.float(), space.float()
    threads = torch.get_num_threads()
    results = []
    try:
        for number in (1, 2, 2):
            torch.set_num_threads(number)
            results.append(value_and_gradients(call, *cast, table, count, backend))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(results[1], results[2], strict=True))
    for a, b in zip(results[0], value_and_gradients(call, features, space, table, count, "reference"), strict=True):
        assert_as_exact(a, b, factor=4)


@pytest.mark.parametrize("backend", ALL)
def test_no_points_and_bfloat16(rng, backend):
    features, space, table, count = inputs(rng, 4, 6, (0, 0))
    assert call(features, space, table, count, backend).shape == (0, 12)
    features, space, table, count = inputs(rng, 4, 6)
    weight = torch.rand(table.shape)
    y = ops.weighted_neighbours(features.bfloat16(), weight, table, count, backend)
    assert y.dtype == torch.float32
    y = ops.weighted_neighbours(features.bfloat16(), weight.bfloat16(), table, count, backend)
    exact = ops.weighted_neighbours(features, weight.double(), table, count, "reference")
    if len(table):
        real = slice(*ptr_of(LENGTHS)[5:7].tolist())
        assert_as_exact(y[real], exact[real])


def test_wrong_shapes_are_told(rng):
    features, space, table, count = inputs(rng, 4, 6)
    with pytest.raises(ValueError, match=r"\[58, 6\], \[58, 3\], \[58, 4\]"):
        ops.weighted_neighbours(features, space, table, count)
