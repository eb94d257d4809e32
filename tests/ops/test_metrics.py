"""Metrics by name and as functions: what each means, how one is added, what is refused."""

import math

import pytest
import torch
from helpers.batches import ptr_of

from panoptag_pyg import ops
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.ops import metrics
from panoptag_pyg.ops.metrics import find_metric


@pytest.fixture
def manhattan():
    ops.register_metric("manhattan", lambda a, b: (a[:, None] - b[None]).abs().sum(-1))
    yield "manhattan"
    del metrics._METRICS["manhattan"]


def test_definitions(rng):
    a, b = (torch.from_numpy(rng.normal(size=(n, 3))) * 3 for n in (5, 7))
    euclidean = find_metric("euclidean")
    assert euclidean.squared
    torch.testing.assert_close(euclidean.distance(a, b).sqrt(), torch.cdist(a, b))
    cosine = find_metric("cosine").distance(a, b)
    torch.testing.assert_close(cosine, 1 - torch.cosine_similarity(a[:, None], b[None], dim=-1))
    wrapped = find_metric("wrapped_phi").distance(a[:, :2], b[:, :2])
    for i in range(5):
        for j in range(7):
            phi = math.remainder(float(a[i, 1] - b[j, 1]), 2 * math.pi)
            assert float(wrapped[i, j]) == pytest.approx(float(a[i, 0] - b[j, 0]) ** 2 + phi**2)


@pytest.mark.parametrize("backend", ["auto", "torch", "reference"])
def test_a_function_is_a_metric_wherever_one_is_taken(rng, backend):
    ptr = ptr_of((5, 0, 1, 13))
    x = torch.from_numpy(rng.normal(size=(19, 3)))

    def same(a, b):
        return torch.cdist(a, b)

    options = {"ptr": ptr, "backend": backend}
    pairs = {"ptr_x": ptr, "ptr_y": ptr, "backend": backend}
    for one, two in ((same, "euclidean"),):
        assert torch.equal(
            ops.neighbour_table(x, 4, ptr, one, backend=backend), ops.neighbour_table(x, 4, ptr, two, backend=backend)
        )
        assert torch.equal(ops.knn_graph(x, 4, metric=one, **options), ops.knn_graph(x, 4, metric=two, **options))
        assert torch.equal(ops.knn(x, x, 4, metric=one, **pairs), ops.knn(x, x, 4, metric=two, **pairs))
        assert torch.equal(
            ops.radius_graph(x, 1.0, metric=one, **options), ops.radius_graph(x, 1.0, metric=two, **options)
        )
        assert torch.equal(ops.radius(x, x, 1.0, metric=one, **pairs), ops.radius(x, x, 1.0, metric=two, **pairs))


def test_a_metric_may_be_negative_and_lopsided(rng):
    """A dot product as likeness, and a distance that depends on which of two points is the centre."""
    ptr = ptr_of((9, 4))
    x = torch.from_numpy(rng.normal(size=(13, 3))).float()
    x[::4] = x[2]  # ties
    functions = (
        lambda a, b: -(a @ b.T).round(),  # -0.0 is no less than 0.0
        lambda a, b: a[:, :1] - 2 * b[:, 0],
        lambda a, b: torch.where(b[:, 0] > 0, math.nan, a[:, :1]),
        lambda a, b: (b[:, 0] / 0).expand(len(a), -1),  # infinities
    )
    for function in functions:
        for loop in (False, True):
            for k in (1, 3, 20):
                table = ops.neighbour_table(x, k, ptr, function, loop)
                assert torch.equal(table, ops.neighbour_table(x.double(), k, ptr, function, loop, backend="reference"))
        pairs = {"ptr_x": ptr, "ptr_y": ptr, "metric": function}
        assert torch.equal(ops.knn(x, x, 3, **pairs), ops.knn(x, x, 3, **pairs, backend="reference"))
        assert torch.equal(ops.radius(x, x, 0.5, **pairs), ops.radius(x, x, 0.5, **pairs, backend="reference"))


def test_a_registered_metric_goes_by_name(rng, manhattan):
    assert manhattan in ops.available_metrics()
    x = torch.from_numpy(rng.integers(0, 4, size=(40, 3))).float()  # many ties
    ptr = ptr_of((40,))
    table = ops.neighbour_table(x, 5, ptr, manhattan)
    assert torch.equal(table, ops.neighbour_table(x, 5, ptr, manhattan, backend="reference"))
    distance = (x[:, None] - x[None]).abs().sum(-1).fill_diagonal_(math.inf)
    assert torch.equal(table, distance.sort(dim=1, stable=True).indices[:, :5])
    ops.register_metric(manhattan, lambda a, b: torch.zeros(len(a), len(b)))  # the last one counts
    assert ops.neighbour_table(x, 2, ptr, manhattan)[5].tolist() == [0, 1]


def test_what_is_refused(manhattan):
    x, ptr = torch.rand(4, 3), ptr_of((4,))
    with pytest.raises(ConfigError, match="shipped"):
        ops.register_metric("cosine", lambda a, b: a @ b.T)
    with pytest.raises(ConfigError, match="did you mean 'manhattan'"):
        ops.neighbour_table(x, 1, ptr, "manhatan")
    with pytest.raises(ValueError, match=r"must return distances \[4, 4\], got \[4\]"):
        ops.neighbour_table(x, 1, ptr, lambda a, b: a[:, 0])
    with pytest.raises(ConfigError, match="two metrics"):
        ops.knn_graph(x, 1, cosine=True, metric="manhattan")
    ops.register_metric("manhattan", lambda a, b: a @ b.T, num_coordinates=2)
    with pytest.raises(ValueError, match=r"\[P, 2\]"):
        ops.neighbour_table(x, 1, ptr, "manhattan")
