"""``panoptag display``: a figure of one event or a page of several, or the sentence that says what goes instead."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from helpers.displaced import displaced_block
from helpers.events import write_events
from helpers.runs import toy_run
from typer.testing import CliRunner

from panoptag_pyg.cli.main import app


def run(*arguments):
    return CliRunner().invoke(app, ["display", *map(str, arguments), "--device", "cpu"])


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    path = write_events(tmp_path / "a.h5", displaced_block(np.random.default_rng(0), 13))
    return toy_run(tmp_path / "run", monkeypatch), "--data", path


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_figure_by_suffix(inputs, tmp_path, suffix, magic):
    result = run(*inputs, "--event", "12", "-o", tmp_path / f"event.{suffix}")
    assert result.exit_code == 0, result.output
    assert (tmp_path / f"event.{suffix}").read_bytes().startswith(magic)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("--event", "13"), "events 0 to 12"), (("--event", "-1"), "events 0 to 12"), ((), ".png, .pdf or .svg")],
)
def test_what_cannot_be_drawn_is_one_sentence(inputs, tmp_path, arguments, words):
    output = tmp_path / ("event.png" if arguments else "event.doc")
    result = run(*inputs, *arguments, "-o", output)
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not output.exists()


def test_existing_figure_stays(inputs, tmp_path):
    (tmp_path / "event.png").write_text("mine")
    result = run(*inputs, "-o", tmp_path / "event.png")
    assert result.exit_code == 2
    assert (tmp_path / "event.png").read_text() == "mine"


def test_page_of_some_events(inputs, tmp_path):
    page = tmp_path / "out" / "events.html"
    result = run(*inputs, "--html", page, "--events", "2:5,0", "--attended", "7")
    assert result.exit_code == 0, result.output
    packed = json.loads(re.search(r"id='panoptag-events'>(.*?)</script>", page.read_text(encoding="utf-8"))[1])
    assert [event["number"] for event in packed["events"]] == [2, 3, 4, 0]
    assert packed["lines"] == 7
    assert f"{page.stat().st_size / 1e6:.2f} MB" in result.stdout
    assert "4 events" in result.stdout


def test_page_of_one_event_and_of_the_first_ones(inputs, tmp_path):
    for arguments, expected in ((("--event", "5"), [5]), ((), list(range(13)))):
        page = tmp_path / f"{len(expected)}.html"
        assert run(*inputs, *arguments, "--html", page).exit_code == 0
        packed = json.loads(re.search(r"id='panoptag-events'>(.*?)</script>", page.read_text(encoding="utf-8"))[1])
        assert [event["number"] for event in packed["events"]] == expected


@pytest.mark.parametrize("ending", ["html", "png"])
def test_events_alone_need_no_run(inputs, tmp_path, ending):
    output = tmp_path / f"alone.{ending}"
    result = run("--no-model", *inputs[1:], "--html" if ending == "html" else "-o", output)
    assert result.exit_code == 0, result.output
    assert output.stat().st_size > 10_000
    assert "attention" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--events", "0:14"), "events 0 to 12"),
        (("--events", "13"), "events 0 to 12"),
        (("--events", "three"), "not understood at 'three'"),
        (("--event", "13"), "events 0 to 12"),
        (("--event", "-1"), "events 0 to 12"),
        (("--event", "1", "--events", "1:3"), "not both"),
        (("--no-model",), "it and a run were given"),
        (("-o", "a.png"), "one of them"),
    ],
)
def test_a_page_that_cannot_be_made_is_one_sentence(inputs, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    result = run(*inputs, *arguments, "--html", "new/events.html")
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_other_wrong_command_lines(inputs, tmp_path):
    for arguments, words in (
        ((inputs[1], inputs[2], "--html", tmp_path / "a.html"), "no run was given"),
        ((*inputs,), "-o FIGURE.png"),
        ((*inputs, "--html", tmp_path / "a.pdf"), "must end in .html"),
        ((*inputs, "--events", "1:3", "-o", tmp_path / "a.png"), "a figure shows one event"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2
        assert words in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "run"]
