"""Which events a check takes: those that are given, else those that the run's summary records."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers.answerable import write_answerable
from helpers.learnable import write_learnable

from panoptag_pyg.errors import ConfigError, EventFileError
from panoptag_pyg.events import EventLoader
from panoptag_pyg.training import Recipe, train
from panoptag_pyg.training.data import held_out_events, split_events
from panoptag_pyg.trust.subject import choose, find_samples, load_subject

TINY = ["train.max_epochs=1", "model.dim=8", "data.batch_size=32"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    path = write_learnable(folder / "events.h5", 60)
    return train(Recipe.from_toml("tiny.toml", TINY), path, folder / "run").folder


def ids(dataset):
    return dataset.read_block().event["id"].tolist()


def test_a_run_alone_has_its_own_events(run):
    samples = find_samples(load_subject(run))
    training, validation = split_events(60, 0.1, 0)
    assert ids(samples.test) == validation.tolist()
    assert ids(samples.train) == training.tolist()
    assert any("flattering" in note for note in samples.notes)
    assert samples.processes == ("ttbar",)


def test_given_events_and_how_many(run, tmp_path):
    other = write_learnable(tmp_path / "other.h5", 40, seed=3)
    samples = find_samples(load_subject(run), [str(other)], events=25)
    assert (len(samples.test), len(samples.train)) == (25, 25)
    assert samples.notes == []
    own = find_samples(load_subject(run), [str(run.parent / "events.h5")])
    assert "flatter" in own.notes[0]
    assert len(choose(samples.test, 7, 0)) == 7


def test_events_that_the_training_left_out(tmp_path):
    path = write_learnable(tmp_path / "events.h5", 50)
    recipe = Recipe.from_toml("tiny.toml", [*TINY, "data.test_fraction=0.3"])
    samples = find_samples(load_subject(train(recipe, path, tmp_path / "run").folder))
    assert ids(samples.test) == held_out_events(50, 0.3, 0).tolist()
    assert not set(ids(samples.test)) & set(ids(samples.train))


def test_files_that_are_gone(run, tmp_path):
    subject = load_subject(run)
    subject.summary = json.loads(json.dumps(subject.summary).replace("events.h5", "gone.h5"))
    with pytest.raises(EventFileError, match=r"give test events with --data.*gone\.h5"):
        find_samples(subject)
    samples = find_samples(subject, [str(run.parent / "events.h5")])
    assert samples.train is None
    assert "gone.h5" in samples.trained_on
    found = find_samples(subject, [str(run.parent / "events.h5")], [str(run.parent / "events.h5")])
    assert found.train is not None


def test_flavour_among_several_tasks_is_found_and_others_are_refused(tmp_path):
    path = write_answerable(tmp_path / "events.h5", 40)
    several = train(
        Recipe.from_toml("task_several.toml", [*TINY, 'task.process.signal=["ZH"]']), path, tmp_path / "several"
    ).folder
    subject = load_subject(several)
    batch = next(iter(EventLoader(find_samples(subject).test, batch_size=4)))
    with torch.no_grad():
        assert subject.tagger(batch).shape == (batch["jet"].num_nodes, 3)
    jets = subject.predict(find_samples(subject).test)
    assert np.isfinite(jets.logits).all()
    mass = train(Recipe.from_toml("tiny.toml", [*TINY, "task.name=jet_mass"]), path, tmp_path / "mass").folder
    with pytest.raises(ConfigError, match="panoptag evaluate for other tasks"):
        load_subject(mass)
