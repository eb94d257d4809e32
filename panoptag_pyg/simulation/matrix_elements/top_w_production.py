r"""g b → t W⁻ and its conjugate in hadron collisions: cross section, and events with weight 1.

    dσ = Σ dln ŝ dy  x₁f₁(x₁, μ_F²) x₂f₂(x₂, μ_F²) dσ̂/dcos θ  dP/dm_t dP/dm_W,
    dσ̂/dcos θ = p*/(16π ŝ^{3/2}) |M|²

with the masses m_t, m_W drawn from the resonances' line shapes. A table of cells in (ŝ, y, cos θ), made once from the
integrand itself, proposes points; hit or miss makes the events exact.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.simulation.matrix_elements.phase_space import (
    CellGrid,
    Lineshape,
    back_to_back,
    cell_maxima,
    decay_momentum,
)
from panoptag_pyg.simulation.matrix_elements.standard_model import PICOBARN, StandardModel
from panoptag_pyg.simulation.matrix_elements.top_w import squared_matrix_element

GLUON, TOP, W = 21, 6, 24
#: Where line shapes end, in widths on either side.
WINDOW = 15.0
#: Cells in ŝ, y and cos θ.
_CELLS = (48, 32, 24)
#: The cross section falls roughly like this power of m_t + m_W.
_TILT = 4.5
#: Points that fix cross section and largest weight, and their seed: the same for all runs and workers.
_POINTS, _SEED = 40_000, 20_010_968
#: Room above the largest weight that was seen.
_HEADROOM = 1.2


@dataclass
class Production:
    """Points of g q → t W, in the frame where gluon and quark collide head on, the gluon along +z.

    Attributes:
        weight: weight of the point: 1 for events, but for those whose probability exceeds the estimated maximum [N].
        s: ŝ in GeV² [N].
        y: rapidity of that frame in the frame of the beams' centre of mass [N].
        cos_theta: polar angle of the top quark [N].
        masses: m_t, m_W in GeV, [N] each.
        scale: factorisation scale μ_F in GeV [N].
        alpha_strong: α_s at the renormalisation scale [N].
        quark: PDG number of the incoming quark; negative for the conjugate process [N].
        gluon_first: whether the gluon comes from the beam along +z [N].
    """

    weight: np.ndarray
    s: np.ndarray
    y: np.ndarray
    cos_theta: np.ndarray
    masses: tuple[np.ndarray, np.ndarray]
    scale: np.ndarray
    alpha_strong: np.ndarray
    quark: np.ndarray
    gluon_first: np.ndarray

    def momenta(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Momenta of gluon, quark, top quark and W boson (E, px, py, pz) in GeV, [N, 4] each; azimuth 0."""
        return _momenta(self.s, self.cos_theta, self.masses)

    @classmethod
    def concatenate(cls, parts: list[Production]) -> Production:
        """Points one after the other."""
        columns = [[getattr(part, field.name) for part in parts] for field in fields(cls) if field.name != "masses"]
        names = [field.name for field in fields(cls) if field.name != "masses"]
        masses = np.concatenate([p.masses[0] for p in parts]), np.concatenate([p.masses[1] for p in parts])
        return cls(masses=masses, **{n: np.concatenate(c) for n, c in zip(names, columns, strict=True)})


def _momenta(
    s: np.ndarray, cos_theta: np.ndarray, masses: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    root = np.sqrt(s)
    zero = np.zeros_like(root)
    gluon, quark = (np.stack([root, zero, zero, sign * root], axis=-1) / 2 for sign in (1, -1))
    return gluon, quark, *back_to_back(root, masses, cos_theta, zero)


@dataclass(frozen=True)
class _Channel:
    """An incoming state: the quark, the beam that gives the gluon, and what its share is multiplied with."""

    quark: int
    gluon_beam: int
    factor: float


class TopWProduction:
    """The hard process: its cross section, and points of phase space distributed like it.

    Args:
        model: couplings, parton densities and masses.
        quarks: incoming flavours: (5,) is g b alone (default); with 3 and 1 also g s and g d, by |V_ts|² and |V_td|².
        conjugate_fractions: relative yields kept of t W⁻ and of t̄ W⁺, such as branching fractions.
        window: where the line shapes of t and W end, in widths; 0 puts them on their mass shells.

    Attributes:
        cross_sections: of t W⁻ and t̄ W⁺ in pb, times their fraction [2].
        errors: statistical errors of these, in pb [2].
        efficiency: share of proposed points that become events.

    Raises:
        ConfigError: the beams' energy is below the threshold.
    """

    def __init__(
        self,
        model: StandardModel,
        quarks: tuple[int, ...] = (5,),
        conjugate_fractions: tuple[float, float] = (1.0, 1.0),
        window: float = WINDOW,
    ) -> None:
        self._model = model
        self._channels = [
            _Channel(sign * quark, beam, model.mixing2(quark) * conjugate_fractions[sign < 0])
            for quark in quarks
            for sign in (1, -1)
            for beam in (0, 1)
        ]
        top, w = model.resonance(TOP), model.resonance(W)
        both = top.mass + w.mass
        self.top = Lineshape(
            top.mass,
            top.width if window > 0 else 0.0,
            lambda m: top_width(m, w.mass) / top_width(np.array(top.mass), w.mass),
            window,
            lambda m: (both / (both - top.mass + m)) ** _TILT,
        )
        self.w = Lineshape(
            w.mass,
            w.width if window > 0 else 0.0,
            lambda m: (m / w.mass) ** 2,
            window,
            lambda m: (both / (both - w.mass + m)) ** _TILT,
        )
        self._weak = 4 * np.sqrt(2) * model.fermi * w.mass**2
        self._beams_s = 4 * model.beams[0][1] * model.beams[1][1]
        if self._beams_s <= (self.top.heaviest + self.w.heaviest) ** 2:
            raise ConfigError(f"a collision energy of {np.sqrt(self._beams_s):g} GeV isn't enough to make t W")
        self._grid = CellGrid(self._cells())
        self._calibrate()

    def _kinematics(self, point: np.ndarray, threshold: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """ŝ, y, and the Jacobian d ln ŝ dy dcos θ / d point."""
        span = np.log(self._beams_s / threshold)
        # Quadratic, for finer cells near the threshold, where most events are.
        s = threshold * np.exp(span * point[..., 0] ** 2)
        y_max = -np.log(s / self._beams_s) / 2
        return s, y_max * (2 * point[..., 1] - 1), 2 * span * point[..., 0] * 2 * y_max * 2

    def _parton_cross_section(
        self, s: np.ndarray, cos_theta: np.ndarray, masses: tuple[np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """dσ̂/dcos θ in pb for |V| = 1, and α_s."""
        p = decay_momentum(np.sqrt(s), *masses)
        pt2 = p**2 * (1 - cos_theta**2)
        alpha = self._model.alpha_strong(self._model.scale2("renorm", s, (masses[0] ** 2, masses[1] ** 2), pt2))
        matrix_element = squared_matrix_element(*_momenta(s, cos_theta, masses), 4 * np.pi * alpha, self._weak)
        return PICOBARN * p / (16 * np.pi * s**1.5) * matrix_element, alpha

    def _luminosities(self, s: np.ndarray, y: np.ndarray, scale2: np.ndarray) -> np.ndarray:
        """x₁f₁ x₂f₂ |V|² of each channel [C, N]."""
        root = np.sqrt(s / self._beams_s)
        x = root * np.exp(y), root * np.exp(-y)
        needed = {(c.gluon_beam, GLUON) for c in self._channels} | {(1 - c.gluon_beam, c.quark) for c in self._channels}
        f = {(beam, pdg): self._model.parton_density(beam, pdg, x[beam], scale2) for beam, pdg in sorted(needed)}
        return np.stack([c.factor * f[c.gluon_beam, GLUON] * f[1 - c.gluon_beam, c.quark] for c in self._channels])

    def _cells(self) -> np.ndarray:
        """An upper estimate of the integrand in each cell, for resonances on their mass shells."""
        axes = [np.linspace(0, 1, 2 * count + 1) for count in _CELLS]
        # The Jacobian vanishes at the ends, where nothing but it may be evaluated.
        axes[0][[0, -1]] = 1e-4, 1 - 1e-6
        masses = np.array(self.top.mass), np.array(self.w.mass)
        threshold = (masses[0] + masses[1]) ** 2
        plane = np.stack(np.meshgrid(axes[0], axes[1], indexing="ij"), axis=-1)
        s, y, jacobian = self._kinematics(plane, threshold)
        m2 = masses[0] ** 2, masses[1] ** 2
        # The scale's dependence on θ is left to hit or miss.
        scale2 = self._model.scale2("factor", s, m2, 0.5 * decay_momentum(np.sqrt(s), *masses) ** 2)
        luminosity = self._luminosities(s, y, scale2).sum(axis=0) * jacobian
        s, cos_theta = (a.ravel() for a in np.meshgrid(s[:, 0], 2 * axes[2] - 1, indexing="ij"))
        parton, _ = self._parton_cross_section(s, cos_theta, (np.full_like(s, masses[0]), np.full_like(s, masses[1])))
        heights = cell_maxima(luminosity)[:, :, None] * cell_maxima(parton.reshape(len(axes[0]), -1))[:, None, :]
        # A cell that looks empty may not be so.
        return np.maximum(heights, 1e-9 * heights.max())

    def _propose(self, rng: np.random.Generator, count: int) -> tuple[Production, np.ndarray, np.ndarray]:
        """Points, the integrand over the density they are drawn from, and luminosities of the channels [C, N]."""
        point, density = self._grid.draw(rng, count)
        top_mass, top_weight = self.top.draw(rng.random(count))
        w_mass, w_weight = self.w.draw(rng.random(count))
        masses = top_mass, w_mass
        s, y, jacobian = self._kinematics(point, (masses[0] + masses[1]) ** 2)
        cos_theta = 2 * point[:, 2] - 1
        pt2 = decay_momentum(np.sqrt(s), *masses) ** 2 * (1 - cos_theta**2)
        scale2 = self._model.scale2("factor", s, (masses[0] ** 2, masses[1] ** 2), pt2)
        parton, alpha = self._parton_cross_section(s, cos_theta, masses)
        luminosities = self._luminosities(s, y, scale2)
        integrand = luminosities.sum(axis=0) * parton * jacobian * top_weight * w_weight
        points = Production(
            weight=np.ones(count),
            s=s,
            y=y,
            cos_theta=cos_theta,
            masses=masses,
            scale=np.sqrt(scale2),
            alpha_strong=alpha,
            quark=np.zeros(count, dtype=np.int64),
            gluon_first=np.zeros(count, dtype=bool),
        )
        return points, integrand / density, luminosities

    def _calibrate(self) -> None:
        rng = np.random.default_rng(_SEED)
        ratio, antitop = np.zeros(_POINTS), np.array([c.quark < 0 for c in self._channels])
        parts = np.zeros((2, _POINTS))
        # In portions that stay in the processor's cache.
        for start in range(0, _POINTS, 10_000):
            rows = slice(start, start + 10_000)
            _, ratio[rows], luminosities = self._propose(rng, 10_000)
            share = luminosities[antitop].sum(axis=0) / luminosities.sum(axis=0)
            parts[:, rows] = ratio[rows] * np.stack([1 - share, share])
        parts *= self._grid.integral
        self.cross_sections = parts.mean(axis=1)
        self.errors = parts.std(axis=1) / np.sqrt(_POINTS)
        self._maximum = _HEADROOM * ratio.max()
        self.efficiency = float(np.minimum(ratio / self._maximum, 1).mean())

    def events(self, rng: np.random.Generator, count: int) -> Production:
        """Points distributed like the process.

        Args:
            rng: source of random numbers; the same gives the same events.
            count: N.
        """
        found: list[Production] = []
        missing = count
        while missing > 0 or not found:
            points, ratio, luminosities = self._propose(rng, int(missing / self.efficiency) + 16)
            keep = np.flatnonzero(rng.random(len(ratio)) * self._maximum < ratio)[:missing]
            found.append(self._with_channels(rng, points, ratio, luminosities, keep))
            missing -= len(keep)
        return found[0] if len(found) == 1 else Production.concatenate(found)

    def _with_channels(
        self,
        rng: np.random.Generator,
        points: Production,
        ratio: np.ndarray,
        luminosities: np.ndarray,
        keep: np.ndarray,
    ) -> Production:
        cumulative = np.cumsum(luminosities[:, keep], axis=0)
        channel = np.argmax(rng.random(len(keep)) * cumulative[-1] < cumulative, axis=0)
        return Production(
            weight=np.maximum(ratio[keep] / self._maximum, 1),
            s=points.s[keep],
            y=points.y[keep],
            cos_theta=points.cos_theta[keep],
            masses=(points.masses[0][keep], points.masses[1][keep]),
            scale=points.scale[keep],
            alpha_strong=points.alpha_strong[keep],
            quark=np.array([c.quark for c in self._channels])[channel],
            gluon_first=np.array([c.gluon_beam == 0 for c in self._channels])[channel],
        )


def top_width(mass: np.ndarray, w_mass: float) -> np.ndarray:
    """m Γ(t → b W) up to a constant: m⁴ (1 − w²)² (1 + 2w²) with w = m_W/m, the b quark taken to be massless."""
    ratio = (w_mass / mass) ** 2
    return mass**4 * (1 - ratio) ** 2 * (1 + 2 * ratio)
