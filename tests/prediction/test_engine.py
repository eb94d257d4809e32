"""Scores of a stream are those of the whole in memory; events that are not finite are no trouble to others."""

from __future__ import annotations

from itertools import pairwise

import h5py
import numpy as np
import pytest
import torch
from helpers.displaced import ToyTagger, displaced_block
from helpers.events import random_block, write_events
from helpers.saved_taggers import saved_run

from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.evaluation import predict_answers, predict_jets
from panoptag_pyg.evaluation.answers import fields_of_rows
from panoptag_pyg.evaluation.rows import JET_COLUMNS
from panoptag_pyg.events import EventBlock
from panoptag_pyg.prediction.engine import Engine, Options
from panoptag_pyg.prediction.extras import Extras
from panoptag_pyg.prediction.results import joined
from panoptag_pyg.prediction.source import SourceOptions, open_sources
from panoptag_pyg.prediction.workers import make_engine
from panoptag_pyg.training import Recipe, load_tagger, load_task
from panoptag_pyg.training.data import open_dataset

SEVERAL = {"name": "several", "flavour": {"task": "quark_gluon"}, "jet_pt": {}, "pileup": {"task": "pfo_jet"}}


@pytest.fixture
def block(rng):
    """Events of awkward sizes: without PFOs, without jets, without either, of one PFO."""
    sizes = [(0, 0), (1, 1), (0, 2), (7, 0), (40, 3), (3, 1), (97, 5), (1, 0)]
    order = rng.permutation(len(sizes) * 3) % len(sizes)
    return random_block(rng, [sizes[i][0] for i in order], [sizes[i][1] for i in order])


def files_of(folder, block, cuts):
    """The block's events in several files."""
    bounds = [0, *cuts, block.num_events]
    return [
        write_events(folder / f"{number}.h5", block.select(np.arange(*pair)))
        for number, pair in enumerate(pairwise(bounds))
    ]


def rows_of(engine, paths, **options):
    stream = engine.stream(open_sources(paths, SourceOptions(engine.columns)))
    pieces = list(engine.score(stream, **options))
    assert sum(len(piece.events["missing"]) for piece in pieces) == options.get("stop", stream.num_events)
    return joined(pieces)


@pytest.mark.parametrize("batching", [{"batch_size": 5}, {"batch_size": 64}, {"max_pfos_per_batch": 100}])
def test_equal_to_scores_in_memory(tmp_path, rng, block, batching):
    run = saved_run(tmp_path / "run", displaced_block(rng, 20), data={"max_pfos": 60, "max_jets": 4})
    # Files of one event and without any in the middle: batches run on across their ends.
    paths = files_of(tmp_path, block, [3, 3, 4, 15])
    model, recipe = load_tagger(run)
    expected = predict_jets(model, open_dataset(paths, recipe.data), **batching)
    rows = rows_of(make_engine(run, Options(**batching), "cpu"), paths)
    for name in (name for name, *_ in JET_COLUMNS if name != "jet_index"):
        assert np.array_equal(rows[f"jet/{name}"], getattr(expected, name)), name
    assert np.allclose(rows["jet/logits"], expected.logits, atol=1e-5)
    if "batch_size" in batching:
        assert np.array_equal(rows["jet/logits"], expected.logits)
    assert np.allclose(rows["jet/probabilities"], expected.probabilities, atol=1e-6)
    assert not rows["jet/missing"].any()


def test_jets_are_counted_as_in_the_file(tmp_path, rng):
    block = displaced_block(rng, 30, jets_per_event=4)
    run = saved_run(tmp_path / "run", block, data={"max_jets": 1})
    rows = rows_of(make_engine(run, Options(), "cpu"), write_events(tmp_path / "a.h5", block))
    for event, number in zip(rows["jet/event_index"], rows["jet/jet_index"], strict=True):
        pt = block.jet["pt"][block.jet_offsets[event] : block.jet_offsets[event + 1]]
        assert number == pt.argmax()


def test_any_task(tmp_path, rng):
    block = displaced_block(rng, 25, jets_per_event=2)
    run = saved_run(tmp_path / "run", block, SEVERAL)
    paths = files_of(tmp_path, block, [11])
    (model, recipe), task = load_tagger(run), load_task(run)
    dataset = open_dataset(paths, recipe.data, task.needs | fields_of_rows(task), task.processes)
    expected = predict_answers(model, task, dataset, 8)
    rows = rows_of(make_engine(run, Options(batch_size=8), "cpu"), paths)
    for level, table in expected.tables.items():
        for name, values in table.rows.items():
            assert np.array_equal(rows[f"{level}/{name}"], values), (level, name)
        for part, columns in table.parts.items():
            for name, values in columns.items():
                assert np.array_equal(rows[f"answers/{part}/{name}"], values), (part, name)


@pytest.mark.parametrize("column", ["pfo/pt", "pfo/d0", "jet/eta", "jet/mass"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_event_that_is_not_finite_is_marked_and_changes_no_other(tmp_path, rng, column, value):
    block = displaced_block(rng, 23, jets_per_event=3)
    run = saved_run(tmp_path / "run", block)
    path = write_events(tmp_path / "a.h5", block)
    engine = make_engine(run, Options(batch_size=9), "cpu")
    before = rows_of(engine, path)
    group, name = column.split("/")
    row = int(rng.integers(len(getattr(block, group)[name])))
    bad = int((block.pfo_event if group == "pfo" else block.jet_event)[row])
    with h5py.File(path, "r+") as file:
        file[column][row] = value
    rows = rows_of(engine, path)
    hit = rows["jet/event_index"] == bad
    assert np.array_equal(rows["jet/missing"], hit)
    assert np.isnan(rows["jet/logits"][hit]).all()
    assert np.array_equal(rows["jet/logits"][~hit], before["jet/logits"][~hit])
    if group == "jet":
        assert not np.isfinite(rows[column][hit]).all()  # told as it is
    with pytest.raises(PanopTagError, match=f"a.h5: event {bad}: {column} is"):
        rows_of(make_engine(run, Options(strict=True), "cpu"), path)


class Exploding(ToyTagger):
    """Scores that are not finite for events with a PFO far out; they spoil those of the whole batch."""

    def forward(self, batch, return_attention=False):
        logits = super().forward(batch)
        bad = (batch["pfo"].x[:, 0].abs() > 90).any()
        return logits + torch.where(bad, torch.nan, 0.0)


def test_scores_that_are_not_finite_are_found_out_one_by_one(tmp_path, rng):
    block = displaced_block(rng, 20, jets_per_event=3)
    events = [int(event) for event in rng.choice(np.flatnonzero(np.diff(block.jet_offsets)), 2, replace=False)]
    for event in events:
        block.pfo["eta"][block.pfo_offsets[event]] = 99
    path = write_events(tmp_path / "a.h5", block)
    rows = rows_of(Engine(Exploding(), Recipe(), options=Options(batch_size=8)), path)
    assert set(rows["jet/event_index"][rows["jet/missing"] == 1]) == set(events)
    fine = rows["jet/missing"] == 0
    expected = rows_of(Engine(ToyTagger(), Recipe(), options=Options(batch_size=8)), path)
    assert np.allclose(rows["jet/logits"][fine], expected["jet/logits"][fine], atol=1e-5)
    with pytest.raises(PanopTagError, match=f"event {min(events)} of .*a.h5 gets a score that is not finite"):
        rows_of(Engine(Exploding(), Recipe(), options=Options(strict=True)), path)


def test_a_tagger_that_has_diverged_is_refused():
    model = ToyTagger()
    model.scale.data.fill_(torch.nan)
    with pytest.raises(PanopTagError, match="scale is not finite"):
        Engine(model, Recipe())


@pytest.mark.parametrize("attention", ["mean", "heads"])
def test_embeddings_and_attention(tmp_path, rng, attention):
    block = EventBlock.concatenate([displaced_block(rng, 9, jets_per_event=2), displaced_block(rng, 1, 0)])
    run = saved_run(tmp_path / "run", block, data={"max_pfos": 50})
    path = write_events(tmp_path / "a.h5", block)
    extras = Extras(True, True, "float32", attention)
    rows = rows_of(make_engine(run, Options(batch_size=4, extras=extras), "cpu"), path)
    model, recipe = load_tagger(run)
    batch = open_dataset([path], recipe.data).get_batch(np.arange(10))
    with torch.inference_mode():
        expected = model.embed(batch, return_attention=True)
        logits = model.head(expected.jets)
    assert np.allclose(rows["jet/embedding"], expected.jets.numpy(), atol=1e-4)
    assert np.allclose(rows["pfo/embedding"], expected.pfos.numpy(), atol=1e-4)
    assert np.allclose(rows["jet/logits"], logits.numpy(), atol=1e-4)
    weight = expected.attention.weight.numpy()
    assert np.allclose(rows["attention/weight"], weight.mean(1) if attention == "mean" else weight, atol=1e-4)
    assert rows["jet/num_attended"].sum() == len(rows["attention/pfo_index"]) == len(weight)
    # Numbers of PFOs are those in the file, of which some were cut away: their pT says so.
    jet = np.repeat(np.arange(len(rows["jet/pt"])), rows["jet/num_attended"])
    pfo = block.pfo_offsets[rows["jet/event_index"][jet]] + rows["attention/pfo_index"]
    kept = batch["pfo"].x[expected.attention.edge_index[1], 2].numpy()
    assert np.allclose(np.log(np.maximum(block.pfo["pt"][pfo], 1e-3)), kept, atol=1e-5)
    pfo = block.pfo_offsets[rows["pfo/event_index"]] + rows["pfo/pfo_index"]
    assert np.array_equal(block.pfo["pt"][pfo], rows["pfo/pt"])


def test_extras_that_a_tagger_does_not_have(tmp_path, rng):
    with pytest.raises(PanopTagError, match=r"no embeddings.*--embeddings"):
        Engine(ToyTagger(), Recipe(), options=Options(extras=Extras(embeddings=True)))
    single = {"name": "pfn"}
    run = saved_run(tmp_path / "run", displaced_block(rng, 20), model=single)
    with pytest.raises(PanopTagError, match=r"one jet at a time.*--pfo-embeddings"):
        make_engine(run, Options(extras=Extras(pfo_embeddings=True)), "cpu")
    with pytest.raises(PanopTagError, match="not both"):
        Options(batch_size=3, max_pfos_per_batch=5)


@pytest.mark.parametrize("task", [None, SEVERAL])
def test_no_events_have_their_columns_too(tmp_path, rng, task):
    block = displaced_block(rng, 5)
    run = saved_run(tmp_path / "run", block, task)
    paths = files_of(tmp_path, block, [0])
    engine = make_engine(run, Options(extras=Extras(True, True, "float16", "heads")), "cpu")
    some, none = rows_of(engine, paths), rows_of(engine, paths, start=0, stop=0)
    assert {path: (rows.dtype, rows.shape[1:]) for path, rows in none.items()} == {
        path: (rows.dtype, rows.shape[1:]) for path, rows in some.items()
    }
    assert not any(len(rows) for rows in none.values())


def test_whoever_takes_rows_can_train_meanwhile(tmp_path, rng):
    path = write_events(tmp_path / "a.h5", displaced_block(rng, 5))
    engine = Engine(ToyTagger(), Recipe())
    rows = engine.score(engine.stream(open_sources(path)))
    next(rows)
    assert not torch.is_inference_mode_enabled()
    rows.close()
