"""A tagger in three lines, for events of any kind; what comes back fits what was given."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.checkpoints import write_checkpoint
from helpers.displaced import displaced_block
from helpers.events import write_events
from helpers.saved_taggers import saved_run
from helpers.traced import SMALL

from panoptag_pyg import Tagger
from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.evaluation import Answers, Predictions, predict_jets
from panoptag_pyg.events import EventBlock, EventDataset, EventFile
from panoptag_pyg.prediction.compatibility import CompatibilityError, CompatibilityWarning
from panoptag_pyg.training import Recipe
from panoptag_pyg.training.data import TaggerData
from panoptag_pyg.training.data_card import training_card
from panoptag_pyg.training.recipe import DataSection

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "data" / "sample" / "ttbar.h5"


@pytest.fixture
def block(rng):
    return EventBlock.concatenate([displaced_block(rng, n, jets, num_soft=15) for n, jets in ((11, 2), (3, 0), (4, 3))])


@pytest.fixture
def tagger(tmp_path, block):
    return Tagger.load(saved_run(tmp_path / "run", block), device="cpu")


@pytest.fixture
def expected(tmp_path, tagger, block):
    return predict_jets(tagger.model, EventDataset(write_events(tmp_path / "a.h5", block)))


def test_all_kinds_of_events_get_the_same(tmp_path, tagger, block, expected):
    path = tmp_path / "a.h5"
    dataset = EventDataset(path)
    for events in (block, dataset, path, [str(path)], list(dataset), (graph for graph in dataset)):
        found = tagger.predict(events)
        assert isinstance(found, Predictions)
        assert np.allclose(found.logits, expected.logits, atol=1e-5)
        for name in ("event_index", "event_id", "jet_index", "pt", "flavour", "file"):
            assert np.array_equal(getattr(found, name), getattr(expected, name)), name
        assert found.num_events == 18
    view = dataset.select([5, 2])
    assert np.array_equal(tagger.predict(view).event_id, predict_jets(tagger.model, view).event_id)
    assert (tagger.class_names, tagger.recipe.model.name, tagger.task) == (("light", "c", "b"), "panoptag", None)


def test_an_array_comes_back_as_jagged_as_it_was(tagger, block, expected):
    ak = pytest.importorskip("awkward")
    from panoptag_pyg.convert import to_awkward

    events = to_awkward(block)
    scores = tagger.predict(events)
    assert ak.num(scores.b).tolist() == ak.num(events.jet.pt).tolist()
    for number, name in enumerate(tagger.class_names):
        assert np.allclose(ak.flatten(scores[name]), expected.probabilities[:, number], atol=1e-5)
    assert np.allclose(ak.flatten(tagger.predict(events, values="logits").c), expected.logits[:, 1], atol=1e-5)
    assert ak.all(ak.num(events.jet[scores.b > 0.5]) <= ak.num(events.jet))
    assert ak.num(tagger.predict(events[:0]).b).tolist() == []
    embedding = tagger.embed(events)
    assert ak.num(embedding).tolist() == ak.num(events.jet.pt).tolist()
    assert np.allclose(ak.to_numpy(ak.flatten(embedding)), tagger.embed(block))


def test_a_value_that_is_not_finite(tagger, block, expected):
    ak = pytest.importorskip("awkward")
    from panoptag_pyg.convert import to_awkward

    block.pfo["dz"][block.pfo_offsets[4]] = np.nan
    scores = tagger.predict(to_awkward(block))
    flat, hit = ak.to_numpy(ak.flatten(scores.b)), block.jet_event == 4
    assert np.isnan(flat[hit]).all()
    assert np.allclose(flat[~hit], expected.probabilities[~hit, 2], atol=1e-5)
    with pytest.raises(PanopTagError, match=r"event 4: pfo/dz is nan"):
        tagger.predict(block, strict=True)


def test_a_value_of_a_dataset_that_is_not_finite(tmp_path, tagger, block, expected):
    path = tmp_path / "a.h5"
    with h5py.File(path, "r+") as file:
        file["pfo/dz"][int(block.pfo_offsets[4])] = np.nan
    found = tagger.predict(EventDataset(path))
    hit = block.jet_event == 4
    assert np.isnan(found.logits[hit]).all()
    assert np.allclose(found.logits[~hit], expected.logits[~hit], atol=1e-5)
    with pytest.raises(PanopTagError, match=r"event 4: pfo/dz is nan"):
        tagger.predict(EventDataset(path), strict=True)


def test_other_tasks(tmp_path, block):
    ak = pytest.importorskip("awkward")
    from panoptag_pyg.convert import to_awkward

    several = {
        "name": "several",
        "origin": {"task": "quark_gluon"},
        "hard": {"task": "process", "classes": ["ttbar", "ZH"]},
    }
    tagger = Tagger.load(saved_run(tmp_path / "several", block, several), device="cpu")
    path = write_events(tmp_path / "a.h5", block)
    answers = tagger.predict(path)
    assert isinstance(answers, Answers)
    found = tagger.predict(to_awkward(EventDataset(path)))
    assert found.fields == ["jet", "event"]
    logits = answers.of("origin")[1]["logits"]
    for number, name in enumerate(answers.tasks["origin"]["classes"]):
        assert np.allclose(ak.flatten(found.jet[f"origin_logit_{name}"]), logits[:, number], atol=1e-5)
    assert ak.num(found.jet).tolist() == np.diff(block.jet_offsets).tolist()
    alone = Tagger.load(saved_run(tmp_path / "alone", block, {"name": "jet_pt"}), device="cpu")
    assert "jet_pt_predicted" in alone.predict(to_awkward(block)).fields


def test_streaming_and_embedding(tmp_path, tagger, block, expected):
    tagger.predict_to(tmp_path / "s.h5", tmp_path / "a.h5")
    assert np.array_equal(Predictions.load(tmp_path / "s.h5").logits, expected.logits)
    tagger.predict_to(tmp_path / "block.h5", block, embeddings=True, attention="mean", part_events=64)
    assert np.allclose(Predictions.load(tmp_path / "block.h5").logits, expected.logits, atol=1e-4)
    assert tagger.embed(tmp_path / "a.h5").shape == (block.num_jets, 8)
    assert tagger.embed(block, pfos=True).shape == (block.num_pfos, 8)
    assert tagger.embed(EventBlock.empty()).shape == (0, 8)


def test_what_are_no_events(tagger, tmp_path):
    for events, what in ((3.5, "a float, expected"), ({"jet": 1}, "a dict, expected"), ("missing.h5", "no such file")):
        with pytest.raises(PanopTagError, match=what):
            tagger.predict(events)
    with pytest.raises(PanopTagError, match="can't be read in parts"):
        tagger.predict_to(tmp_path / "s.h5", iter(()))
    assert len(tagger.predict([])) == len(tagger.predict(EventBlock.empty())) == 0


def test_the_name_costs_nothing():
    code = "import panoptag_pyg, sys; assert not {'torch', 'h5py', 'awkward'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(ImportError):
        from panoptag_pyg import Taggers  # noqa: F401


@pytest.fixture
def trained(tmp_path):
    """A tagger that was trained on ``data/sample``, as its card says, though it has learnt nothing."""
    recipe = Recipe.model_validate({"model": {"name": "panoptag", **SMALL["panoptag"]}})
    data = TaggerData(DataSection(normalisation_events=300), SAMPLE)
    card = training_card(data, [], data.normalisation_sample())
    return Tagger.load(write_checkpoint(tmp_path / "best.ckpt", recipe, seed=3, card=card), device="cpu")


def changed(path, **attributes):
    """The first events of the sample in a file that tells something else of itself."""
    with EventFile(SAMPLE) as file:
        block, told = file.read(0, 60), file.attributes
    return write_events(path, block, attributes={**told, **attributes})


def test_events_like_the_trainings_are_tagged_without_a_word(trained, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained.predict(SAMPLE)
        trained.predict(EventDataset(SAMPLE).select(np.arange(0, 40)))
        trained.embed(changed(tmp_path / "a.h5"))


def test_what_differs_is_warned_of_once(trained, tmp_path):
    fat = changed(tmp_path / "fat.h5", jets={"radius": 1.0, "algorithm": "antikt", "min_pt": 20.0, "max_abs_eta": 2.5})
    for events in (fat, EventDataset(fat).select([3, 1])):
        trained._told.clear()
        with pytest.warns(CompatibilityWarning) as caught:
            trained.predict(events)
        (one,) = caught
        assert "its jets have R = 1, those of the training R = 0.4" in str(one.message)
        assert str(fat) in str(one.message)
        assert one.filename == __file__, "it names the line that asked for scores"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained.predict(fat)
        trained.predict_to(tmp_path / "s.h5", fat)
    small = changed(tmp_path / "small.h5", jets={"radius": 0.2, "algorithm": "cambridge"})
    with pytest.warns(CompatibilityWarning) as caught:
        trained.predict_to(tmp_path / "t.h5", small)
    assert sorted(str(one.message).partition(": ")[2].partition(",")[0] for one in caught) == [
        "its jets are cambridge jets",
        "its jets have R = 0.2",
    ]
    with pytest.raises(CompatibilityError, match="R = 1, those of the training"):
        trained.predict(fat, strict=True)


def test_a_block_in_memory_is_compared_too(trained):
    with EventFile(SAMPLE) as file:
        block = file.read(0, 150)
    block.jet["mass"] *= 8
    with pytest.warns(CompatibilityWarning, match="mass of .* of its jets lies outside"):
        trained.predict(block)
    block.pfo["d0"][:] = 0
    with pytest.raises(CompatibilityError, match=r"\(d0\).*would mean nothing"):
        trained.predict(block)


def test_what_was_done_to_a_root_file_is_told(trained):
    pytest.importorskip("uproot")
    pytest.importorskip("fastjet")
    with pytest.warns(CompatibilityWarning, match="the tracks have no errors: d0 and dz were drawn") as caught:
        trained.predict(ROOT / "tests" / "data" / "delphes_fcc.root")
    assert len({str(one.message) for one in caught}) == len(caught)
