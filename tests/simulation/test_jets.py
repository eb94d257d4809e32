"""Jets of a block of events against FastJet run classically, one event at a time."""

from __future__ import annotations

import fastjet
import numpy as np
import pytest

from panoptag_pyg.simulation.jets import cluster


def clustered_events(rng, counts):
    total = int(np.sum(counts))
    centre = rng.integers(0, 4, total)
    eta = np.array([-2.3, 0.1, 1.0, 3.0])[centre] + rng.normal(0, 0.3, total)
    phi = np.array([-3.1, 0.0, 0.6, 2.0])[centre] + rng.normal(0, 0.3, total)
    pt = rng.exponential(3, total)
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    return px, py, pz, np.sqrt(px**2 + py**2 + pz**2 + 0.02), np.concatenate([[0], np.cumsum(counts)])


@pytest.mark.parametrize(("algorithm", "radius"), [("antikt", 0.4), ("antikt", 1.0), ("cambridge", 0.8)])
def test_same_as_fastjet(algorithm, radius, rng):
    px, py, pz, energy, offsets = clustered_events(rng, [61, 0, 1, 137, 0, 89, 0])
    jets = cluster(px, py, pz, energy, offsets, algorithm=algorithm, radius=radius, min_pt=15.0)
    definition = fastjet.JetDefinition(getattr(fastjet, f"{algorithm}_algorithm"), radius)
    seen = 0
    for event in range(len(offsets) - 1):
        particles = []
        for i in range(offsets[event], offsets[event + 1]):
            particles.append(fastjet.PseudoJet(px[i], py[i], pz[i], energy[i]))
            particles[-1].set_user_index(int(i - offsets[event]))
        sequence = fastjet.ClusterSequence(particles, definition) if particles else None
        expected = fastjet.sorted_by_pt(sequence.inclusive_jets(15.0)) if particles else []
        rows = range(jets.offsets[event], jets.offsets[event + 1])
        assert len(expected) == len(rows)
        for row, jet in zip(rows, expected, strict=True):
            seen += 1
            assert jets.event[row] == event
            assert jets.pt[row] == pytest.approx(jet.pt())
            assert jets.eta[row] == pytest.approx(jet.eta())
            assert np.cos(jets.phi[row] - jet.phi()) == pytest.approx(1)
            assert -np.pi <= jets.phi[row] < np.pi
            assert jets.mass[row] == pytest.approx(jet.m(), abs=1e-5)
            members = jets.constituents[jets.constituent_offsets[row] : jets.constituent_offsets[row + 1]]
            assert sorted(members) == sorted(constituent.user_index() for constituent in jet.constituents())
    assert seen > 5


def test_bounds(rng):
    columns = clustered_events(rng, [200, 150])
    jets = cluster(*columns, min_pt=10.0, max_abs_eta=2.5)
    every = cluster(*columns, min_pt=10.0)
    central = np.abs(every.eta) < 2.5
    assert 0 < len(jets.pt) == central.sum() < len(every.pt)
    np.testing.assert_array_equal(jets.pt, every.pt[central])
    for row, other in enumerate(np.flatnonzero(central)):
        mine = jets.constituents[slice(*jets.constituent_offsets[row : row + 2])]
        np.testing.assert_array_equal(mine, every.constituents[slice(*every.constituent_offsets[other : other + 2])])


def test_no_particles():
    nothing = np.zeros(0)
    jets = cluster(nothing, nothing, nothing, nothing, np.zeros(4, dtype=np.int64))
    assert jets.offsets.tolist() == [0, 0, 0, 0]
    assert len(jets.constituents) == 0


def test_no_jets(rng):
    px, py, pz, energy, offsets = clustered_events(rng, [5, 3])
    jets = cluster(px, py, pz, energy, offsets, min_pt=1e6)
    assert jets.offsets.tolist() == [0, 0, 0]
    assert jets.constituent_offsets.tolist() == [0]


def test_banner_stays_away_from_stdout():
    import subprocess
    import sys

    code = (
        "import numpy as np; from panoptag_pyg.simulation.jets import cluster; "
        "one = np.array([30.0]); cluster(one, 0 * one, one, 50 * one, np.array([0, 1]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
