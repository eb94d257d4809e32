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


@pytest.fixture
def folder(tmp_path):
    for number in range(6):
        block = displaced_block(np.random.default_rng(number), 5 + number)
        write_events(tmp_path / "many" / f"{number}.h5", block, sources=[f"s {number}"], attributes={"seed": number})
    return tmp_path / "many"


def test_many_files_are_rows_not_pages(folder):
    result = run(folder)
    assert result.exit_code == 0, result.output
    for words in ("6 files", "5.h5", "ttbar", "45"):
        assert words in result.stdout
    assert "pfo/d0_error" not in result.stdout
    values = json.loads(run(folder, "--json").stdout)
    assert values["num_events"] == 45
    assert [row["num_events"] for row in values["files"]] == [5, 6, 7, 8, 9, 10]
    assert values["processes"]["ttbar"]["num_events"] == 45
    assert run(folder, "-o", folder.parent / "a.png").exit_code == 0
    assert (folder.parent / "a.png").exists()


def test_manifests_are_written_used_and_checked(folder):
    result = run(folder, "--write-manifest")
    assert result.exit_code == 0, result.output
    assert "6 files, 45 events" in result.stderr
    result = run(folder, "--check")
    assert "6 sizes and checksums are those of the manifest" in " ".join(result.stdout.split())
    assert json.loads(run(folder / "manifest.json", "--check", "--json").stdout)["checked"] is True
    content = bytearray((folder / "3.h5").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "3.h5").write_bytes(content)
    result = run(folder, "--check")
    assert result.exit_code == 2
    assert "3.h5 has changed: its SHA-256" in result.stderr
    (folder / "3.h5").unlink()
    assert run(folder).exit_code == 0  # nothing was opened
    result = run(folder, "--check")
    assert result.exit_code == 2
    assert "3.h5 is missing, though its manifest names it" in result.stderr
    assert run(folder, "--write-manifest").exit_code == 0
    assert json.loads(run(folder, "--json").stdout)["num_events"] == 37


def test_manifests_of_folders_in_a_folder(folder, path):
    assert run(folder, "--write-manifest").exit_code == 0
    (folder.parent / "zh").mkdir()
    path.rename(folder.parent / "zh" / "a.h5")
    assert run(folder.parent / "zh", "--write-manifest").exit_code == 0
    assert run(folder.parent, "--write-manifest", "--check").exit_code == 0
    values = json.loads((folder.parent / "manifest.json").read_text())
    assert values["num_events"] == 85
    assert values["files"][0]["path"] == "many/0.h5"
    result = run(folder / "0.h5", "--write-manifest")
    assert result.exit_code == 2
    assert "is not a folder" in result.stderr


def test_cards(folder):
    card = folder.parent / "card.md"
    result = run(folder, "--card", card)
    assert result.exit_code == 2
    assert "has no manifest" in result.stderr
    assert run(folder, "--write-manifest", "--card", card).exit_code == 0
    assert "45 events in 6 files" in card.read_text()
    result = run(folder, "--card", card)
    assert result.exit_code == 2
    assert "exists" in result.stderr
    assert run(folder, folder.parent / "many", "--card", card, "--overwrite").exit_code == 2  # named twice
