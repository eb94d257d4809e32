"""Layers and reductions in plain ATen against their references."""

import numpy as np
import pytest
import torch
from helpers.batches import ptr_of

from panoptag_pyg import ops
from panoptag_pyg.export.plain import PlainOperations, plain_operations
from panoptag_pyg.ops.ragged_pairs import leading_rows

LENGTHS = [(3, 0, 1, 7, 2, 0), (1,), (0,), (), (101,), (0, 0)]


def draw(rng, *shape):
    return torch.from_numpy(rng.normal(size=shape))


def both(function):
    """By the reference, and in plain ATen."""
    with ops.use_backend("reference"):
        expected = function()
    with PlainOperations():
        return function(), expected


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 13])
def test_norm_linear(rng, rows, residual):
    x, norm, linear = draw(rng, rows, 6), (draw(rng, 6), draw(rng, 6)), (draw(rng, 6, 6), draw(rng, 6))
    close(*both(lambda: ops.norm_linear(x, norm, linear, residual)))


@pytest.mark.parametrize("widths", [(7,), (7, 5), (7, 7, 4)])
@pytest.mark.parametrize(("rows", "k"), [(0, 3), (1, 1), (1, 5), (31, 7), (13, 40)])
def test_edge_conv(rng, rows, k, widths):
    x = draw(rng, rows, 3)
    table = ops.neighbour_table(x, k, ptr_of((rows,)))
    linears, inputs = [], 6
    for width in widths:
        linears.append((draw(rng, width, inputs), draw(rng, width)))
        inputs = width
    norms = [(draw(rng, width), draw(rng, width)) for width in widths[:-1]]
    close(*both(lambda: ops.edge_conv(x, table, linears, norms)))


@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min"])
@pytest.mark.parametrize("further", [(), (3,), (2, 3)])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_segment_reduce(rng, lengths, further, reduce):
    x, ptr = draw(rng, sum(lengths), *further), ptr_of(lengths)
    close(*both(lambda: ops.segment_reduce(x, ptr, reduce)))


@pytest.mark.parametrize(("rows", "segments"), [(0, 0), (0, 3), (1, 1), (53, 7)])
def test_segment_softmax(rng, rows, segments):
    x = draw(rng, rows, 2)
    index = torch.from_numpy(rng.integers(0, max(segments, 1), rows))
    close(*both(lambda: ops.segment_softmax(x, index, segments)))


@pytest.mark.parametrize("lengths", [(5, 1, 0, 31), (1,), (0,)])
def test_weighted_neighbours_and_their_attention(rng, lengths):
    number, ptr = sum(lengths), ptr_of(lengths)
    features, points = draw(rng, number, 4), draw(rng, number, 2)
    table, count = ops.neighbour_table(points, 6, ptr), ops.neighbour_count(ptr, 6, number)
    weight = draw(rng, number, 6)
    weight = torch.where(ops.neighbour_mask(ptr, 6, number), weight, weight[:, :1])
    close(*both(lambda: ops.weighted_neighbours(features, weight, table, count)))
    centre, neighbour, score, of_edge = (
        draw(rng, number, 2, 3),
        draw(rng, number, 2, 3),
        draw(rng, number, 2),
        draw(rng, 2, 3),
    )
    for actual, expected in zip(
        *both(lambda: ops.neighbour_attention(centre, neighbour, score, of_edge, table, count)), strict=True
    ):
        close(actual, expected)


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("self_pairs", [False, True])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_pair_index(lengths, lower, self_pairs):
    assert torch.equal(*both(lambda: ops.pair_index(ptr_of(lengths), lower, self_pairs)))


@pytest.mark.parametrize("count", [1, 3, 200])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_leading_rows(rng, lengths, count):
    key = torch.from_numpy(rng.integers(0, 5, sum(lengths))).double()
    for actual, expected in zip(*both(lambda: leading_rows(key, ptr_of(lengths), count)), strict=True):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("right", [False, True])
def test_searchsorted(rng, right):
    values = torch.from_numpy(rng.integers(0, 9, 31)).sort().values
    asked = torch.from_numpy(rng.integers(-1, 11, 13))
    with PlainOperations():
        assert torch.equal(torch.searchsorted(values, asked, right=right), torch.bucketize(asked, values, right=right))


@pytest.mark.parametrize("equation", ["jhr,hrd->jhd", "ij,jk->ik", "bij,bkj->bik", "ij,ik->kj"])
def test_einsum(rng, equation):
    terms = equation.partition("->")[0].split(",")
    sizes = {letter: int(rng.integers(1, 5)) for letter in "".join(terms)}
    operands = [draw(rng, *(sizes[letter] for letter in term)) for term in terms]
    expected = torch.einsum(equation, *operands)
    with PlainOperations():
        close(torch.einsum(equation, *operands), expected)


def test_hypot(rng):
    x, y = torch.from_numpy(rng.normal(size=(2, 1009)).astype(np.float32) * 10.0 ** rng.uniform(-30, 30))
    x[0] = y[0] = 0
    expected = torch.from_numpy(np.hypot(x.double().numpy(), y.double().numpy())).float()
    with PlainOperations():
        assert torch.equal(torch.hypot(x, y), expected)


def test_every_operation_of_this_package_that_taggers_call_is_there():
    assert {"edge_conv", "neighbour_table", "norm_linear", "pair_attention", "ragged_attention"} <= set(
        plain_operations()
    )
