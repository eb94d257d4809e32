"""Line shapes, cells, two-body decays and boosts."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.scattering import boosted

from panoptag_pyg.simulation.matrix_elements.phase_space import (
    CellGrid,
    Lineshape,
    back_to_back,
    boost_along_z,
    boost_from_rest,
    cell_maxima,
    decay_momentum,
)
from panoptag_pyg.simulation.matrix_elements.spinors import dot


@pytest.fixture
def rng():
    return np.random.default_rng()


def lineshape(tilt=np.ones_like):
    return Lineshape(80.4, 2.1, lambda m: (m / 80.4) ** 2, 15.0, tilt)


def test_a_lineshape_is_what_it_says():
    shape = lineshape()
    mass = np.linspace(shape.lightest, shape.heaviest, 400_001)
    assert (shape.lightest, shape.heaviest) == pytest.approx((80.4 - 31.5, 80.4 + 31.5))
    density = shape.density(mass)
    assert np.trapezoid(density, mass) == pytest.approx(1, abs=1e-5)
    by_hand = 2 * mass * (mass / 80.4) ** 2 / ((mass**2 - 80.4**2) ** 2 + (80.4 * 2.1) ** 2)
    np.testing.assert_allclose(density, by_hand / np.trapezoid(by_hand, mass), rtol=1e-4)
    assert abs(mass[density.argmax()] - 80.4) < 0.1


@pytest.mark.parametrize("tilt", [np.ones_like, lambda m: (80.4 / m) ** 3])
def test_drawn_masses_with_their_weights_follow_it(tilt):
    shape = lineshape(tilt)
    mass, weight = shape.draw((np.arange(200_000) + 0.5) / 200_000)
    assert (np.diff(mass) > 0).all()
    assert weight.mean() == pytest.approx(1, abs=1e-4)
    edges = np.array([shape.lightest, 60, 75, 79, 80, 81, 83, 90, shape.heaviest])
    fine = np.linspace(shape.lightest, shape.heaviest, 400_001)
    cumulative = np.concatenate([[0], np.cumsum(shape.density((fine[1:] + fine[:-1]) / 2)) * (fine[1] - fine[0])])
    shares = np.histogram(mass, edges, weights=weight)[0] / len(mass)
    np.testing.assert_allclose(shares, np.diff(np.interp(edges, fine, cumulative)), atol=2e-5)


def test_a_stable_particle_has_its_mass():
    mass, weight = Lineshape(80.4, 0.0, np.ones_like, 15.0, np.ones_like).draw(np.linspace(0, 0.999, 5))
    np.testing.assert_allclose(mass, 80.4)
    np.testing.assert_allclose(weight, 1)


def test_points_of_cells_have_the_cells_density(rng):
    heights = rng.random((3, 5)) + 0.1
    heights[1, 2] = 0
    grid = CellGrid(heights)
    assert grid.integral == pytest.approx(heights.mean())
    point, density = grid.draw(rng, 30_000)
    assert point.min() >= 0
    assert point.max() < 1
    cell = np.floor(point * [3, 5]).astype(int)
    np.testing.assert_array_equal(density, heights[cell[:, 0], cell[:, 1]])
    counts = np.histogram2d(*point.T, bins=(3, 5), range=((0, 1), (0, 1)))[0]
    expected = 30_000 * heights / heights.sum()
    assert (np.abs(counts - expected) <= 6 * np.sqrt(expected)).all()
    assert counts[1, 2] == 0
    inside = (point * [3, 5]) % 1
    assert (np.abs(inside.mean(axis=0) - 0.5) < 6 * np.sqrt(1 / 12 / 30_000)).all()


def test_cell_maxima_against_a_loop(rng):
    values = rng.random((7, 5))
    expected = [[values[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max() for j in range(2)] for i in range(3)]
    np.testing.assert_array_equal(cell_maxima(values), expected)


def test_two_body_decays(rng):
    count = 50
    mass, first = rng.uniform(170, 175, count), rng.uniform(50, 100, count)
    second = rng.uniform(0, 5, count)
    cosine, phi = rng.uniform(-1, 1, count), rng.uniform(0, 6, count)
    a, b = back_to_back(mass, (first, second), cosine, phi)
    np.testing.assert_allclose(a + b, np.outer(mass, [1, 0, 0, 0]), atol=1e-11)
    np.testing.assert_allclose(np.sqrt(dot(a, a)), first, rtol=1e-11)
    np.testing.assert_allclose(a[:, 3] / decay_momentum(mass, first, second), cosine, atol=1e-12)
    assert decay_momentum(np.array(10.0), np.array(6.0), np.array(5.0)) == 0


def test_boosts(rng):
    mother = np.array([[300.0, 100, -50, 200], [173.0, 0, 0, 0]])
    mass = np.sqrt(dot(mother, mother))
    np.testing.assert_allclose(boost_from_rest(np.outer(mass, [1, 0, 0, 0]), mother), mother, rtol=1e-12)
    p = rng.normal(size=(2, 4))
    p[:, 0] = 5
    for row in (0, 1):
        velocity = mother[row, 1:] / mother[row, 0]
        expected = boosted(p[row], velocity) if row == 0 else p[row]
        np.testing.assert_allclose(boost_from_rest(p, mother)[row], expected, rtol=1e-12)
    several = rng.normal(size=(2, 3, 4))
    along = boost_along_z(several, np.array([0.4, -1.1]))
    np.testing.assert_allclose(along[1, 2], boosted(several[1, 2], np.array([0, 0, np.tanh(-1.1)])), rtol=1e-12)
