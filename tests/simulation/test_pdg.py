"""Particle numbers against the `particle` package and PYTHIA."""

from __future__ import annotations

import numpy as np
from particle import Particle

from panoptag_pyg.simulation.pdg import charge, open_heavy_flavour


def known_particles():
    """Those with one number up to 100,000 or a hadron's; no nuclei."""
    return [p for p in Particle.all() if p.charge is not None and 0 < abs(int(p.pdgid)) < 100_000]


def test_charges():
    particles = known_particles()
    numbers = np.array([int(p.pdgid) for p in particles])
    assert len(numbers) > 300
    np.testing.assert_allclose(charge(numbers), [float(p.charge) for p in particles])
    assert charge(np.array([9000211, -9000211, 1000024, 0])).tolist() == [1, -1, 1, 0]


def test_open_flavour():
    particles = [p for p in known_particles() if p.pdgid.is_hadron]
    numbers = np.array([int(p.pdgid) for p in particles])
    # Quarkonia: two equal heavy quarks and no third.
    hidden = np.array([abs(n) // 10 % 1000 in (44, 55) for n in numbers])
    heaviest = [2 if p.pdgid.has_bottom else 1 if p.pdgid.has_charm else 0 for p in particles]
    expected = np.array(heaviest)
    np.testing.assert_array_equal(open_heavy_flavour(numbers), np.where(hidden, 0, expected))
    assert open_heavy_flavour(np.array([5, 4, 5203, 22, 443, 541, -4122, 90])).tolist() == [0, 0, 0, 0, 0, 2, 1, 0]
