"""The classifier of whole events: which jets it sees, what their tokens hold, and what stands for those not there."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from helpers.events import random_block, write_events

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import EventDataset
from panoptag_pyg.models import build_tagger
from panoptag_pyg.models.fatjet_event import TOKEN_FEATURES

TINY = {"dim": 16, "num_heads": 2, "num_constituent_layers": 1, "num_token_layers": 1}


@pytest.fixture
def dataset(rng, tmp_path):
    """Events with 0 to 5 jets, which don't come in the order of their pT."""
    block = random_block(rng, [40, 0, 25, 60, 33, 50, 3], [2, 1, 0, 5, 1, 3, 4])
    block.jet["pt"][:] = rng.uniform(200, 900, block.num_jets)
    block.jet["eta"][:] = rng.uniform(-2, 2, block.num_jets)
    block.jet["mass"][:] = rng.uniform(1, 200, block.num_jets)
    block.pfo["pt"][:] = rng.exponential(5, block.num_pfos) + 0.1
    block.pfo["energy"][:] = block.pfo["pt"] * np.cosh(block.pfo["eta"].astype(float)) * 1.001
    return EventDataset(write_events(tmp_path / "a.h5", block), fields=["constituents"])


@pytest.fixture
def model(dataset):
    model = build_tagger("fatjet_event", **TINY).double().eval()
    model.fit_normalisation(whole(dataset))
    return model


def whole(dataset: EventDataset):
    batch = dataset.get_batch(np.arange(len(dataset)))
    for store in (batch["pfo"], batch["jet"]):
        store.x, store.pos = store.x.double(), store.pos.double()
    return batch


def tokens_by_hand(batch) -> tuple[np.ndarray, np.ndarray]:
    """Jet 1, jet 2 and their sum of every event, by loops."""
    ptr, x = batch["jet"].ptr.tolist(), batch["jet"].x.numpy()
    features, there = np.zeros((len(ptr) - 1, 3, len(TOKEN_FEATURES))), np.zeros((len(ptr) - 1, 3), dtype=bool)
    for event in range(len(ptr) - 1):
        jets = sorted(x[ptr[event] : ptr[event + 1]].tolist(), reverse=True)[:2]
        momenta = [
            np.array([np.sqrt((pt * np.cosh(eta)) ** 2 + m**2), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)])
            for pt, eta, phi, m in jets
        ]
        both = {0: momenta[:1], 1: momenta[1:2], 2: momenta}
        for token, summed in both.items():
            if not summed:
                continue
            energy, px, py, pz = np.sum(summed, axis=0)
            pt, p = np.hypot(px, py), np.sqrt(px**2 + py**2 + pz**2)
            mass = np.sqrt(max(energy**2 - p**2, 0))
            features[event, token] = (mass, np.arctanh(pz / p), np.arctan2(py, px), pt, energy, np.arccos(pz / p))
            there[event, token] = True
    return features, there


def test_tokens_are_the_leading_jets_and_their_sum(dataset, model):
    batch = whole(dataset)
    expected, expected_there = tokens_by_hand(batch)
    features, there = model._tokens(batch, model._pairs(batch))
    np.testing.assert_array_equal(there, expected_there)
    # Masses are differences of large squares.
    np.testing.assert_allclose(features[there], expected[expected_there], rtol=1e-9, atol=1e-5)


def test_further_jets_change_nothing(dataset, model):
    with torch.no_grad():
        expected = model(whole(dataset))
        two = EventDataset(dataset.files[0].path, max_jets=2, fields=["constituents"])
        torch.testing.assert_close(model(whole(two)), expected, rtol=0, atol=1e-10)


def test_a_constituent_of_either_jet_changes_the_answer(dataset, model):
    batch = whole(dataset)
    with torch.no_grad():
        expected = model(batch)
        pairs = model._pairs(batch)
        edges = batch["jet", "contains", "pfo"].edge_index
        seen = 0
        for event, place in ((0, 0), (0, 1), (5, 0), (5, 1), (4, 0)):
            inside = edges[1][edges[0] == pairs.rows[event, place]]
            if not len(inside):
                continue
            seen += 1
            changed = copy.deepcopy(batch)
            changed["pfo"].x[inside[0], 2] += 1.0
            moved = (model(changed) - expected).abs().amax(1) > 1e-9
            assert moved.nonzero().flatten().tolist() == [event]
    assert seen


def test_what_stands_for_jets_that_are_not_there(dataset, model):
    """All events without jets get one answer, learnt; events with one jet keep it in the sum."""
    batch = whole(dataset)
    with torch.no_grad():
        logits = model(batch)
        model.missing.add_(torch.randn_like(model.missing))
        changed = (model(batch) - logits).abs().amax(1) > 1e-9
    assert changed.tolist() == [n < 2 for n in batch["jet"].ptr.diff().tolist()]
    pairs = model._pairs(batch)
    features, there = model._tokens(batch, pairs)
    one = batch["jet"].ptr.diff() == 1
    torch.testing.assert_close(features[one, 0], features[one, 2])
    assert there[one].tolist() == [[True, False, True]] * int(one.sum())


def test_answers_for_events(dataset, model):
    assert model.level == "event"
    assert model(whole(dataset)).shape == (len(dataset), 2)
    assert model(whole(dataset.select([2]))).shape == (1, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 10, "num_heads": 4}, "num_heads must divide dim"),
        ({"num_cross_layers": 0}, "num_cross_layers must be at least 1"),
        ({"num_cross_layer": 2}, "did you mean 'num_cross_layers'"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ConfigError, match=message):
        build_tagger("fatjet_event", **options)


def test_it_has_no_attention_of_jets(dataset, model):
    with pytest.raises(ConfigError, match="no attention"):
        model(whole(dataset), return_attention=True)
