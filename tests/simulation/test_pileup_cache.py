"""Where libraries are kept: made once, found again, made anew when damaged, and shared by processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.pileup import NUM_COLLISIONS, QUICK_CARD, small_library

from panoptag_pyg.errors import ConfigError, EventFileError
from panoptag_pyg.output import OutputError
from panoptag_pyg.simulation import DetectorCard, ProcessCard
from panoptag_pyg.simulation.pileup_cache import (
    beam_settings,
    cache_folder,
    ensure_library,
    library_settings,
    normalised,
)

REALISTIC = DetectorCard.load().setup("realistic").pythia
TTBAR = (*ProcessCard.load("ttbar").settings, *REALISTIC)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and collisions that PYTHIA is quickly ready for."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(ProcessCard, "load", classmethod(lambda cls, name: QUICK_CARD))
    return tmp_path / "cache" / "panoptag_pyg" / "pileup"


def test_pileup_is_made_as_the_hard_scatter_is():
    card = ProcessCard.load("minimum_bias").settings
    assert library_settings(TTBAR) == (*card, *REALISTIC)
    assert library_settings(["Top:gg2ttbar = on", "25:onMode = off", "Tune:pp = 21"]) == card
    assert library_settings(["beams:eCM=14000", "310:mayDecay =off"]) == (
        "Beams:eCM = 14000",
        *card[1:],
        "310:mayDecay = off",
    )


def test_beams_of_hard_events_made_elsewhere():
    card = ProcessCard.load("minimum_bias").settings
    assert library_settings(beam_settings(((2212, 6500.0), (2212, 6500.0)))) == card
    unequal = library_settings(beam_settings(((2212, 6500.0), (-2212, 980.5))))
    assert unequal[0] == card[0]
    assert set(unequal[-5:]) == {
        "Beams:frameType = 2", "Beams:idA = 2212", "Beams:idB = -2212", "Beams:eA = 6500", "Beams:eB = 980.5",
    }  # fmt: skip


def test_one_way_of_writing():
    assert normalised(["A:b = 1", "C:d=2", "a:B  =  3"]) == ("A:b = 3", "C:d = 2")


def test_the_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "panoptag_pyg" / "pileup"
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_folder() == tmp_path / ".cache" / "panoptag_pyg" / "pileup"


def test_made_once_and_found_again(cache):
    first = ensure_library(TTBAR, num_collisions=5)
    assert [first.path.name] == os.listdir(cache)
    assert first.path.name.startswith("minimum_bias-5-")
    before = first.path.stat()
    assert ensure_library(TTBAR, num_collisions=5).sha256 == first.sha256
    after = first.path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    # Other decays are other collisions.
    other = ensure_library(ProcessCard.load("ttbar").settings, num_collisions=5)
    assert other.path != first.path
    assert other.sha256 != first.sha256


def flip(data: bytes) -> bytes:
    place = len(data) // 2  # within the particles
    return data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :]


@pytest.mark.parametrize("spoil", [lambda data: data[:3000], flip, lambda data: b""])
def test_a_damaged_one_is_made_anew(cache, spoil):
    first = ensure_library(TTBAR, num_collisions=5)
    whole = first.path.read_bytes()
    first.path.write_bytes(spoil(whole))
    assert first.path.read_bytes() != whole
    assert ensure_library(TTBAR, num_collisions=5).sha256 == first.sha256
    assert first.path.read_bytes() == whole
    assert os.listdir(cache) == [first.path.name]


def test_the_users_file_is_made_and_used_again(cache, tmp_path):
    path = tmp_path / "folder" / "mine.h5"
    made = ensure_library(TTBAR, path, num_collisions=4)
    assert ensure_library(TTBAR, path).sha256 == made.sha256
    assert os.listdir(path.parent) == ["mine.h5"]
    assert not cache.exists()
    with pytest.raises(ConfigError, match=r"has 4 collisions, not 5"):
        ensure_library(TTBAR, path, num_collisions=5)


def test_the_users_file_must_fit(cache, tmp_path):
    path = small_library()
    assert ensure_library(TTBAR, path).num_collisions == NUM_COLLISIONS
    with pytest.raises(ConfigError, match=r"made with beams:ecm = 13000, but this simulation has 14000"):
        ensure_library([*TTBAR, "Beams:eCM = 14000"], path)
    with pytest.raises(ConfigError, match=r"particledecays:limittau0 = on, but this simulation has PYTHIA's default"):
        ensure_library(ProcessCard.load("ttbar").settings, path)
    with pytest.raises(ConfigError, match="--pileup-library"):
        ensure_library([*TTBAR, "310:mayDecay = off"], path)


def test_the_users_file_is_never_replaced(tmp_path):
    path = tmp_path / "mine.h5"
    path.write_text("my notes")
    with pytest.raises(EventFileError, match=r"mine.h5 is no pileup library"):
        ensure_library(TTBAR, path)
    assert path.read_text() == "my notes"
    with pytest.raises(OutputError, match="a file, not a folder"):
        ensure_library(TTBAR, path / "x.h5")
    assert os.listdir(tmp_path) == ["mine.h5"]


MAKE = """
import sys
from helpers.pileup import QUICK_CARD
from panoptag_pyg.simulation import ProcessCard
from panoptag_pyg.simulation.pileup_cache import ensure_library
ProcessCard.load = classmethod(lambda cls, name: QUICK_CARD)
print("ready", flush=True)
sys.stdin.readline()
print(ensure_library(["Beams:eCM = 13000"], num_collisions=40).sha256)
"""


@pytest.mark.parametrize("locks", [True, False])
def test_two_processes_at_once(locks, tmp_path):
    without = "" if locks else "sys.modules['fcntl'] = None\n"
    helpers = str(Path(__file__).parents[1])
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": helpers}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MAKE.replace("print(ens", without + "print(ens")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    results = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    assert results[0][0] == results[1][0]
    assert len(results[0][0].strip()) == 64
    if locks:  # one has made it, and shown how far it was; the other has waited
        assert sorted("40/40" in errors for _, errors in results) == [False, True]
    assert len(os.listdir(tmp_path / "panoptag_pyg" / "pileup")) == 1
