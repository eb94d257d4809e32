"""Attention by relation: the formula pair by pair, where the heads begin, and jets among themselves."""

import math

import pytest
import torch
import torch.nn.functional as F
from helpers.batches import ptr_of

from panoptag_pyg import ops
from panoptag_pyg.nn.relation import MEMBER_BIAS, JetAttention, RelationBias, RelationEmbedding, RelationMAB

DIM, HEADS, WIDTH = 12, 3, 9
JETS, PFOS = (2, 0, 3, 1), (5, 4, 7, 0)


def draw(rng, *shape):
    return torch.from_numpy(rng.normal(size=shape))


@pytest.mark.parametrize(("bias", "values"), [(True, True), (True, False), (False, True), (False, False)])
def test_formula(rng, bias, values):
    torch.manual_seed(int(rng.integers(2**31)))
    layer = RelationMAB(DIM, HEADS, WIDTH, bias, values).double()
    edges = ops.complete_edges(ptr_of(JETS), ptr_of(PFOS))
    x, source, r = draw(rng, sum(JETS), DIM), draw(rng, sum(PFOS), DIM), draw(rng, edges.size(1), WIDTH)
    y, weight = layer(x, source, r, ptr_of(JETS), ptr_of(PFOS))
    q = layer.q(layer.query_norm(x)).view(-1, HEADS, DIM // HEADS)
    k, v = layer.kv(layer.source_norm(source)).view(-1, 2, HEADS, DIM // HEADS).unbind(1)
    for jet in range(sum(JETS)):
        mine = (edges[0] == jet).nonzero().flatten()
        read = torch.zeros(HEADS, DIM // HEADS, dtype=torch.float64)
        for head in range(HEADS):
            if not len(mine):
                continue
            score = k[edges[1, mine], head] @ q[jet, head] / math.sqrt(DIM // HEADS)
            if bias:
                score = score + layer.bias(r[mine])[:, head]
            value = v[edges[1, mine], head]
            if values:
                value = value + r[mine] @ layer.relation_value[head]
            share = score.softmax(0)
            torch.testing.assert_close(weight[mine, head], share)
            read[head] = share @ value
        z = x[jet] + read.flatten()
        torch.testing.assert_close(y[jet], z + F.gelu(layer.o(layer.output_norm(z))))


def test_pairs_left_out(rng):
    layer = RelationMAB(DIM, HEADS, WIDTH).double()
    edges = ops.complete_edges(ptr_of((2,)), ptr_of((4,)))
    x, source, r = draw(rng, 2, DIM), draw(rng, 4, DIM), draw(rng, edges.size(1), WIDTH)
    blocked = torch.zeros(8, dtype=torch.bool)
    blocked[[1, 2]] = True  # jet 0 reads PFOs 0 and 3
    y, weight = layer(x, source, r, ptr_of((2,)), ptr_of((4,)), blocked)
    assert (weight[blocked] == 0).all()
    alone, _ = layer(x[:1], source[[0, 3]], r[[0, 3]], ptr_of((1,)), ptr_of((2,)))
    torch.testing.assert_close(y[:1], alone)


def test_heads_begin_by_preferring_members(rng):
    torch.manual_seed(int(rng.integers(2**31)))
    layer = RelationBias(5, 8)
    member, other = torch.zeros(2, 5)
    member[4] = 1
    gain = (layer(member) - layer(other)).detach()
    # A linear layer's weights begin within 1/√5 of 0.
    torch.testing.assert_close(gain, torch.linspace(0, MEMBER_BIAS, 8), rtol=0, atol=1 / math.sqrt(5) + 1e-6)


def test_relations_are_brought_to_order_one(rng):
    pos = torch.stack([draw(rng, 50), torch.from_numpy(rng.uniform(-math.pi, math.pi, 50))], dim=1)
    place = pos, draw(rng, 50)
    relations = ops.relations(place, place, ptr_of((50,)), ptr_of((50,)), torch.arange(50).expand(2, -1))
    embedding = RelationEmbedding(4).double()(relations)
    assert embedding.shape == (2500, 9)
    assert embedding[:, :5].abs().max() < 10
    assert (embedding[:, :5].std(0) > 0.1).all()


@pytest.mark.parametrize("bias", [True, False])
def test_jets_among_themselves(rng, bias):
    torch.manual_seed(int(rng.integers(2**31)))
    layer = JetAttention(DIM, HEADS, WIDTH, bias).double()
    pairs = ops.pair_index(ptr_of(JETS))
    x, r = draw(rng, sum(JETS), DIM), draw(rng, pairs.size(1), WIDTH)
    y = layer(x, r, ptr_of(JETS))
    q, k, v = layer.qkv(layer.norm(x)).view(-1, 3, HEADS, DIM // HEADS).unbind(1)
    first = last = 0
    for jets in JETS:
        rows, of_pairs = slice(first, first + jets), slice(last, last + jets * jets)
        mask = layer.bias(r[of_pairs]).view(jets, jets, HEADS).permute(2, 0, 1) if bias else None
        heads = (tensor[rows].transpose(0, 1) for tensor in (q, k, v))
        z = x[rows] + F.scaled_dot_product_attention(*heads, mask).transpose(0, 1).flatten(1)
        torch.testing.assert_close(y[rows], z + F.gelu(layer.o(layer.output_norm(z))))
        first, last = first + jets, last + jets * jets
