"""Taggers of single jets: a jet's logits depend on its constituents alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.events import random_block, write_events

from panoptag_pyg.backbones import DeepSetsBackbone
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import CONTAINS, EventDataset, jet_view
from panoptag_pyg.models import SingleJetTagger, build_tagger


@pytest.fixture
def batch(rng, tmp_path):
    block = random_block(rng, rng.integers(1, 30, 9), rng.integers(1, 5, 9))
    return EventDataset(write_events(tmp_path / "a.h5", block), fields=["constituents"]).get_batch(np.arange(9))


@pytest.mark.parametrize("pooling", ["mean", "sum", "max"])
@pytest.mark.parametrize("backbone", ["deepsets", "panoptag"])
def test_other_pfos_of_the_event_change_nothing(rng, batch, backbone, pooling):
    model = SingleJetTagger(backbone, 32, pooling, use_jet_features=pooling == "sum").double()
    model.fit_normalisation(batch)
    for store in (batch["pfo"], batch["jet"]):
        store.x, store.pos = store.x.double(), store.pos.double()
    before = model(batch)
    assert before.shape == (batch["jet"].num_nodes, 3)
    outside = torch.ones(batch["pfo"].num_nodes, dtype=torch.bool)
    outside[batch[CONTAINS].edge_index[1]] = False
    batch["pfo"].x[outside] += torch.from_numpy(rng.normal(size=(int(outside.sum()), 14)))
    torch.testing.assert_close(model(batch), before, rtol=0, atol=0)


def test_pooling_is_that_of_each_jet(batch):
    model = SingleJetTagger("deepsets", 16).eval()
    z = model.embed(batch).jets
    jets = jet_view(batch)
    h = model.encode(jets)
    for jet, (start, stop) in enumerate(zip(jets.ptr[:-1].tolist(), jets.ptr[1:].tolist(), strict=True)):
        expected = h[start:stop].mean(0) if stop > start else torch.zeros(16)
        torch.testing.assert_close(z[jet], expected)


def test_what_does_not_fit():
    with pytest.raises(ConfigError, match="did you mean 'mean'"):
        build_tagger("single_jet", pooling="means")
    with pytest.raises(ConfigError, match="gives 8 numbers per constituent, but dim is 16"):
        SingleJetTagger(DeepSetsBackbone(14, 8), dim=16)


def test_names_of_backbones_are_taggers_too():
    assert type(build_tagger("deepsets", dim=64, num_layers=2).backbone).__name__ == "DeepSetsBackbone"
    model = build_tagger("panoptag", backbone="deepsets", dim=64, num_layers=5)
    assert len(model.backbone.mlp.linears) == 5
    with pytest.raises(ConfigError, match="is a backbone already"):
        build_tagger("deepsets", backbone="panoptag")
    with pytest.raises(ConfigError, match="did you mean 'deepsets'"):
        build_tagger("deepset")
    with pytest.raises(ConfigError, match="did you mean 'num_decoder_layers'"):
        build_tagger("deepsets", num_decoder_layer=3)
