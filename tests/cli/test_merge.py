"""``panoptag merge``: what it says, and one sentence for what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.sourced import make
from typer.testing import CliRunner

from panoptag_pyg.cli.main import app
from panoptag_pyg.events import EventDataset, EventFile


def run(*arguments):
    return CliRunner().invoke(app, ["merge", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path, rng):
    for number in range(3):
        make(tmp_path / "in" / f"{number}.h5", rng, 9, sources=(f"s {number}",))
    return tmp_path / "in"


def test_one_file_and_shards(folder, tmp_path):
    result = run(folder, "-o", tmp_path / "out.h5")
    assert result.exit_code == 0, result.output
    assert "27 events of 3 files" in result.stdout
    assert (
        EventFile(tmp_path / "out.h5").attributes["merged"][0]["command"].startswith("panoptag")
    )  # what follows is pytest's own, or nothing in its workers
    result = run(folder, "-o", tmp_path / "out", "--shards", 4, "--shuffle", 2)
    assert result.exit_code == 0, result.output
    assert len(EventDataset(tmp_path / "out")) == 27
    assert len(list((tmp_path / "out").glob("*.h5"))) == 4


def test_notes_are_told(folder, tmp_path):
    result = run(folder, folder / "0.h5", "-o", tmp_path / "out.h5", "--drop-duplicates")
    assert result.exit_code == 0
    assert "Note: 9 events that came twice are left out" in result.stderr


def test_refusals_are_one_sentence(folder, tmp_path, rng):
    other = make(tmp_path / "other.h5", rng, 2, sources=("o",), attributes={"setup": "realistic"})
    for arguments, words in (
        ((folder, folder / "0.h5", "-o", tmp_path / "out.h5"), "once more"),
        ((folder, other, "-o", tmp_path / "out.h5"), "were made differently: setup is"),
        ((folder, "-o", other), "exists"),
        ((folder, "-o", folder, "--shards", 2), "exists"),
        ((folder, "-o", folder, "--shards", 2, "--overwrite"), "holds other things"),
        ((folder / "no.h5", "-o", tmp_path / "out.h5"), "no such file"),
        ((folder, "-o", tmp_path / "out", "--shards", 0), "the number of shards is 0"),
        ((folder, "-o", other / "x.h5"), "is a file, not a folder"),
    ):
        before = sorted(tmp_path.rglob("*"))
        result = run(*arguments)
        assert result.exit_code == 2, arguments
        assert words in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
        assert sorted(tmp_path.rglob("*")) == before
    assert run(folder, other, "-o", tmp_path / "out.h5", "--force").exit_code == 0
    assert len(EventFile(tmp_path / "out.h5").read().event["id"]) == 29


def test_same_values_without_manifest_or_with(folder, tmp_path):
    assert run(folder, "-o", tmp_path / "a.h5").exit_code == 0
    assert CliRunner().invoke(app, ["inspect", str(folder), "--write-manifest"]).exit_code == 0
    assert run(folder, "-o", tmp_path / "b.h5").exit_code == 0
    one, two = (EventFile(tmp_path / name).read() for name in ("a.h5", "b.h5"))
    assert np.array_equal(one.pfo["pt"], two.pfo["pt"])
