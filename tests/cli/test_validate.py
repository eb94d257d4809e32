"""``panoptag validate``: what it prints, its exit codes, and one sentence for what it can't check."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.displaced import displaced_block
from helpers.events import write_events
from typer.testing import CliRunner

from panoptag_pyg.cli.main import app


def run(*arguments):
    return CliRunner().invoke(app, ["validate", *map(str, arguments)], env={"COLUMNS": "140"})


@pytest.fixture
def path(tmp_path):
    return write_events(tmp_path / "a.h5", displaced_block(np.random.default_rng(5), 200))


def test_writes_a_report(path, tmp_path):
    result = run(path, "-o", tmp_path / "report", "--no-figures")
    assert result.exit_code == 0, result.output
    assert "symmetries" in result.stdout
    assert f"Written: {tmp_path}/report/index.html" in result.stdout
    assert "no attribute 'detector_card'" in " ".join(result.stdout.split())
    assert json.loads((tmp_path / "report" / "validation.json").read_text())["files"] == [str(path)]
    again = run(path, "-o", tmp_path / "report")
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    assert run(path, "-o", tmp_path / "report", "--overwrite", "--events", "50", "--no-figures").exit_code == 0


def test_strict_tells_by_the_exit_code(path, tmp_path):
    block = displaced_block(np.random.default_rng(6), 200)
    block.pfo["charge"][:] = 0
    wrong = write_events(tmp_path / "wrong.h5", block)
    assert run(wrong, "-o", tmp_path / "one", "--no-figures").exit_code == 0
    assert run(wrong, "-o", tmp_path / "two", "--strict", "--no-figures").exit_code == 1
    assert (tmp_path / "two" / "index.html").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("MISSING",), "no such file"),
        (("TEXT",), "is not an HDF5 file"),
        (("GOOD", "--reference", "MISSING"), "no such file"),
        (("GOOD", "--detector", "cms"), "unknown detector 'cms'"),
    ],
)
def test_bad_input_is_one_sentence(path, tmp_path, options, words):
    (tmp_path / "text.h5").write_text("no events here")
    names = {"GOOD": path, "MISSING": tmp_path / "missing.h5", "TEXT": tmp_path / "text.h5"}
    result = run(*(names.get(option, option) for option in options), "-o", tmp_path / "report")
    assert result.exit_code == 2
    assert words in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("Error")]) == 1
    assert "Traceback" not in result.output
    assert not (tmp_path / "report").exists()
