"""``panoptag convert padded`` and ``to-padded`` as they are typed."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from helpers.events import random_block, write_events
from typer.testing import CliRunner

from panoptag_pyg.cli.main import app
from panoptag_pyg.events import EventFile


def run(*arguments):
    return CliRunner().invoke(app, ["convert", *map(str, arguments)])


@pytest.fixture
def path(tmp_path):
    return write_events(tmp_path / "a.h5", random_block(np.random.default_rng(0), [40, 30, 5], [3, 0, 1]))


def test_out_and_in(path, tmp_path):
    result = run("to-padded", path, "-o", tmp_path / "p.h5", "--max-pfos", 16, "--max-jets", 2)
    assert result.exit_code == 0, result.output
    assert "Warning: 38 of 75 PFOs (50.7%; " in result.stderr
    assert "in 2 events and 1 of 4 jets had no place and were cut" in result.stderr
    assert "3 events, 77% of the places for PFOs filled" in result.stdout
    with h5py.File(tmp_path / "p.h5") as file:
        assert file["pfo"].shape == (3, 16, 10)
        assert file.attrs["command"].startswith("panoptag")
    result = run("padded", tmp_path / "p.h5", "-o", tmp_path / "b.h5")
    assert result.exit_code == 0, result.output
    assert "3 events, 37 PFOs, 3 jets" in result.stdout
    assert EventFile(tmp_path / "b.h5").processes == ["ttbar"]
    result = run("to-padded", path, "-o", tmp_path / "p.h5", "--features", "network", "--overwrite", "--events", 1)
    assert result.exit_code == 0
    with h5py.File(tmp_path / "p.h5") as file:
        assert file["pfo"].shape == (1, 128, 14)


def test_a_map_of_mine(tmp_path):
    np.save(tmp_path / "jets.npy", np.abs(np.random.default_rng(1).normal(size=(4, 5, 3))))
    (tmp_path / "map.toml").write_text(
        'layout = "jets"\nsum_constituents = true\n[pfo]\npt = "x.0"\neta = "x.1"\nphi = "x.2"\nmass = 0\ncharge = 0\n'
        "particle_class = 4\n"
    )
    result = run(
        "padded", tmp_path / "jets.npy", "--map", tmp_path / "map.toml", "-o", tmp_path / "b.h5", "--process", "W"
    )
    assert result.exit_code == 0, result.output
    assert "4 events, 20 PFOs, 4 jets" in result.stdout
    assert "Note: pfo/particle_class is 4 for all PFOs" in result.stderr
    assert EventFile(tmp_path / "b.h5").processes == ["W"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("padded a.h5 -o b.h5", "give a column map with --map"),
        ("padded a.h5 -o b.h5 --map jetent", "did you mean 'jetnet'"),
        ("padded a.h5 -o b.h5 --map nowhere.toml", "there is no such column map"),
        ("padded a.h5 -o b.h5 --map jetnet", "has no array 'particle_features'"),
        ("padded nowhere.h5 -o b.h5 --map jetnet", "doesn't exist"),
        ("padded a.h5 -o a.h5 --map jetnet", "exists"),
        ("to-padded a.h5 -o b.h5 --max-pfos 0", "the number of places for PFOs is 0"),
        ("to-padded a.h5 -o b.h5 --features all", "unknown features 'all'"),
        ("to-padded nowhere.h5 -o b.h5", "no such file"),
        ("to-padded a.h5 -o a.h5", "exists"),
    ],
)
def test_bad_input_is_one_sentence(path, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments.split())
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]
