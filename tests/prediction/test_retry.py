"""Scores that are not finite: found out event by event, unless it is the tagger that gives none to any event."""

from __future__ import annotations

import logging

import h5py
import numpy as np
import pytest
import torch
from helpers.displaced import ToyTagger, displaced_block
from helpers.events import write_events

from panoptag_pyg.errors import CheckpointError, PanopTagError
from panoptag_pyg.events import EventBlock
from panoptag_pyg.prediction.engine import Engine, Options
from panoptag_pyg.prediction.results import joined
from panoptag_pyg.prediction.retry import FEW, LEAST, TRIED
from panoptag_pyg.prediction.run import predict_files
from panoptag_pyg.prediction.source import open_sources
from panoptag_pyg.training import Recipe


class Failing(ToyTagger):
    """Gives no number to events with a PFO beyond ``limit`` in |η|, nor to others in their batch."""

    def __init__(self, limit):
        super().__init__()
        self.limit = limit

    def forward(self, batch, return_attention=False):
        return super().forward(batch) + torch.where((batch["pfo"].x[:, 0].abs() > self.limit).any(), torch.nan, 0.0)


class Diverged(ToyTagger):
    """Gives no number to anything; counts its calls."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, batch, return_attention=False):
        self.calls += 1
        return super().forward(batch) * torch.nan


@pytest.fixture
def block(rng):
    """Among others events without jets, and without PFOs."""
    return EventBlock.concatenate(
        [displaced_block(rng, n, jets, num_soft=5) for n, jets in ((90, 2), (7, 0), (150, 1), (3, 0))]
    )


def rows_of(model, paths, **options):
    engine = Engine(model, Recipe(), options=Options(batch_size=32, **options))
    return joined(list(engine.score(engine.stream(open_sources(paths)))))


def test_a_tagger_that_fails_on_everything_is_called_little_more_than_once_a_batch(tmp_path, block, caplog):
    path = write_events(tmp_path / "a.h5", block)
    model = Diverged()
    with caplog.at_level(logging.WARNING):
        rows = rows_of(model, path)
    assert rows["jet/missing"].all()
    assert np.isnan(rows["jet/logits"]).all()
    batches = -(-block.num_events // 32)
    assert model.calls <= 2 * batches + TRIED
    said = [record.getMessage() for record in caplog.records if "tagger is at fault" in record.getMessage()]
    assert len(said) == 1
    with pytest.raises(PanopTagError, match="the tagger is at fault, not the events"):
        rows_of(Diverged(), path, strict=True)


def test_the_note_says_so(tmp_path, block):
    path = write_events(tmp_path / "a.h5", block)
    engine = Engine(Diverged(), Recipe())
    found = predict_files(engine, engine.stream(open_sources([path])), tmp_path / "s.h5", part_events=64)
    with_jets = int((np.diff(block.jet_offsets) > 0).sum())
    assert found.num_missing == with_jets
    assert f"{with_jets} of {block.num_events} events have no scores (NaN): the tagger gives no finite" in found.note


@pytest.mark.parametrize("share", [0.05, 0.6])
def test_events_that_spoil_others_are_told_from_these(tmp_path, rng, block, share):
    events = np.flatnonzero(rng.random(block.num_events) < share)  # some of them without jets
    events = events[np.diff(block.pfo_offsets)[events] > 0]
    # All that the tagger is tried on being bad would be its fault.
    events = np.setdiff1d(events, np.linspace(0, block.num_events - 1, TRIED).round())
    for event in events:
        block.pfo["eta"][block.pfo_offsets[event]] = 99
    path = write_events(tmp_path / "a.h5", block)
    rows = rows_of(Failing(90), path)
    with_jets = np.flatnonzero(np.diff(block.jet_offsets) > 0)
    assert set(rows["jet/event_index"][rows["jet/missing"] == 1]) == set(events) & set(with_jets)
    assert np.isfinite(rows["jet/logits"][rows["jet/missing"] == 0]).all()


def test_events_that_are_not_finite_are_not_the_taggers_fault(tmp_path, block):
    path = write_events(tmp_path / "a.h5", block)
    with h5py.File(path, "r+") as file:
        file["pfo/eta"][:] = np.nan
    engine = Engine(ToyTagger(), Recipe())
    found = predict_files(engine, engine.stream(open_sources([path])), tmp_path / "s.h5")
    assert found.num_missing > FEW
    assert "at fault" not in found.note
    # Nor is it judged by a few events.
    few = write_events(tmp_path / "few.h5", block.select(np.arange(LEAST - 1)))
    engine = Engine(Diverged(), Recipe())
    assert not engine.is_at_fault(engine.stream(open_sources([few])))


def test_the_verdict_does_not_depend_on_the_parts(tmp_path, block):
    path = write_events(tmp_path / "a.h5", block)
    whole = rows_of(Diverged(), path)
    engine = Engine(Diverged(), Recipe(), options=Options(batch_size=32))
    stream = engine.stream(open_sources([path]))
    pieces = [piece for start in range(0, 250, 64) for piece in engine.score(stream, start, min(start + 64, 250))]
    for name, values in joined(pieces).items():
        assert np.array_equal(values, whole[name], equal_nan=values.dtype.kind == "f"), name


def test_statistics_of_a_layer_that_are_no_number_are_refused():
    model = ToyTagger()
    model.register_buffer("running_var", torch.tensor([1.0, torch.nan]))
    with pytest.raises(CheckpointError, match="running_var is not finite"):
        Engine(model, Recipe())
    model.running_var[:] = torch.inf  # as in a mask
    Engine(model, Recipe())
