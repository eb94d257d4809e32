"""knn, knn_graph, radius and radius_graph: torch-cluster's arguments and conventions, and every awkward input."""

import inspect
import itertools
import math

import pytest
import torch
from helpers.batches import ptr_of

from panoptag_pyg import ops
from panoptag_pyg.errors import ConfigError

X_LENGTHS = (0, 5, 1, 0, 31, 3, 61, 0)
Y_LENGTHS = (2, 7, 0, 0, 11, 1, 13, 0)
BACKENDS = ["torch", "reference"]
if ops.available("knn")["torch-cluster"] is None:
    BACKENDS.append("torch-cluster")
METRICS = [("euclidean", 1), ("euclidean", 2), ("euclidean", 3), ("euclidean", 23), ("wrapped_phi", 2), ("cosine", 5)]


def points(rng, lengths, dim, dtype=torch.float64):
    return torch.from_numpy(rng.normal(size=(sum(lengths), dim)) * 3).to(dtype)


def distance(a, b, metric):
    """In plain Python: nothing shared with the code under test."""
    a, b = a.tolist(), b.tolist()
    if metric == "cosine":
        norms = math.hypot(*a) * math.hypot(*b)
        return max(0.0, 1 - sum(p * q for p, q in zip(a, b, strict=True)) / norms)
    delta = [p - q for p, q in zip(a, b, strict=True)]
    if metric == "wrapped_phi":
        delta[1] = math.remainder(delta[1], 2 * math.pi)
    return math.hypot(*delta)


def brute_force(x, y, x_ptr, y_ptr, metric, keep, itself=True):
    """Edges (centre, neighbour): of each row of y's sorted (distance, index), those that ``keep`` takes."""
    edges = []
    events = zip(itertools.pairwise(x_ptr.tolist()), itertools.pairwise(y_ptr.tolist()), strict=True)
    for (x_start, x_stop), (y_start, y_stop) in events:
        for i in range(y_start, y_stop):
            found = sorted((distance(y[i], x[j], metric), j) for j in range(x_start, x_stop) if itself or i != j)
            edges += [(i, j) for _, j in keep(found)]
    return torch.tensor(edges, dtype=torch.long).view(-1, 2).T


def usable(backend, metric):
    return backend != "torch-cluster" or metric == "euclidean"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("metric", "dim"), METRICS)
def test_knn_equals_a_loop(rng, backend, metric, dim):
    if not usable(backend, metric):
        pytest.skip("Euclidean only")
    x, y = points(rng, X_LENGTHS, dim), points(rng, Y_LENGTHS, dim)
    ptrs = ptr_of(X_LENGTHS), ptr_of(Y_LENGTHS)
    for k in (1, 4, 200):
        edges = ops.knn(x, y, k, ptr_x=ptrs[0], ptr_y=ptrs[1], metric=metric, backend=backend)
        assert torch.equal(edges, brute_force(x, y, *ptrs, metric, lambda found, k=k: found[:k]))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("metric", "dim"), METRICS)
def test_radius_equals_a_loop(rng, backend, metric, dim):
    if not usable(backend, metric):
        pytest.skip("Euclidean only")
    x, y = points(rng, X_LENGTHS, dim), points(rng, Y_LENGTHS, dim)
    ptrs = ptr_of(X_LENGTHS), ptr_of(Y_LENGTHS)
    for r, most in ((0.0, 32), (0.5, 3), (0.9, 32), (2.5 * dim**0.5, None)):

        def keep(found, r=r, most=most):
            return [pair for pair in found if pair[0] < r][:most]

        options = {"max_num_neighbors": most, "metric": metric, "backend": backend}
        edges = ops.radius(x, y, r, ptr_x=ptrs[0], ptr_y=ptrs[1], **options)
        assert torch.equal(edges, brute_force(x, y, *ptrs, metric, keep))
        for loop in (False, True):
            graph = ops.radius_graph(x, r, ptr=ptrs[0], loop=loop, **options)
            assert torch.equal(graph.flip(0), brute_force(x, x, ptrs[0], ptrs[0], metric, keep, itself=loop))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("metric", "dim"), METRICS)
@pytest.mark.parametrize("loop", [False, True])
def test_knn_graph_equals_a_loop(rng, backend, metric, dim, loop):
    if not usable(backend, metric):
        pytest.skip("Euclidean only")
    x, ptr = points(rng, X_LENGTHS, dim), ptr_of(X_LENGTHS)
    for k in (1, 6, 150):
        graph = ops.knn_graph(x, k, ptr=ptr, loop=loop, metric=metric, backend=backend)
        expected = brute_force(x, x, ptr, ptr, metric, lambda found, k=k: found[:k], itself=loop)
        assert torch.equal(graph.flip(0), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64])
@pytest.mark.parametrize(("metric", "dim"), METRICS)
def test_lower_precision_is_computed_as_float32(rng, dtype, metric, dim):
    x, y = ((points(rng, n, dim) * (5 if dtype == torch.int64 else 1)).to(dtype) for n in (X_LENGTHS, Y_LENGTHS))
    options = {"ptr_x": ptr_of(X_LENGTHS), "ptr_y": ptr_of(Y_LENGTHS), "metric": metric}
    exact = ops.knn(x.double(), y.double(), 4, **options, backend="reference")
    edges = ops.knn(x, y, 4, **options)
    a, b = ((x.double()[e[1]], y.double()[e[0]]) for e in (edges, exact))
    near, nearest = (torch.tensor([distance(p, q, metric) for p, q in zip(*pair, strict=True)]) for pair in (a, b))
    assert torch.equal(edges[0], exact[0])
    # The neighbours may differ where float32 can't tell their distances apart.
    torch.testing.assert_close(near, nearest, rtol=1e-3, atol=2e-3 if metric == "cosine" else 5e-4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ties_and_duplicates_go_to_the_lower_index(backend, dtype):
    if backend == "torch-cluster":
        pytest.skip("has an order of its own")
    grid = torch.cartesian_prod(torch.arange(5), torch.arange(5)).to(dtype)
    x = torch.cat([grid, grid, grid])
    ptr = ptr_of((75,))
    for dim in (2, 3, 4, 5, 8):  # by differences and by products
        wide = torch.cat([x, x[:, :1].expand(-1, dim - 2)], dim=1)
        edges = ops.knn(wide, grid.new_tensor([[2] * dim, [0] * dim]), 9, backend=backend)
        expected = brute_force(
            wide, wide.new_tensor([[2] * dim, [0] * dim]), ptr, ptr_of((2,)), "euclidean", lambda found: found[:9]
        )
        assert torch.equal(edges, expected)
        graph = ops.radius_graph(wide, 2.0, max_num_neighbors=7, backend=backend)
        expected = brute_force(
            wide, wide, ptr, ptr, "euclidean", lambda found: [f for f in found if f[0] < 2][:7], itself=False
        )
        assert torch.equal(graph.flip(0), expected)


@pytest.mark.parametrize("metric", ["euclidean", "wrapped_phi", "cosine"])
@pytest.mark.parametrize("dim", [2, 9])
@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_nan_reaches_no_other_event_and_no_other_point(rng, metric, dim, backend):
    if metric == "wrapped_phi" and dim != 2:
        pytest.skip("two coordinates")
    x, y = points(rng, X_LENGTHS, dim, torch.float32), points(rng, Y_LENGTHS, dim, torch.float32)
    bad = torch.zeros(len(x), dtype=torch.bool)
    bad[::7] = True
    x[bad] = torch.tensor([math.nan, math.inf, -math.inf])[torch.arange(int(bad.sum())) % 3][:, None]
    ptrs = ptr_of(X_LENGTHS), ptr_of(Y_LENGTHS)
    events = [ops.batch_from_ptr(ptr, len(rows)) for ptr, rows in zip(ptrs, (x, y), strict=True)]
    options = {"ptr_x": ptrs[0], "ptr_y": ptrs[1], "metric": metric, "backend": backend}
    centre, neighbour = ops.knn(x, y, 3, **options)
    assert torch.equal(events[1][centre], events[0][neighbour])
    # A bad point is nobody's neighbour while there are others; those have the neighbours that they would have without.
    degree = torch.zeros(len(ptrs[0]) - 1, dtype=torch.long).index_add_(0, events[0], (~bad).long())
    crowded = degree[events[1][centre]] >= 3
    assert not bad[neighbour[crowded]].any()
    good, good_ptr = x[~bad], ops.ptr_from_batch(events[0][~bad], len(ptrs[0]) - 1)
    alone = ops.knn(good, y, 3, ptr_x=good_ptr, ptr_y=ptrs[1], metric=metric, backend="reference")
    index = (~bad).nonzero()[:, 0][alone[1]]
    assert (index == neighbour[~bad[neighbour]]).float().mean() > 0.95
    assert not bad[ops.radius(x, y, 100.0, **options)[1]].any()
    if metric != "wrapped_phi":
        return
    graph = ops.knn_graph(x, 3, ptr=ptrs[0], metric=metric, backend=backend)
    assert (graph[0] != graph[1]).all()
    assert torch.equal(graph, ops.knn_graph(x, 3, ptr=ptrs[0], metric=metric, backend="reference"))


def test_nan_is_an_error_in_debug_mode(monkeypatch):
    x = torch.tensor([[0.0, 1.0], [math.nan, 0.0]])
    monkeypatch.setenv("PANOPTAG_DEBUG", "1")
    for call in (
        lambda: ops.knn_graph(x, 1),
        lambda: ops.knn(x, x[:1], 1),
        lambda: ops.radius_graph(x, 1.0),
        lambda: ops.radius(x, x, 1.0),
    ):
        with pytest.raises(ValueError, match="row 1 of x"):
            call()
    with pytest.raises(ValueError, match="row 1 of y"):
        ops.knn(x[:1], x, 1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_there(backend):
    none, some = torch.empty(0, 2), torch.rand(3, 2)
    for edges in (
        ops.knn(none, some, 2, backend=backend),
        ops.knn(some, none, 2, backend=backend),
        ops.knn_graph(none, 2, backend=backend),
        ops.radius(none, some, 2.0, backend=backend),
        ops.radius(some, none, 2.0, backend=backend),
        ops.radius_graph(none, 2.0, backend=backend),
        ops.knn_graph(some[:1], 2, backend=backend),
        ops.knn_graph(none, 2, torch.empty(0, dtype=torch.long), batch_size=4, backend=backend),
        ops.knn_graph(none, 2, ptr=torch.tensor([0]), backend=backend),
    ):
        assert edges.shape == (2, 0)
        assert edges.dtype == torch.long
    assert ops.knn_graph(some[:1], 2, loop=True, backend=backend).tolist() == [[0], [0]]
    assert ops.cross_neighbour_table(none, some, 2, ptr_of((0,)), ptr_of((3,)), backend=backend).eq(-1).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_cross_table_is_full_where_there_is_anything(rng, backend):
    x, y = points(rng, X_LENGTHS, 3), points(rng, Y_LENGTHS, 3)
    ptrs = ptr_of(X_LENGTHS), ptr_of(Y_LENGTHS)
    table = ops.cross_neighbour_table(x, y, 4, *ptrs, backend=backend)
    degree = torch.tensor(X_LENGTHS).repeat_interleave(torch.tensor(Y_LENGTHS))
    assert torch.equal(table[:, 0] == -1, degree == 0)
    slot = torch.arange(4)
    assert torch.equal(
        torch.where(slot < degree[:, None], -1, table), torch.where(slot < degree[:, None], -1, table[:, :1])
    )
    assert torch.equal(table, ops.cross_neighbour_table(x, y, 4, *ptrs, backend="reference"))


@pytest.mark.parametrize("tile", [7, 300])
def test_tiles_do_not_change_anything(rng, monkeypatch, tile):
    from panoptag_pyg.ops import neighbours_torch

    x, y = points(rng, X_LENGTHS, 2, torch.float32), points(rng, Y_LENGTHS, 2, torch.float32)
    bounds = {"ptr_x": ptr_of(X_LENGTHS), "ptr_y": ptr_of(Y_LENGTHS)}
    whole = ops.knn(x, y, 5, **bounds), ops.radius(x, y, 3.0, **bounds), ops.radius_graph(x, 3.0, ptr=bounds["ptr_x"])
    monkeypatch.setattr(neighbours_torch, "TILE", tile)
    tiled = ops.knn(x, y, 5, **bounds), ops.radius(x, y, 3.0, **bounds), ops.radius_graph(x, 3.0, ptr=bounds["ptr_x"])
    assert all(torch.equal(a, b) for a, b in zip(whole, tiled, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tile", [1, 500, 1 << 25])
@pytest.mark.parametrize(("metric", "dim"), METRICS)
def test_the_batched_way_of_gpus_gives_the_same_cross_table(rng, monkeypatch, dtype, tile, metric, dim):
    from panoptag_pyg.ops import neighbours_torch

    x, y = points(rng, X_LENGTHS, dim, dtype), points(rng, Y_LENGTHS, dim, dtype)
    ptrs = ptr_of(X_LENGTHS), ptr_of(Y_LENGTHS)
    expected = ops.cross_neighbour_table(x, y, 9, *ptrs, metric)
    monkeypatch.setattr(neighbours_torch, "DEVICE_TILE", tile)
    table = torch.full_like(expected, -1)
    neighbours_torch._fill_on_device(table, x, y, ptrs[0].tolist(), ptrs[1].tolist(), metric, None)
    assert (table == expected).float().mean() > 0.995
    assert torch.equal(table < 0, expected < 0)


def test_an_event_is_the_same_alone_and_in_company(rng):
    x, ptr = points(rng, X_LENGTHS, 40, torch.float32), ptr_of(X_LENGTHS)
    for edges in (lambda x, ptr: ops.knn_graph(x, 5, ptr=ptr), lambda x, ptr: ops.radius_graph(x, 25.0, ptr=ptr)):
        together = edges(x, ptr)
        for start, stop in itertools.pairwise(ptr.tolist()):
            mine = (together[1] >= start) & (together[1] < stop)
            assert torch.equal(together[:, mine] - start, edges(x[start:stop], ptr_of((stop - start,))))
        assert torch.equal(together, edges(x, ptr))


def test_signatures_are_torch_clusters():
    cluster = {
        ops.knn_graph: "x k batch loop flow cosine num_workers batch_size",
        ops.knn: "x y k batch_x batch_y cosine num_workers batch_size",
        ops.radius_graph: "x r batch loop max_num_neighbors flow num_workers batch_size",
        ops.radius: "x y r batch_x batch_y max_num_neighbors num_workers batch_size",
    }
    for function, names in cluster.items():
        expected = names.split()
        assert list(inspect.signature(function).parameters)[: len(expected)] == expected


def test_positional_arguments_flow_and_cosine(rng):
    x, batch = points(rng, (9, 6), 3), torch.tensor([0] * 9 + [1] * 6)
    forward = ops.knn_graph(x, 3, batch, False, "source_to_target", True, 1, 2)
    backward = ops.knn_graph(x, 3, batch, flow="target_to_source", metric="cosine")
    assert torch.equal(forward, backward.flip(0))
    assert torch.equal(forward[1], torch.arange(15).repeat_interleave(3))
    assert torch.equal(ops.knn(x, x, 3, batch, batch, True), ops.knn(x, x, 3, batch, batch, metric="cosine"))
    ball = ops.radius_graph(x, 5.0, batch, False, 32, "target_to_source")
    assert torch.equal(ball[0], ball[0].sort().values)
    assert torch.equal(ball.flip(0), ops.radius_graph(x, 5.0, batch))
    line = torch.tensor([0.0, 5.0, 1.0])
    assert ops.knn_graph(line, 1).tolist() == [[2, 2, 0], [0, 1, 2]]
    with pytest.raises(ValueError, match="flow must be"):
        ops.knn_graph(x, 3, flow="up")


def test_trailing_empty_events_and_gaps(rng):
    x = points(rng, (4, 3), 2)
    batch = torch.tensor([1, 1, 1, 1, 5, 5, 5])
    graph = ops.knn_graph(x, 2, batch, batch_size=9)
    assert torch.equal(graph, ops.knn_graph(x, 2, ptr=ptr_of((0, 4, 0, 0, 0, 3, 0, 0, 0))))
    assert torch.equal(graph, ops.knn_graph(x, 2, batch))
    assert torch.equal(ops.knn(x, x, 2, batch, torch.full((7,), 5)), ops.knn(x[4:], x, 2) + torch.tensor([[0], [4]]))


def test_batches_that_do_not_fit():
    x, batch = torch.rand(5, 2), torch.tensor([0, 0, 1, 1, 3])
    shuffled = torch.tensor([0, 1, 0, 1, 1])
    for call in (
        lambda b, **o: ops.knn_graph(x, 1, b, **o),
        lambda b, **o: ops.knn(x, x, 1, b, b, **o),
        lambda b, **o: ops.radius_graph(x, 1.0, b, **o),
        lambda b, **o: ops.radius(x, x, 1.0, b, b, **o),
    ):
        with pytest.raises(ValueError, match="sorted"):
            call(shuffled)
        with pytest.raises(ValueError, match="0 to 2, since there are 3; got 0 to 3"):
            call(batch, batch_size=3)
        with pytest.raises(ValueError, match="each of the 5 rows"):
            call(batch[:4])
        with pytest.raises(ValueError, match="must have events 0"):
            call(batch - 1)
    with pytest.raises(ValueError, match="of y must be given too"):
        ops.knn(x, x, 1, batch)
    with pytest.raises(ValueError, match="as many events"):
        ops.knn(x, x, 1, ptr_x=ptr_of((2, 3)), ptr_y=ptr_of((5,)))
    with pytest.raises(ValueError, match="as many coordinates"):
        ops.radius(x, x[:, :1], 1.0)
    with pytest.raises(ValueError, match=r"ascend from 0 to the number of rows, 5, got \[0, 4\]"):
        ops.knn_graph(x, 1, ptr=torch.tensor([0, 4]))
    with pytest.raises(ValueError, match="negative"):
        ops.radius_graph(x, -1.0)
    with pytest.raises(ValueError, match="at least 1"):
        ops.knn(x, x, 0)


def test_non_contiguous_input(rng):
    x = points(rng, (40,), 8)[:, ::2]
    assert torch.equal(ops.knn_graph(x, 3), ops.knn_graph(x.clone(), 3))
    assert torch.equal(ops.radius_graph(x.T.contiguous().T, 5.0), ops.radius_graph(x.clone(), 5.0))


@pytest.mark.skipif("torch-cluster" not in BACKENDS, reason="torch-cluster absent")
def test_torch_cluster_itself_gives_the_same_edges(rng):
    import torch_cluster

    x, y = points(rng, X_LENGTHS, 5, torch.float32), points(rng, Y_LENGTHS, 5, torch.float32)
    batches = [ops.batch_from_ptr(ptr_of(n), sum(n)) for n in (X_LENGTHS, Y_LENGTHS)]
    size = len(X_LENGTHS)
    assert torch.equal(ops.knn(x, y, 4, *batches), torch_cluster.knn(x, y, 4, *batches))
    assert torch.equal(ops.knn_graph(x, 4, batches[0]), torch_cluster.knn_graph(x, 4, batches[0]))
    ours = ops.radius(x, y, 4.0, *batches, 1000, 1, size)
    theirs = torch_cluster.radius(x, y, 4.0, *batches, 1000, 1, size)
    assert {tuple(e) for e in ours.T.tolist()} == {tuple(e) for e in theirs.T.tolist()}
    ours = ops.radius_graph(x, 4.0, batches[0], False, 1000)
    theirs = torch_cluster.radius_graph(x, 4.0, batches[0], False, 1000)
    assert {tuple(e) for e in ours.T.tolist()} == {tuple(e) for e in theirs.T.tolist()}
    with pytest.raises(ConfigError, match="torch-cluster"):
        ops.knn(x, y, 4, *batches, metric="cosine", backend="torch-cluster")
    with pytest.raises(ValueError, match="finite"):
        ops.knn(x * math.nan, y, 4, *batches, backend="torch-cluster")


def test_compiled_without_graph_breaks(rng):
    torch._dynamo.reset()

    def edges(x, batch, ptr):
        table = ops.neighbour_table(x, 3, ptr)
        cross = ops.cross_neighbour_table(x, x * 2, 3, ptr, ptr)
        graph = ops.knn_graph(x, 3, batch)
        ball = ops.radius_graph(x, 1.0, batch)
        pairs = ops.knn(x, x + 1, 3, batch, batch)
        return x[table].sum(1) + x[cross].sum(1), x[graph[0]] - x[graph[1]], x[ball[0]].sum(0), pairs * 2

    compiled = torch.compile(edges, dynamic=True, fullgraph=True, backend="aot_eager")
    for lengths in ((5, 9), (3, 0, 20, 1), (1,)):
        ptr = ptr_of(lengths)
        x = points(rng, lengths, 3, torch.float32)
        batch = ops.batch_from_ptr(ptr, len(x))
        torch.testing.assert_close(compiled(x, batch, ptr), edges(x, batch, ptr))
