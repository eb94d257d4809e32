"""Nearest neighbours against a plain loop: ties, NaN, lonely points, angles."""

import itertools
import math

import pytest
import torch
from helpers.batches import ptr_of

from panoptag_pyg import ops
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.ops import neighbours_torch
from panoptag_pyg.ops.registry import find

#: All that can run here and promise an order of equal distances.
BACKENDS = [name for name, reason in ops.available("knn_graph").items() if reason is None and name != "torch-cluster"]
#: Those that compute in the input's precision.
QUICK = [name for name in BACKENDS if name != "reference"]
LENGTHS = (0, 0, 1, 2, 17, 0, 41, 131, 1, 0)


def brute_force(x, k, ptr, metric):
    """Neighbours by a Python loop and sorted(): nothing shared with the code under test."""
    rows = []
    bounds = ptr.tolist()
    for start, stop in itertools.pairwise(bounds):
        for i in range(start, stop):
            found = []
            for j in range(start, stop):
                delta = (x[i] - x[j]).tolist()
                if metric == "wrapped_phi":
                    delta[1] = math.remainder(delta[1], 2 * math.pi)
                distance = sum(c * c for c in delta)
                if metric == "cosine":
                    distance = 1 - float(torch.cosine_similarity(x[i], x[j], dim=0))
                if i != j:
                    found.append((distance, j))
            order = [j for _, j in sorted(found)] or [i]
            rows.append([order[s] if s < len(order) else order[0] for s in range(k)])
    return torch.tensor(rows, dtype=torch.long).view(-1, k)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("metric", "dim"), [("wrapped_phi", 2), ("euclidean", 2), ("euclidean", 5), ("cosine", 4)])
@pytest.mark.parametrize("k", [1, 3, 7, 150])
def test_table_equals_a_loop(rng, backend, metric, dim, k):
    ptr = ptr_of((0, 1, 2, 5, 0, 13, 31, 0))
    x = torch.from_numpy(rng.normal(size=(int(ptr[-1]), dim))) * 3
    table = ops.neighbour_table(x, k, ptr, metric, backend=backend)
    assert torch.equal(table, brute_force(x, k, ptr, metric))


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("k", [1, 5, 16, 200])
@pytest.mark.parametrize(("metric", "dim"), [("wrapped_phi", 2), ("euclidean", 1), ("euclidean", 4), ("euclidean", 23)])
@pytest.mark.parametrize("backend", QUICK)
def test_float32_equals_reference(rng, backend, metric, dim, k, loop):
    ptr = ptr_of(LENGTHS)
    x = torch.from_numpy(rng.normal(size=(int(ptr[-1]), dim))).float()
    table = ops.neighbour_table(x, k, ptr, metric, loop, backend)
    reference = ops.neighbour_table(x, k, ptr, metric, loop, backend="reference")
    # Where the two differ, float32 must have found the two distances as good as equal.
    differ = (table != reference).nonzero()
    assert len(differ) < 0.01 * table.numel() + 2
    for i, s in differ.tolist():
        a, b = ((x[i] - x[t[i, s]]).double().norm() for t in (table, reference))
        assert abs(a - b) < 1e-5 * max(1.0, float(b))


@pytest.mark.parametrize("backend", QUICK)
def test_a_point_far_from_the_origin_keeps_its_neighbours(rng, backend):
    x = torch.from_numpy(rng.normal(size=(60, 8))).float() * 0.01 + 100
    ptr = ptr_of((60,))
    table, reference = (ops.neighbour_table(x, 4, ptr, backend=b) for b in (backend, "reference"))
    assert (table == reference).float().mean() > 0.95


@pytest.mark.parametrize("backend", QUICK)
@pytest.mark.parametrize("dim", [2, 3, 9])
def test_an_event_is_the_same_alone_and_in_company(rng, monkeypatch, backend, dim):
    """Points on a lattice of thirds: rounding alone orders their many equal distances, so any other rounding shows."""
    if backend == "numba":
        monkeypatch.setattr("panoptag_pyg.ops.kernels_numba.neighbours.CHUNK", 1 << 14)
    lengths = (5, 30, 0, 1, 130, 2, 41)
    ptr = ptr_of(lengths)
    x = torch.from_numpy(rng.integers(0, 4, size=(int(ptr[-1]), dim))).float() / 3
    table = ops.neighbour_table(x, 6, ptr, backend=backend)
    assert torch.equal(table, ops.neighbour_table(x, 6, ptr, backend=backend))
    for start, stop in itertools.pairwise(ptr.tolist()):
        alone = ops.neighbour_table(x[start:stop].clone(), 6, ptr_of((stop - start,)), backend=backend)
        assert torch.equal(table[start:stop] - start, alone)


@pytest.mark.parametrize("tile", [64, 1000])
def test_tiles_do_not_change_the_table(rng, monkeypatch, tile):
    ptr = ptr_of(LENGTHS)
    x = torch.from_numpy(rng.normal(size=(int(ptr[-1]), 2))).float()
    whole = ops.neighbour_table(x, 6, ptr, "wrapped_phi", backend="torch")
    monkeypatch.setattr(neighbours_torch, "TILE", tile)
    assert torch.equal(ops.neighbour_table(x, 6, ptr, "wrapped_phi", backend="torch"), whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("tile", [1, 500, 1 << 25])
@pytest.mark.parametrize(("metric", "dim"), [("wrapped_phi", 2), ("euclidean", 9), ("cosine", 6)])
def test_the_batched_way_of_gpus_gives_the_same_table(rng, monkeypatch, dtype, loop, tile, metric, dim):
    ptr = ptr_of(LENGTHS)
    x = torch.from_numpy(rng.normal(size=(int(ptr[-1]), dim))).to(dtype)
    expected = ops.neighbour_table(x, 9, ptr, metric, loop, backend="torch")
    monkeypatch.setattr(neighbours_torch, "DEVICE_TILE", tile)
    table = torch.full_like(expected, -1)
    bounds = ptr.tolist()
    neighbours_torch._fill_on_device(table, x, x, bounds, bounds, metric, "first" if loop else "last")
    assert (table == expected).float().mean() > 0.995
    assert (table >= 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_distances_go_to_the_lower_index(backend, dtype):
    grid = torch.cartesian_prod(torch.arange(6), torch.arange(6)).to(dtype)
    duplicated = torch.cat([grid, grid])
    table = ops.neighbour_table(duplicated, 8, ptr_of((72,)), backend=backend)
    assert torch.equal(table, brute_force(duplicated, 8, ptr_of((72,)), "euclidean"))
    same = torch.zeros(40, 2, dtype=dtype)
    table = ops.neighbour_table(same, 3, ptr_of((40,)), backend=backend)
    assert table[0].tolist() == [1, 2, 3]
    assert table[2].tolist() == [0, 1, 3]
    assert table[39].tolist() == [0, 1, 2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("backend", BACKENDS)
def test_neighbours_never_come_from_another_event_even_with_nan(rng, backend, dtype):
    ptr = ptr_of(LENGTHS)
    x = torch.from_numpy(rng.normal(size=(int(ptr[-1]), 6))).to(dtype)
    x[::7] = math.nan
    x[1::7] = math.inf
    table = ops.neighbour_table(x, 12, ptr, backend=backend)
    event = ops.batch_from_ptr(ptr, len(x))
    assert (event[table] == event[:, None]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("metric", ["euclidean", "wrapped_phi"])
@pytest.mark.parametrize("backend", QUICK)
def test_nan_is_further_than_all_numbers_and_nearer_than_the_point_itself(rng, backend, dtype, loop, metric):
    ptr = ptr_of(LENGTHS)
    x = torch.from_numpy(rng.integers(-20, 20, size=(int(ptr[-1]), 2))).to(dtype) / 8
    x[::5, 0] = math.nan
    x[1::9, 1] = -math.inf
    table = ops.neighbour_table(x, 40, ptr, metric, loop, backend)
    assert torch.equal(table, ops.neighbour_table(x, 40, ptr, metric, loop, backend="reference"))
    batched, bounds = torch.full_like(table, -1), ptr.tolist()
    neighbours_torch._fill_on_device(batched, x, x, bounds, bounds, metric, "first" if loop else "last")
    assert torch.equal(table, batched)
    own = (table == torch.arange(len(x))[:, None]) & ops.neighbour_mask(ptr, 40, len(x), loop)
    assert torch.equal(own[:, 0], torch.full((len(x),), loop))
    assert not own[:, 1:].any()


@pytest.mark.parametrize("backend", QUICK)
def test_a_point_that_is_not_finite_leaves_the_others_their_neighbours(rng, backend):
    x = torch.from_numpy(rng.normal(size=(50, 12))).float()
    before = ops.neighbour_table(x, 5, ptr_of((50,)), backend=backend)
    for bad in (math.nan, math.inf):
        spoiled = torch.cat([x, torch.full((1, 12), bad)])
        after = ops.neighbour_table(spoiled, 5, ptr_of((51,)), backend=backend)
        assert (after[:50] == before).float().mean() > 0.99
        assert not (after[:50] == 50).any()


def test_nan_is_an_error_in_debug_mode(monkeypatch):
    x = torch.tensor([[0.0, 1.0], [math.nan, 0.0]])
    monkeypatch.setenv("PANOPTAG_DEBUG", "1")
    with pytest.raises(ValueError, match="row 1"):
        ops.neighbour_table(x, 1, ptr_of((2,)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_phi_is_an_angle(backend):
    x = torch.tensor([[0.0, math.pi - 0.01], [0.0, -math.pi + 0.01], [0.0, math.pi - 0.2], [0.0, 5 * math.pi]])
    ptr = ptr_of((4,))
    assert ops.neighbour_table(x, 3, ptr, "wrapped_phi", backend=backend)[0].tolist() == [3, 1, 2]
    assert ops.neighbour_table(x, 3, ptr, "euclidean", backend=backend)[0].tolist() == [2, 1, 3]


def test_mask_tells_repeated_slots():
    ptr = ptr_of((0, 1, 3, 2))
    mask = ops.neighbour_mask(ptr, 2, 6)
    assert mask.tolist() == [[False, False], *[[True, True]] * 3, *[[True, False]] * 2]
    assert ops.neighbour_mask(ptr, 2, 6, loop=True).sum(1).tolist() == [1, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_input(backend):
    assert ops.neighbour_table(torch.empty(0, 2), 3, ptr_of((0, 0)), backend=backend).shape == (0, 3)
    assert ops.neighbour_table(torch.empty(0, 2), 3, ptr_of(()), backend=backend).shape == (0, 3)


def test_non_contiguous_input(rng):
    x = torch.from_numpy(rng.normal(size=(30, 8)))[:, ::2]
    assert torch.equal(ops.neighbour_table(x, 3, ptr_of((30,))), ops.neighbour_table(x.clone(), 3, ptr_of((30,))))


def test_bad_arguments():
    x, ptr = torch.rand(5, 3), ptr_of((5,))
    with pytest.raises(ValueError, match="at least 1"):
        ops.neighbour_table(x, 0, ptr)
    with pytest.raises(ValueError, match=r"\[P, 2\]"):
        ops.neighbour_table(x, 1, ptr, "wrapped_phi")
    with pytest.raises(ConfigError, match="wrapped_phi"):
        ops.neighbour_table(x, 1, ptr, "wraped")
    with pytest.raises(ValueError, match=r"ascend from 0 to the number of rows, 5, got \[0, 3\]"):
        ops.neighbour_table(x, 1, torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="ascend"):
        ops.neighbour_table(x, 1, torch.tensor([0, 4, 2, 5]))


@pytest.mark.skipif(ops.available("knn_graph")["torch-cluster"] is not None, reason="torch-cluster absent")
def test_torch_cluster_finds_the_same(rng):
    ptr = ptr_of(LENGTHS)
    x = torch.from_numpy(rng.normal(size=(int(ptr[-1]), 5))).float()
    function = find("neighbour_table", "torch-cluster", x.device)
    for loop in (False, True):
        table = function(x, 4, ptr, "euclidean", loop)
        assert (table == ops.neighbour_table(x, 4, ptr, loop=loop)).float().mean() > 0.99
