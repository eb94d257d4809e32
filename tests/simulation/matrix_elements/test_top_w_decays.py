"""Decays of t and W: kinematics, channels, polarisation, and that spins are those of the whole matrix element."""

from __future__ import annotations

import numpy as np
import pytest

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.simulation.matrix_elements.phase_space import boost_from_rest, decay_momentum
from panoptag_pyg.simulation.matrix_elements.spinors import dot
from panoptag_pyg.simulation.matrix_elements.standard_model import StandardModel
from panoptag_pyg.simulation.matrix_elements.top_w import production_amplitudes
from panoptag_pyg.simulation.matrix_elements.top_w_decays import TopWDecays, _correlation, _unpolarised
from panoptag_pyg.simulation.matrix_elements.top_w_production import TopWProduction

pytest.importorskip("pythia8mc")

COUNT = 8000


@pytest.fixture
def rng():
    return np.random.default_rng()


@pytest.fixture(scope="module")
def model():
    return StandardModel(["Beams:eCM = 13000"])


@pytest.fixture(scope="module")
def production(model):
    return TopWProduction(model).events(np.random.default_rng(), COUNT)


@pytest.fixture(scope="module")
def decays(model, production):
    return TopWDecays(model)(production, np.random.default_rng())


def at_rest(p, mother):
    """Momenta in the mother's rest frame."""
    return boost_from_rest(p, mother * np.array([1, -1, -1, -1]))


def cosine(a, b):
    return np.sum(a[:, 1:] * b[:, 1:], axis=1) / np.linalg.norm(a[:, 1:], axis=1) / np.linalg.norm(b[:, 1:], axis=1)


def test_momenta_add_up_on_their_mass_shells(production, decays):
    _, _, top, w = production.momenta()
    boson, quark, f, fbar, g, gbar = decays.momenta.transpose(1, 0, 2)
    for mother, pair in ((top, (boson, quark)), (boson, (f, fbar)), (w, (g, gbar))):
        np.testing.assert_allclose(pair[0] + pair[1], mother, atol=1e-8)
    squares = dot(decays.momenta, decays.momenta)
    np.testing.assert_allclose(squares, decays.masses**2, atol=1e-9 * decays.momenta[..., 0].max() ** 2)
    assert (decays.masses[:, 1] == 4.8)[decays.top_quark == 5].all()


def test_branching_fractions(decays):
    for products in (decays.top_w_products, decays.w_products):
        leptonic = np.isin(np.abs(products), [11, 13, 15]).any(axis=1)
        assert abs(leptonic.mean() - 0.3244) < 6 * np.sqrt(0.3244 * 0.6756 / COUNT)
        assert (np.abs(products) == 4).any(axis=1).mean() == pytest.approx(0.3377, abs=6 * 0.47 / np.sqrt(COUNT))
    assert (decays.top_quark == 5).mean() > 0.99
    charge = {1: -1 / 3, 3: -1 / 3, 5: -1 / 3, 2: 2 / 3, 4: 2 / 3, 11: -1, 13: -1, 15: -1, 12: 0, 14: 0, 16: 0}
    total = [[np.sign(n) * charge[abs(n)] for n in pair] for pair in decays.top_w_products[:200].tolist()]
    np.testing.assert_allclose(np.sum(total, axis=1), 1)
    total = [[np.sign(n) * charge[abs(n)] for n in pair] for pair in decays.w_products[:200].tolist()]
    np.testing.assert_allclose(np.sum(total, axis=1), -1)
    for products in (decays.top_w_products, decays.w_products):
        assert (products[:, 0] > 0).all()
        assert (products[:, 1] < 0).all()


def test_channels_of_each_charge(rng):
    model = StandardModel(["24:onMode = off", "24:onPosIfAny = 11", "24:onNegIfAny = 13"])
    production = TopWProduction(model).events(rng, 100)
    decays = TopWDecays(model)(production, rng)
    top = production.quark > 0
    # Of t: W⁺ → e⁺ν and W⁻ → μ⁻ν̄. Of t̄ all is conjugate: its W⁻ → μ⁻ν̄ is called W⁺ → μ⁺ν until CP is applied.
    np.testing.assert_array_equal(decays.top_w_products[top], np.tile([12, -11], (top.sum(), 1)))
    np.testing.assert_array_equal(decays.w_products[top], np.tile([13, -14], (top.sum(), 1)))
    np.testing.assert_array_equal(decays.top_w_products[~top], np.tile([14, -13], ((~top).sum(), 1)))
    np.testing.assert_array_equal(decays.w_products[~top], np.tile([11, -12], ((~top).sum(), 1)))
    assert TopWDecays(model).fraction(False) == pytest.approx(0.108**2, rel=0.01)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["24:onMode = off"], "no decay of tW is left"),
        (["6:addChannel = 1 0.1 0 5 37"], "6 → .*switched on"),
        (["24:addChannel = 1 0.1 0 22 211"], "24 → .*switched on"),
    ],
)
def test_decays_that_the_matrix_element_does_not_have(lines, message):
    with pytest.raises(ConfigError, match=message):
        TopWDecays(StandardModel(lines))


def test_the_estimated_maximum_of_top_decays_is_one(model, rng):
    shape = TopWDecays(model)._shape
    count = 20_000
    top, w = rng.uniform(152, 194, count), rng.uniform(shape.lightest, shape.heaviest, count)
    masses = np.zeros((count, 6))
    masses[:, 1], masses[:, 2] = 4.8, rng.choice([0.0, 1.5, 4.8], count)
    masses[:, 3] = rng.choice([0.0, 0.5, 1.777], count)
    lightest = np.full(count, shape.lightest)
    heaviest = masses[:, 2:4].max(axis=1)
    product = (top**2 - masses[:, 1] ** 2) * (1 + (heaviest / lightest) ** 2) / 4
    bound = decay_momentum(top, lightest, masses[:, 1]) * product**2
    weight = _unpolarised(top, w, rng.uniform(-1, 1, count), masses)
    assert (weight <= bound).all()
    assert weight.max() > 0.7 * bound.max()


def test_the_w_boson_from_the_top_quark(decays):
    mass = decays.masses[:, 0]
    assert abs(np.median(mass) - 80.385) < 0.3
    assert abs(np.mean(np.abs(mass - 80.385) < 2.085 / 2) - 0.5) < 0.05
    boson, quark, f = decays.momenta.transpose(1, 0, 2)[:3]
    c = -cosine(at_rest(f, boson), at_rest(quark, boson))
    # F_0 = 0.69, F_L = 0.31 and next to no right-handed ones, along W's flight; f here is the fermion.
    second, first = np.mean(c**2), np.mean(c)
    f_0 = 173**2 / (173**2 + 2 * 80.4**2)
    assert abs(2 - 5 * second - f_0) < 6 * 5 * 0.3 / np.sqrt(COUNT) + 0.01
    # ⟨cos⟩ = F_L/2 − F_R/2 for the fermion.
    assert abs(first - (1 - f_0) / 2) < 6 * 0.5 / np.sqrt(COUNT) + 0.01


def test_spins_are_those_of_the_whole_matrix_element(model, production, decays, rng):
    # The same decays without spins, weighted with the matrix element, have the same means.
    momenta = production.momenta()
    _, _, top, w = momenta
    amplitudes = production_amplitudes(*momenta).sum(axis=0)
    masses = decays.masses.copy()
    flat = TopWDecays(model).without_spins(rng, top, w, masses)
    weight = _correlation(amplitudes, top, w, flat, masses)
    assert abs(weight.mean() - 1 / 6) < 6 * weight.std() / np.sqrt(COUNT)

    def observables(products):
        anti, other = products[:, 3], products[:, 4]
        return np.stack(
            [
                cosine(at_rest(anti, top), at_rest(w, top)),
                cosine(at_rest(other, w), at_rest(top, w)),
                cosine(at_rest(other, w), at_rest(top, w)) ** 2,
                cosine(at_rest(anti, top), at_rest(momenta[0], top)),
                cosine(anti, other),
                anti[:, 3] / anti[:, 0] * other[:, 3] / other[:, 0],
            ]
        )

    with_spins, without = observables(decays.momenta), observables(flat)
    mean = with_spins.mean(axis=1)
    expected = np.average(without, axis=1, weights=weight)
    spread = np.sqrt(np.sum((weight * (without - expected[:, None])) ** 2, axis=1)) / weight.sum()
    error = np.hypot(with_spins.std(axis=1) / np.sqrt(COUNT), spread)
    assert (np.abs(mean - expected) < 6 * error).all()
    # And spins matter: without them some of these means are others, the first two by 8 and 11 of these errors.
    assert (np.abs(mean - without.mean(axis=1)) > 4 * error).sum() >= 2
