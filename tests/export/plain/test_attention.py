"""Attention in plain ATen against the float64 reference, with sets of all sizes."""

import pytest
import torch
from helpers.batches import ptr_of

from panoptag_pyg import ops
from panoptag_pyg.export.plain import PlainOperations

#: Queries and keys of each set.
LENGTHS = [
    ((3, 0, 1, 7, 2, 0), (5, 4, 0, 13, 1, 0)),
    ((1,), (1,)),
    ((2, 5), (31, 101)),
    ((2, 3), (0, 0)),
    ((0,), (4,)),
    ((), ()),
]


def draw(rng, *shape):
    return torch.from_numpy(rng.normal(size=shape))


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_ragged_attention(rng, lengths, shared):
    queries, keys = lengths
    q = draw(rng, 3 if shared else sum(queries), 2, 5)
    k, v = draw(rng, sum(keys), 2, 5), draw(rng, sum(keys), 2, 5)
    ptrs = (None if shared else ptr_of(queries), ptr_of(keys))
    expected = ops.ragged_attention(q, k, v, *ptrs, backend="reference")
    with PlainOperations():
        close(ops.ragged_attention(q, k, v, *ptrs), expected)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_relation_attention(rng, lengths):
    queries, keys = lengths
    q_ptr, k_ptr = ptr_of(queries), ptr_of(keys)
    q, k, v = draw(rng, sum(queries), 2, 5), draw(rng, sum(keys), 2, 5), draw(rng, sum(keys), 2, 5)
    places = [draw(rng, sum(queries), 2), draw(rng, sum(queries)), draw(rng, sum(keys), 2), draw(rng, sum(keys))]
    members = torch.zeros(2, 0, dtype=torch.long)
    to_bias = draw(rng, 5, 2)

    def read(**options):
        r = ops.relations(tuple(places[:2]), tuple(places[2:]), q_ptr, k_ptr, members)
        bias = (r @ to_bias).masked_fill(r[:, 3:4] > 1, -torch.inf)
        return ops.relation_attention(q, k, v, bias, r, q_ptr, k_ptr, **options)[:2]

    expected = read(backend="reference")
    with PlainOperations():
        actual = read()
    for a, b in zip(actual, expected, strict=True):
        close(a, b)


def test_a_query_all_of_whose_pairs_are_left_out_gets_nothing(rng):
    q, k, v = draw(rng, 2, 1, 3), draw(rng, 4, 1, 3), draw(rng, 4, 1, 3)
    bias = torch.zeros(8, 1)
    bias[:4] = -torch.inf
    with PlainOperations():
        y, mixed, weight = ops.relation_attention(q, k, v, bias, draw(rng, 8, 2), ptr_of((2,)), ptr_of((4,)))
    assert not y[0].any()
    assert not mixed[0].any()
    assert not weight[:4].any()
    close(weight[4:].sum(0), torch.ones(1).double())


@pytest.mark.parametrize("num_features", [1, 3, 4, 5])
@pytest.mark.parametrize("self_pairs", [True, False])
@pytest.mark.parametrize("lengths", [(0, 1, 2, 13, 7, 0), (1,), (0,), (), (31,)])
def test_pair_attention_with_the_bias_of_momenta(rng, lengths, num_features, self_pairs):
    ptr, number = ptr_of(lengths), sum(lengths)
    q, k, v = (draw(rng, number, 2, 5) for _ in range(3))
    space = draw(rng, number, 3)
    momentum = torch.cat([space.square().sum(1, keepdim=True).add(0.1).sqrt(), space], dim=1)
    linears = [(draw(rng, 4, num_features), draw(rng, 4)), (draw(rng, 2, 4), draw(rng, 2))]

    def attend(**options):
        bias = ops.pair_embedding(momentum, ptr, linears, self_pairs=self_pairs)
        return ops.pair_attention(q, k, v, bias, ptr, **options)

    expected = attend(backend="reference")
    with PlainOperations():
        close(attend(), expected)


def test_pairs_within_a_radius(rng):
    from panoptag_pyg.ops.relations import pairs_within

    jet_ptr, pfo_ptr = ptr_of((2, 0, 3, 1)), ptr_of((7, 3, 0, 31))
    jets = draw(rng, 6, 2)
    pfos = draw(rng, 41, 2) * 3
    pfos[0] = jets[0] + 0.1  # chance may leave no other pair within the radius
    expected = pairs_within(1.0, jets, pfos, jet_ptr, pfo_ptr)
    with PlainOperations():
        assert torch.equal(pairs_within(1.0, jets, pfos, jet_ptr, pfo_ptr), expected)
    assert expected.size(1) > 0
