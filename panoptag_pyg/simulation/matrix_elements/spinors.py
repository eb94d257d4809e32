"""Dirac spinors, polarisation vectors and slashed momenta of many events at once, in the chiral representation.

Four-vectors are rows (E, px, py, pz) with the metric (+, −, −, −); every function works on arrays with any leading
dimensions. In the chiral representation γ5 = diag(−1, −1, 1, 1), so that P_L keeps a spinor's first two components.
"""

from __future__ import annotations

import numpy as np

_PAULI = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
_ZERO = np.zeros((2, 2))
#: γ^0, γ^1, γ^2, γ^3 [4, 4, 4].
GAMMA = np.array(
    [np.block([[_ZERO, s], [s if i == 0 else -s, _ZERO]]) for i, s in enumerate(_PAULI)],
)
#: Diagonal of the metric.
METRIC = np.array([1.0, -1.0, -1.0, -1.0])
#: P_L = (1 − γ5)/2.
LEFT = np.diag([1.0, 1.0, 0.0, 0.0])


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a·b = a⁰b⁰ − **a**·**b**.

    Shapes:
        [..., 4], [..., 4] → [...].
    """
    return np.sum(a * METRIC * b, axis=-1)


def slash(vector: np.ndarray) -> np.ndarray:
    """v̸ = γ^μ v_μ.

    Shapes:
        [..., 4] → [..., 4, 4].
    """
    result = np.zeros((*vector.shape[:-1], 4, 4), dtype=np.complex128)
    e, x, y, z = np.moveaxis(vector, -1, 0)
    # [[0, E − σ·v], [E + σ·v, 0]], where Σ γ^μ v_μ would multiply mostly zeros.
    transverse, conjugate = x + 1j * y, x - 1j * y
    for row, column, sign in ((0, 2, -1), (2, 0, 1)):
        result[..., row, column] = e + sign * z
        result[..., row + 1, column + 1] = e - sign * z
        result[..., row, column + 1] = sign * conjugate
        result[..., row + 1, column] = sign * transverse
    return result


def bar(spinor: np.ndarray) -> np.ndarray:
    """ψ̄ = ψ†γ⁰.

    Shapes:
        [..., 4] → [..., 4].
    """
    return np.conj(spinor)[..., [2, 3, 0, 1]]


def particle_spinors(momentum: np.ndarray, mass: np.ndarray | float) -> np.ndarray:
    """u(p, λ) for helicity λ = −½, +½, with Σ_λ u ū = p̸ + m.

    Args:
        momentum: p in GeV; E is taken from the mass and the three-momentum.
        mass: m in GeV.

    Shapes:
        momentum [..., 4], mass [...] → [..., 2, 4].
    """
    chi_minus, chi_plus, low, high = _helicity_states(momentum, mass)
    minus = np.concatenate([high * chi_minus, low * chi_minus], axis=-1)
    plus = np.concatenate([low * chi_plus, high * chi_plus], axis=-1)
    return np.stack([minus, plus], axis=-2)


def antiparticle_spinors(momentum: np.ndarray, mass: np.ndarray | float) -> np.ndarray:
    """v(p, λ) for helicity λ = −½, +½, with Σ_λ v v̄ = p̸ − m; arguments and shapes as :func:`particle_spinors`."""
    chi_minus, chi_plus, low, high = _helicity_states(momentum, mass)
    minus = np.concatenate([low * chi_plus, -high * chi_plus], axis=-1)
    plus = np.concatenate([-high * chi_minus, low * chi_minus], axis=-1)
    return np.stack([minus, plus], axis=-2)


def _helicity_states(
    momentum: np.ndarray, mass: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Eigenstates χ∓ of **σ·p**, and √(E − p), √(E + p)."""
    p = np.linalg.norm(momentum[..., 1:], axis=-1)
    energy = np.hypot(p, mass)
    theta, phi = _angles(momentum)
    cos, sin, phase = np.cos(theta / 2), np.sin(theta / 2), np.exp(1j * phi)
    chi_plus = np.stack([cos + 0j, phase * sin], axis=-1)
    chi_minus = np.stack([-np.conj(phase) * sin, cos + 0j], axis=-1)
    high = np.sqrt(energy + p)
    # √(E − p) without the difference of nearly equal numbers.
    low = mass / np.where(high > 0, high, 1.0)
    return chi_minus, chi_plus, low[..., None], high[..., None]


def _angles(momentum: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    px, py, pz = momentum[..., 1], momentum[..., 2], momentum[..., 3]
    return np.arctan2(np.hypot(px, py), pz), np.arctan2(py, px)


def massless_polarisations(momentum: np.ndarray) -> np.ndarray:
    """ε(k, λ) of an incoming massless vector boson with helicity λ = −1, +1.

    Shapes:
        [..., 4] → [..., 2, 4].
    """
    theta, phi = _angles(momentum)
    zero = np.zeros_like(theta)
    polar = np.stack([zero, np.cos(theta) * np.cos(phi), np.cos(theta) * np.sin(phi), -np.sin(theta)], axis=-1)
    azimuthal = np.stack([zero, -np.sin(phi), np.cos(phi), zero], axis=-1)
    minus, plus = (polar - 1j * azimuthal) / np.sqrt(2), (-polar - 1j * azimuthal) / np.sqrt(2)
    return np.stack([minus, plus], axis=-2)


def massive_polarisations(momentum: np.ndarray, mass: np.ndarray | float) -> np.ndarray:
    """ε(k, λ) of an incoming massive vector boson, λ = −1, +1, 0, with Σ_λ ε^μ ε^ν* = −g^μν + k^μ k^ν/m².

    Shapes:
        momentum [..., 4], mass [...] → [..., 3, 4].
    """
    p = np.linalg.norm(momentum[..., 1:], axis=-1)
    theta, phi = _angles(momentum)
    direction = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=-1)
    longitudinal = np.concatenate([p[..., None], np.hypot(p, mass)[..., None] * direction], axis=-1)
    longitudinal = longitudinal / np.asarray(mass)[..., None]
    return np.concatenate([massless_polarisations(momentum), longitudinal[..., None, :]], axis=-2)
