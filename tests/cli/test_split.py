"""``panoptag split``: what it says, and one sentence for what it refuses."""

from __future__ import annotations

import pytest
from helpers.sourced import make
from typer.testing import CliRunner

from panoptag_pyg.cli.main import app
from panoptag_pyg.events import EventDataset


def run(*arguments):
    return CliRunner().invoke(app, ["split", *map(str, arguments)])


@pytest.fixture
def path(tmp_path, rng):
    return make(tmp_path / "in.h5", rng, 200, sources=("s",))


def test_three_folders(path, tmp_path):
    result = run(path, "-o", tmp_path / "out", "--events-per-file", 50)
    assert result.exit_code == 0, result.output
    counts = {side: len(EventDataset(tmp_path / "out" / side)) for side in ("train", "val", "test")}
    assert sum(counts.values()) == 200
    assert f"{counts['train']} train, {counts['val']} val, {counts['test']} test" in result.stdout
    result = run(path, "-o", tmp_path / "out", "--train", 1, "--val", 0, "--test", 0, "--overwrite")
    assert result.exit_code == 0, result.output
    assert "200 train, 0 val, 0 test" in result.stdout


def test_refusals_are_one_sentence(path, tmp_path):
    for arguments, words in (
        ((path, "-o", tmp_path / "out", "--train", 0.9), "sum to 1.15, expected 1"),
        ((path, path, "-o", tmp_path / "out"), "once more"),
        ((path, "-o", path), "is a file; give the name of a folder"),
        ((tmp_path / "no.h5", "-o", tmp_path / "out"), "no such file"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2, arguments
        assert words in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
        assert sorted(tmp_path.iterdir()) == [path]
