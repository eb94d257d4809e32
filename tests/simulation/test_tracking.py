"""Every efficiency and resolution of the tracker against the published table, on large samples."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.particles import make_particles

from panoptag_pyg.events.schema import ParticleClass
from panoptag_pyg.simulation import Detector, DetectorCard
from panoptag_pyg.simulation.tracking import relative_error, smear_pt, track_species

CARD = DetectorCard.load()
# Without a field the point on the surface has the momentum's eta, so that each bin can be aimed at.
STRAIGHT = CARD.model_copy(update={"propagation": CARD.propagation.model_copy(update={"field": 0.0})})

EFFICIENCY = [
    # pdg, |eta| range, pT range, probability
    (211, (0, 1.5), (0.1, 1), 0.70),
    (211, (0, 1.5), (1, 90), 0.95),
    (-2212, (1.5, 2.5), (0.1, 1), 0.60),
    (321, (1.5, 2.5), (1, 90), 0.85),
    (11, (0, 1.5), (0.1, 1), 0.73),
    (-11, (0, 1.5), (1, 100), 0.95),
    (11, (0, 1.5), (100, 400), 0.99),
    (11, (1.5, 2.5), (0.1, 1), 0.50),
    (-11, (1.5, 2.5), (1, 100), 0.83),
    (11, (1.5, 2.5), (100, 400), 0.90),
    (13, (0, 1.5), (0.1, 1), 0.75),
    (-13, (0, 1.5), (1, 400), 0.99),
    (13, (1.5, 2.5), (0.1, 1), 0.70),
    (-13, (1.5, 2.5), (1, 400), 0.98),
    (211, (2.5001, 4), (0.1, 90), 0.0),
    (13, (0, 2.5), (0.01, 0.1), 0.0),
]
RESOLUTION = [
    # pdg, |eta| range, a, b
    (211, (0, 0.5), 0.06, 1.3e-3),
    (-211, (0.5, 1.5), 0.10, 1.7e-3),
    (3112, (1.5, 2.5), 0.25, 3.1e-3),
    (11, (0, 0.5), 0.03, 1.3e-3),
    (-11, (0.5, 1.5), 0.05, 1.7e-3),
    (11, (1.5, 2.5), 0.15, 3.1e-3),
    (13, (0, 0.5), 0.01, 1.0e-4),
    (-13, (0.5, 1.5), 0.015, 1.5e-4),
    (13, (1.5, 2.5), 0.025, 3.5e-4),
]


def uniform(rng, low, high, count):
    """Uniform in (low, high], as the table's bins are."""
    return high - (high - low) * rng.random(count)


@pytest.mark.parametrize(("pdg", "eta_range", "pt_range", "probability"), EFFICIENCY)
def test_efficiency(pdg, eta_range, pt_range, probability, rng):
    count = 20_000
    eta = uniform(rng, *eta_range, count) * rng.choice([-1, 1], count) * (1 - 1e-9)
    particles = make_particles(pdg, uniform(rng, *pt_range, count), eta, rng.uniform(-3, 3, count))
    pfos = Detector(STRAIGHT)(particles, rng)
    found = int((pfos.columns["charge"] != 0).sum())
    assert abs(found - probability * count) <= 5 * np.sqrt(count * probability * (1 - probability))
    expected = {11: ParticleClass.ELECTRON, 13: ParticleClass.MUON}.get(abs(pdg), ParticleClass.CHARGED_HADRON)
    assert set(pfos.columns["particle_class"][pfos.columns["charge"] != 0]) <= {expected}


@pytest.mark.parametrize(("pdg", "eta_range", "a", "b"), RESOLUTION)
@pytest.mark.parametrize("pt", [0.7, 20.0, 150.0])
def test_momentum_resolution(pdg, eta_range, a, b, pt, rng):
    count = 40_000
    species = track_species(np.full(count, pdg))
    error = relative_error(CARD.tracking, species, uniform(rng, *eta_range, count), np.full(count, pt))
    sigma = np.sqrt(a**2 + b**2 * pt**2)
    np.testing.assert_allclose(error, sigma, rtol=1e-12)
    measured = smear_pt(rng, np.full(count, pt), error)
    assert measured.min() > 0
    assert abs(measured.mean() - pt) < 5 * sigma * pt / np.sqrt(count)
    # Standard error of a standard deviation, from the sample's own fourth moment.
    moment = np.mean((measured - measured.mean()) ** 4)
    spread = np.sqrt(max(moment / measured.var() - measured.var(), 0) / count) / 2
    assert abs(measured.std() - sigma * pt) < 6 * spread
    logarithm = np.log(measured)
    assert abs(np.mean((logarithm - logarithm.mean()) ** 3)) < 6 * np.sqrt(15 / count) * logarithm.std() ** 3


def test_resolution_is_capped():
    assert relative_error(CARD.tracking, np.array([0]), np.array([2.0]), np.array([1e4])).tolist() == [1.0]


def test_muons_are_untouched_by_the_calorimeters(rng):
    count = 5000
    particles = make_particles(13, np.full(count, 30.0), rng.uniform(-0.5, 0.5, count), 0.3, mass=0.10566)
    pfos = Detector(STRAIGHT)(particles, rng)
    columns = pfos.columns
    pt, momentum = columns["pt"], columns["pt"] * np.cosh(columns["eta"])
    np.testing.assert_allclose(columns["energy"], np.hypot(momentum, 0.10566), rtol=1e-5)
    assert pt.std() == pytest.approx(30 * np.hypot(0.01, 0.003), rel=0.06)
    np.testing.assert_allclose(
        columns["eta"], particles.pz[pfos.particle] * 0 + np.arcsinh(particles.pz[pfos.particle] / 30.0), rtol=1e-5
    )
