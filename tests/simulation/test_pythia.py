"""PYTHIA's blocks: vertices where decays happen, flight lengths, independence of blocks, bad settings."""

from __future__ import annotations

import numpy as np
import pytest

from panoptag_pyg.errors import ConfigError, MissingExtraError, PanopTagError
from panoptag_pyg.simulation import DetectorCard, ProcessCard
from panoptag_pyg.simulation.particles import GeneratedEvents, is_decay_product, stable_particles
from panoptag_pyg.simulation.pdg import charge, open_heavy_flavour
from panoptag_pyg.simulation.pythia import Pythia, realigned_vertices
from panoptag_pyg.simulation.truth import heavy_ancestry, weakly_decaying

SETTINGS = [*ProcessCard.load("ttbar").settings, *DetectorCard.load().setups["realistic"].pythia]


@pytest.fixture(scope="module")
def pythia() -> Pythia:
    return Pythia(SETTINGS, seed=3)


@pytest.fixture(scope="module")
def events(pythia: Pythia) -> GeneratedEvents:
    return pythia.generate(0, 60)


def test_decay_products_start_where_their_mother_decays(events):
    rows = np.flatnonzero(is_decay_product(events.status))
    mother = events.mother_rows(rows)
    assert len(rows) > 10_000
    for vertex, momentum in ((events.x, events.px), (events.y, events.py), (events.z, events.pz)):
        flight = momentum[mother] * events.tau[mother] / np.maximum(events.mass[mother], 1e-12)
        flight[events.tau[mother] == 0] = 0
        np.testing.assert_allclose(vertex[rows], vertex[mother] + flight, rtol=1e-6, atol=1e-9)
    # In every event, the last one too, where PYTHIA's own batch has lost some.
    displaced = rows[np.hypot(events.x[rows], events.y[rows]) > 0.01]
    assert set(np.unique(events.event_of(displaced))) == set(range(60))


def test_siblings_share_a_vertex_and_primary_particles_have_none(events):
    primary = np.flatnonzero(~is_decay_product(events.status))
    # But for the top quark's lifetime.
    assert np.abs(events.x[primary]).max() < 1e-9
    rows = np.flatnonzero(is_decay_product(events.status))
    mother = events.mother_rows(rows)
    first = np.full(len(events.pdg), -1)
    first[mother[::-1]] = rows[::-1]
    np.testing.assert_array_equal(events.z[rows], events.z[first[mother]])


def test_beauty_flies_beta_gamma_c_tau(pythia):
    flight, stretch = [], []
    for block in (1, 2):
        events = pythia.generate(block, 100)
        beauty = open_heavy_flavour(events.pdg) == 2
        weak = weakly_decaying(events) == 2
        rows = np.flatnonzero(is_decay_product(events.status))
        mother, first = np.unique(events.mother_rows(rows), return_index=True)
        keep = weak[mother] & np.isin(np.abs(events.pdg[mother]), [511, 521, 531])
        mother, daughter = mother[keep], rows[first[keep]]
        assert beauty[mother].all()
        step = [getattr(events, axis)[daughter] - getattr(events, axis)[mother] for axis in "xyz"]
        flight.append(np.linalg.norm(step, axis=0))
        momentum = np.sqrt(events.px[mother] ** 2 + events.py[mother] ** 2 + events.pz[mother] ** 2)
        stretch.append(momentum / events.mass[mother])
    proper = np.concatenate(flight) / np.concatenate(stretch)
    # cτ of B0, B+, Bs: 0.455, 0.491, 0.441 mm; an exponential's mean has the relative error 1/√n.
    assert len(proper) > 250
    assert abs(proper.mean() - 0.47) < 5 * 0.47 / np.sqrt(len(proper)) + 0.02
    assert abs(np.mean(proper < 0.47 * np.log(2)) - 0.5) < 5 * 0.5 / np.sqrt(len(proper)) + 0.02


def test_ancestry_of_displaced_tracks(events):
    weak = weakly_decaying(events)
    particles = stable_particles(events, heavy_ancestry(events, weak))
    displaced = np.hypot(particles.x, particles.y) > 0.3
    # K0S and hyperons are stable in this setup: what starts off the beam line comes from heavy flavour or a tau.
    assert np.mean(particles.heavy_ancestry[displaced] > 0) > 0.95
    assert not np.isin(np.abs(particles.pdg), [12, 14, 16]).any()
    for event in range(10):
        mine = slice(*np.searchsorted(particles.event, [event, event + 1]))
        record = slice(*events.offsets[event : event + 2])
        final = events.status[record] > 0
        invisible = np.isin(np.abs(events.pdg[record][final]), [12, 14, 16])
        assert particles.e[mine].sum() == pytest.approx(events.e[record][final][~invisible].sum())
        assert charge(events.pdg[record][final]).sum() == pytest.approx(2)  # two protons
        assert events.e[record][final].sum() == pytest.approx(13_000, rel=1e-6)


def test_blocks_do_not_depend_on_what_ran_before(pythia):
    first = pythia.generate(7, 20)
    pythia.generate(8, 13)
    again = pythia.generate(7, 20)
    fresh = Pythia(SETTINGS, seed=3).generate(7, 20)
    other = Pythia(SETTINGS, seed=4).generate(7, 20)
    for name, values in vars(first).items():
        if values is not None:
            np.testing.assert_array_equal(values, getattr(again, name), err_msg=name)
            np.testing.assert_array_equal(values, getattr(fresh, name), err_msg=name)
    assert not np.array_equal(first.offsets, other.offsets)
    assert not np.array_equal(first.offsets, pythia.generate(8, 20).offsets)


def test_realigned_vertices_leaves_a_correct_index_alone():
    offsets = np.array([0, 4, 7])
    right = np.array([-1, -1, 0, 1, -1, 2, 3])
    # As 8.314–8.317 give it: one stray entry before each event, the end cut off.
    wrong = np.array([0, -1, -1, 0, 1, 2, -1])
    assert realigned_vertices(right, offsets).tolist() == right.tolist()
    assert realigned_vertices(wrong, offsets)[:4].tolist() == right[:4].tolist()
    assert len(realigned_vertices(np.zeros(0, dtype=np.int32), np.zeros(1, dtype=np.int64))) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Beams:eCN = 13000", "did you mean 'Beams:eCM'"),
        ("nonsense", "expected 'Key = value'"),
        ("Random:seed = 4", "--seed"),
        ("Beams:LHEF = events.lhe", "give the file of events as --lhe"),
        ("Beams:frameType = 4", "give the file of events as --lhe"),
    ],
)
def test_bad_settings(line, message):
    with pytest.raises(ConfigError, match=message):
        Pythia([*SETTINGS, line])


def test_no_process_is_a_sentence():
    with pytest.raises(PanopTagError, match="is a process switched on"):
        Pythia(["Beams:eCM = 13000"])


def test_weighted_events_are_refused():
    lines = ["HardQCD:all = on", "PhaseSpace:pTHatMin = 50", "PhaseSpace:bias2Selection = on", "PartonLevel:all = off"]
    with pytest.raises(ConfigError, match="weighted"):
        Pythia(["Beams:eCM = 13000", *lines])


def test_one_event_above_the_estimated_maximum_is_no_reason_to_stop():
    # In this block PYTHIA's estimate of the maximal cross-section is exceeded, and the last weight is not 1.
    lines = ["Beams:eCM = 13000", "HiggsSM:gg2Httbar = on", "HiggsSM:qqbar2Httbar = on", "PartonLevel:all = off"]
    pythia = Pythia(lines, seed=0)
    assert pythia.generate(51, 100).num_events == 100
    assert pythia._pythia.infoPython().weight() > 1


def test_missing_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pythia8mc", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'panoptag-pyg\[simulation\]'"):
        Pythia(SETTINGS)
