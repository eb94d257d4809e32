"""``panoptag convert nanoaod`` as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from panoptag_pyg.cli.main import app
from panoptag_pyg.events import EventFile

pytest.importorskip("uproot")
SAMPLE = Path(__file__).parents[1] / "data" / "pfnano.root"


def run(*arguments):
    return CliRunner().invoke(app, ["convert", "nanoaod", *map(str, arguments)])


def test_numbers_notes_and_provenance(tmp_path):
    result = run(SAMPLE, "-o", tmp_path / "a.h5", "--process", "QCD", "--jet-min-pt", 20, "--jet-max-abs-eta", 2.5)
    assert result.exit_code == 0, result.output
    assert "10 events, 18197 PFOs" in result.stdout
    assert "Note: 3295 of 18197 candidates are charged but their tracks aren't stored" in result.stderr
    file = EventFile(tmp_path / "a.h5")
    assert file.processes == ["QCD"]
    assert file.attributes["command"].startswith("panoptag")
    assert file.attributes["jets"]["min_pt"] == 20
    again = run(SAMPLE, "-o", tmp_path / "a.h5", "--collection", "FatJet", "--puppi", "--events", 3)
    assert again.exit_code == 2
    assert "exists" in again.stderr
    again = run(SAMPLE, "-o", tmp_path / "a.h5", "--collection", "FatJet", "--puppi", "--events", 3, "--overwrite")
    assert again.exit_code == 0
    assert EventFile(tmp_path / "a.h5").num_events == 3
    assert EventFile(tmp_path / "a.h5").processes == ["pfnano"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--jets towers", "unknown jets 'towers'"),
        ("--collection Tau", "unknown collection of jets 'Tau'"),
        ("--jet-radius 0.8", "a radius is for reclustered jets"),
        ("--events 0", "the number of events is 0"),
    ],
)
def test_bad_options_are_one_sentence(tmp_path, arguments, message):
    result = run(SAMPLE, "-o", tmp_path / "a.h5", *arguments.split())
    assert_one_sentence(result, message)
    assert not list(tmp_path.iterdir())


def test_bad_files_are_one_sentence(tmp_path):
    half = tmp_path / "half.root"
    half.write_bytes(SAMPLE.read_bytes()[:100_000])
    assert_one_sentence(run(half, "-o", tmp_path / "a.h5"), "is cut short")
    assert_one_sentence(run(tmp_path / "no.root", "-o", tmp_path / "a.h5"), "doesn't exist")
    assert [path.name for path in tmp_path.iterdir()] == ["half.root"]


def assert_one_sentence(result, message):
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
