"""Neighbours in plain ATen against the float64 reference: ties, lonely points, what isn't a number, many sizes."""

import math

import pytest
import torch
from helpers.batches import ptr_of

from panoptag_pyg import ops
from panoptag_pyg.export.plain import PlainOperations
from panoptag_pyg.ops.unwrapped import unwrapped_neighbours

LENGTHS = [(0, 1, 2, 5, 0, 13, 31, 0), (1,), (0,), (), (0, 0), (101,), (2, 3)]
METRICS = [("wrapped_phi", 2), ("euclidean", 2), ("euclidean", 23), ("cosine", 4)]


def plain(function, *arguments, **options):
    with PlainOperations():
        return function(*arguments, **options)


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("k", [1, 7, 40])
@pytest.mark.parametrize(("metric", "dim"), METRICS)
@pytest.mark.parametrize("lengths", LENGTHS)
def test_table_equals_the_reference(rng, lengths, metric, dim, k, loop):
    ptr = ptr_of(lengths)
    x = torch.from_numpy(rng.normal(size=(sum(lengths), dim))) * 3
    expected = ops.neighbour_table(x, k, ptr, metric, loop, backend="reference")
    assert torch.equal(plain(ops.neighbour_table, x, k, ptr, metric, loop), expected)


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize(("metric", "dim"), METRICS[:2])
def test_equal_distances_go_to_the_lower_index(rng, metric, dim, loop):
    # Few whole numbers: most distances occur many times, and many are 0. They are exact in float32.
    ptr = ptr_of((37, 1, 0, 64))
    x = torch.from_numpy(rng.integers(-1, 2, size=(102, dim))).float()
    expected = ops.neighbour_table(x, 9, ptr, metric, loop, backend="reference")
    assert torch.equal(plain(ops.neighbour_table, x, 9, ptr, metric, loop), expected)


@pytest.mark.parametrize(("metric", "dim"), METRICS)
def test_float32_finds_points_as_near_as_the_reference(rng, metric, dim):
    ptr = ptr_of((3, 0, 53, 131, 1))
    x = torch.from_numpy(rng.normal(size=(188, dim))).float()
    table = plain(ops.neighbour_table, x, 8, ptr, metric)
    expected = ops.neighbour_table(x, 8, ptr, metric, backend="reference")
    where = x.double()
    distance = torch.stack([ops.metrics.measure(ops.metrics.find_metric(metric), row[None], where)[0] for row in where])
    torch.testing.assert_close(distance.gather(1, table), distance.gather(1, expected), rtol=1e-4, atol=1e-5)


def test_what_is_not_a_number_is_far_away_and_stays_in_its_event(rng):
    ptr = ptr_of((6, 6))
    x = torch.from_numpy(rng.normal(size=(12, 2))).float()
    x[2] = torch.nan
    table = plain(ops.neighbour_table, x, 4, ptr, "wrapped_phi")
    assert not (table[[0, 1, 3, 4, 5]] == 2).any()
    assert torch.equal(table[6:], ops.neighbour_table(x, 4, ptr, "wrapped_phi", backend="reference")[6:])


@pytest.mark.parametrize("k", [1, 6])
@pytest.mark.parametrize(("metric", "dim"), METRICS)
def test_neighbours_in_another_set(rng, metric, dim, k):
    x_ptr, y_ptr = ptr_of((4, 0, 1, 13, 0)), ptr_of((3, 2, 0, 7, 0))
    x, y = (torch.from_numpy(rng.normal(size=(int(ptr[-1]), dim))) for ptr in (x_ptr, y_ptr))
    expected = ops.cross_neighbour_table(x, y, k, x_ptr, y_ptr, metric, backend="reference")
    assert torch.equal(plain(ops.cross_neighbour_table, x, y, k, x_ptr, y_ptr, metric), expected)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_neighbours_across_the_seam_of_phi(rng, lengths):
    ptr = ptr_of(lengths)
    pos = torch.from_numpy(rng.uniform(-math.pi, math.pi, (sum(lengths), 2)))
    table = ops.neighbour_table(pos, 4, ptr, "wrapped_phi")
    expected = unwrapped_neighbours(pos, table)
    for actual, wanted in zip(plain(unwrapped_neighbours, pos, table), expected, strict=True):
        assert torch.equal(actual, wanted)
    if sum(lengths) > 50:
        assert len(expected[0]) > len(pos)
