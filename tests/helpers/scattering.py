"""Random momenta of g b → t W, and Dirac matrices written out, for tests of matrix elements."""

from __future__ import annotations

import numpy as np

I2, Z2 = np.eye(2), np.zeros((2, 2))
SIGMA = [np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.array([[1, 0], [0, -1]])]
#: γ^μ in Dirac's representation, not the chiral one that the package uses.
DIRAC = [np.block([[I2, Z2], [Z2, -I2]]), *(np.block([[Z2, s], [-s, Z2]]) for s in SIGMA)]
METRIC = np.diag([1.0, -1.0, -1.0, -1.0])
GAMMA5 = 1j * DIRAC[0] @ DIRAC[1] @ DIRAC[2] @ DIRAC[3]
P_LEFT = (np.eye(4) - GAMMA5) / 2


def feynman_slash(p: np.ndarray) -> np.ndarray:
    return sum(METRIC[m, m] * p[m] * DIRAC[m] for m in range(4))


def product(a: np.ndarray, b: np.ndarray) -> float:
    return a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3]


def rotation(rng: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def boosted(p: np.ndarray, velocity: np.ndarray) -> np.ndarray:
    """Any four-vectors [..., 4] after a boost by a velocity [3]."""
    gamma = 1 / np.sqrt(1 - velocity @ velocity)
    along = p[..., 1:] @ velocity
    space = p[..., 1:] + ((gamma - 1) * along / (velocity @ velocity) + gamma * p[..., 0])[..., None] * velocity
    return np.concatenate([(gamma * (p[..., 0] + along))[..., None], space], axis=-1)


def scattering(
    rng: np.random.Generator, count: int, top: float | np.ndarray = 173.0, w: float | np.ndarray = 80.4
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Momenta of g, b, t, W in a random frame, from just above the threshold to 5 TeV."""
    events = []
    top, w = np.broadcast_to(top, count), np.broadcast_to(w, count)
    for m_t, m_w in zip(top, w, strict=True):
        energy = (m_t + m_w) * np.exp(rng.uniform(0.002, 3.0))
        e_t = (energy**2 + m_t**2 - m_w**2) / (2 * energy)
        p = np.sqrt(e_t**2 - m_t**2)
        direction = rotation(rng)[0]
        rows = np.array(
            [
                [energy / 2, 0, 0, energy / 2],
                [energy / 2, 0, 0, -energy / 2],
                [e_t, *(p * direction)],
                [energy - e_t, *(-p * direction)],
            ]
        )
        rows[:, 1:] = rows[:, 1:] @ rotation(rng)
        events.append(boosted(rows, rng.uniform(0.1, 0.8) * rotation(rng)[0]))
    g, b, t, boson = np.array(events).transpose(1, 0, 2)
    return g, b, t, boson
