"""The look-up written for the checks against the simulation's own, on edges too."""

from __future__ import annotations

import numpy as np
import pytest

from panoptag_pyg.simulation import tracking
from panoptag_pyg.simulation.calorimeter import Calorimeter
from panoptag_pyg.simulation.detector_card import DetectorCard
from panoptag_pyg.simulation.random import log_normal
from panoptag_pyg.validation import card_values


def particles(rng):
    eta = np.concatenate([rng.uniform(-3, 3, 4000), [0, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 2.6]])
    pt = np.concatenate([rng.gamma(0.5, 8, 4000), [0.1, 0.5, 1.0, 2.0, 4.0, 100.0, 30.0, 1.0]])
    return rng.choice([211, -211, 11, -13, 2212, 13, -11], len(eta)), eta, pt


def test_tracks(rng):
    card = DetectorCard.load("atlas")
    pdg, eta, pt = particles(rng)
    species = tracking.track_species(pdg)
    np.testing.assert_array_equal(
        card_values.efficiency(card, pdg, eta, pt), tracking.efficiency(card.tracking, species, eta, pt)
    )
    np.testing.assert_allclose(
        card_values.relative_error(card, pdg, eta, pt), tracking.relative_error(card.tracking, species, eta, pt)
    )
    for table in (card.impact_parameters.d0, card.impact_parameters.dz):
        np.testing.assert_array_equal(card_values.table_value(table, eta, pt), table(eta, pt))


@pytest.mark.parametrize("name", ["ecal", "hcal"])
def test_calorimeters(rng, name):
    card = getattr(DetectorCard.load("atlas"), name)
    calorimeter = Calorimeter(card)
    eta_bin = rng.integers(0, len(calorimeter.eta_centre), 3000)
    energy = rng.gamma(1, 30, 3000)
    np.testing.assert_allclose(
        card_values.energy_error(card, calorimeter.eta_centre[eta_bin], energy), calorimeter.sigma(energy, eta_bin)
    )


def test_log_normal_deviates_are_normal(rng):
    true, relative = rng.gamma(1, 30, 20_000), rng.uniform(0.01, 1, 20_000)
    deviate = card_values.log_normal_deviate(log_normal(rng, true, relative * true), true, relative)
    assert abs(deviate.mean()) < 6 / np.sqrt(20_000)
    assert abs(deviate.std() - 1) < 6 / np.sqrt(40_000)
