"""Relations of jets and PFOs: each number by hand, and which pairs are near."""

import math

import numpy as np
import pytest
import torch
from helpers.batches import ptr_of

from panoptag_pyg import ops
from panoptag_pyg.ops.relations import MIN_DELTA_R, pair_place, pairs_within

JETS, PFOS = (2, 0, 3, 1, 0), (5, 4, 0, 1, 0)


def places(rng, lengths):
    count = sum(lengths)
    pos = np.stack([rng.normal(0, 2, count), rng.uniform(-math.pi, math.pi, count)], axis=1)
    return torch.from_numpy(pos), torch.from_numpy(rng.normal(size=count))


def one_by_one(jet, pfo, members):
    """The definition, pair by pair, in Python's own numbers."""
    rows, first_jet, first_pfo = [], 0, 0
    for jets, pfos in zip(JETS, PFOS, strict=True):
        for j in range(first_jet, first_jet + jets):
            for p in range(first_pfo, first_pfo + pfos):
                (eta_j, phi_j), (eta_p, phi_p) = jet[0][j].tolist(), pfo[0][p].tolist()
                angle = math.atan2(math.sin(phi_p - phi_j), math.cos(phi_p - phi_j))
                distance = max(math.hypot(eta_p - eta_j, angle), MIN_DELTA_R)
                ratio = pfo[1][p].item() - jet[1][j].item()
                rows.append((eta_p - eta_j, angle, math.log(distance), ratio, float((j, p) in members)))
        first_jet, first_pfo = first_jet + jets, first_pfo + pfos
    return torch.tensor(rows, dtype=torch.float64)


def test_every_number_is_as_defined(rng):
    jet, pfo = places(rng, JETS), places(rng, PFOS)
    pfo[0][1] = jet[0][0]  # on the axis: ΔR = 0
    members = [(0, 1), (0, 4), (1, 2), (5, 9)]
    found = ops.relations(jet, pfo, ptr_of(JETS), ptr_of(PFOS), torch.tensor(members).t())
    torch.testing.assert_close(found, one_by_one(jet, pfo, members))


def test_a_turn_changes_nothing(rng):
    jet, pfo, members = places(rng, JETS), places(rng, PFOS), torch.empty(2, 0, dtype=torch.long)
    turn = torch.tensor([0.0, rng.uniform(-20, 20)])
    before = ops.relations(jet, pfo, ptr_of(JETS), ptr_of(PFOS), members)
    after = ops.relations((jet[0] + turn, jet[1]), (pfo[0] + turn, pfo[1]), ptr_of(JETS), ptr_of(PFOS), members)
    torch.testing.assert_close(before, after)


@pytest.mark.parametrize("lengths", [((), ()), ((0,), (0,)), ((0, 2), (3, 0))])
def test_nothing_to_relate(rng, lengths):
    jets, pfos = lengths
    members = torch.empty(2, 0, dtype=torch.long)
    found = ops.relations(places(rng, jets), places(rng, pfos), ptr_of(jets), ptr_of(pfos), members)
    assert found.shape == (0, len(ops.RELATIONS))


def test_places_of_pairs(rng):
    pairs = ops.complete_edges(ptr_of(JETS), ptr_of(PFOS))
    chosen = torch.from_numpy(rng.permutation(pairs.size(1)))
    assert torch.equal(pair_place(pairs[:, chosen], ptr_of(JETS), ptr_of(PFOS)), chosen)


def test_pairs_within_are_those_of_a_radius_search(rng):
    jets, pfos = (3, 0, 4, 1), (17, 5, 31, 0)
    jet, pfo = places(rng, jets)[0].float(), places(rng, pfos)[0].float()
    found = pairs_within(0.9, jet, pfo, ptr_of(jets), ptr_of(pfos))
    event = ops.batch_from_ptr(ptr_of(jets), sum(jets)), ops.batch_from_ptr(ptr_of(pfos), sum(pfos))
    expected = ops.radius(pfo, jet, 0.9, event[1], event[0], max_num_neighbors=sum(pfos), metric="wrapped_phi")
    assert sorted(map(tuple, found.t().tolist())) == sorted(map(tuple, expected.t().tolist()))
    assert found.size(1) < ops.complete_edges(ptr_of(jets), ptr_of(pfos)).size(1)
