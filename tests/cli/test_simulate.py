"""``panoptag simulate`` as it is typed."""

from __future__ import annotations

import json
import os

import pytest
from typer.testing import CliRunner

from panoptag_pyg.cli.main import app
from panoptag_pyg.events import EventFile


def run(*arguments: str):
    return CliRunner().invoke(app, ["simulate", *arguments])


def test_simulate(tmp_path):
    path = tmp_path / "zh.h5"
    line = f"--process ZH --events 4 --seed 7 --workers 1 --round-bits 12 -o {path}"
    result = run(*line.split(), "--set", "25:onMode = off", "--set", "25:onIfMatch = 5 -5")
    assert result.exit_code == 0, result.output
    file = EventFile(path)
    assert file.num_events == 4
    settings = file.attributes["pythia_settings"]
    settings = json.loads(settings) if isinstance(settings, str) else settings
    assert settings[-2:] == ["25:onMode = off", "25:onIfMatch = 5 -5"]
    assert "command" in file.attributes
    assert str(path) in result.output

    before = path.read_bytes()
    again = run(*line.split())
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    assert path.read_bytes() == before
    assert run(*line.split(), "--overwrite").exit_code == 0


def test_shards(tmp_path):
    folder = tmp_path / "zh"
    line = f"--process ZH --events 230 --shards 2 --seed 7 --workers 1 -o {folder}".split()
    quick = ("--set", "PartonLevel:MPI = off")
    first = run(*line, *quick)
    assert first.exit_code == 0, first.output
    assert f"{folder}: 230 events in 2 files, " in first.output
    assert "2 of 2 shards done: 230/230 events" in first.stderr
    assert sorted(os.listdir(folder)) == ["ZH-00000.h5", "ZH-00001.h5", "manifest.json"]
    command = json.loads((folder / "manifest.json").read_text())["attributes"]["command"]
    assert command.startswith("panoptag")  # what follows is pytest's own, or nothing in its workers

    again = run(*line, *quick)
    assert again.exit_code == 0
    assert "simulating" not in again.stderr
    other = run(*line)
    assert other.exit_code == 2
    assert "pythia_settings is 'PartonLevel:MPI = off' there and not set here" in other.stderr
    assert len(other.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--process tbar", "unknown process 'tbar'; did you mean 'ttbar'?"),
        ("--process ttbar --setup papers", "did you mean 'paper'?"),
        ("--process ttbar --events 0", "number of events is 0"),
        ("--process ttbar --detector atlos", "did you mean 'atlas'?"),
        ("--process ttbar --label hadrons", "did you mean 'hadron'?"),
        ("--process nowhere.toml", "there is no such process card"),
        ("--process ttbar --events 300 --shards 3", "names a file; shards are written into a folder"),
        ("--process ttbar --scheduler nowhere.json", "there is no such scheduler file"),
        ("--process ttbar --scheduler 127.0.0.1", "no Dask scheduler answers at 127.0.0.1"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message, tmp_path):
    result = run(*arguments.split(), "-o", str(tmp_path / "x.h5"))
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert os.listdir(tmp_path) == []


def test_les_houches_events(tmp_path):
    from helpers.hard_events import broken, file_text, muon_pair

    hard = tmp_path / "muons.lhe"
    hard.write_text(file_text([muon_pair(weight=-2.5), broken(muon_pair(), "colour"), muon_pair(weight=1.5)]))
    path = tmp_path / "muons.h5"
    result = run("--lhe", str(hard), "--workers", "1", "-o", str(path))
    assert result.exit_code == 0, result.output
    assert f"PYTHIA could not shower 1 of 3 events of {hard}" in result.output
    file = EventFile(path)
    assert file.processes == ["muons"]
    assert file.read().event["weight"].tolist() == [-2.5, 1.5]


def test_the_help_lists_every_card():
    from panoptag_pyg.simulation.cards import shipped

    text = " ".join(run("--help").output.replace("│", " ").split())
    for name in shipped("processes"):
        assert f"{name}," in text


def test_bad_les_houches_file_is_one_sentence(tmp_path):
    hard = tmp_path / "cut.lhe"
    hard.write_text('<LesHouchesEvents version="3.0">\n<init>\n2212 2212 6500')
    result = run("--lhe", str(hard), "-o", str(tmp_path / "x.h5"))
    assert result.exit_code == 2
    assert "cut.lhe: has no complete <init> block" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert os.listdir(tmp_path) == ["cut.lhe"]
