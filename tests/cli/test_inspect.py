"""``panoptag inspect``: what it prints, and one sentence for what it can't read."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from helpers.displaced import displaced_block
from helpers.events import write_events
from typer.testing import CliRunner

from panoptag_pyg.cli.main import app


def run(*arguments):
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)], env={"COLUMNS": "120"})


@pytest.fixture
def path(tmp_path):
    block = displaced_block(np.random.default_rng(0), 40, num_processes=2)
    return write_events(tmp_path / "a.h5", block, ["ttbar", "ZH"], attributes={"setup": "realistic"})


def test_prints_counts_and_columns(path):
    result = run(path, "--check")
    assert result.exit_code == 0, result.output
    for words in ("jet flavours", "ttbar", "realistic", "pfo/d0_error", "all 40 events read and valid"):
        assert words in result.output


def test_json_of_one_and_several(path, tmp_path):
    one = json.loads(run(path, "--json").stdout)
    assert one["num_events"] == 40
    assert {c["path"] for c in one["columns"]} >= {"pfo/pt", "jet/flavour"}
    write_events(tmp_path / "b.h5", displaced_block(np.random.default_rng(1), 3))
    assert [entry["num_events"] for entry in json.loads(run(tmp_path, "--json").stdout)] == [40, 3]


def test_columns_of_constituents_show_where_they_are(path, tmp_path):
    block = displaced_block(np.random.default_rng(1), 5)
    block.constituent = {"subjet_antikt": np.arange(len(block.constituents), dtype=np.int16) % 3}
    write_events(tmp_path / "b.h5", block)
    columns = {column["path"]: column for column in json.loads(run(tmp_path / "b.h5", "--json").stdout)["columns"]}
    assert columns["constituent/subjet_antikt"]["max"] == 2
    assert "constituent/subjet_hdbscan" not in columns
    assert run(tmp_path / "b.h5", "-o", tmp_path / "b.png").exit_code == 0
    assert "constituent/" not in run(path).output


def test_figure_by_suffix(path, tmp_path):
    assert run(path, "-o", tmp_path / "a.pdf").exit_code == 0
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    for name, words in (("a.pdf", "exists"), ("a.xyz", ".png, .pdf or .svg")):
        result = run(path, "-o", tmp_path / name)
        assert result.exit_code == 2
        assert words in result.stderr


def test_bad_files_are_one_sentence(path, tmp_path):
    (tmp_path / "text.h5").write_text("no")
    (tmp_path / "cut.h5").write_bytes(path.read_bytes()[:5000])
    with h5py.File(path, "a") as handle:
        handle["jet/pt"][7] = np.nan
    for name, words in (
        ("none.h5", "no such file"),
        ("text.h5", "not an HDF5 file"),
        ("cut.h5", "cut short"),
        ("a.h5", "jet/pt is nan"),
        ("*.xyz", "matches no file"),
    ):
        result = run(tmp_path / name, "--check")
        assert result.exit_code == 2, name
        assert words in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
