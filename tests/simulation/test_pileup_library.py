"""The file of minimum-bias collisions: the generator's own particles, whole, or refused."""

from __future__ import annotations

import json
import os

import h5py
import numpy as np
import pytest
from helpers.pileup import NUM_COLLISIONS, QUICK_CARD, small_library

from panoptag_pyg.errors import ConfigError, EventFileError
from panoptag_pyg.output import OutputError
from panoptag_pyg.simulation import DetectorCard
from panoptag_pyg.simulation.particles import stable_particles
from panoptag_pyg.simulation.pileup_cache import make_library
from panoptag_pyg.simulation.pileup_library import MAX_ABS_ETA, LibraryRecipe, PileupLibrary, write_library
from panoptag_pyg.simulation.pythia import Pythia

library_module = __import__("importlib").import_module("panoptag_pyg.simulation.pileup_library")
SETTINGS = (*QUICK_CARD.settings, *DetectorCard.load().setup("realistic").pythia)


@pytest.fixture(scope="module")
def library():
    return PileupLibrary(small_library())


def test_content_is_the_generators(library):
    events = Pythia(list(SETTINGS), seed=5).generate(0, NUM_COLLISIONS)
    particles = stable_particles(events, np.zeros(len(events.pdg), dtype=np.int8))
    eta = np.arcsinh(particles.pz / np.maximum(np.hypot(particles.px, particles.py), 1e-300))
    expected = particles.select(np.abs(eta) < MAX_ABS_ETA)
    counts, columns = library.gather(np.arange(NUM_COLLISIONS))
    np.testing.assert_array_equal(counts, np.bincount(expected.event, minlength=NUM_COLLISIONS))
    for name, values in columns.items():
        np.testing.assert_allclose(values, getattr(expected, name), rtol=1e-6, err_msg=name)
    assert library.num_collisions == NUM_COLLISIONS
    assert library.num_particles == len(expected)
    assert library.seed == 5
    assert set(SETTINGS) == set(library.settings)


@pytest.mark.slow
def test_inelastic_collisions(tmp_path):
    # ATLAS measured 6.4 charged particles per unit of eta in events with two of them, arXiv:1606.01133 (pT > 0.1 GeV);
    # diffraction with fewer lowers the mean. The spread of one collision is nearly as large as the mean.
    made = make_library(tmp_path / "x.h5", 500, seed=4)
    assert "SoftQCD:inelastic = on" in made.settings
    counts, columns = made.gather(np.arange(500))
    pt = np.hypot(columns["px"], columns["py"])
    seen = (columns["charge"] != 0) & (pt > 0.1) & (np.abs(columns["pz"]) < pt * np.sinh(2.5))
    assert 4.5 < seen.sum() / 500 / 5 < 7.5
    assert (counts < 20).mean() > 0.03  # diffraction
    assert not np.isin(np.abs(columns["pdg"]), (12, 14, 16)).any()
    assert np.isin(310, np.abs(columns["pdg"]))  # K0S stay, in this setup


def test_gather_takes_any_collisions_in_any_order(library):
    all_counts, all_columns = library.gather(np.arange(NUM_COLLISIONS))
    pieces = {name: np.split(values, np.cumsum(all_counts)[:-1]) for name, values in all_columns.items()}
    for chosen in ([], [7], [3, 249, 3, 0]):
        counts, columns = library.gather(np.array(chosen, dtype=np.int64))
        np.testing.assert_array_equal(counts, all_counts[chosen])
        for name, values in columns.items():
            expected = np.concatenate([values[:0], *(pieces[name][number] for number in chosen)])
            np.testing.assert_array_equal(values, expected)
            assert values.dtype == (np.float64 if name not in ("pdg", "charge") else all_columns[name].dtype)


def test_blocks_do_not_depend_on_who_makes_them(tmp_path, monkeypatch):
    """One after the other or singly, whatever was generated before: what workers do."""
    monkeypatch.setattr(library_module, "COLLISIONS_PER_BLOCK", 4)
    recipe = LibraryRecipe(SETTINGS, 10, 3)
    write_library(tmp_path / "a.h5", recipe)
    blocks = {}
    for number in (2, 0, 1):
        monkeypatch.setattr(library_module, "_pythia", None)
        blocks[number] = library_module._generate_block(recipe, number)
    counts, columns = PileupLibrary(tmp_path / "a.h5").gather(np.arange(10))
    np.testing.assert_array_equal(counts, np.concatenate([blocks[n][0] for n in range(3)]))
    for name, values in columns.items():
        np.testing.assert_array_equal(values, np.concatenate([blocks[n][1][name] for n in range(3)]))


@pytest.mark.slow
def test_two_workers_make_the_same_file(tmp_path):
    recipe = LibraryRecipe(SETTINGS, 510, 3)
    write_library(tmp_path / "one.h5", recipe)
    write_library(tmp_path / "two.h5", recipe, workers=2)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()


def test_the_key_names_all_that_decides_the_content(monkeypatch):
    recipe = LibraryRecipe(SETTINGS, 100, 1)
    others = [LibraryRecipe(SETTINGS[1:], 100, 1), LibraryRecipe(SETTINGS, 101, 1), LibraryRecipe(SETTINGS, 100, 2)]
    keys = {entry.key for entry in (recipe, *others)}
    assert len(keys) == 4
    assert recipe.key == LibraryRecipe(tuple(SETTINGS), 100, 1).key
    monkeypatch.setattr(library_module, "_pythia_version", lambda: "8.999")
    assert recipe.key not in keys


def flip(data: bytes) -> bytes:
    place = len(data) // 2  # within the momenta
    return data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (flip, "damaged.*remove it"),
        (lambda data: data[: len(data) // 2], "damaged.*remove it"),
        (lambda data: b"not HDF5 at all", "is no pileup library"),
        (lambda data: b"", "is no pileup library"),
    ],
)
def test_damaged_files_are_refused(spoil, message, tmp_path):
    path = tmp_path / "spoilt.h5"
    path.write_bytes(spoil(small_library().read_bytes()))
    with pytest.raises(EventFileError, match=message) as caught:
        PileupLibrary(path)
    assert "spoilt.h5" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.attrs.__setitem__("format", "panoptag-events"), "its format isn't panoptag-pileup-library"),
        (lambda file: file.attrs.__setitem__("version", 2), "its version is 2, expected 1"),
        (lambda file: file.attrs.__delitem__("sha256"), "sha256"),
        (lambda file: file.attrs.__setitem__("pythia_settings", "{"), "is no pileup library or is damaged"),
        (lambda file: file.__delitem__("px"), "px"),
        (lambda file: file["py"].write_direct(np.zeros(file["py"].shape, "f4")), "damaged"),
        (lambda file: (file.__delitem__("pz"), file.create_dataset("pz", data=np.zeros(3, "f4"))), "pz has 3 entries"),
    ],
)
def test_other_files_are_refused(change, message, tmp_path):
    path = tmp_path / "other.h5"
    path.write_bytes(small_library().read_bytes())
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(EventFileError, match=message):
        PileupLibrary(path)


def test_the_expected_content_or_none(library, tmp_path):
    assert PileupLibrary(library.path, library.sha256).sha256 == library.sha256
    with pytest.raises(EventFileError, match="another pileup library"):
        PileupLibrary(library.path, "0" * 64)
    with pytest.raises(EventFileError, match="there is no such pileup library"):
        PileupLibrary(tmp_path / "nowhere.h5")


def test_a_library_of_ones_own(tmp_path):
    path = tmp_path / "own.h5"
    settings = ["Beams:eCM = 14000", "beams:ecm = 900"]
    made = make_library(path, 3, seed=1, process=QUICK_CARD, setup="paper", settings=settings)
    assert made.num_collisions == 3
    assert made.settings == ("Beams:eCM = 900", "SoftQCD:nonDiffractive = on")
    with h5py.File(path) as file:
        assert json.loads(file.attrs["software"])["pythia8mc"].startswith("8.")
    before = path.read_bytes()
    with pytest.raises(OutputError, match="--overwrite"):
        make_library(path, 3)
    assert path.read_bytes() == before
    make_library(path, 2, process=QUICK_CARD, overwrite=True)
    assert PileupLibrary(path).num_collisions == 2


def test_refusals_leave_nothing(tmp_path):
    for arguments, message in (
        ({"num_collisions": 0}, "number of collisions is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"workers": 0}, "number of workers is 0"),
        ({"process": "minimumbias"}, "did you mean 'minimum_bias'"),
        ({"setup": "papers"}, "did you mean 'paper'"),
        ({"settings": ["SoftQCD:inelastik = on"]}, "did you mean 'SoftQCD:inelastic'"),
    ):
        with pytest.raises(ConfigError, match=message):
            make_library(tmp_path / "x.h5", **{"num_collisions": 3, **arguments})
        assert os.listdir(tmp_path) == []
