"""The features against their definitions, and finite for every legal value."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.events import random_block

from panoptag_pyg.events.features import (
    CONSTITUENT_FEATURES,
    JET_FEATURES,
    PFO_FEATURES,
    constituent_features,
    jet_features,
    pfo_features,
    wrap_phi,
)
from panoptag_pyg.events.schema import COLUMNS, ParticleClass


def test_names_and_order() -> None:
    assert (
        *("eta", "phi", "log_pt", "log_energy", "charge"),
        *("is_electron", "is_muon", "is_photon", "is_charged_hadron", "is_neutral_hadron"),
        *("d0", "dz", "d0_error", "dz_error"),
    ) == PFO_FEATURES
    assert JET_FEATURES == ("pt", "eta", "phi", "mass")


def test_pfo_features_one_by_one(rng: np.random.Generator) -> None:
    pfo = random_block(rng, [211], [0]).pfo
    features = pfo_features(pfo)
    assert features.shape == (211, 14)
    assert features.dtype == np.float32
    for row in range(211):
        flags = [float(pfo["particle_class"][row] == particle) for particle in ParticleClass]
        expected = [
            pfo["eta"][row],
            math.remainder(pfo["phi"][row], 2 * math.pi),
            math.log(max(pfo["pt"][row], 1e-3)),
            math.log(max(pfo["energy"][row], 1e-3)),
            pfo["charge"][row],
            *flags,
            *(pfo[name][row] for name in ("d0", "dz", "d0_error", "dz_error")),
        ]
        np.testing.assert_allclose(features[row], expected, rtol=1e-6, atol=1e-6)


def test_jet_features(rng: np.random.Generator) -> None:
    jet = random_block(rng, [3], [29]).jet
    features = jet_features(jet)
    expected = np.stack([jet["pt"], jet["eta"], wrap_phi(jet["phi"]), jet["mass"]], axis=1)
    np.testing.assert_allclose(features, expected, rtol=1e-6)


@pytest.mark.parametrize("extreme", ["low", "high"])
def test_finite_for_every_legal_value(extreme: str) -> None:
    # float32's largest energies, angles of many turns, pT and E of exactly 0
    columns = {}
    for column in COLUMNS:
        if column.group == "pfo":
            bound = column.low if extreme == "low" else column.high
            if bound is None:
                bound = (-1 if extreme == "low" else 1) * (3e38 if column.is_float else 1)
            columns[column.name] = np.array([bound], dtype=column.dtype)
    assert np.isfinite(pfo_features(columns)).all()


def test_phi_is_an_angle(rng: np.random.Generator) -> None:
    phi = rng.uniform(-np.pi, np.pi, 1001)
    for turns in (-3, -1, 1, 2):
        np.testing.assert_allclose(wrap_phi(phi + turns * 2 * np.pi), phi, atol=1e-12)
    np.testing.assert_array_equal(wrap_phi(phi), phi)
    assert wrap_phi(np.array([np.pi]))[0] == -np.pi
    assert np.abs(wrap_phi(np.array([np.float32(np.pi), -np.float32(np.pi)]))).max() <= np.pi


def test_constituent_features_are_relative_to_the_axis(rng: np.random.Generator) -> None:
    block = random_block(rng, [0, 40, 7], [1, 3, 2])
    features = constituent_features(block)
    assert CONSTITUENT_FEATURES[:3] == ("delta_eta", "delta_phi", "log_pt")
    row = 0
    for jet in range(block.num_jets):
        event = int(np.searchsorted(block.jet_offsets, jet, side="right")) - 1
        for index in block.constituents[block.constituent_offsets[jet] : block.constituent_offsets[jet + 1]]:
            pfo = block.pfo_offsets[event] + index
            delta_phi = math.remainder(float(block.pfo["phi"][pfo]) - float(block.jet["phi"][jet]), 2 * math.pi)
            np.testing.assert_allclose(features[row, 0], block.pfo["eta"][pfo] - block.jet["eta"][jet], atol=1e-6)
            np.testing.assert_allclose(features[row, 1], delta_phi, atol=1e-6)
            np.testing.assert_allclose(features[row, 10], block.pfo["d0"][pfo])
            row += 1
    assert row == len(features)
