"""The training data card: right numbers, kept in checkpoint, summary and hub folder; absent from old checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.checkpoints import write_checkpoint
from helpers.learnable import write_learnable

from panoptag_pyg.events import EventDataset, EventFile
from panoptag_pyg.events.features import PFO_FEATURES, pfo_features
from panoptag_pyg.events.merge import merge
from panoptag_pyg.training import Recipe, train
from panoptag_pyg.training.data import TaggerData
from panoptag_pyg.training.data_card import Spread, TrainingCard, load_data_card, training_card, unknown_columns
from panoptag_pyg.training.hub_folder import save_hub_folder
from panoptag_pyg.training.recipe import DataSection
from panoptag_pyg.training.setup import Setup, setups_of

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "data" / "sample"


def test_a_spread_is_numpys(rng):
    values = rng.normal(3, 2, 1001)
    values[::10] = 0
    found = Spread.of(values)
    for name, wanted in (
        ("mean", values.mean()),
        ("std", values.std()),
        ("low", values.min()),
        ("high", values.max()),
        ("q01", np.quantile(values, 0.01)),
        ("median", np.median(values)),
        ("q99", np.quantile(values, 0.99)),
        ("nonzero", (values != 0).mean()),
    ):
        assert getattr(found, name) == pytest.approx(wanted, rel=1e-5, abs=1e-9)
    assert Spread.of([]) == Spread(*[0.0] * 8)
    assert Spread.of([float("nan"), float("inf"), 2.0]).mean == 2.0


def test_a_card_tells_what_the_training_events_are():
    data = TaggerData(DataSection(normalisation_events=100, max_jets=3), [SAMPLE / "ttbar.h5", SAMPLE / "ZH.h5"])
    card = training_card(data, ["constituents"], data.normalisation_sample())
    assert card.known
    assert card.processes == ("ttbar", "ZH")
    assert (card.events, card.sample_events, card.max_jets) == (len(data.training), 100, 3)
    assert {"jet/constituents", "pfo/d0_error", "jet/pt"} <= set(card.reads)
    assert "jet/flavour" not in card.reads
    (setup,) = card.setups
    attributes = EventFile(SAMPLE / "ttbar.h5").attributes
    assert (setup.origin, setup.detector, setup.jet_radius, setup.pileup) == ("simulated", "atlas", 0.4, 0.0)
    assert (setup.jet_algorithm, setup.jet_min_pt, setup.jet_max_abs_eta) == ("antikt", 20.0, 2.5)
    assert setup.choices == attributes["setup"]
    assert card.software["pythia8mc"] in setup.generator
    block = data.normalisation_events().read_block()
    features = pfo_features(block.pfo)
    for i, name in enumerate(PFO_FEATURES):
        assert card.pfo[name] == Spread.of(features[:, i])
    assert card.tracks["d0_error"].nonzero == 1.0
    assert card.pfos.mean == pytest.approx(np.diff(block.pfo_offsets).mean(), rel=1e-5)
    assert card.jets.high == 3
    assert card.num_interactions.high == 1
    text = "\n".join(card.lines())
    for words in ("events of ttbar, ZH", "antikt, R = 0.4, pT from 20 GeV, |eta| below 2.5", "no pileup"):
        assert words in text
    assert TrainingCard.parse(json.dumps(card.to_dict())) == card


def test_it_is_kept_wherever_the_tagger_goes(tmp_path):
    file = write_learnable(tmp_path / "events.h5", 24)
    recipe = Recipe.from_toml("tiny", ["train.max_epochs=1"])
    run = train(recipe, file, tmp_path / "run")
    card = load_data_card(run.folder)
    assert card.known
    assert card.events == run.summary["data"]["training"]["events"]
    assert json.loads((run.folder / "summary.json").read_text())["data_card"] == json.loads(json.dumps(card.to_dict()))
    assert load_data_card(run.folder / "last.ckpt") == card
    assert load_data_card(save_hub_folder(run.folder, tmp_path / "hub")) == card
    entry = torch.load(run.folder / "best.ckpt", weights_only=True)["panoptag"]
    assert isinstance(entry["data_card"], str)
    again = train(Recipe.from_toml("tiny", ["train.max_epochs=2"]), file, run.folder, resume=True)
    assert load_data_card(again.folder) == card


def test_old_checkpoints_know_nothing_but_what_they_read(tmp_path, rng):
    recipe = Recipe.from_toml("tiny", ["data.max_pfos=9"])
    card = load_data_card(write_checkpoint(tmp_path / "old.ckpt", recipe, int(rng.integers(2**31))))
    assert not card.known
    assert card.max_pfos == 9
    assert "pfo/d0" in card.reads
    assert list(card.lines()) == ["Nothing is recorded of the training data."]


@pytest.mark.parametrize("values", [None, 3, "{", "[]", {"pfo": 3}, {"pfos": {"mean": 1}}, {"setups": [3]}])
def test_a_card_that_cannot_be_read_knows_nothing(values):
    assert TrainingCard.parse(values) == TrainingCard()


def test_entries_of_later_releases_are_left_out():
    values = TrainingCard(known=True, events=3, setups=(Setup(detector="atlas"),)).to_dict()
    values |= {"later": 1, "setups": [{**values["setups"][0], "later": 2}]}
    assert TrainingCard.parse(values).setups == (Setup(detector="atlas"),)


def test_setups_of_merged_files(tmp_path):
    merged = merge([SAMPLE / "ttbar.h5", SAMPLE / "ZH.h5"], tmp_path / "merged.h5").path
    files = EventDataset([merged]).files
    assert setups_of(files) == setups_of(EventDataset([SAMPLE / "ttbar.h5"]).files)
    fat = EventDataset([merged, ROOT / "data" / "sample_fatjets" / "ttH_bb.h5"]).files
    assert [setup.jet_radius for setup in setups_of(fat)] == [0.4, 1.0]


def test_columns_that_nobody_knows():
    sample = EventFile(SAMPLE / "ttbar.h5")
    assert "event/source" in unknown_columns(sample)
    assert "pfo/d0" not in unknown_columns(sample)
