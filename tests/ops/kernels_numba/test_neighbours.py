"""Numba's neighbours against the float64 reference: sizes, ties, NaN, threads, large events."""

import math

import pytest
import torch
from helpers.batches import ptr_of

from panoptag_pyg import ops

pytestmark = pytest.mark.skipif(ops.available("knn_graph")["numba"] is not None, reason="numba absent")

LENGTHS = (0, 0, 1, 2, 17, 0, 41, 131, 1, 48, 49, 64, 0)
METRICS = [("wrapped_phi", 2), ("euclidean", 1), ("euclidean", 2), ("euclidean", 3), ("euclidean", 4)]
WIDE = [("euclidean", 5), ("euclidean", 37), ("euclidean", 64)]


def points(rng, dim, dtype=torch.float64, lengths=LENGTHS):
    return torch.from_numpy(3 * rng.normal(size=(sum(lengths), dim))).to(dtype), ptr_of(lengths)


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("k", [1, 7, 20, 47, 200])
@pytest.mark.parametrize(("metric", "dim"), [*METRICS, ("euclidean", 6)])
def test_float64_equals_the_reference(rng, metric, dim, k, loop):
    x, ptr = points(rng, dim)
    table, expected = (ops.neighbour_table(x, k, ptr, metric, loop, backend=b) for b in ("numba", "reference"))
    assert torch.equal(table, expected)


@pytest.mark.parametrize("k", [1, 16, 20, 200])
@pytest.mark.parametrize(("metric", "dim"), METRICS + WIDE)
def test_float32_finds_points_as_near(rng, metric, dim, k):
    x, ptr = points(rng, dim, torch.float32)
    table, expected = (ops.neighbour_table(x, k, ptr, metric, backend=b) for b in ("numba", "reference"))
    # Of points whose distances differ by less than float32 can tell, either may come first.
    assert (table != expected).float().mean() < 0.01

    def distances(index):
        delta = (x[:, None] - x[index]).double()
        if metric == "wrapped_phi":
            delta[..., 1] -= 2 * math.pi * torch.round(delta[..., 1] / (2 * math.pi))
        return delta.norm(dim=-1)

    torch.testing.assert_close(distances(table), distances(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num_points", [30, 72, 300])
def test_equal_distances_go_to_the_lower_index(rng, dtype, num_points):
    x = torch.from_numpy(rng.integers(0, 4, (num_points, 2))).to(dtype)
    for k in (3, 20):
        for loop in (False, True):
            table, expected = (
                ops.neighbour_table(x, k, ptr_of((num_points,)), loop=loop, backend=b) for b in ("numba", "reference")
            )
            assert torch.equal(table, expected)


@pytest.mark.parametrize("dim", [2, 6])
def test_all_points_at_one_place(dim):
    table = ops.neighbour_table(torch.full((200, dim), 0.3), 5, ptr_of((200,)), backend="numba")
    assert table[0].tolist() == [1, 2, 3, 4, 5]
    assert table[3].tolist() == [0, 1, 2, 4, 5]
    assert table[199].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("dim", [2, 6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nan_and_infinity_are_far(rng, dim, dtype):
    x, ptr = points(rng, dim, dtype)
    x[::7] = math.nan
    x[1::7] = math.inf
    for k in (3, 25):
        table = ops.neighbour_table(x, k, ptr, backend="numba")
        event = ops.batch_from_ptr(ptr, len(x))
        assert (event[table] == event[:, None]).all()
        mask = ops.neighbour_mask(ptr, k, len(x))
        rows = torch.arange(len(x))[:, None].expand_as(table)[mask]
        assert ((table[mask] != rows) | (ptr.diff()[event[rows]] == 1)).all()
        finite = torch.isfinite(x).all(1)
        enough = torch.zeros_like(event).index_add_(0, event, finite.long())[event] > k
        assert finite[table[finite & enough]].all()


@pytest.mark.parametrize(("metric", "dim"), [("wrapped_phi", 2), ("euclidean", 24)])
def test_the_same_bits_with_any_number_of_threads(rng, metric, dim):
    x, ptr = points(rng, dim, torch.float32, (300, 500, 7))
    before = torch.get_num_threads()
    tables = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            tables.append(ops.neighbour_table(x, 9, ptr, metric, backend="numba"))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(tables[0], tables[1])
    assert torch.equal(tables[0], tables[2])


@pytest.mark.parametrize(("metric", "dim"), [("wrapped_phi", 2), ("euclidean", 16), ("euclidean", 33)])
def test_a_large_event(rng, metric, dim):
    x, ptr = points(rng, dim, torch.float32, (3, 1500, 0, 40))
    table, expected = (ops.neighbour_table(x, 20, ptr, metric, backend=b) for b in ("numba", "reference"))
    assert (table == expected).float().mean() > 0.999


def test_distances_over_many_orders_of_magnitude(rng):
    x = torch.from_numpy(10.0 ** rng.uniform(-12, 12, (400, 2)))
    for dtype in (torch.float32, torch.float64):
        table, expected = (
            ops.neighbour_table(x.to(dtype), 10, ptr_of((400,)), backend=b) for b in ("numba", "reference")
        )
        assert (table == expected).float().mean() > 0.98


def test_other_metrics_run_in_torch(rng):
    x, ptr = points(rng, 5, torch.float32)
    table, expected = (ops.neighbour_table(x, 4, ptr, "cosine", backend=b) for b in ("numba", "torch"))
    assert torch.equal(table, expected)
