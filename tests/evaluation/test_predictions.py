"""Scores come back in the order of the files, jet by jet, and survive the disk."""

from __future__ import annotations

import errno
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from helpers.displaced import ToyTagger, displaced_block
from helpers.events import write_events
from scipy.special import softmax

from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.evaluation import Predictions, predict_jets
from panoptag_pyg.events import EventBlock, EventDataset

PROCESSES = ("ttbar", "ZH")


@pytest.fixture
def files(tmp_path, rng):
    """Two files of 37 and 11 events, some without jets."""
    blocks = [displaced_block(rng, n, jets_per_event=2, num_processes=2) for n in (37, 11)]
    paths = [write_events(tmp_path / f"{i}.h5", block, PROCESSES) for i, block in enumerate(blocks)]
    return paths, EventBlock.concatenate(blocks)


@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 7}, {"max_pfos_per_batch": 500}, {}])
def test_order_and_identity_of_jets(files, options):
    paths, block = files
    dataset = EventDataset(paths)
    model = ToyTagger()
    predictions = predict_jets(model, dataset, **options)
    with torch.inference_mode():
        expected = torch.cat([model(dataset.get_batch([i])) for i in range(48) if dataset.num_jets()[i]])
    assert np.allclose(predictions.logits, expected.numpy(), atol=1e-4)
    assert np.array_equal(predictions.event_index, block.jet_event)
    assert np.array_equal(predictions.jet_index, np.arange(block.num_jets) - block.jet_offsets[block.jet_event])
    assert np.array_equal(predictions.file, (block.jet_event >= 37).astype(int))
    for name in ("pt", "eta", "mass", "flavour"):
        assert np.array_equal(getattr(predictions, name), block.jet[name])
    for name, column in (("event_id", "id"), ("process", "process"), ("weight", "weight")):
        assert np.array_equal(getattr(predictions, name), block.event[column][block.jet_event])
    assert predictions.num_events == 48
    assert predictions.source_files == tuple(map(str, paths))
    assert np.allclose(predictions.probabilities, softmax(predictions.logits.astype(float), axis=1))


def test_of_a_view_know_their_file(files):
    paths, _ = files
    predictions = predict_jets(ToyTagger(), EventDataset(paths).select([40, 3, 47]))
    assert set(predictions.file[predictions.event_index != 1]) <= {1}
    assert set(predictions.file[predictions.event_index == 1]) <= {0}


def test_saved_and_loaded_equal(files, tmp_path):
    paths, _ = files
    predictions = predict_jets(ToyTagger(), EventDataset(paths), recipe='{"model": {"name": "toy"}}')
    loaded = Predictions.load(predictions.save(tmp_path / "deep" / "scores.h5"))
    for name, value in vars(predictions).items():
        assert np.array_equal(getattr(loaded, name), value), name
    with h5py.File(tmp_path / "deep" / "scores.h5") as file:
        assert file.attrs["format"] == "panoptag-scores"
        assert np.allclose(file["jet/probabilities"][:].sum(axis=1), 1)
        assert file["jet/pt"].attrs["unit"] == "GeV"


@pytest.mark.parametrize("num_events", [0, 3])
def test_without_jets(tmp_path, rng, num_events):
    path = write_events(tmp_path / "a.h5", displaced_block(rng, num_events, jets_per_event=0))
    predictions = predict_jets(ToyTagger(), EventDataset(path))
    assert predictions.logits.shape == predictions.probabilities.shape == (0, 3)
    assert predictions.num_events == num_events
    assert len(Predictions.load(predictions.save(tmp_path / "scores.h5"))) == 0


def test_unknown_flavour_is_allowed_until_truth_is_asked_for(files, tmp_path):
    paths, _ = files
    predictions = predict_jets(ToyTagger(), EventDataset(paths))
    unknown = replace(predictions, flavour=np.full(len(predictions), -1, np.int8))
    assert Predictions.load(unknown.save(tmp_path / "scores.h5")).flavour.max() == -1
    with pytest.raises(PanopTagError, match=r"unknown \(-1\).*panoptag predict"):
        unknown.require_truth()
    some = replace(predictions, flavour=np.where(np.arange(len(predictions)) < 5, -1, predictions.flavour))
    assert len(some.require_truth()) == len(predictions) - 5


def test_scores_that_are_not_finite_name_the_event(files):
    paths, _ = files
    dataset = EventDataset(paths)
    model = ToyTagger()
    model.scale.data.fill_(torch.nan)
    first = int(np.flatnonzero(dataset.num_jets())[0])
    with pytest.raises(PanopTagError, match=f"event {first} of .* not finite"):
        predict_jets(model, dataset)


def test_nothing_is_overwritten_and_nothing_half_written(files, tmp_path, monkeypatch):
    paths, _ = files
    predictions = predict_jets(ToyTagger(), EventDataset(paths))
    path = predictions.save(tmp_path / "new" / "scores.h5")
    before = path.read_bytes()
    with pytest.raises(PanopTagError, match=r"exists.*--overwrite"):
        predictions.save(path)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(h5py.Group, "create_dataset", full)
    with pytest.raises(PanopTagError, match="disk is full"):
        predictions.save(path, overwrite=True)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["scores.h5"]


def test_other_files_are_refused(files, tmp_path):
    paths, _ = files
    (tmp_path / "text.h5").write_text("no")
    for path, words in (
        (tmp_path / "none.h5", "no such file"),
        (tmp_path / "text.h5", "no HDF5"),
        (paths[0], "panoptag-events"),
    ):
        with pytest.raises(PanopTagError, match=words):
            Predictions.load(path)
    scores = predict_jets(ToyTagger(), EventDataset(paths)).save(tmp_path / "s.h5")
    with h5py.File(scores, "a") as file:
        del file["jet/phi"]
    with pytest.raises(PanopTagError, match="lacks a column"):
        Predictions.load(scores)
