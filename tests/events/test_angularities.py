"""Angularities against a plain loop over jets and constituents, and as features of a dataset's jets."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.events import random_block, write_events

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import EventDataset, EventLoader
from panoptag_pyg.events.angularities import (
    NAMED_ANGULARITIES,
    angularities,
    angularity_exponents,
    angularity_name,
    expand_jet_features,
    jet_radius,
)
from panoptag_pyg.events.features import JET_FEATURES
from panoptag_pyg.models import PanopTag
from panoptag_pyg.training import Recipe
from panoptag_pyg.training.checkpoint import build_model

FOUR = list(JET_FEATURES)


@pytest.fixture
def block(rng):
    # The first event has a jet, but no PFO that could be in it.
    return random_block(rng, np.r_[0, rng.integers(0, 30, 16)], np.r_[1, rng.integers(0, 5, 16)])


def by_a_loop(block, kappa, alpha, radius):
    values = []
    for jet in range(block.num_jets):
        first, last = block.constituent_offsets[jet], block.constituent_offsets[jet + 1]
        rows = block.constituent_pfo[first:last]
        total = math.fsum(float(block.pfo["pt"][row]) for row in rows)
        value = 0.0
        for row in rows:
            delta_eta = float(block.pfo["eta"][row]) - float(block.jet["eta"][jet])
            delta_phi = math.remainder(float(block.pfo["phi"][row]) - float(block.jet["phi"][jet]), 2 * math.pi)
            value += (float(block.pfo["pt"][row]) / total) ** kappa * (
                math.hypot(delta_eta, delta_phi) / radius
            ) ** alpha
        values.append(value)
    return values


@pytest.mark.parametrize("radius", [None, 1.0])
def test_equal_to_a_loop(rng, block, radius):
    pairs = [*NAMED_ANGULARITIES.values(), tuple(rng.uniform(0, 3, 2))]
    if radius is not None:
        block.jet["radius"] = np.full(block.num_jets, radius)
    found = angularities(block, pairs)
    assert found.shape == (block.num_jets, len(pairs))
    for column, pair in zip(found.T, pairs, strict=True):
        np.testing.assert_allclose(column, by_a_loop(block, *pair, radius or 0.4), rtol=1e-12)
    lengths = np.diff(block.constituent_offsets)
    np.testing.assert_array_equal(found[:, 0], lengths)
    assert (lengths == 0).any()
    assert not found[lengths == 0].any()


def test_no_jets_and_no_momentum(block):
    empty = block.select([])
    assert angularities(empty, [(1, 1)]).shape == (0, 1)
    block.pfo["pt"][:] = 0
    found = angularities(block, [(0, 0), (1, 1)])
    np.testing.assert_array_equal(found[:, 0], np.diff(block.constituent_offsets))
    assert not found[:, 1].any()


def test_those_with_kappa_one_are_collinear_safe_and_the_others_are_not(rng):
    """What EFN's docstring says of them."""
    one = random_block(rng, [40], [1])
    one.constituents, one.constituent_offsets = np.arange(7, dtype=np.int32), np.array([0, 7])
    split = random_block(rng, [40], [1])
    split.jet, split.constituents, split.constituent_offsets = one.jet, np.arange(8, dtype=np.int32), np.array([0, 8])
    split.pfo = {name: np.insert(values, 7, values[3]) for name, values in one.pfo.items()}
    split.pfo["pt"] = split.pfo["pt"].astype(np.float64)
    split.pfo["pt"][[3, 7]] *= 0.3, 0.7
    split.pfo_offsets = np.array([0, 41])
    pairs = [(1, 0.5), (1, 1), (1, 2), (2, 0), (0, 0)]
    before, after = angularities(one, pairs)[0], angularities(split, pairs)[0]
    np.testing.assert_allclose(after[:3], before[:3], rtol=1e-12)
    assert after[3] < before[3] * 0.999999
    assert after[4] == before[4] + 1


def test_names():
    assert angularity_name(1, 0.5) == "angularity_kappa1_alpha0.5"
    for pair in [*NAMED_ANGULARITIES.values(), (1.25, 3.0)]:
        assert angularity_exponents(angularity_name(*pair)) == pair
    usual = expand_jet_features([*FOUR, "angularities"])
    assert usual[:4] == JET_FEATURES
    assert [angularity_exponents(name) for name in usual[4:]] == [(0, 0), (2, 0), (1, 0.5), (1, 1), (1, 2)]
    with pytest.raises(ConfigError, match="did you mean 'angularities'"):
        expand_jet_features([*FOUR, "angularity"])
    with pytest.raises(ConfigError, match="begin with pt, eta, phi, mass, not angularities"):
        expand_jet_features(["angularities"])
    with pytest.raises(ConfigError, match="'angularity_kappa1_alpha1' is named twice"):
        expand_jet_features([*FOUR, "angularities", "angularity_kappa1_alpha1"])


def test_the_radius_is_the_files(block, tmp_path):
    assert jet_radius({}) == jet_radius({"detector_card": "?"}) == 0.4
    assert jet_radius({"detector_card": {"jets": {"radius": 1.0}}}) == 1.0
    assert jet_radius({"detector_card": {"jets": {"radius": 1.0}}, "jets": {"radius": 0.8}}) == 0.8
    files = [write_events(tmp_path / "thin.h5", block)]
    files.append(write_events(tmp_path / "fat.h5", block, attributes={"detector_card": {"jets": {"radius": 0.8}}}))
    dataset = EventDataset(files, jet_features=[*FOUR, "angularity_kappa1_alpha2"])
    x = dataset.get_batch(np.arange(len(dataset)))["jet"].x
    thin, fat = x[: block.num_jets, 4], x[block.num_jets :, 4]
    torch.testing.assert_close(thin, 4 * fat)
    np.testing.assert_allclose(thin, by_a_loop(block, 1, 2, 0.4), rtol=1e-5)


def test_every_route_gives_the_same(block, tmp_path):
    dataset = EventDataset(write_events(tmp_path / "a.h5", block), jet_features=[*FOUR, "angularities"])
    whole = dataset.get_batch(np.arange(len(dataset)))["jet"].x
    assert whole.shape == (block.num_jets, 9)
    assert whole.dtype == torch.float32
    assert torch.equal(torch.cat([event["jet"].x for event in dataset]), whole)
    assert torch.equal(torch.cat([batch["jet"].x for batch in EventLoader(dataset, batch_size=5)]), whole)


def test_the_recipe_writes_them_out_and_the_model_takes_them(block, tmp_path):
    recipe = Recipe.from_dict({"data": {"jet_features": [*FOUR, "angularities"]}, "model": {"dim": 16, "num_heads": 4}})
    assert len(recipe.data.jet_features) == 9
    assert Recipe.from_json(recipe.to_json()).data.jet_features == recipe.data.jet_features
    model = build_model(recipe)
    assert isinstance(model, PanopTag)
    dataset = EventDataset(write_events(tmp_path / "a.h5", block), jet_features=recipe.data.jet_features)
    batch = dataset.get_batch(np.arange(len(dataset)))
    model.fit_normalisation(batch)
    logits = model(batch)
    assert torch.isfinite(logits).all()
    batch["jet"].x[:, 4:] += 1
    assert not torch.allclose(model(batch), logits)
    with pytest.raises(ConfigError, match=r"data\.jet_features.*did you mean 'angularities'"):
        Recipe.from_dict({"data": {"jet_features": [*FOUR, "angularty"]}})
