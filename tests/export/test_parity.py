"""The comparison of an exported tagger with the tagger: what it sees, what it refuses, what it explains."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers.events import events_of
from helpers.exporting import sample, tagger_and_recipe
from torch import nn

from panoptag_pyg.events import EventDataset
from panoptag_pyg.events.batching import block_to_batch
from panoptag_pyg.events.fields import Fields
from panoptag_pyg.export.awkward_events import awkward_events, joined, neighbours_of
from panoptag_pyg.export.interface import ExportError
from panoptag_pyg.export.near_ties import _Searches, explained
from panoptag_pyg.export.parity import ParityError, check_parity
from panoptag_pyg.testing.events import random_block


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return tagger_and_recipe("panoptag")[0]


class Otherwise(nn.Module):
    """The tagger, but for what ``change`` does to the logits of one event, known by its jets' features."""

    def __init__(self, model, jets, change):
        super().__init__()
        self.model, self.jets, self.change = model, jets, change

    def forward(self, batch):
        logits = self.model(batch).clone()
        theirs = (batch["jet"].x[:, None] == self.jets).all(-1).any(-1)
        logits[theirs] = self.change(logits[theirs])
        return logits


def test_a_tagger_is_itself(model):
    parity = check_parity(model, model, sample(), 30, together=7).require("it")
    assert [case.events for case in parity.cases[:2]] == [30, 30]
    assert parity.cases[2].events == parity.cases[3].events + 2 > 20
    assert parity.logits < 1e-4
    assert json.loads(json.dumps(parity.to_dict()))["passed"] is True


@pytest.mark.parametrize("change", [lambda logits: logits + 1e-3, lambda logits: logits * torch.nan],
                         ids=["another", "no number"])  # fmt: skip
def test_another_answer_is_found_and_its_event_named(model, change):
    dataset = sample().select(np.arange(600, 640))
    jets = dataset[23]["jet"].x
    assert len(jets)
    parity = check_parity(model, Otherwise(model, jets, change), dataset, 40)
    name = f"event {int(dataset.number_in_file()[23])} of {dataset.files[1].path}"
    assert name in parity.unexplained
    with pytest.raises(ParityError, match=r"tagger\.onnx: its logits differ") as raised:
        parity.require("tagger.onnx")
    assert name in str(raised.value)
    assert "Infinity" not in json.dumps(parity.to_dict())


def test_another_shape_is_refused(model):
    class Cut(nn.Module):
        def forward(self, batch):
            return model(batch)[:, :2]

    with pytest.raises(ParityError, match="gives logits of shape"):
        check_parity(model, Cut(), sample(), 3)


def test_no_events(model):
    with pytest.raises(ExportError, match="no events"):
        check_parity(model, model, sample().select(np.arange(0)), 3)


def test_the_events_are_spread_over_all_files(model):
    seen = []

    class Watching(nn.Module):
        def forward(self, batch):
            seen.append(batch.event_id.tolist())
            return model(batch)

    dataset: EventDataset = sample()
    check_parity(model, Watching(), dataset, 8)
    wanted = np.linspace(0, len(dataset) - 1, 8).astype(int)
    assert [ids[0] for ids in seen[:8]] == [int(dataset[int(i)].event_id) for i in wanted]


def test_awkward_events_are_what_their_names_say(rng):
    block = random_block(rng, [3, 17, 9, 30], [1, 4, 0, 5])
    made = awkward_events(block, ["a", "b", "c", "d"], (4,))
    sizes = dict(zip(made.names, zip(np.diff(made.block.pfo_offsets), np.diff(made.block.jet_offsets), strict=True),
                     strict=True))  # fmt: skip
    assert sizes["d cut to no PFOs and no jets"] == (0, 0)
    assert sizes["d cut to no PFOs and all jets"] == (0, 5)
    assert sizes["d cut to 1 PFO and 1 jet"] == (1, 1)
    assert sizes["d cut to 6 PFOs and all jets"] == (6, 5)  # k + 2
    assert sizes["d with each PFO and jet twice"] == (60, 10)
    assert sizes["d and 3 more made one"] == (59, 10)


def test_joined_events_keep_their_constituents(rng):
    block = random_block(rng, [5, 0, 12, 7], [2, 1, 3, 2])
    (one,), several = events_of(joined(block)), events_of(block)
    first = np.cumsum([0, *(len(event["pfo"]["pt"]) for event in several)])
    expected = [[c + first[e] for c in jet] for e, event in enumerate(several) for jet in event["constituents"]]
    assert one["constituents"] == expected
    assert one["pfo"]["eta"] == [eta for event in several for eta in event["pfo"]["eta"]]


def test_numbers_of_neighbours_are_found(model):
    assert neighbours_of(model) == (4,)
    assert neighbours_of(tagger_and_recipe("part")[0]) == ()


def tied_event(rng, k=4):
    """An event with a point whose k-th and next neighbour are equally far, on opposite sides."""
    block = random_block(rng, [25], [3])
    eta, phi = block.pfo["eta"], block.pfo["phi"]
    eta[:], phi[:] = rng.uniform(-2, 2, 25), rng.uniform(-1, 1, 25)
    distance = (eta - eta[0]) ** 2 + (phi - phi[0]) ** 2
    order = np.argsort(distance)
    near, spare = order[k], order[-1]  # order[0] is the point itself
    eta[spare], phi[spare] = 2 * eta[0] - eta[near], 2 * phi[0] - phi[near]
    return block_to_batch(block, None, Fields())


def test_a_near_tie_explains_what_it_causes(model, rng):
    for _ in range(50):  # the choice need not matter to the logits; until it does
        batch = tied_event(rng)
        with torch.no_grad(), _Searches() as searches:
            logits = model(batch)
        tie = min(searches.ties, key=lambda tie: tie.gap)
        assert tie.gap < 1e-6
        with torch.no_grad(), _Searches([tie]):
            other = model(batch)
        if (other - logits).abs().max() > 1e-3:
            break
    else:
        pytest.fail("no choice of a neighbour changed the logits")
    with torch.no_grad():
        reason = explained(lambda: model(batch), other, 1e-4)
        assert reason is not None
        assert tie in reason.ties
        assert reason.difference <= 1e-4
        assert f"row {tie.row}" in str(reason)
        # A difference that the tie doesn't cause isn't excused by it.
        assert explained(lambda: model(batch), logits + 1e-2, 1e-4) is None


def test_the_comparison_uses_the_explanation(model, rng):
    class OtherNeighbours(nn.Module):
        def forward(self, batch):
            with _Searches() as searches:
                model(batch)
            if not searches.ties or len(batch["pfo"].ptr) != 2:
                return model(batch)
            with _Searches([min(searches.ties, key=lambda tie: tie.gap)]):
                return model(batch)

    parity = check_parity(model, OtherNeighbours(), sample(), 15)  # no more than are looked into
    assert parity.passed, parity.unexplained
    assert parity.explained, "no event of the sample has a near tie: choose more"
