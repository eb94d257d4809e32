"""A prediction is whole or not there, goes on where it was stopped, and doesn't depend on how it was divided."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import h5py
import numpy as np
import pytest
from helpers.displaced import displaced_block
from helpers.events import write_events
from helpers.saved_taggers import saved_run

from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.evaluation import Predictions
from panoptag_pyg.events import EventBlock
from panoptag_pyg.output import OutputError
from panoptag_pyg.prediction import run as module
from panoptag_pyg.prediction import worker
from panoptag_pyg.prediction.engine import Options
from panoptag_pyg.prediction.extras import Extras
from panoptag_pyg.prediction.run import predict_files
from panoptag_pyg.prediction.source import SourceOptions, open_sources
from panoptag_pyg.prediction.workers import DONE, STOP, WorkerError, WorkerOrder, make_engine


@pytest.fixture
def case(tmp_path, rng):
    """A run, and three files of 21, 0 and 30 events."""
    blocks = [displaced_block(rng, n, jets_per_event=2, num_soft=20) for n in (21, 0, 30)]
    paths = [write_events(tmp_path / "in" / f"{i}.h5", block) for i, block in enumerate(blocks)]
    return saved_run(tmp_path / "run", blocks[0]), paths, EventBlock.concatenate(blocks)


@pytest.fixture(autouse=True)
def folder_of_events(tmp_path):
    (tmp_path / "in").mkdir()


def predict(run, paths, output, extras=None, workers=0, **options):
    chosen = Options(batch_size=4, extras=extras or Extras(), strict=options.pop("strict", False))
    engine = make_engine(run, chosen, "cpu")
    reading = SourceOptions(engine.columns)
    stream = engine.stream(open_sources(paths, reading))
    order = None
    if workers:
        order = WorkerOrder(run, tuple(map(str, paths)), chosen, reading, devices=("cpu", "cpu"), workers=workers)
    return predict_files(engine, stream, output, workers=order, **{"part_events": 8, **options})


def contents(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
        return found, {name: file.attrs[name] for name in file.attrs}


def assert_same(one, other):
    (columns, attributes), (columns_too, attributes_too) = contents(one), contents(other)
    assert attributes == attributes_too
    assert columns.keys() == columns_too.keys()
    for name, values in columns.items():
        assert values.dtype == columns_too[name].dtype
        assert np.array_equal(values, columns_too[name]), name


def test_a_file_of_scores(case, tmp_path):
    run, paths, block = case
    found = predict(run, paths, tmp_path / "scores.h5")
    assert (found.num_events, found.num_scored, found.rows) == (51, 51, {"jet": block.num_jets})
    scores = Predictions.load(tmp_path / "scores.h5")
    assert np.array_equal(scores.event_index, block.jet_event)
    assert np.array_equal(scores.file, np.where(scores.event_index < 21, 0, 2))
    assert scores.source_files == tuple(map(str, paths))
    assert scores.num_events == 51
    assert not list(tmp_path.glob(".*"))  # nothing is left of the parts


def test_parts_do_not_show(case, tmp_path):
    run, paths, _ = case
    extras = Extras(True, True, "float32", "heads")
    predict(run, paths, tmp_path / "one.h5", extras, part_events=1000)
    predict(run, paths, tmp_path / "many.h5", extras, part_events=4)
    assert_same(tmp_path / "one.h5", tmp_path / "many.h5")
    with h5py.File(tmp_path / "one.h5") as file:
        assert np.array_equal(np.diff(file["attention/offsets"]), file["jet/num_attended"])
        sums = np.add.reduceat(file["attention/weight"][:], file["attention/offsets"][:-1])
        assert np.allclose(sums, 1, atol=1e-4)


@pytest.mark.slow  # processes of their own, each of which imports torch
def test_workers_do_not_show(case, tmp_path):
    run, paths, _ = case
    predict(run, paths, tmp_path / "alone.h5")
    found = predict(run, paths, tmp_path / "together.h5", workers=3)
    assert found.num_scored == 51
    assert_same(tmp_path / "alone.h5", tmp_path / "together.h5")


def test_a_worker_takes_what_nobody_has_taken(case, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.set_num_threads", lambda number: None)  # this is no process of its own
    run, paths, _ = case
    order = {
        **{"run": str(run), "data": list(map(str, paths)), "options": asdict(Options(batch_size=4)), "device": "cpu"},
        **{"sources": SourceOptions().to_dict(), "calibration": None, "output": str(tmp_path / "s.h5")},
        "parts": [[0, 8], [8, 16], [16, 24], [24, 51]],
    }
    folder = tmp_path / ".s.h5.parts"
    folder.mkdir()
    (folder / f"part-{8:012d}-{16:012d}.claim").touch()
    worker.predict(order)
    assert sorted(path.name for path in folder.glob("*.h5")) == [
        f"part-{start:012d}-{stop:012d}.h5" for start, stop in ((0, 8), (16, 24), (24, 51))
    ]
    told = [int(line.removeprefix(DONE)) for line in capsys.readouterr().out.splitlines()]
    assert sum(told) == 43
    worker.predict(order)  # another process, which comes too late
    assert capsys.readouterr().out == ""
    (folder / STOP).touch()
    worker.predict({**order, "parts": [[0, 51]]})
    assert len(list(folder.glob("*.h5"))) == 3


@pytest.mark.slow  # processes of their own, each of which imports torch
def test_a_worker_that_fails_says_why(case, tmp_path):
    run, paths, _ = case
    with h5py.File(paths[0], "r+") as file:
        file["pfo/pt"][0] = np.nan
    with pytest.raises(WorkerError, match=r"0\.h5: event 0: pfo/pt is nan"):
        predict(run, paths, tmp_path / "s.h5", workers=2, strict=True)
    assert not (tmp_path / "s.h5").exists()


def test_a_folder_gets_a_file_for_each(case, tmp_path):
    run, paths, block = case
    found = predict(run, paths, tmp_path / "scores")
    assert [path.name for path in found.files] == ["0.scores.h5", "1.scores.h5", "2.scores.h5"]
    last = Predictions.load(found.files[2])
    jets = block.jet_event >= 21
    assert np.array_equal(last.event_index, block.jet_event[jets] - 21)
    assert last.source_files == (str(paths[2]),)
    assert not last.file.any()
    assert last.num_events == 30
    assert len(Predictions.load(found.files[1])) == 0


def stop_after(monkeypatch, number):
    """Let a run end after so many parts, as by Ctrl-C."""
    own, left = module.write_part, [number]

    def write_part(*arguments):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        own(*arguments)

    monkeypatch.setattr(module, "write_part", write_part)


@pytest.mark.parametrize("output", ["scores.h5", "scores"])
def test_goes_on_where_it_was_stopped(case, tmp_path, monkeypatch, output):
    run, paths, _ = case
    whole = predict(run, paths, tmp_path / "whole" / output)
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            predict(run, paths, tmp_path / output)
    parts = sorted((tmp_path / f".{output}.parts").glob("part-*.h5"))
    assert len(parts) == 2
    parts[1].write_bytes(parts[1].read_bytes()[:200])  # as if the disk had lost it
    found = predict(run, paths, tmp_path / output)
    assert found.num_scored < 51
    for one, other in zip(whole.files, found.files, strict=True):
        assert_same(one, other)
    assert not (tmp_path / f".{output}.parts").exists()


def test_parts_of_another_run_are_refused(case, tmp_path, monkeypatch):
    run, paths, block = case
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            predict(run, paths, tmp_path / "s.h5")
    other = saved_run(tmp_path / "other", block.select(np.arange(5)))
    for arguments, what in (
        ((other, paths), "its tagger was another"),
        ((run, paths[:1]), "its data was another"),
        ((run, paths, tmp_path / "s.h5", Extras(True)), "its set of options was another"),
    ):
        with pytest.raises(OutputError, match=what):
            predict(*arguments, *(() if len(arguments) > 2 else (tmp_path / "s.h5",)))
    os.utime(paths[0], (1, 1))
    with pytest.raises(OutputError, match=r"its data was another.*--overwrite"):
        predict(run, paths, tmp_path / "s.h5")
    assert predict(run, paths, tmp_path / "s.h5", overwrite=True).num_scored == 51


def test_two_runs_do_not_meet(case, tmp_path, monkeypatch):
    run, paths, _ = case

    def meet(*arguments):
        with pytest.raises(OutputError, match=r"s\.h5: another run is writing it"):
            predict(run, paths, tmp_path / "s.h5")
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_part", meet)
    with pytest.raises(KeyboardInterrupt):
        predict(run, paths, tmp_path / "s.h5")
    assert not list(tmp_path.glob(".*"))


def test_outputs_that_are_refused(case, tmp_path):
    run, paths, _ = case
    (tmp_path / "there.h5").write_text("mine")
    for output, what in (
        ("there.h5", "exists.*--overwrite"),
        ("in/0.h5", "one of the files that are read"),
        ("scores.txt", "ending doesn't say a format"),
        ("there.h5/a.h5", "is a file, not a folder"),
    ):
        with pytest.raises(PanopTagError, match=what):
            predict(run, paths, tmp_path / output, overwrite=output == "in/0.h5")
    assert (tmp_path / "there.h5").read_text() == "mine"
    with pytest.raises(PanopTagError, match="no events in it"):
        predict(run, paths[1:2], tmp_path / "none.h5")
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_is_a_sentence(case, tmp_path, monkeypatch):
    import errno

    run, paths, _ = case

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("panoptag_pyg.evaluation.score_file.ColumnFile.append", full)
    with pytest.raises(OutputError, match="the disk is full"):
        predict(run, paths, tmp_path / "s.h5")
    assert not list(tmp_path.glob("*.h5"))
    assert not list(tmp_path.glob(".*"))


def test_missing_events_are_told(case, tmp_path):
    run, paths, _ = case
    with h5py.File(paths[2], "r+") as file:
        for event in range(5):
            file["pfo/eta"][int(file["pfo/offsets"][event])] = np.nan
    found = predict(run, paths, tmp_path / "s.h5")
    assert "5 of 51 events have no scores (NaN)" in found.note
    assert f"event 0 of {paths[2]} (id 1000), event 1 of" in found.note
    assert "and 2 more" in found.note
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["missing_events"][:].tolist() == [21, 22, 23, 24, 25]
    scores = Predictions.load(tmp_path / "s.h5")
    assert set(scores.require_truth().event_index).isdisjoint(range(21, 26))


@pytest.mark.slow  # processes of their own, each of which imports torch
def test_killed_and_started_again(case, tmp_path, rng):
    run = case[0]
    many = write_events(tmp_path / "many.h5", displaced_block(rng, 400, jets_per_event=2, num_soft=20))
    command = [
        *(sys.executable, "-c", "from panoptag_pyg.cli.main import run; run()", "predict", str(run)),
        *("--data", str(many), "-o", str(tmp_path / "s.h5"), "--batch-size", "2", "--events-per-part", "2"),
        *("--device", "cpu", "--threads", "1"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    folder, deadline = tmp_path / ".s.h5.parts", time.monotonic() + 300
    while len(list(folder.glob("part-*.h5"))) < 3 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(120)
    before = len(list(folder.glob("part-*.h5"))) if folder.exists() else 200
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if before < 200:  # else it was done before it could be killed
        assert again.returncode == 0, again.stderr
        assert f"going on: {before} of 200 parts are done" in again.stderr
    engine = make_engine(run, Options(batch_size=2), "cpu")
    predict_files(engine, engine.stream(open_sources([many])), tmp_path / "unbroken.h5")
    assert_same(tmp_path / "s.h5", tmp_path / "unbroken.h5")
