"""Points of phase space: resonances' masses, cells of an integrand, two-body kinematics and boosts.

Four-vectors are rows (E, px, py, pz) in GeV.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from panoptag_pyg.simulation.matrix_elements.spinors import dot

#: Cells of the table from which a resonance's mass is drawn.
_MASS_CELLS = 400


class Lineshape:
    r"""Mass distribution of a resonance: relativistic Breit–Wigner with a width that depends on the mass m.

    dP/dm² ∝ m Γ(m) / ((m² − M²)² + M² Γ²), within M ± window·Γ, normalised to 1 there.

    Args:
        mass: M in GeV.
        width: Γ in GeV; with 0 all masses are M.
        relative_width: m → m Γ(m) / (M Γ).
        window: where the distribution is cut off, in widths.
        tilt: m → how much more often than by the distribution to draw a mass, for the sake of what is integrated.
    """

    def __init__(
        self,
        mass: float,
        width: float,
        relative_width: Callable[[np.ndarray], np.ndarray],
        window: float,
        tilt: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        self.mass, self.width = mass, width
        self._relative_width = relative_width
        self.lightest, self.heaviest = mass - window * width, mass + window * width
        # With m² = M² + M Γ tan θ a Breit–Wigner of constant width is uniform in θ.
        if width > 0:
            ends = np.arctan((np.array([self.lightest, self.heaviest]) ** 2 - mass**2) / (mass * width))
        else:
            ends = np.zeros(2)
        edges = np.linspace(ends[0], ends[1], _MASS_CELLS + 1)
        at_edges, at_middles = (self._mass_at(x) for x in (edges, (edges[1:] + edges[:-1]) / 2))
        # Simpson's rule in each cell.
        self._norm = float((relative_width(at_edges[:-1]) / 3 + relative_width(at_middles) * 2 / 3).mean())
        self._norm += float((relative_width(at_edges[-1:]) - relative_width(at_edges[:1]))[0] / (6 * _MASS_CELLS))
        self._span = edges[-1] - edges[0]
        self._edges = edges
        self._drawn = relative_width(at_middles) * tilt(at_middles)
        self._drawn /= self._drawn.mean()
        self._cumulative = np.concatenate([[0.0], np.cumsum(self._drawn)]) / _MASS_CELLS

    def _mass_at(self, theta: np.ndarray) -> np.ndarray:
        return np.sqrt(self.mass**2 + self.mass * self.width * np.tan(theta))

    def draw(self, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Masses in GeV from numbers uniform in [0, 1), and the distribution over the density they were drawn with.

        Shapes:
            [N] → [N] twice.
        """
        cell = np.searchsorted(self._cumulative, uniform, side="right") - 1
        cell = np.clip(cell, 0, _MASS_CELLS - 1)
        inside = (uniform - self._cumulative[cell]) * _MASS_CELLS / self._drawn[cell]
        mass = self._mass_at(self._edges[0] + self._span * (cell + inside) / _MASS_CELLS)
        return mass, self._relative_width(mass) / (self._norm * self._drawn[cell])

    def density(self, mass: np.ndarray) -> np.ndarray:
        """dP/dm in 1/GeV, inside the window.

        Shapes:
            [N] → [N].
        """
        pole = self.mass * self.width
        breit_wigner = pole / ((mass**2 - self.mass**2) ** 2 + pole**2)
        return 2 * mass * self._relative_width(mass) * breit_wigner / (self._norm * self._span)


class CellGrid:
    """A density that is constant in each cell of a box, to draw points from.

    Args:
        heights: the density in each cell, not normalised; each axis goes from 0 to 1 in cells of equal width.
    """

    def __init__(self, heights: np.ndarray) -> None:
        self._shape = heights.shape
        self._heights = heights.ravel()
        self._cumulative = np.cumsum(self._heights)
        #: Integral of the density over the box.
        self.integral = float(self._cumulative[-1] / heights.size)

    def draw(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Points and the density there (not normalised).

        Args:
            rng: source of random numbers.
            count: N.

        Returns:
            Points [N, D] in the unit box, and densities [N].
        """
        cell = np.searchsorted(self._cumulative, rng.random(count) * self._cumulative[-1], side="right")
        index = np.stack(np.unravel_index(cell, self._shape), axis=-1)
        return (index + rng.random(index.shape)) / self._shape, self._heights[cell]


def cell_maxima(values: np.ndarray) -> np.ndarray:
    """Largest value in each cell, of a function known at the cells' corners, edges' middles and centres.

    Shapes:
        [2 n₁ + 1, 2 n₂ + 1, …] → [n₁, n₂, …].
    """
    for axis in range(values.ndim):
        values = np.moveaxis(values, axis, 0)
        values = np.maximum(np.maximum(values[:-1:2], values[1::2]), values[2::2])
        values = np.moveaxis(values, 0, axis)
    return values


def decay_momentum(mass: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Momentum p* in GeV of the two products of a decay, in the mother's rest frame; 0 below threshold.

    Shapes:
        [N] → [N].
    """
    product = (mass**2 - (first + second) ** 2) * (mass**2 - (first - second) ** 2)
    return np.sqrt(np.maximum(product, 0)) / (2 * mass)


def back_to_back(
    mass: np.ndarray, masses: tuple[np.ndarray, np.ndarray], cos_theta: np.ndarray, phi: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Momenta of two particles in their rest frame, the first at polar angle θ and azimuth φ.

    Shapes:
        all [N] → [N, 4] twice.
    """
    p = decay_momentum(mass, *masses)
    sin_theta = np.sqrt(1 - cos_theta**2)
    vector = p[:, None] * np.stack([sin_theta * np.cos(phi), sin_theta * np.sin(phi), cos_theta], axis=-1)
    first, second = (np.hypot(p, m)[:, None] for m in masses)
    return np.concatenate([first, vector], axis=-1), np.concatenate([second, -vector], axis=-1)


def boost_from_rest(momentum: np.ndarray, mother: np.ndarray) -> np.ndarray:
    """Momenta given in the mother's rest frame, in the frame in which the mother's momentum is given.

    Shapes:
        [N, 4], [N, 4] → [N, 4].
    """
    mass = np.sqrt(dot(mother, mother))[:, None]
    along = np.sum(momentum[:, 1:] * mother[:, 1:], axis=-1, keepdims=True)
    energy = (momentum[:, :1] * mother[:, :1] + along) / mass
    space = momentum[:, 1:] + mother[:, 1:] * (momentum[:, :1] + energy) / (mother[:, :1] + mass)
    return np.concatenate([energy, space], axis=-1)


def boost_along_z(momentum: np.ndarray, rapidity: np.ndarray) -> np.ndarray:
    """Momenta after a boost of rapidity y along +z.

    Shapes:
        [N, ..., 4], [N] → [N, ..., 4].
    """
    rapidity = rapidity.reshape(-1, *[1] * (momentum.ndim - 2))
    cosh, sinh = np.cosh(rapidity), np.sinh(rapidity)
    result = momentum.copy()
    result[..., 0] = cosh * momentum[..., 0] + sinh * momentum[..., 3]
    result[..., 3] = sinh * momentum[..., 0] + cosh * momentum[..., 3]
    return result
