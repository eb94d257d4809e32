"""Decays are found in records made by hand and by PYTHIA, and their masses come out of perfect jets."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.particles import make_record
from helpers.resimulated import generated

from panoptag_pyg.simulation.jets import ClusteredJets
from panoptag_pyg.validation.resonances import _mass, hadronic_decays, nearest_jets


def record():
    """t → b W(copy of a W) → q q', and H → b b̄ in a second event; with a leptonic W and a hadron's quarks between."""
    first = [
        (6, -62, 0, 50.0, 0.0, 0.0),
        (24, -22, 1, 40.0, 0.1, 0.5),
        (5, -23, 1, 60.0, 0.2, -0.5),
        (24, -52, 2, 41.0, 0.1, 0.5),
        (2, -23, 4, 30.0, 0.3, 0.4),
        (-1, -23, 4, 35.0, -0.3, 0.9),
        (-24, -22, 0, 30.0, 1.0, 2.0),
        (11, 23, 7, 20.0, 1.0, 2.0),
        (-12, 23, 7, 20.0, 1.2, 2.2),
        (511, -83, 0, 20.0, 1.0, 2.0),
        (4, -91, 10, 10.0, 1.0, 2.0),
    ]
    second = [
        (25, -62, 0, 80.0, 0.0, 0.0),
        (5, -23, 1, 60.0, 0.2, -0.5),
        (-5, -23, 1, 40.0, 1.0, 0.8),
        (23, -62, 0, 80.0, 0.0, 3.0),
        (13, 23, 4, 60.0, 0.2, 2.5),
        (-13, 23, 4, 40.0, 1.0, 2.8),
    ]
    return make_record(first, second)


def test_decays_of_a_record():
    found = hadronic_decays(record())
    assert found["W"][0].tolist() == [4]
    assert found["W"][1].tolist() == [[5, 6]]
    assert found["t"][0].tolist() == [1]
    assert found["t"][1].tolist() == [[3, 5, 6]]
    assert found["H"][0].tolist() == [13]
    assert found["H"][1].tolist() == [[14, 15]]
    assert len(found["Z"][0]) == 0


def jets_of(events, rows):
    """A jet in the place of each of these entries, in rising order."""
    pt = np.hypot(events.px[rows], events.py[rows])
    counts = np.diff(np.searchsorted(rows, events.offsets))
    zero = np.zeros(len(rows) + 1, dtype=np.int64)
    return ClusteredJets(
        np.repeat(np.arange(len(counts)), counts), pt, np.arcsinh(events.pz[rows] / pt),
        np.arctan2(events.py[rows], events.px[rows]), events.mass[rows], np.concatenate([[0], np.cumsum(counts)]),
        zero, np.zeros(0, np.int32),
    )  # fmt: skip


def test_quarks_find_their_jets():
    events = record()
    jets = jets_of(events, np.array([3, 5, 6, 14]))
    found = hadronic_decays(events)
    assert nearest_jets(events, jets, found["t"][1]).tolist() == [[0, 1, 2]]
    assert nearest_jets(events, jets, found["H"][1]).tolist() == [[3, -1]]


def test_perfect_jets_have_the_mass_of_what_decayed():
    pytest.importorskip("pythia8mc")
    events, _ = generated(11, 100)
    found = hadronic_decays(events)
    for name, pole in (("W", 80.4), ("t", 172.5)):
        resonance, quarks = found[name]
        # Two of three W bosons decay to quarks.
        assert 90 < len(resonance) < 180
        rows = np.unique(quarks)
        jets = jets_of(events, rows)
        mass = _mass(jets, np.searchsorted(rows, quarks))
        # Quarks of the W's decay add up to the W exactly; the top's lose what its b has radiated before.
        ratio = mass / events.mass[resonance]
        assert np.median(ratio) == pytest.approx(1, abs=0.03)
        assert np.median(mass) == pytest.approx(pole, rel=0.05)
