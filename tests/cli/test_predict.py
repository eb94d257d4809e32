"""``panoptag predict``: scores of every jet, truth or not."""

from __future__ import annotations

import numpy as np
from helpers.displaced import displaced_block
from helpers.events import write_events
from helpers.runs import toy_run
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


def test_no_events(tmp_path, monkeypatch):
    path = write_events(tmp_path / "data.h5", displaced_block(np.random.default_rng(0), 0))
    result = run(toy_run(tmp_path / "run", monkeypatch), "--data", path, "-o", tmp_path / "scores.h5")
    assert result.exit_code == 2
    assert "no events" in result.stderr
    assert not (tmp_path / "scores.h5").exists()
