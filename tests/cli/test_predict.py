"""``panoptag predict``: scores of every jet, truth or not."""

from __future__ import annotations

import re

import h5py
import numpy as np
import pytest
from helpers.displaced import displaced_block
from helpers.events import write_events
from helpers.runs import toy_run
from helpers.saved_taggers import saved_run
from typer.testing import CliRunner

from panoptag_pyg.cli.main import app
from panoptag_pyg.evaluation import Predictions


def run(*arguments):
    return CliRunner().invoke(app, ["predict", *map(str, arguments), "--device", "cpu"])


def test_scores_of_data_without_truth(tmp_path, monkeypatch):
    block = displaced_block(np.random.default_rng(0), 20)
    block.jet["flavour"][:] = -1
    path = write_events(tmp_path / "data.h5", block)
    folder = toy_run(tmp_path / "run", monkeypatch)
    result = run(folder, "--data", path, "-o", tmp_path / "scores.h5", "--batch-size", "7")
    assert result.exit_code == 0, result.output
    scores = Predictions.load(tmp_path / "scores.h5")
    assert np.array_equal(scores.event_index, block.jet_event)
    assert '"name":"panoptag"' in scores.recipe
    before = (tmp_path / "scores.h5").read_bytes()
    again = run(folder, "--data", path, "-o", tmp_path / "scores.h5")
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    assert (tmp_path / "scores.h5").read_bytes() == before
    assert run(folder, "--data", path, "-o", tmp_path / "scores.h5", "--overwrite").exit_code == 0


def test_all_options(tmp_path, rng):
    """Every option as it is written in the docs, with a tagger that is read from its checkpoint."""
    block = displaced_block(rng, 30, jets_per_event=2, num_soft=15)
    paths = [write_events(tmp_path / f"{i}.h5", block) for i in range(2)]
    with h5py.File(paths[1], "r+") as file:
        file["pfo/eta"][int(file["pfo/offsets"][7])] = np.nan
    folder = saved_run(tmp_path / "run", block)
    result = run(
        *(folder, "--data", paths[0], paths[1], "-o", tmp_path / "s.h5", "--embeddings", "--pfo-embeddings"),
        *("--embedding-type", "float32", "--attention", "heads", "--max-pfos-per-batch", "300", "--threads", "1"),
        *("--events-per-part", "20", "--format", "hdf5"),
    )
    assert result.exit_code == 0, result.output
    assert f"scores of {2 * block.num_jets} jets" in result.output
    assert "in 60 events" in result.output
    assert "events/s" in result.output
    assert "peak memory" in result.output
    assert "1 of 60 events has no scores (NaN)" in result.stderr
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["jet/embedding"].dtype == np.float32
        assert file["attention/weight"].ndim == 2
    result = run(folder, "--data", paths[0], paths[1], "-o", tmp_path / "strict.h5", "--strict")
    assert result.exit_code == 2
    assert "1.h5: event 7: pfo/eta is nan" in result.stderr
    assert not (tmp_path / "strict.h5").exists()
    pytest.importorskip("uproot")
    result = run(folder, "--data", *paths, "-o", tmp_path / "friends", "--format", "root", "--tree", "scores")
    assert result.exit_code == 0, result.output
    assert "(2 files)" in result.output
    assert sorted(path.name for path in (tmp_path / "friends").iterdir()) == ["0.scores.root", "1.scores.root"]


@pytest.mark.slow  # processes of their own, each of which imports torch
def test_several_devices_are_several_processes(tmp_path, rng):
    block = displaced_block(rng, 30, jets_per_event=2, num_soft=15)
    path = write_events(tmp_path / "a.h5", block)
    folder = saved_run(tmp_path / "run", block)
    arguments = ["predict", str(folder), "--data", str(path), "--events-per-part", "10", "--batch-size", "5"]
    for output, device in (("one.h5", "cpu"), ("two.h5", "cpu,cpu")):
        result = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / output), "--device", device])
        assert result.exit_code == 0, result.output
    one, two = (Predictions.load(tmp_path / name) for name in ("one.h5", "two.h5"))
    assert np.array_equal(one.logits, two.logits)
    result = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "x.h5"), "--device", "cpu,gpu7"])
    assert result.exit_code == 2
    assert "--device gpu7 can't be used" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["-o", "s.txt"], "ending doesn't say a format"),
        (["-o", "s.root", "--attention", "mean"], "not embeddings or attention"),
        (["-o", "s.h5", "--batch-size", "3", "--max-pfos-per-batch", "5"], "not both"),
        (["-o", "s.h5", "--calibration", "none.json"], "no such file"),
        (["-o", "/proc/s.h5"], "can't be written|could not be written"),
    ],
)
def test_errors_are_one_sentence(tmp_path, rng, monkeypatch, arguments, what):
    monkeypatch.chdir(tmp_path)
    block = displaced_block(rng, 5, jets_per_event=2, num_soft=15)
    path = write_events(tmp_path / "a.h5", block)
    result = run(saved_run(tmp_path / "run", block), "--data", path, *arguments)
    assert result.exit_code == 2, result.output
    assert re.search(what, " ".join(result.stderr.split()))
    assert "Traceback" not in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "run"]


def test_no_events(tmp_path, monkeypatch):
    path = write_events(tmp_path / "data.h5", displaced_block(np.random.default_rng(0), 0))
    result = run(toy_run(tmp_path / "run", monkeypatch), "--data", path, "-o", tmp_path / "scores.h5")
    assert result.exit_code == 2
    assert "no events" in result.stderr
    assert not (tmp_path / "scores.h5").exists()
