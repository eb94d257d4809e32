"""``panoptag display``: a figure of one event, or the sentence that says which events there are."""

from __future__ import annotations

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
