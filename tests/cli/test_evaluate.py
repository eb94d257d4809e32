"""``panoptag evaluate``: table, JSON and figures from a run; the sentences where it can't."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.displaced import displaced_block
from helpers.events import write_events
from helpers.runs import toy_run
from typer.testing import CliRunner

from panoptag_pyg.cli.main import app


def run(*arguments):
    arguments = ["evaluate", *map(str, arguments), "--device", "cpu", "--replicas", "20"]
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "130"})


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    for name, process in (("a", "ttbar"), ("b", "ZH")):
        write_events(tmp_path / f"{name}.h5", displaced_block(rng, 60), [process])
    return tmp_path / "a.h5", tmp_path / "b.h5"


def test_writes_and_prints(files, tmp_path, monkeypatch):
    folder = toy_run(tmp_path / "run", monkeypatch, files=[files[0]])
    result = run(folder, "--data", files[0], files[1])  # as a shell expands --data *.h5
    assert result.exit_code == 0, result.output
    for words in ("PanopTag", "track counting n=2", "ZH (unseen)", "flatter", "|d0|/σ(d0)"):
        assert words in result.stdout
    names = {path.name for path in (folder / "evaluation").iterdir()}
    assert names == {"metrics.json", "table.md", "rejection.png", "processes.png", "scores.png"}
    data = json.loads((folder / "evaluation" / "metrics.json").read_text())
    seen = {row["process"]: row["seen_in_training"] for row in data["results"]}
    assert seen == {"all": None, "ttbar": True, "ZH": False}
    assert data["recipe"]["model"]["name"] == "panoptag"
    again = run(folder, "--data", files[0])
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr


def test_without_truth_it_says_so_and_writes_nothing(tmp_path, monkeypatch):
    block = displaced_block(np.random.default_rng(0), 9)
    block.jet["flavour"][:] = -1
    path = write_events(tmp_path / "data.h5", block)
    folder = toy_run(tmp_path / "run", monkeypatch)
    result = run(folder, "--data", path, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "needs the true flavour" in result.stderr
    assert not (tmp_path / "out").exists()


def test_one_class_missing_is_a_reason(tmp_path, monkeypatch):
    block = displaced_block(np.random.default_rng(0), 30)
    block.jet["flavour"][block.jet["flavour"] == 1] = 0
    path = write_events(tmp_path / "a.h5", block)
    result = run(toy_run(tmp_path / "run", monkeypatch), "--data", path, "--no-figures")
    assert result.exit_code == 0, result.output
    assert "no c jets" in result.stdout


def test_bad_runs_and_data_are_one_sentence(files, tmp_path):
    (tmp_path / "empty").mkdir()
    for arguments, words in (
        ((tmp_path / "none", "--data", files[0]), "no such run folder"),
        ((tmp_path / "empty", "--data", files[0]), "no best.ckpt"),
        ((files[0], "--data", files[0]), "not a checkpoint"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2
        assert words in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1


def test_unknown_device(files, tmp_path, monkeypatch):
    folder = toy_run(tmp_path / "run", monkeypatch)
    result = CliRunner().invoke(app, ["evaluate", str(folder), "--data", str(files[0]), "--device", "cuda:99"])
    assert result.exit_code == 2
    assert "--device cuda:99 can't be used" in result.stderr
