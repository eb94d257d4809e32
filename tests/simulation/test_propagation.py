"""Helices against the numerical integration of the Lorentz force."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.particles import make_particles
from scipy.integrate import solve_ivp

from panoptag_pyg.simulation import DetectorCard
from panoptag_pyg.simulation.propagation import propagate, wrap_angle

CARD = DetectorCard.load().propagation


def integrate(particle, charge, stop, forward):
    """(x, y, z, px, py, pz) where ``stop`` crosses zero; lengths in mm along the path, dp/dl = 0.2998e-3 q p̂ × B."""

    def motion(_, state):
        direction = state[3:] / np.linalg.norm(state[3:])
        force = 0.299792458e-3 * charge * CARD.field * np.array([direction[1], -direction[0], 0.0])
        return np.concatenate([direction, force]) * (1 if forward else -1)

    stop.terminal = True
    result = solve_ivp(motion, (0, 400_000), particle, events=stop, rtol=1e-10, atol=1e-9, max_step=50.0)
    assert len(result.y_events[0]) == 1
    return result.y_events[0][0]


@pytest.mark.parametrize("pdg", [211, -211, 13])
def test_helix_matches_integration(pdg, rng):
    count = 12
    # A particle that loops with eta near 0 takes for ever to reach the endcap: 350 m at 0.01.
    pt, eta = rng.uniform(0.2, 3, count), rng.uniform(0.01, 2.2, count) * rng.choice([-1, 1], count)
    phi = rng.uniform(-np.pi, np.pi, count)
    vertex = rng.normal(0, 1, (3, count)) * [[5], [5], [40]]
    particles = make_particles(pdg, pt, eta, phi, vertex=vertex)
    result = propagate(particles, CARD)
    assert np.array_equal(result.rows, np.arange(count))
    for i in range(count):
        start = np.array([*vertex[:, i], particles.px[i], particles.py[i], particles.pz[i]])
        charge = particles.charge[i]

        end = integrate(
            start,
            charge,
            lambda _, s: max(np.hypot(s[0], s[1]) - CARD.radius, abs(s[2]) - CARD.half_length),
            forward=True,
        )
        assert result.outer_eta[i] == pytest.approx(np.arcsinh(end[2] / np.hypot(end[0], end[1])), abs=1e-5)
        assert wrap_angle(result.outer_phi[i] - np.arctan2(end[1], end[0])) == pytest.approx(0, abs=1e-5)

        outward = start[0] * start[3] + start[1] * start[4] > 0
        near = integrate(start, charge, lambda _, s: s[0] * s[3] + s[1] * s[4], forward=not outward)
        direction = np.arctan2(near[4], near[3])
        assert wrap_angle(result.phi[i] - direction) == pytest.approx(0, abs=1e-6)
        assert result.d0[i] == pytest.approx(near[0] * np.sin(direction) - near[1] * np.cos(direction), abs=1e-5)
        assert result.dz[i] == pytest.approx(near[2], abs=1e-5)


def test_looping_particles_leave_through_the_endcap(rng):
    count = 100
    particles = make_particles(211, rng.uniform(0.05, 0.3, count), rng.uniform(-1, 1, count), rng.uniform(-3, 3, count))
    result = propagate(particles, CARD)
    # |z| is that of the endcap, so that sinh(eta) times the radius reached is half_length.
    reached = CARD.half_length / np.abs(np.sinh(result.outer_eta))
    assert np.all(reached < CARD.radius)
    assert np.array_equal(np.sign(result.outer_eta), np.sign(particles.pz[result.rows]))


def test_neutrals_fly_straight(rng):
    count = 200
    eta, phi = rng.uniform(-4, 4, count), rng.uniform(-np.pi, np.pi, count)
    result = propagate(make_particles(22, rng.uniform(0.1, 50, count), eta, phi), CARD)
    np.testing.assert_allclose(result.outer_eta, eta, atol=1e-9)
    np.testing.assert_allclose(wrap_angle(result.outer_phi - phi), 0, atol=1e-9)
    assert not result.d0.any()
    assert not result.dz.any()

    vertex = np.array([[100.0], [-300.0], [200.0]])
    result = propagate(make_particles(22, [1.0], 0.3, 1.0, vertex=vertex), CARD)
    direction = np.array([np.cos(1.0), np.sin(1.0), np.sinh(0.3)])
    steps = vertex[:, 0] + np.linspace(0, 3000, 2_000_001)[:, None] * direction
    end = steps[np.argmax(np.hypot(steps[:, 0], steps[:, 1]) >= CARD.radius)]
    assert result.outer_eta[0] == pytest.approx(np.arcsinh(end[2] / np.hypot(end[0], end[1])), abs=1e-5)


def test_field_and_charge_flip_the_bend(rng):
    pt, eta, phi = rng.uniform(1, 5, 50), rng.uniform(-1, 1, 50), rng.uniform(-3, 3, 50)
    plus = propagate(make_particles(211, pt, eta, phi), CARD)
    minus = propagate(make_particles(-211, pt, eta, phi), CARD)
    flipped = propagate(make_particles(-211, pt, eta, phi), CARD.model_copy(update={"field": -CARD.field}))
    np.testing.assert_allclose(wrap_angle(plus.outer_phi - phi), -wrap_angle(minus.outer_phi - phi), atol=1e-9)
    np.testing.assert_allclose(plus.outer_phi, flipped.outer_phi)


def test_what_is_dropped():
    vertex = np.array([[0, 2000.0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 4000.0, 0, 0]])
    particles = make_particles(211, [1.0, 1, 1, 1e-6, 0.1], [0.5, 0.5, 0.5, 0.5, 0.0], 0.0, vertex=vertex)
    # Born outside (twice), hardly any pT, and turning for ever in the plane z = 0.
    assert propagate(particles, CARD).rows.tolist() == [0]


def test_no_particles():
    result = propagate(make_particles(211, np.zeros(0), np.zeros(0), np.zeros(0), num_events=3), CARD)
    assert all(len(values) == 0 for values in vars(result).values())


def test_very_stiff_tracks_are_nearly_straight():
    vertex = np.array([[0.03], [-0.05], [1.0]])
    result = propagate(make_particles(-13, [5000.0], 1.1, 0.7, vertex=vertex), CARD)
    assert result.d0[0] == pytest.approx(0.03 * np.sin(0.7) + 0.05 * np.cos(0.7), abs=1e-6)
