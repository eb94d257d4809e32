"""DynamicEdgeConv is EdgeConv on the k nearest in feature space, as in PyG, without pyg-lib."""

import pytest
import torch
import torch_geometric.nn as pyg
from helpers.batches import ptr_of
from helpers.edge_networks import ALL, FUSED, ROW_BY_ROW, edge_network
from torch import nn
from torch_geometric.explain.algorithm.utils import clear_masks, set_masks

from panoptag_pyg import ops
from panoptag_pyg.nn import DynamicEdgeConv, EdgeConv, dynamic_edge_conv

X_LENGTHS = (7, 1, 0, 12)
Y_LENGTHS = (2, 0, 3, 6)


def inputs(rng, dim=4):
    x, y = (torch.from_numpy(rng.normal(size=(sum(n), dim))).requires_grad_() for n in (X_LENGTHS, Y_LENGTHS))
    batches = [ops.batch_from_ptr(ptr_of(n), sum(n)) for n in (X_LENGTHS, Y_LENGTHS)]
    return x, y, *batches


def as_pyg(conv, x, y, batch_x, batch_y):
    """PyG's layer on edges found by the reference."""
    edges = ops.knn(x, y, conv.k, batch_x, batch_y, backend="reference").flip(0)
    module = pyg.EdgeConv(nn.Identity(), aggr=conv.aggr_module)
    module.nn = conv.nn  # the constructor would draw its weights anew
    return module((x, y), edges)


def gradients(y, *tensors):
    weight = torch.arange(y.numel(), dtype=y.dtype).view_as(y).cos()
    found = torch.autograd.grad((y * weight).sum(), tensors, allow_unused=True)
    return [torch.zeros(()) if g is None else g for g in found]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("name", ALL)
def test_results_and_gradients_are_pygs(rng, monkeypatch, name, k, training):
    fused, chunked = [], []
    edge_conv, chunked_max = ops.edge_conv, dynamic_edge_conv.chunked_max
    monkeypatch.setattr(ops, "edge_conv", lambda *a: fused.append(1) or edge_conv(*a))
    monkeypatch.setattr(dynamic_edge_conv, "chunked_max", lambda *a: chunked.append(1) or chunked_max(*a))
    conv = DynamicEdgeConv(edge_network(name).double(), k).train(training)
    x, y, batch_x, batch_y = inputs(rng)
    for arguments in (((x, x), (batch_x, batch_x)), ((x, y), (batch_x, batch_y))):
        single = arguments[0][0] is arguments[0][1]
        ours = conv(x, batch_x) if single else conv(*arguments)
        theirs = as_pyg(conv, *arguments[0], *arguments[1])
        tensors = [x, y, *conv.parameters()]
        for a, b in zip([ours, *gradients(ours, *tensors)], [theirs, *gradients(theirs, *tensors)], strict=True):
            torch.testing.assert_close(a, b)
    row_by_row = name in ROW_BY_ROW or (not training and name in ("batch_norm", "pyg"))
    assert len(fused) == int(name in FUSED)
    assert len(chunked) == (0 if not row_by_row else 1 if name in FUSED else 2)


@pytest.mark.parametrize("aggr", ["mean", "add", ["max", "std"]])
def test_other_aggregations_count_no_neighbour_twice(rng, aggr):
    conv = DynamicEdgeConv(edge_network("ours").double(), 5, aggr)  # an event of one has one edge, not five
    x, y, batch_x, batch_y = inputs(rng)
    torch.testing.assert_close(conv(x, batch_x), as_pyg(conv, x, x, batch_x, batch_x))
    torch.testing.assert_close(conv((x, y), (batch_x, batch_y)), as_pyg(conv, x, y, batch_x, batch_y))


@pytest.mark.parametrize("name", ["ours", "relu", "batch_norm"])
def test_chunks_do_not_change_the_result(rng, monkeypatch, name):
    from panoptag_pyg.nn import edge_conv

    conv = DynamicEdgeConv(edge_network(name).double(), 3).eval()
    x, y, batch_x, batch_y = inputs(rng)
    whole = conv(x, batch_x), conv((x, y), (batch_x, batch_y))
    monkeypatch.setattr(edge_conv, "CHUNK", 40)
    torch.testing.assert_close((conv(x, batch_x), conv((x, y), (batch_x, batch_y))), whole)


@pytest.mark.parametrize("name", ["ours", "relu"])
def test_points_without_neighbours_and_no_points_at_all(rng, name):
    conv = DynamicEdgeConv(edge_network(name).double(), 3)
    x, y, batch_x, batch_y = inputs(rng)
    out = conv((x, y), (batch_x, batch_y))
    assert out[2:5].abs().max() == 0  # their event has no candidates
    assert conv((x[:0], y), (batch_x[:0], batch_y)).abs().max() == 0
    assert conv((x, y[:0]), (batch_x, batch_y[:0])).shape == (0, 6)
    assert conv(x[:0]).shape == (0, 6)
    assert conv(x[:1]).shape == (1, 6)


def test_one_event_without_batch(rng):
    conv = DynamicEdgeConv(edge_network("ours").double(), 3)
    x, y, _, _ = inputs(rng)
    torch.testing.assert_close(conv(x), conv(x, torch.zeros(len(x), dtype=torch.long)))
    torch.testing.assert_close(conv((x, y)), as_pyg(conv, x, y, None, None))


@pytest.mark.parametrize("name", ["ours", "relu"])
def test_gradcheck(rng, name):
    conv = DynamicEdgeConv(edge_network(name, 3).double(), 4)
    x, y, batch_x, batch_y = inputs(rng, 3)
    assert torch.autograd.gradcheck(lambda x, *_: conv(x, batch_x), (x, *conv.parameters()))
    assert torch.autograd.gradcheck(lambda x, y: conv((x, y), (batch_x, batch_y)), (x, y))


@pytest.mark.parametrize("name", ["ours", "relu", "batch_norm"])
def test_renumbering_points_renumbers_the_result(rng, name):
    conv = DynamicEdgeConv(edge_network(name).double(), 3)
    x = inputs(rng)[0]
    order = torch.from_numpy(rng.permutation(len(x)))
    torch.testing.assert_close(conv(x[order]), conv(x)[order])


def test_an_event_is_the_same_alone_and_in_company(rng):
    conv = DynamicEdgeConv(edge_network("norm_gelu").double(), 4)
    x, _, batch, _ = inputs(rng)
    together = conv(x, batch)
    assert torch.equal(together, conv(x, batch))
    for part, expected in zip(x.split(X_LENGTHS), together.split(X_LENGTHS), strict=True):
        torch.testing.assert_close(conv(part), expected)


def test_state_dict_repr_and_reset():
    network = edge_network("norm_gelu")
    conv = DynamicEdgeConv(network, 7, num_workers=2)
    conv.load_state_dict(pyg.EdgeConv(edge_network("norm_gelu")).state_dict(), strict=True)
    assert [name for name, _ in conv.named_parameters()] == [f"nn.{name}" for name, _ in network.named_parameters()]
    assert repr(conv) == f"DynamicEdgeConv(nn={network}, k=7)"
    assert isinstance(conv, EdgeConv)
    torch.manual_seed(0)
    conv.reset_parameters()
    first = network[0].weight.clone()
    conv.reset_parameters()
    assert not torch.equal(network[0].weight, first)


def test_explanations_after_pygs_layers_were_used(rng):
    x = inputs(rng)[0].detach()
    edge_index = ops.knn(x, x, 3).flip(0)
    pyg.EdgeConv(edge_network("ours").double())(x, edge_index)
    for conv, arguments in (
        (DynamicEdgeConv(edge_network("ours").double(), 3), (x,)),
        (EdgeConv(edge_network("ours").double()), (x, edge_index)),
    ):
        expected = conv(*arguments)
        set_masks(conv, torch.zeros(edge_index.size(1)).double(), edge_index, apply_sigmoid=True)
        conv._loop_mask = torch.ones(edge_index.size(1), dtype=torch.bool)  # halve loops too
        torch.testing.assert_close(conv(*arguments), expected / 2)
        clear_masks(conv)
        torch.testing.assert_close(conv(*arguments), expected)


def test_what_is_refused(rng):
    conv = DynamicEdgeConv(edge_network("ours"), 3)
    with pytest.raises(ValueError, match="static graphs"):
        conv(torch.rand(2, 5, 4))
    with pytest.raises(ValueError, match="sorted"):
        conv(torch.rand(3, 4), torch.tensor([0, 1, 0]))
    with pytest.raises(ValueError, match="each of the 3 rows"):
        conv(torch.rand(3, 4), torch.tensor([0, 1]))
    with pytest.raises(TypeError, match="flow"):
        DynamicEdgeConv(edge_network("ours"), 3, flow="target_to_source")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript(rng):
    conv = DynamicEdgeConv(nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 6)).double(), 3)
    scripted = torch.jit.script(conv)
    x, y, batch_x, batch_y = inputs(rng)
    torch.testing.assert_close(scripted(x), conv(x))
    torch.testing.assert_close(scripted(x, batch_x), conv(x, batch_x))
    torch.testing.assert_close(scripted((x, y), (batch_x, batch_y)), conv((x, y), (batch_x, batch_y)))


@pytest.mark.parametrize(("name", "aggr"), [("ours", "max"), ("relu", "max"), ("batch_norm", "max"), ("relu", "mean")])
def test_compiled_without_graph_breaks(rng, name, aggr):
    torch._dynamo.reset()
    conv = DynamicEdgeConv(edge_network(name).double(), 3, aggr)
    conv.train(name != "batch_norm")  # in training, torch's layer asks whether there is one edge only
    compiled = torch.compile(conv, dynamic=True, fullgraph=True, backend="aot_eager")
    for lengths in ((9, 11), (3, 8, 20)):
        x = torch.from_numpy(rng.normal(size=(sum(lengths), 4)))
        batch = ops.batch_from_ptr(ptr_of(lengths), len(x))
        torch.testing.assert_close(compiled(x, batch), conv(x, batch))
