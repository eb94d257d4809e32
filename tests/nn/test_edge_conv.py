"""EdgeConv gives what PyG's gives, whichever way it takes; gradients, sparse adjacency, hooks and TorchScript too."""

import pytest
import torch
import torch_geometric.nn as pyg
from helpers.batches import ptr_of
from helpers.edge_networks import ALL, FUSED, edge_network
from torch import nn
from torch_geometric.explain.algorithm.utils import clear_masks, set_masks
from torch_geometric.utils import to_torch_csc_tensor

from panoptag_pyg import ops
from panoptag_pyg.nn import EdgeConv


def twins(network, **options):
    """Ours and PyG's around the same network."""
    network = network.double()
    return EdgeConv(network, **options), pyg.EdgeConv(network, **options)


def edges_of(kind, rng, num_source, num_target):
    if kind == "table":
        return ops.knn_graph(torch.from_numpy(rng.normal(size=(num_source, 3))), 3, ptr=ptr_of((9, num_source - 9)))
    if kind == "none":
        return torch.empty(2, 0, dtype=torch.long)
    number = 3 if kind == "few" else 70
    return torch.from_numpy(rng.integers(0, (num_source, num_target), size=(number, 2))).T


def results(conv, x, edge_index, *others):
    inputs = [*(t for t in (x if isinstance(x, tuple) else (x,)) if t.requires_grad), *conv.parameters()]
    y = conv(x, edge_index)
    weight = torch.arange(y.numel(), dtype=y.dtype).view_as(y).cos()
    return y, *torch.autograd.grad((y * weight).sum(), inputs, allow_unused=True)


def assert_same(ours, theirs, *arguments):
    for a, b in zip(results(ours, *arguments), results(theirs, *arguments), strict=True):
        a, b = (torch.zeros(()) if g is None else g for g in (a, b))
        torch.testing.assert_close(a, b)


@pytest.fixture
def fused_calls(monkeypatch):
    calls = []
    edge_conv = ops.edge_conv
    monkeypatch.setattr(ops, "edge_conv", lambda *a, **o: calls.append(1) or edge_conv(*a, **o))
    return calls


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", ["table", "random", "few", "none"])
@pytest.mark.parametrize("name", ALL)
def test_results_and_gradients_are_pygs(rng, fused_calls, name, kind, training):
    if kind in ("none", "few") and name in ("batch_norm", "pyg") and training:
        pytest.skip("batch statistics of next to nothing")
    ours, theirs = twins(edge_network(name))
    ours.train(training)
    x = torch.from_numpy(rng.normal(size=(20, 4))).requires_grad_()
    assert_same(ours, theirs, x, edges_of(kind, rng, 20, 20))
    assert len(fused_calls) == int(name in FUSED and kind == "table")


@pytest.mark.parametrize("aggr", ["max", "mean", "add", "min", ["max", "mean"], pyg.aggr.SoftmaxAggregation()])
@pytest.mark.parametrize("flow", ["source_to_target", "target_to_source"])
@pytest.mark.parametrize("kind", ["table", "random"])
def test_any_aggregation_and_flow(rng, aggr, flow, kind):
    ours, theirs = twins(edge_network("ours"), aggr=aggr, flow=flow)
    x = torch.from_numpy(rng.normal(size=(20, 4))).requires_grad_()
    edge_index = edges_of(kind, rng, 20, 20)
    assert_same(ours, theirs, x, edge_index)
    assert_same(ours, theirs, x, edge_index.flip(0))


@pytest.mark.parametrize("name", ["ours", "relu", "batch_norm"])
def test_bipartite(rng, name):
    ours, theirs = twins(edge_network(name))
    x = tuple(torch.from_numpy(rng.normal(size=(n, 4))).requires_grad_() for n in (20, 8))
    assert_same(ours, theirs, x, edges_of("random", rng, 20, 8))
    assert ours(x, edges_of("random", rng, 20, 8)).shape == (8, 6)


@pytest.mark.parametrize("layout", ["csc", "csr", "coo"])
def test_sparse_adjacency(rng, layout):
    ours, theirs = twins(edge_network("ours"))
    x = torch.from_numpy(rng.normal(size=(20, 4)))
    edge_index = edges_of("random", rng, 20, 20).unique(dim=1)
    adjacency = to_torch_csc_tensor(edge_index, size=(20, 20)).t()
    adjacency = {"csc": adjacency, "csr": adjacency.to_sparse_csr(), "coo": adjacency.to_sparse_coo()}[layout]
    torch.testing.assert_close(ours(x, adjacency), theirs(x, edge_index))
    torch.testing.assert_close(ours((x, x), adjacency), theirs(x, adjacency))


@pytest.mark.parametrize(("name", "kind"), [("ours", "table"), ("ours", "random"), ("ours_plain", "random")])
def test_gradcheck(rng, name, kind):
    conv = EdgeConv(edge_network(name, 3).double())
    x = torch.from_numpy(rng.normal(size=(12, 3))).requires_grad_()
    edge_index = edges_of(kind, rng, 12, 12)
    parameters = list(conv.parameters())

    def function(x, *_):
        return conv(x, edge_index)

    assert torch.autograd.gradcheck(function, (x, *parameters))


@pytest.mark.parametrize("name", ["ours", "relu"])
def test_renumbering_points_renumbers_the_result(rng, name):
    conv = EdgeConv(edge_network(name).double())
    x = torch.from_numpy(rng.normal(size=(20, 4)))
    for kind in ("table", "random"):
        edge_index = edges_of(kind, rng, 20, 20)
        order = torch.from_numpy(rng.permutation(20))
        renumbered = order.argsort()[edge_index]
        shuffled = renumbered[:, torch.from_numpy(rng.permutation(edge_index.size(1)))]
        torch.testing.assert_close(conv(x[order], shuffled), conv(x, edge_index)[order])


def test_state_dicts_are_pygs(rng):
    theirs = pyg.EdgeConv(edge_network("norm_gelu"))
    ours = EdgeConv(edge_network("norm_gelu"))
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x, edge_index = torch.from_numpy(rng.normal(size=(20, 4))).float(), edges_of("table", rng, 20, 20)
    torch.testing.assert_close(ours(x, edge_index), theirs(x, edge_index), rtol=1e-4, atol=1e-5)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    assert isinstance(ours, pyg.EdgeConv)


def test_repr_and_reset():
    network = nn.Sequential(nn.Linear(4, 2), nn.ReLU())
    conv = EdgeConv(network)
    assert repr(conv) == f"EdgeConv(nn={network})" == repr(pyg.EdgeConv(network))
    torch.manual_seed(0)
    conv.reset_parameters()
    first = network[0].weight.clone()
    conv.reset_parameters()
    assert not torch.equal(network[0].weight, first)
    torch.manual_seed(0)
    conv.reset_parameters()
    assert torch.equal(network[0].weight, first)


def test_a_function_and_a_lazy_layer_as_network(rng):
    x, edge_index = torch.from_numpy(rng.normal(size=(20, 4))), edges_of("table", rng, 20, 20)
    ours, theirs = EdgeConv(lambda e: e.square()), pyg.EdgeConv(lambda e: e.square())
    torch.testing.assert_close(ours(x, edge_index), theirs(x, edge_index))
    lazy = EdgeConv(pyg.MLP([-1, 5, 6], norm=None).double())
    y = lazy(x, edge_index)  # the first call finds the width
    torch.testing.assert_close(lazy(x, edge_index), y)


def test_hooks_see_what_pyg_shows_them(rng):
    x, edge_index = torch.from_numpy(rng.normal(size=(20, 4))), edges_of("table", rng, 20, 20)
    seen = []
    conv = EdgeConv(edge_network("ours").double())
    expected = conv(x, edge_index)
    handle = conv.nn.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0].shape))
    torch.testing.assert_close(conv(x, edge_index), expected)
    assert seen == [(edge_index.size(1), 8)]
    handle.remove()
    handle = conv.register_message_forward_hook(lambda _, inputs, output: output * 2)
    torch.testing.assert_close(conv(x, edge_index), expected * 2)
    handle.remove()
    torch.testing.assert_close(conv(x, edge_index), expected)
    set_masks(conv, torch.zeros(edge_index.size(1)).double(), edge_index, apply_sigmoid=True)
    half = conv(x, edge_index)
    clear_masks(conv)
    torch.testing.assert_close(half, expected / 2)


def test_a_subclass_may_change_the_message(rng):
    class Half(EdgeConv):
        def message(self, x_i, x_j):
            return super().message(x_i, x_j) / 2

    x, edge_index = torch.from_numpy(rng.normal(size=(20, 4))), edges_of("table", rng, 20, 20)
    network = edge_network("ours").double()
    half, whole = Half(network), EdgeConv(network)
    torch.testing.assert_close(half(x, edge_index) * 2, whole(x, edge_index))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript(rng):
    x, edge_index = torch.from_numpy(rng.normal(size=(20, 4))), edges_of("table", rng, 20, 20)
    conv = EdgeConv(nn.Sequential(nn.Linear(8, 5), nn.LayerNorm(5), nn.GELU(), nn.Linear(5, 6)).double())
    scripted = torch.jit.script(conv)
    torch.testing.assert_close(scripted(x, edge_index), conv(x, edge_index))
    torch.testing.assert_close(scripted((x, x[:7]), edge_index % 7), conv((x, x[:7]), edge_index % 7))


def test_compiled(rng):
    torch._dynamo.reset()
    conv = EdgeConv(edge_network("relu").double())
    compiled = torch.compile(conv, dynamic=True, fullgraph=True, backend="aot_eager")
    for n in (20, 33):
        x, edge_index = torch.from_numpy(rng.normal(size=(n, 4))), edges_of("random", rng, n, n)
        torch.testing.assert_close(compiled(x, edge_index), conv(x, edge_index))


def test_autocast(rng):
    x, edge_index = torch.from_numpy(rng.normal(size=(20, 4))).float(), edges_of("table", rng, 20, 20)
    for name in ("ours", "relu"):
        conv = EdgeConv(edge_network(name))
        expected = conv(x, edge_index)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = conv(x, edge_index)
        assert y.dtype == torch.bfloat16
        torch.testing.assert_close(y.float(), expected, rtol=0.1, atol=0.1)
