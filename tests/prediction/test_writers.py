"""What is written is read back by others: h5py, uproot, pyarrow."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from helpers.displaced import displaced_block
from helpers.events import write_events
from helpers.saved_taggers import saved_run

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.evaluation import Answers, Predictions
from panoptag_pyg.evaluation.rows import JET_COLUMNS, ROW_COLUMNS
from panoptag_pyg.events import EventBlock
from panoptag_pyg.prediction import parquet, root_friend
from panoptag_pyg.prediction.engine import Options
from panoptag_pyg.prediction.extras import Extras
from panoptag_pyg.prediction.run import predict_files
from panoptag_pyg.prediction.source import SourceOptions, open_sources
from panoptag_pyg.prediction.workers import make_engine
from panoptag_pyg.prediction.writers import choose_format

SEVERAL = {
    "name": "several",
    "flavour": {"task": "quark_gluon"},
    "hard": {"task": "process", "classes": ["ttbar", "ZH"]},
}


@pytest.fixture
def block(rng):
    """Events with jets, and some without between them."""
    return EventBlock.concatenate(
        [displaced_block(rng, n, jets, num_soft=15) for n, jets in ((9, 3), (2, 0), (12, 2), (1, 0))]
    )


@pytest.fixture
def run(tmp_path, block):
    return saved_run(tmp_path / "run", block)


@pytest.fixture
def events(tmp_path, block):
    path = write_events(tmp_path / "a.h5", block)
    with h5py.File(path, "r+") as file:
        file["pfo/pt"][0] = np.nan  # event 0 has no scores
    return path


def predict(run, paths, output, extras=None, **options):
    engine = make_engine(run, Options(batch_size=4, extras=extras or Extras()), "cpu")
    stream = engine.stream(open_sources(paths, SourceOptions(engine.columns)))
    return predict_files(engine, stream, output, part_events=8, **options)


def test_hdf5(run, events, block, tmp_path):
    predict(run, events, tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5") as file:
        assert file.attrs["format"] == "panoptag-scores"
        assert json.loads(file.attrs["classes"]) == ["light", "c", "b"]
        assert {name: file[f"jet/{name}"].dtype.name for name, *_ in JET_COLUMNS} == {n: t for n, t, *_ in JET_COLUMNS}
        assert {name: file[f"jet/{name}"].attrs["meaning"] for name, *_ in JET_COLUMNS} == {
            name: meaning for name, *_, meaning in JET_COLUMNS
        }
        assert np.array_equal(file["jet/event_id"], block.event["id"][block.jet_event])
        assert np.array_equal(file["jet/missing"], block.jet_event == 0)
        assert file["missing_events"][:].tolist() == [0]


def test_a_friend_tree_has_an_entry_for_each_event(run, events, block, tmp_path, monkeypatch):
    uproot, ak = pytest.importorskip("uproot"), pytest.importorskip("awkward")
    monkeypatch.setattr(root_friend, "BASKET_EVENTS", 5)
    predict(run, [events, events], tmp_path / "s.root", tree="scores")
    predict(run, [events, events], tmp_path / "s.h5")
    expected = Predictions.load(tmp_path / "s.h5")
    with uproot.open(tmp_path / "s.root") as file:
        tree = file["scores"].arrays()
        about = json.loads(str(file["scores_about"]))
    assert len(tree) == 2 * block.num_events
    assert ak.num(tree.jet_pt).tolist() == 2 * np.diff(block.jet_offsets).tolist() == tree.njet.tolist()
    assert tree.event_id.tolist() == 2 * block.event["id"].tolist()
    assert tree.event_index.tolist() == list(range(2 * block.num_events))
    assert np.flatnonzero(tree.missing).tolist() == [0, block.num_events]
    assert tree.file.tolist() == [0] * block.num_events + [1] * block.num_events
    for number, name in enumerate(("light", "c", "b")):
        for values, branch in ((expected.logits, "logit"), (expected.probabilities, "probability")):
            flat = ak.to_numpy(ak.flatten(tree[f"jet_{branch}_{name}"]))
            assert np.allclose(flat, values[:, number], equal_nan=True, atol=1e-6)
    for name in ("pt", "eta", "phi", "mass", "flavour", "jet_index"):
        assert np.array_equal(ak.to_numpy(ak.flatten(tree[f"jet_{name}"])), getattr(expected, name))
    assert about["source_files"] == [str(events)] * 2
    assert about["classes"] == ["light", "c", "b"]


def test_parquet(run, events, tmp_path, monkeypatch):
    table = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(parquet, "GROUP_BYTES", 1000)
    predict(run, events, tmp_path / "s.parquet", Extras(embeddings=True))
    predict(run, events, tmp_path / "s.h5", Extras(embeddings=True))
    found = table.read_table(tmp_path / "s.parquet")
    assert table.ParquetFile(tmp_path / "s.parquet").num_row_groups > 1
    with h5py.File(tmp_path / "s.h5") as file:
        for name in (*(name for name, *_ in JET_COLUMNS), "missing"):
            assert np.array_equal(found[name].to_numpy(), file[f"jet/{name}"]), name
        for number, name in enumerate(("light", "c", "b")):
            assert np.array_equal(
                found[f"probability_{name}"].to_numpy(), file["jet/probabilities"][:, number], equal_nan=True
            )
        embedding = np.array(found["embedding"].to_pylist(), np.float16)
        assert np.array_equal(embedding, file["jet/embedding"], equal_nan=True)
    assert json.loads(found.schema.metadata[b"panoptag"])["num_events"] == 24


def test_several_tasks(tmp_path, block):
    uproot, ak = pytest.importorskip("uproot"), pytest.importorskip("awkward")
    run = saved_run(tmp_path / "several", block, SEVERAL)
    events = write_events(tmp_path / "a.h5", block)
    predict(run, events, tmp_path / "s.h5")
    predict(run, events, tmp_path / "s.root")
    answers = Answers.load(tmp_path / "s.h5")
    with uproot.open(tmp_path / "s.root") as file:
        tree = file["panoptag"].arrays()
    for name, (part, level) in {
        "jet_flavour_logit_gluon": ("flavour", "jet"), "hard_logit_ttbar": ("hard", "event")
    }.items():  # fmt: skip
        table, columns = answers.of(part)
        place = answers.tasks[part]["classes"].index(name.rpartition("_")[2])
        flat = ak.to_numpy(tree[name] if level == "event" else ak.flatten(tree[name]))
        assert np.allclose(flat, columns["logits"][:, place], atol=1e-6)
        assert set(table.rows) == {column for column, *_ in ROW_COLUMNS[level]}
    with pytest.raises(ConfigError, match="a Parquet file is one table"):
        predict(run, events, tmp_path / "s.parquet")


@pytest.mark.parametrize(
    ("ending", "extras"),
    [("root", Extras(embeddings=True)), ("root", Extras(attention="mean")), ("parquet", Extras(attention="heads"))],
)
def test_what_a_format_cannot_hold(run, events, tmp_path, ending, extras):
    pytest.importorskip("uproot" if ending == "root" else "pyarrow")
    with pytest.raises(ConfigError, match="HDF5"):
        predict(run, events, tmp_path / f"s.{ending}", extras)
    assert not list(tmp_path.glob(".*"))


def test_formats_by_name(tmp_path):
    assert choose_format(tmp_path / "a.PQ") == "parquet"
    assert choose_format(tmp_path / "a.dat", "root") == "root"
    with pytest.raises(ConfigError, match="no format 'rot'; did you mean 'root'"):
        choose_format(tmp_path / "a.h5", "rot")


def test_thousands_of_source_files_are_kept(run, events, tmp_path):
    """Their names are longer than an HDF5 attribute may be."""
    predict(run, [events] * 3, tmp_path / "s.h5")
    scores = Predictions.load(tmp_path / "s.h5")
    from dataclasses import replace

    many = replace(scores, source_files=tuple(f"/a/long/path/to/events/{i:06d}.h5" for i in range(3000)))
    assert Predictions.load(many.save(tmp_path / "many.h5")).source_files == many.source_files
