"""Random Lorentz transformations, checked to be such, and events of particles on and off the mass shell of nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from helpers.batches import ptr_of
from panoptag_pyg.events.features import PFO_FEATURES

METRIC = torch.diag(torch.tensor([1.0, -1.0, -1.0, -1.0], dtype=torch.float64))


def boost(rapidity: float, axis: Sequence[float]) -> Tensor:
    """Pure boost along an axis."""
    n = np.asarray(axis, dtype=float) / np.linalg.norm(axis)
    matrix = np.eye(4)
    matrix[0, 0] = math.cosh(rapidity)
    matrix[0, 1:] = matrix[1:, 0] = math.sinh(rapidity) * n
    matrix[1:, 1:] += (math.cosh(rapidity) - 1) * np.outer(n, n)
    return _checked(matrix)


def rotation(angle: float, axis: Sequence[float]) -> Tensor:
    """Rotation about an axis, by Rodrigues' formula."""
    n = np.asarray(axis, dtype=float) / np.linalg.norm(axis)
    cross = np.array([[0, -n[2], n[1]], [n[2], 0, -n[0]], [-n[1], n[0], 0]])
    matrix = np.eye(4)
    matrix[1:, 1:] += math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    return _checked(matrix)


def random_lorentz(rng: np.random.Generator, max_rapidity: float = 1.5) -> Tensor:
    """A rotation, a boost and another rotation, all random."""
    first, second = (rotation(rng.uniform(0, 2 * math.pi), rng.normal(size=3)) for _ in range(2))
    return _checked((second @ boost(rng.uniform(0.3, max_rapidity), rng.normal(size=3)) @ first).numpy())


def along_beam(rng: np.random.Generator) -> Tensor:
    """A rotation about the z axis and a boost along it."""
    return boost(rng.uniform(0.3, 1.5), (0, 0, 1)) @ rotation(rng.uniform(0.5, 6), (0, 0, 1))


def _checked(matrix: np.ndarray) -> Tensor:
    """Refuse what doesn't keep the metric, turns time around or mirrors space."""
    transform = torch.from_numpy(matrix)
    torch.testing.assert_close(transform.T @ METRIC @ transform, METRIC, rtol=0, atol=1e-11)
    assert transform[0, 0] >= 1
    assert torch.linalg.det(transform) > 0
    return transform


def random_particles(
    rng: np.random.Generator, lengths: Sequence[int], mass: float = 0.3
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x [P, 14], pos [P, 2], ptr [B+1] and momentum [P, 4] in GeV, float64; some particles nearly collinear."""
    total = sum(lengths)
    pt = rng.exponential(5.0, total) + 0.5
    eta, phi = rng.normal(0, 1.5, total), rng.uniform(-math.pi, math.pi, total)
    for row in range(1, total, 3):
        eta[row], phi[row] = eta[row - 1] + 1e-3 * rng.normal(), phi[row - 1] + 1e-3 * rng.normal()
    momentum = np.stack([np.zeros(total), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=1)
    momentum[:, 0] = np.sqrt((momentum[:, 1:] ** 2).sum(1) + mass**2)
    x = rng.normal(size=(total, len(PFO_FEATURES)))
    pos = np.stack([eta, phi], axis=1)
    return torch.from_numpy(x), torch.from_numpy(pos), ptr_of(lengths), torch.from_numpy(momentum)


def moved(x: Tensor, pos: Tensor, momentum: Tensor, transform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same particles in another frame: kinematic features, positions and momenta are all recomputed."""
    p = momentum @ transform.T
    pt = p[:, 1:3].norm(dim=1)
    eta, phi = torch.asinh(p[:, 3] / pt), torch.atan2(p[:, 2], p[:, 1])
    x = torch.cat([torch.stack([eta, phi, pt.log(), p[:, 0].log()], dim=1), x[:, 4:]], dim=1)
    return x, torch.stack([eta, phi], dim=1), p
