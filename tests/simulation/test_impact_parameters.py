"""Impact-parameter errors against their table; no track is perfect."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.particles import make_particles

from panoptag_pyg.simulation import Detector, DetectorCard
from panoptag_pyg.simulation.impact_parameters import smear_impact_parameters

CARD = DetectorCard.load()
TABLE = [
    # pT range, sigma(d0), sigma(dz) in mm
    (0.5, 1, 0.080, 0.140),
    (1, 2, 0.045, 0.096),
    (2, 4, 0.028, 0.075),
    (4, 6, 0.020, 0.058),
    (6, 10, 0.016, 0.055),
    (10, 15, 0.014, 0.055),
    (15, 30, 0.014, 0.050),
    (30, 500, 0.0115, 0.047),
]


@pytest.mark.parametrize(("low", "high", "d0_sigma", "dz_sigma"), TABLE)
def test_resolution(low, high, d0_sigma, dz_sigma, rng):
    count = 20_000
    pt = high - (high - low) * rng.random(count)
    eta = rng.uniform(-2.5, 2.5, count)
    true = rng.normal(0, 3, (2, count))
    d0, dz, d0_error, dz_error = smear_impact_parameters(rng, CARD.impact_parameters, *true, eta, pt)
    for measured, expected, error, sigma in ((d0, true[0], d0_error, d0_sigma), (dz, true[1], dz_error, dz_sigma)):
        np.testing.assert_array_equal(error, sigma)
        pull = (measured - expected) / error
        assert abs(pull.mean()) < 5 / np.sqrt(count)
        assert abs(pull.std() - 1) < 5 / np.sqrt(2 * count)
        assert abs((np.abs(pull) < 1).mean() - 0.6827) < 5 * np.sqrt(0.6827 * 0.3173 / count)
    assert abs(np.corrcoef(d0 - true[0], dz - true[1])[0, 1]) < 5 / np.sqrt(count)


def test_soft_tracks_have_growing_errors():
    pt = np.array([0.11, 0.3, 0.6])
    for table in (CARD.impact_parameters.d0, CARD.impact_parameters.dz):
        error = table(np.zeros(3), pt)
        assert error[0] > error[1] > error[2] > 0


def test_smeared_and_true(rng):
    count = 4000
    vertex = rng.normal(0, 0.5, (3, count))
    pt, eta, phi = rng.uniform(2, 30, count), rng.uniform(-2, 2, count), rng.uniform(-3, 3, count)
    particles = make_particles(13, pt, eta, phi, vertex=vertex)
    true = Detector(CARD, impact_parameters="true")(particles, np.random.default_rng(1))
    smeared = Detector(CARD)(particles, np.random.default_rng(1))
    assert not true.columns["d0_error"].any()
    assert not true.columns["dz_error"].any()
    np.testing.assert_array_equal(true.particle, smeared.particle)  # the other random numbers are the same
    bend = vertex[0] * np.sin(phi) - vertex[1] * np.cos(phi)  # of a straight track
    np.testing.assert_allclose(true.columns["d0"], bend[true.particle], atol=5e-3)
    pull = (smeared.columns["d0"] - true.columns["d0"]) / smeared.columns["d0_error"]
    assert abs(pull.std() - 1) < 5 / np.sqrt(2 * len(pull))


def test_only_tracks_have_impact_parameters(rng):
    particles = make_particles(22, rng.uniform(5, 50, 100), rng.uniform(-2, 2, 100), 0.0)
    columns = Detector(CARD)(particles, rng).columns
    assert len(columns["d0"]) > 50
    for name in ("d0", "dz", "d0_error", "dz_error", "charge"):
        assert not columns[name].any()
