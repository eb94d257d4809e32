"""PFOs that point to jets: everything against loops over PFOs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers.events import random_block, write_events

from panoptag_pyg.events import EventDataset
from panoptag_pyg.tasks import PFOJet
from panoptag_pyg.tasks.pfo_jet import candidates, choices, log_softmax, nearest_jet

PFOS, JETS = [5, 0, 1, 7, 3], [2, 1, 0, 3, 1]


@pytest.fixture
def events(tmp_path, rng):
    block = random_block(rng, PFOS, JETS)
    # Each PFO in at most one jet of its event, as clustering gives it.
    constituents, lengths = [], []
    for pfos, jets in zip(PFOS, JETS, strict=True):
        owner = rng.integers(-1, jets, pfos)
        for jet in range(jets):
            constituents.append(np.flatnonzero(owner == jet))
            lengths.append(len(constituents[-1]))
    block.constituents = np.concatenate(constituents).astype(np.int32)
    block.constituent_offsets = np.cumsum([0, *lengths])
    path = write_events(tmp_path / "x.h5", block)
    return block, EventDataset(path, fields=PFOJet().needs).get_batch(range(len(PFOS)))


def test_targets(events):
    block, batch = events
    expected = np.full(sum(PFOS), -1)
    first_jet = np.repeat(np.cumsum([0, *JETS])[:-1], JETS)
    for jet in range(sum(JETS)):
        rows = slice(*block.constituent_offsets[jet : jet + 2])
        expected[block.constituent_pfo[rows]] = jet - first_jet[jet]
    assert PFOJet().targets(batch).tolist() == expected.tolist()
    assert (expected >= 0).any()


def test_loss_is_cross_entropy_of_each_pfo(events):
    _, batch = events
    task, target = PFOJet(none_weight=0.3), PFOJet().targets(batch)
    ptr = candidates(batch)
    assert ptr.diff().tolist() == [n + 1 for n, pfos in zip(JETS, PFOS, strict=True) for _ in range(pfos)]
    scores = torch.randn(int(ptr[-1]), dtype=torch.float64)
    weight = batch.weight.double()[batch["pfo"].batch]
    total = norm = 0.0
    for i in range(sum(PFOS)):
        own = scores[ptr[i] : ptr[i + 1]]
        factor = (0.3 if target[i] < 0 else 1.0) * weight[i]
        total += -factor * torch.log_softmax(own, 0)[target[i] + 1]
        norm += factor.abs()
    sums = task.sums(scores, batch)
    torch.testing.assert_close(sums["loss"][0], total, rtol=1e-6, atol=0)
    torch.testing.assert_close(sums["loss"][1], norm, rtol=1e-6, atol=0)
    picked = torch.stack([scores[a:b].argmax() - 1 for a, b in pairwise(ptr)])
    assert sums["accuracy"][0] == (picked == target).sum()
    assert sums["efficiency"][1] == (target >= 0).sum()
    assert torch.autograd.gradcheck(lambda s: task(s, ptr, target, weight), scores.requires_grad_())


def test_choices_and_ties():
    ptr = torch.tensor([0, 1, 4, 6])
    scores = torch.tensor([3.0, 1.0, 2.0, 2.0, 0.5, -1.0])
    jet, probability = choices(scores, ptr)
    assert jet.tolist() == [-1, 0, -1]
    expected = [1.0, torch.softmax(scores[1:4], 0)[1].item(), torch.softmax(scores[4:], 0)[0].item()]
    np.testing.assert_allclose(probability, expected, rtol=1e-6)
    assert log_softmax(torch.empty(0), torch.tensor([0])).shape == (0,)


def test_nearest_jet(events):
    _, batch = events
    pfo_pos, jet_pos = batch["pfo"].pos.numpy(), batch["jet"].pos.numpy()
    expected = []
    for i, event in enumerate(batch["pfo"].batch.tolist()):
        jets = jet_pos[batch["jet"].ptr[event] : batch["jet"].ptr[event + 1]]
        phi = np.remainder(pfo_pos[i, 1] - jets[:, 1] + np.pi, 2 * np.pi) - np.pi
        distance = np.hypot(pfo_pos[i, 0] - jets[:, 0], phi)
        expected.append(int(distance.argmin()) if len(jets) and distance.min() < 2.5 else -1)
    assert nearest_jet(batch, 2.5).tolist() == expected
    assert set(expected) - {-1}


@pytest.mark.parametrize(("pfos", "jets"), [([0], [0]), ([0, 3], [2, 0]), ([2], [0])])
def test_nothing_to_point_at(tmp_path, rng, pfos, jets):
    path = write_events(tmp_path / "x.h5", random_block(rng, pfos, jets))
    batch = EventDataset(path, fields=PFOJet().needs).get_batch(range(len(pfos)))
    scores = torch.randn(int(candidates(batch)[-1]), requires_grad=True)
    task = PFOJet()
    loss = task(scores, candidates(batch), task.targets(batch))
    assert loss.item() == 0
    loss.backward()
    assert set(task.answers(scores, batch)["jet"].tolist()) <= {-1}
    assert nearest_jet(batch).tolist() == [-1] * sum(pfos)
