"""``panoptag prepare`` as it is typed."""

from __future__ import annotations

import os

import numpy as np
import pytest
from helpers.events import random_block, write_events
from typer.testing import CliRunner

from panoptag_pyg.cli.main import app
from panoptag_pyg.events import EventFile


def run(*arguments):
    return CliRunner().invoke(app, ["prepare", *map(str, arguments)])


@pytest.fixture
def path(tmp_path):
    block = random_block(np.random.default_rng(0), [40, 30, 5], [3, 2, 1])
    return write_events(tmp_path / "a.h5", block, attributes={"jets": {"radius": 0.4, "min_pt": 1.0}})


def test_subjets_and_jets(path, tmp_path):
    result = run(path, "--subjets", "--hdbscan-size", 3, "--workers", 1, "-o", tmp_path / "b.h5")
    assert result.exit_code == 0, result.output
    assert "3 of 3 events, 6 jets" in result.stdout
    assert EventFile(tmp_path / "b.h5").attributes["subjets"]["min_cluster_size"] == 3
    assert "command" in EventFile(tmp_path / "b.h5").attributes["prepared"][0]
    result = run(tmp_path / "b.h5", "--jet-radius", 1.0, "--workers", 1, "-o", tmp_path / "c.h5")
    assert result.exit_code == 0
    assert "Warning: the truth of the jets in" in result.stderr
    file = EventFile(tmp_path / "c.h5")
    assert file.constituent_columns == ()  # those of jets that are no more
    assert "subjets" not in file.attributes
    result = run(path, "--jet-min-pt", 0.5, "--workers", 1, "-o", tmp_path / "d.h5")
    assert "of the new jets aren't among the old ones" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "there is nothing to do to"),
        ("--subjets --subjet-radius 0", "radius: "),
        ("--subjets --cambridge-subjets 0", "num_cambridge: "),
        ("--jet-algorithm siscone", "algorithm: "),
        ("--min-jets -1", "the least number of jets is -1"),
    ],
)
def test_bad_input_is_one_sentence(path, tmp_path, arguments, message):
    result = run(path, *arguments.split(), "--workers", 1, "-o", tmp_path / "x.h5")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert sorted(os.listdir(tmp_path)) == ["a.h5"]
