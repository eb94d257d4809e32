"""``pyg:NAME``: PyG's classes by name pass the checks of every backbone; what they want is filled in; bad input."""

import functools

import pytest
import torch
from helpers.batches import ptr_of
from torch import nn
from torch_geometric.nn import GATv2Conv, GINConv, NNConv

from panoptag_pyg.backbones import PyGBackbone, backbone_info, build_backbone, is_backbone
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.models import build_tagger
from panoptag_pyg.testing import CHECKS, BackboneUnderTest, TaggerUnderTest

#: Class → its own arguments.
CLASSES = {
    "AGNNConv": {},
    "AntiSymmetricConv": {},
    "CGConv": {},
    "ChebConv": {"K": 2},
    "ClusterGCNConv": {},
    "DirGNNConv": {},
    "EdgeCNN": {},
    "EdgeConv": {},
    "EGConv": {},
    "FiLMConv": {},
    "GAT": {"heads": 2},
    "GatedGraphConv": {},
    "GATConv": {"heads": 4},
    "GATv2Conv": {"heads": 4},
    "GCN": {},
    "GCN2Conv": {"alpha": 0.1},
    "GCNConv": {},
    "GENConv": {},
    "GeneralConv": {},
    "GIN": {},
    "GINConv": {},
    "GINEConv": {},
    "GMMConv": {"kernel_size": 3},
    "GPSConv": {"heads": 2, "conv": {"name": "GATv2Conv", "heads": 2}},
    "GraphConv": {},
    "GraphSAGE": {},
    "LEConv": {},
    "MixHopConv": {},
    "NNConv": {},
    "PDNConv": {},
    "PNA": {},
    "PNAConv": {},
    "PointGNNConv": {},
    "PointNetConv": {},
    "PointTransformerConv": {},
    "ResGatedGraphConv": {},
    "SAGEConv": {},
    "SGConv": {},
    "SuperGATConv": {},
    "TAGConv": {},
    "TransformerConv": {"heads": 2, "concat": False},
}
#: Checks that every class passes, and those that a few are enough for.
QUICK = ("output", "odd_events", "permutation", "batch_composition", "phi_is_an_angle", "gradients", "reset_and_repr")
THOROUGH = [name for name in CHECKS if name not in QUICK]
#: PyG's own: parameters that its forward doesn't use in one-layer use, and layers that torch.compile can't take whole.
SETTINGS = {"GENConv": {"without_gradient": ("lin_edge.bias",)}, "GPSConv": {"fullgraph": False}}


def subject(name, seed, **options):
    build = functools.partial(
        build_backbone, f"pyg:{name}", **{"dim": 8, "num_layers": 2, "k": 3, "arguments": CLASSES[name], **options}
    )
    return BackboneUnderTest(build, seed=seed, **SETTINGS.get(name, {}))


@pytest.mark.parametrize("name", CLASSES)
def test_class(rng, name):
    for check in QUICK:
        CHECKS[check](subject(name, int(rng.integers(2**31))))


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(name, check, marks=pytest.mark.slow if check == "compile" and name != "GraphSAGE" else ())
        for name in ("GATv2Conv", "GPSConv", "GraphSAGE", "PNAConv", "PointTransformerConv")
        for check in THOROUGH
    ],
)
def test_learning_saving_compiling(rng, name, check):
    CHECKS[check](subject(name, int(rng.integers(2**31))))


@pytest.mark.parametrize("graph", ["radius", "full"])
@pytest.mark.parametrize("check", ["output", "odd_events", "batch_composition", "phi_is_an_angle", "gradients"])
def test_other_graphs(rng, graph, check):
    for name in ("GINEConv", "PNAConv"):
        CHECKS[check](subject(name, int(rng.integers(2**31)), graph=graph))


def test_edges_of_each_graph(rng):
    lengths = (5, 1, 0, 4)
    pos, ptr = torch.from_numpy(rng.uniform(-3, 3, (10, 2))), ptr_of(lengths)
    event = torch.tensor([0] * 5 + [1] + [3] * 4)
    delta = pos[:, None] - pos[None]
    delta[..., 1] = torch.remainder(delta[..., 1] + torch.pi, 2 * torch.pi) - torch.pi
    distance = delta.norm(dim=-1)
    pairs = (event[:, None] == event) & ~torch.eye(10, dtype=bool)
    for graph, expected in (("full", pairs), ("radius", pairs & (distance < 1.5))):
        found = PyGBackbone(14, 8, graph=graph, radius=1.5).edges(pos, ptr)
        assert {tuple(e) for e in found.T.tolist()} == {tuple(e) for e in expected.nonzero().tolist()}
    neighbours, centres = PyGBackbone(14, 8, graph="knn", k=2).edges(pos, ptr)
    assert centres.bincount(minlength=10).tolist() == [2] * 5 + [0] + [2] * 4
    masked = torch.where(pairs, distance, torch.inf)
    nearest = {(i, c) for c in range(10) for i in masked[c].topk(2, largest=False).indices.tolist() if pairs[c, i]}
    assert set(zip(neighbours.tolist(), centres.tolist(), strict=True)) == nearest


def test_what_a_layer_gets(rng):
    """Edge features Δη, Δφ wrapped and ln ΔR from the centre, weights exp(−ΔR), a position without a seam."""
    calls = {}

    class Asks(nn.Module):
        def forward(self, x, edge_index, edge_attr, edge_weight, pos, batch, x_0=None, size=None):
            calls.update(edge_index=edge_index, edge_attr=edge_attr, edge_weight=edge_weight, pos=pos, batch=batch)
            return x

    backbone = PyGBackbone(14, 8, [Asks()], k=1).double()
    pos = torch.tensor([[0.0, 3.1], [0.3, -3.1], [1.0, 0.0]]).double()
    backbone(torch.randn(3, 14).double(), pos, ptr_of((2, 1)))
    assert calls["edge_index"].tolist() == [[1, 0], [0, 1]]
    delta_phi = 2 * torch.pi - 6.2
    length = (0.3**2 + delta_phi**2) ** 0.5
    expected = torch.tensor([[0.3, delta_phi], [-0.3, -delta_phi]]).double()
    torch.testing.assert_close(calls["edge_attr"][:, :2], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(calls["edge_attr"][:, 2].exp(), calls["edge_weight"].log().neg())
    assert abs(calls["edge_attr"][0, 2].exp().item() - length) < 1e-6
    torch.testing.assert_close(calls["pos"], torch.stack([pos[:, 0], pos[:, 1].cos(), pos[:, 1].sin()], 1))
    assert calls["batch"].tolist() == [0, 0, 1]


def test_constructor_arguments_are_filled_in():
    gat = build_backbone("pyg:GATv2Conv", 14, dim=32, arguments={"heads": 4})
    assert (gat.layers[0].out_channels, gat.layers[0].edge_dim, len(gat.layers)) == (8, 3, 3)
    assert build_backbone("pyg:GATv2Conv", 14, dim=32, edge_features=False).layers[0].edge_dim is None
    sage = build_backbone("pyg:GraphSAGE", 14, dim=32, num_layers=4)
    assert [len(sage.layers), sage.layers[0].num_layers] == [1, 4]
    assert build_backbone("pyg:MixHopConv", 14, dim=8).projections[0].in_features == 24
    pna = build_backbone("pyg:PNAConv", 14, dim=8, k=5, arguments={"aggregators": ["max"]})
    assert pna.layers[0].aggr_module.avg_deg_lin.item() == 5
    told = build_backbone("pyg:PNAConv", 14, dim=8, arguments={"deg": [0, 0, 3, 1]})
    assert told.layers[0].aggr_module.avg_deg_lin.item() == 2.25
    gin = build_backbone("pyg:GINConv", 14, dim=8, arguments={"nn": [8, 30, 20, 8]})
    assert [part.out_features for part in gin.layers[1].nn if isinstance(part, nn.Linear)] == [30, 20, 8]
    assert type(build_backbone("pyg:GPSConv", 14, dim=8).layers[0].conv).__name__ == "GINEConv"
    assert (
        type(build_backbone("pyg:GPSConv", 14, dim=8, arguments={"conv": "SAGEConv"}).layers[0].conv).__name__
        == "SAGEConv"
    )


def test_layers_of_ones_own_may_be_handed_over(rng):
    layers = [GATv2Conv(16, 4, heads=4), GINConv(nn.Linear(16, 16)), NNConv(16, 16, nn.Linear(3, 256))]
    backbone = PyGBackbone(14, 16, layers, k=3)
    assert list(backbone.layers) == layers
    assert "[GATv2Conv, GINConv, NNConv], k=3" in repr(backbone)
    y = backbone(torch.randn(6, 14), torch.randn(6, 2), ptr_of((5, 0, 1)))
    assert y.shape == (6, 16)


def test_as_a_tagger(rng):
    options = {"dim": 16, "num_heads": 2, "num_decoder_layers": 1, "k": 3, "arguments": {"heads": 2}, "num_layers": 1}
    model = build_tagger("pyg:GATv2Conv", **options)
    assert model.backbone.layers[0].heads == 2
    assert model.backbone.k == 3
    CHECKS["permutation"](TaggerUnderTest(functools.partial(build_tagger, "pyg:GATv2Conv", **options)))
    assert is_backbone("pyg:GATv2Conv")
    assert "GATv2Conv" in backbone_info("pyg:GATv2Conv").summary


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("GATConvv2", {}, "no convolution or model 'GATConvv2'; did you mean 'pyg:GATConv'"),
        ("GATv2Conv", {"arguments": {"head": 4, "edge_dims": 3}}, "'head'|'edge_dims'"),
        ("GATv2Conv", {"dim": 10, "arguments": {"heads": 4}}, "heads = 4 must divide dim = 10"),
        ("GATv2Conv", {"graph": "all"}, "'graph'"),
        ("GATv2Conv", {"num_layer": 2}, "did you mean 'num_layers'"),
        ("ChebConv", {}, "needs the argument 'K'"),
        ("RGCNConv", {"arguments": {"num_relations": 2}}, "edge_type"),
        ("PPFConv", {}, "'normal', which events don't have"),
        ("DynamicEdgeConv", {}, "backbone 'edgeconv'"),
        ("GravNetConv", {}, "backbone 'gravnet'"),
        ("PANConv", {"arguments": {"filter_size": 2}}, "torch-sparse"),
        ("CuGraphSAGEConv", {}, "isn't installed"),
        ("GPSConv", {"arguments": {"conv": {"heads": 2}}}, "needs a name"),
        ("GPSConv", {"arguments": {"conv": "GATConvv2"}}, "did you mean"),
        ("AttentiveFP", {"arguments": {"num_timesteps": 2}}, "a row for each"),
        ("GCNConv", {"arguments": {"aggr": "mode"}}, "mode"),
    ],
)
def test_bad_input_is_one_sentence(name, options, words):
    with pytest.raises(ConfigError, match=words) as error:
        build_backbone(f"pyg:{name}", 14, **{"dim": 8, **options})
    assert len(str(error.value).splitlines()) == 1


def test_unknown_names_mention_the_wrapper():
    with pytest.raises(ConfigError, match=r"did you mean 'deepsets'.*pyg:NAME"):
        build_backbone("deepset", 14)
