"""Layers against torch's, PyG's and their own formulas."""

import pytest
import torch
from helpers.batches import ptr_of

from panoptag_pyg import ops
from panoptag_pyg.nn import (
    ISAB,
    MAB,
    MLP,
    BipartiteAttention,
    FusedEdgeConv,
    GAPLayer,
    GlobalExchange,
    GravNetConv,
    MixerLayer,
    TransformerBlock,
)

LAYERS = [
    (MLP([3, 5, 2], norm=True), "MLP([3, 5, 2], norm=True)"),
    (FusedEdgeConv(4, 8, 2), "FusedEdgeConv([8, 8, 8])"),
    (BipartiteAttention(8, 2), "BipartiteAttention(8, num_heads=2)"),
    (MAB(8, 2), "MAB(8, num_heads=2)"),
    (ISAB(8, 2, 3), "ISAB(8, num_heads=2, num_inducing=3)"),
    (GAPLayer(4, 8, 2), "GAPLayer(4, 8, num_heads=2)"),
    (GlobalExchange(4, 8), "GlobalExchange(4, 8)"),
    (GravNetConv(4, 8, 3, 5, 6), "GravNetConv(4, 8, space_dim=3, propagate_dim=5, k=6)"),
    (MixerLayer(3, 8), "MixerLayer(num_tokens=3, dim=8, hidden=(6, 32))"),
    (TransformerBlock(8, 2), "TransformerBlock(8, num_heads=2, expansion=4)"),
]


@pytest.mark.parametrize(("layer", "text"), LAYERS, ids=[text for _, text in LAYERS])
def test_one_line_repr_and_reset(layer, text):
    assert repr(layer) == text
    torch.manual_seed(0)
    layer.reset_parameters()
    first = {name: p.detach().clone() for name, p in layer.named_parameters()}
    layer.reset_parameters()
    assert any(not torch.equal(p, first[name]) for name, p in layer.named_parameters())
    torch.manual_seed(0)
    layer.reset_parameters()
    assert all(torch.equal(p, first[name]) for name, p in layer.named_parameters())


def test_mlp_is_torchs_layers(rng):
    mlp = MLP([3, 5, 4], norm=True).double()
    x = torch.from_numpy(rng.normal(size=(7, 3)))
    sequential = torch.nn.Sequential(mlp.linears[0], mlp.norms[0], torch.nn.GELU(), mlp.linears[1])
    torch.testing.assert_close(mlp(x), sequential(x))
    with pytest.raises(ValueError, match="width"):
        MLP([3])


def test_edge_conv_is_pygs_with_its_own_concatenation(rng):
    """PyG's EdgeConv takes [x_i, x_j − x_i]; swapping the halves of the first weight makes the two equal."""
    from torch_geometric.nn import EdgeConv as PyGEdgeConv

    layer = FusedEdgeConv(4, 6, 2).double()
    x = torch.from_numpy(rng.normal(size=(20, 4)))
    ptr = ptr_of((9, 11))
    first, norm, second = (layer.mlp.linears[0], layer.mlp.norms[0], layer.mlp.linears[1])
    mlp = torch.nn.Sequential(torch.nn.Linear(8, 6).double(), norm, torch.nn.GELU(), second)
    theirs = PyGEdgeConv(mlp)  # draws the weights anew
    with torch.no_grad():
        mlp[0].weight.copy_(torch.cat([first.weight[:, 4:], first.weight[:, :4]], dim=1))
        mlp[0].bias.copy_(first.bias)
    table, edge_index = ops.neighbour_table(x, 3, ptr), ops.knn_graph(x, 3, ptr=ptr)
    torch.testing.assert_close(layer(x, table), theirs(x, edge_index))


@pytest.mark.parametrize("q_lengths", [(2, 0, 3, 1), (0, 0, 0, 0)])
def test_bipartite_attention_along_complete_edges_is_the_full_path(rng, q_lengths):
    layer = BipartiteAttention(12, 3).double()
    k_lengths = (5, 4, 0, 7)
    target, source = (torch.from_numpy(rng.normal(size=(sum(n), 12))).requires_grad_() for n in (q_lengths, k_lengths))
    ptrs = ptr_of(q_lengths), ptr_of(k_lengths)
    edge_index = ops.complete_edges(*ptrs)
    shuffled = edge_index[:, torch.from_numpy(rng.permutation(edge_index.size(1)))]
    inputs = [target, source, *layer.parameters()]
    results = []
    for options in ({"target_ptr": ptrs[0], "source_ptr": ptrs[1]}, {"edge_index": shuffled}):
        y = layer(target, source, **options)
        weight = torch.arange(y.numel()).view_as(y).cos()
        results.append((y, *torch.autograd.grad((y * weight).sum(), inputs)))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


def test_bipartite_attention_takes_only_its_edges(rng):
    layer = BipartiteAttention(8, 2).double()
    target, source = (torch.from_numpy(rng.normal(size=(n, 8))) for n in (3, 6))
    edge_index = torch.tensor([[0, 0, 2], [1, 4, 5]])
    y, attention = layer(target, source, edge_index=edge_index, return_attention=True)
    assert torch.equal(attention.edge_index, edge_index)
    assert attention.weight.shape == (3, 2)
    torch.testing.assert_close(attention.weight[0] + attention.weight[1], torch.ones(2).double())
    assert y[1].abs().max() == 0
    torch.testing.assert_close(y[2], layer.v(source[5]))
    changed = source.clone()
    changed[[0, 2, 3]] += 1
    assert torch.equal(layer(target, changed, edge_index=edge_index), y)


def test_bipartite_attention_asks_for_what_it_needs():
    with pytest.raises(ValueError, match="divide"):
        BipartiteAttention(8, 3)
    with pytest.raises(ValueError, match="edge_index"):
        BipartiteAttention(8, 2)(torch.rand(2, 8), torch.rand(3, 8))


def test_mab_is_the_formula(rng):
    layer = MAB(8, 2).double()
    x, source = (torch.from_numpy(rng.normal(size=(n, 8))) for n in (3, 5))
    q, k, v = layer.query_norm(x), layer.source_norm(source), layer.source_norm(source)
    a = layer.attention
    q, k, v = ((w(t)).view(-1, 2, 4) for w, t in ((a.q, q), (a.k, k), (a.v, v)))
    y = torch.einsum("qkh,khd->qhd", torch.einsum("qhd,khd->qkh", q, k).div(2).softmax(1), v).reshape(3, 8)
    z = x + y
    expected = z + torch.nn.functional.gelu(layer.o(layer.output_norm(z)))
    torch.testing.assert_close(layer(x, source, ptr_of((3,)), ptr_of((5,))), expected)


def test_isab_shares_its_inducing_points_without_mixing_events(rng):
    layer = ISAB(8, 2, 3).double()
    lengths = (4, 0, 1, 7)
    x = torch.from_numpy(rng.normal(size=(12, 8)))
    together = layer(x, ptr_of(lengths))
    alone = torch.cat([layer(part, ptr_of((len(part),))) for part in x.split(lengths) if len(part)])
    torch.testing.assert_close(together, alone)
    order = torch.from_numpy(rng.permutation(4))
    permuted = torch.cat([x[order], x[4:]])
    torch.testing.assert_close(layer(permuted, ptr_of(lengths))[:4], together[order])
