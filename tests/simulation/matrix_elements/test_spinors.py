"""Spinors and polarisation vectors: completeness, equations of motion, massless particles and those at rest."""

from __future__ import annotations

import numpy as np
import pytest

from panoptag_pyg.simulation.matrix_elements.spinors import (
    GAMMA,
    LEFT,
    antiparticle_spinors,
    bar,
    dot,
    massive_polarisations,
    massless_polarisations,
    particle_spinors,
    slash,
)

METRIC = np.diag([1.0, -1.0, -1.0, -1.0])


def momenta(rng: np.random.Generator, mass: float, count: int = 17) -> np.ndarray:
    """Random directions, the z axis both ways, and a particle at rest."""
    space = rng.normal(0, 100, (count, 3))
    space[:3] = [[0, 0, 50], [0, 0, -50], [0, 0, 0 if mass else 1]]
    return np.concatenate([np.sqrt((space**2).sum(-1, keepdims=True) + mass**2), space], axis=-1)


def test_clifford_algebra():
    for m in range(4):
        for n in range(4):
            np.testing.assert_allclose(GAMMA[m] @ GAMMA[n] + GAMMA[n] @ GAMMA[m], 2 * METRIC[m, n] * np.eye(4))
    gamma5 = 1j * GAMMA[0] @ GAMMA[1] @ GAMMA[2] @ GAMMA[3]
    np.testing.assert_allclose((np.eye(4) - gamma5) / 2, LEFT)


@pytest.mark.parametrize("mass", [0.0, 1e-6, 4.8, 173.0])
def test_spinor_sums_and_the_dirac_equation(rng, mass):
    p = momenta(rng, mass)
    u, v = particle_spinors(p, mass), antiparticle_spinors(p, mass)
    scale = p[:, 0].max()
    np.testing.assert_allclose(np.einsum("nsi,nsj->nij", u, bar(u)), slash(p) + mass * np.eye(4), atol=1e-12 * scale)
    np.testing.assert_allclose(np.einsum("nsi,nsj->nij", v, bar(v)), slash(p) - mass * np.eye(4), atol=1e-12 * scale)
    np.testing.assert_allclose(np.einsum("nij,nsj->nsi", slash(p), u), mass * u, atol=1e-11 * scale**1.5)
    np.testing.assert_allclose(np.einsum("nij,nsj->nsi", slash(p), v), -mass * v, atol=1e-11 * scale**1.5)


def test_left_handed_spinors_of_massless_fermions(rng):
    u = particle_spinors(momenta(rng, 0.0), 0.0)
    np.testing.assert_array_equal(u[:, 0] @ LEFT, u[:, 0])
    np.testing.assert_array_equal(u[:, 1] @ LEFT, 0)


def test_polarisation_sums(rng):
    p = momenta(rng, 80.4)
    e = massive_polarisations(p, np.full(len(p), 80.4))
    outer = np.einsum("ni,nj->nij", p, p) / 80.4**2
    np.testing.assert_allclose(np.einsum("nsi,nsj->nij", e, e.conj()), -METRIC + outer, atol=1e-12 * outer.max())
    np.testing.assert_allclose(dot(e, p[:, None]), 0, atol=1e-11 * p[:, 0].max())
    k = momenta(rng, 0.0)
    e = massless_polarisations(k)
    n = k * np.diag(METRIC)  # the momentum reflected
    light_cone = (np.einsum("ni,nj->nij", k, n) + np.einsum("ni,nj->nij", n, k)) / dot(k, n)[:, None, None]
    np.testing.assert_allclose(np.einsum("nsi,nsj->nij", e, e.conj()), -METRIC + light_cone, atol=1e-13)


def test_helicities_are_those_of_the_spin_operator(rng):
    p = momenta(rng, 173.0)[3:]
    pauli = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
    helicity = np.einsum("nk,kij->nij", p[:, 1:] / np.linalg.norm(p[:, 1:], axis=1, keepdims=True), pauli)
    u = particle_spinors(p, 173.0).reshape(len(p), 2, 2, 2)  # helicity, chirality, component
    for row, sign in ((0, -1), (1, 1)):
        turned = np.einsum("nij,ncj->nci", helicity, u[:, row])
        np.testing.assert_allclose(turned, sign * u[:, row], atol=1e-11)
