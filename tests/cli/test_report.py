"""``panoptag report``: a page and its numbers beside it, or neither."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.displaced import displaced_block
from helpers.events import write_events
from helpers.html_page import Page
from helpers.runs import toy_run
from typer.testing import CliRunner

from panoptag_pyg.cli.main import app
from panoptag_pyg.tasks import build_task


def run(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments), "--device", "cpu", "--replicas", "20"])


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    path = write_events(tmp_path / "a.h5", displaced_block(np.random.default_rng(0), 60))
    monkeypatch.setattr("panoptag_pyg.training.load_task", lambda path: build_task("flavour"))
    return toy_run(tmp_path / "run", monkeypatch, files=[path]), "--data", path


def test_page_and_numbers(inputs, tmp_path):
    result = run(*inputs, "--html", tmp_path / "report.html", "--events", "3,1")
    assert result.exit_code == 0, result.output
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.problems == []
    assert page.addresses == []
    numbers = json.loads((tmp_path / "report.json").read_text())
    assert numbers["events"] == [3, 1]
    assert numbers["figures"]["results"][0]["num_jets"]
    assert any("flatter" in note for note in numbers["figures"]["notes"])
    assert "60 test events, 2 to look at" in result.stdout


def test_a_folder_and_the_runs_own_place(inputs, tmp_path):
    assert run(*inputs, "--html", tmp_path / "folder").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == ["index.html", "index.json"]
    assert run(*inputs).exit_code == 0
    assert (tmp_path / "run" / "report.html").is_file()
    result = run(*inputs)
    assert result.exit_code == 2
    assert "--overwrite" in result.stderr


def test_at_most_so_many_events(inputs, tmp_path):
    page = tmp_path / "report.html"
    result = run(*inputs, "--html", page, "--max-events", "25")
    assert result.exit_code == 0, result.output
    assert "25 of 60 test events, 20 to look at" in result.stdout
    numbers = json.loads(page.with_suffix(".json").read_text())
    assert numbers["figures"]["results"][0]["num_events"] <= 25
    assert numbers["events"][0] == 0
    assert numbers["events"][-1] == 59, "the events to look at are of all"
    told = "Measured on 25 of the 60 test events, spread evenly over all."
    assert told in numbers["notes"]
    assert told in page.read_text(encoding="utf-8")
    result = run(*inputs, "--html", page, "--max-events", "60", "--overwrite")
    assert "60 test events" in result.stdout
    assert "Measured on" not in page.read_text(encoding="utf-8")


def test_what_is_wrong_is_one_sentence_and_nothing_is_left(inputs, tmp_path):
    (tmp_path / "run" / "metrics.csv").write_text("epoch,val_loss\n1,0.5\ntwo,0.4\n")
    for arguments, words in (
        ((*inputs, "--events", "60"), "events 0 to 59"),
        (inputs, "metrics.csv is damaged"),
    ):
        result = run(*arguments, "--html", tmp_path / "new" / "report.html")
        assert result.exit_code == 2, result.output
        assert words in result.stderr
        assert sum(line.startswith("Error: ") for line in result.stderr.splitlines()) == 1
        assert not (tmp_path / "new").exists()
