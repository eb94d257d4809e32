r"""Decays of the top quark and the W boson of g b → t W⁻, with their spin correlations.

Production and decays are one matrix element, Σ|Σ_λ A(λ_t, λ_W) D_t(λ_t) D_W(λ_W)|². Decays are first made without
spins: the top quark's with |D_t|² ∝ (p_t·p_f̄)(p_b·p_f) and the W boson's mass, the W boson's evenly. Then they are
kept with the probability that the spins give them (:func:`~.top_w.spin_correlation`, never above 1), or made again.

Source: S. Frixione, E. Laenen, P. Motylinski and B. Webber, hep-ph/0702198.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panoptag_pyg.errors import ConfigError, PanopTagError
from panoptag_pyg.simulation.matrix_elements.phase_space import (
    Lineshape,
    back_to_back,
    boost_from_rest,
    decay_momentum,
)
from panoptag_pyg.simulation.matrix_elements.spinors import dot
from panoptag_pyg.simulation.matrix_elements.standard_model import Resonance, StandardModel
from panoptag_pyg.simulation.matrix_elements.top_w import (
    production_amplitudes,
    spin_correlation,
    top_decay_amplitudes,
    w_current,
    w_decay_amplitudes,
)
from panoptag_pyg.simulation.matrix_elements.top_w_production import TOP, WINDOW, Production, W

#: Rounds of hit or miss after which something must be wrong; about one event in six is kept in each.
_ROUNDS = 1000


@dataclass
class Decays:
    """Products of t → q W⁺, W⁺ → f f̄′ and of the W⁻ boson, in the frame of the production's momenta.

    Everything is that of the process with a top quark; numbers and momenta of the conjugate one are obtained by CP.

    Attributes:
        top_quark: PDG number of the quark from the top quark [N].
        top_w_products: PDG numbers of f and f̄′ of the W⁺ boson [N, 2].
        w_products: of the W⁻ boson [N, 2].
        momenta: (E, px, py, pz) in GeV of W⁺, q, f, f̄′ of W⁺, f, f̄′ of W⁻ [N, 6, 4].
        masses: of the same, in GeV [N, 6].
    """

    top_quark: np.ndarray
    top_w_products: np.ndarray
    w_products: np.ndarray
    momenta: np.ndarray
    masses: np.ndarray


class TopWDecays:
    """Decays with PYTHIA's branching fractions, into the channels that its settings switch on.

    Args:
        model: masses, widths and decay channels.
        window: where the line shape of the W boson from the top quark ends, in widths.

    Raises:
        ConfigError: a channel is switched on that isn't t → q W⁺ or W⁺ → f f̄′, or none is.
    """

    def __init__(self, model: StandardModel, window: float = WINDOW) -> None:
        self._model = model
        self._top, self._w = model.resonance(TOP), model.resonance(W)
        self._check()
        # The width's dependence on the mass is in the matrix element and phase space of the decay.
        self._shape = Lineshape(self._w.mass, self._w.width, np.ones_like, window, np.ones_like)
        self._mass = {pdg: model.mass(pdg) for pdg in (*range(1, 6), *range(11, 17))}

    def _check(self) -> None:
        quarks, leptons = range(1, 6), range(11, 17)
        for channel in self._top.channels:
            if sorted(channel)[1:] != [W] or min(channel) not in quarks:
                raise ConfigError(f"6 → {channel} is switched on; tW can have top quarks decay to W⁺ and a quark alone")
        for channel in self._w.channels:
            pair = sorted(channel)
            if len(pair) != 2 or not any(pair[1] in kind and -pair[0] in kind for kind in (quarks, leptons)):
                raise ConfigError(f"24 → {channel} is switched on; tW can have W⁺ bosons decay to two fermions alone")
        if not any(self.fraction(conjugate) > 0 for conjugate in (False, True)):
            raise ConfigError("no decay of tW is left: switch on channels of 6 and 24 in PYTHIA's settings")

    def fraction(self, conjugate: bool) -> float:
        """Share of t W⁻ (or of t̄ W⁺) whose decays are switched on."""
        top = self._top.open_fraction(conjugate)
        return top * self._w.open_fraction(False) * self._w.open_fraction(True)

    def __call__(self, production: Production, rng: np.random.Generator) -> Decays:
        """Let each event's top quark and W boson decay."""
        count = len(production.s)
        conjugate = production.quark < 0
        top_quark = _pick(rng, self._top, conjugate)[:, 0]
        top_w_products = _pick(rng, self._w, conjugate)
        # W⁻ → f f̄′ is a channel of W⁺ with signs changed; the fermion comes first.
        w_products = -_pick(rng, self._w, ~conjugate)[:, ::-1]
        pdg = np.concatenate([np.full((count, 1), W), top_quark[:, None], top_w_products, w_products], axis=1)
        masses = np.vectorize(lambda number: self._mass.get(number, 0.0), otypes=[float])(np.abs(pdg))
        decays = Decays(top_quark, top_w_products, w_products, np.zeros((count, 6, 4)), masses)

        momenta = production.momenta()
        amplitudes = production_amplitudes(*momenta).sum(axis=0)
        left = np.arange(count)
        for _ in range(_ROUNDS):
            if len(left) == 0:
                return decays
            _, _, top, w = (p[left] for p in momenta)
            trial = masses[left]
            products = self.without_spins(rng, top, w, trial)
            accept = rng.random(len(left)) < _correlation(amplitudes[left], top, w, products, trial)
            decays.momenta[left[accept]], masses[left[accept]] = products[accept], trial[accept]
            left = left[~accept]
        raise PanopTagError("decays of tW don't come to an end; are masses of PYTHIA's particles changed?")

    def without_spins(self, rng: np.random.Generator, top: np.ndarray, w: np.ndarray, masses: np.ndarray) -> np.ndarray:
        """Momenta of the six particles, for unpolarised t and W [N, 6, 4]; fills in W⁺'s column of ``masses``."""
        count = len(top)
        top_w, cos_alpha = self._top_w(rng, np.sqrt(dot(top, top)), masses)
        masses[:, 0] = top_w
        result = np.zeros((count, 6, 4))
        flat = 2 * rng.random((4, count)) - 1
        boson, quark = back_to_back(np.sqrt(dot(top, top)), (top_w, masses[:, 1]), flat[0], np.pi * flat[1])
        # The fermion's angle is measured from the b quark's direction, seen from the W boson: opposite to its flight.
        fermion, antifermion = back_to_back(top_w, (masses[:, 2], masses[:, 3]), -cos_alpha, np.pi * flat[2])
        axis = boson[:, 1:] / np.linalg.norm(boson[:, 1:], axis=1, keepdims=True)
        for row, p in zip((0, 1), (boson, quark), strict=True):
            result[:, row] = boost_from_rest(p, top)
        for row, p in zip((2, 3), (fermion, antifermion), strict=True):
            result[:, row] = boost_from_rest(boost_from_rest(_turned(p, axis), boson), top)
        pair = back_to_back(np.sqrt(dot(w, w)), (masses[:, 4], masses[:, 5]), flat[3], 2 * np.pi * rng.random(count))
        for row, p in zip((4, 5), pair, strict=True):
            result[:, row] = boost_from_rest(p, w)
        return result

    def _top_w(self, rng: np.random.Generator, top: np.ndarray, masses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mass of the W⁺ boson, and cosine of f's angle with the b quark in its rest frame, by hit or miss."""
        mass, cosine = np.zeros(len(top)), np.zeros(len(top))
        left = np.arange(len(top))
        lightest = np.full(len(top), self._shape.lightest)
        # Where (p_t·p_f̄) + (p_b·p_f) is given, the product is largest for equal factors.
        heaviest = masses[:, 2:4].max(axis=1)
        product = (top**2 - masses[:, 1] ** 2) * (1 + (heaviest / lightest) ** 2) / 4
        bound = decay_momentum(top, lightest, masses[:, 1]) * product**2
        for _ in range(_ROUNDS):
            if len(left) == 0:
                return mass, cosine
            m, _ = self._shape.draw(rng.random(len(left)))
            c = 2 * rng.random(len(left)) - 1
            weight = _unpolarised(top[left], m, c, masses[left])
            accept = rng.random(len(left)) * bound[left] < weight
            mass[left[accept]], cosine[left[accept]] = m[accept], c[accept]
            left = left[~accept]
        raise PanopTagError("decays of top quarks don't come to an end; are masses of PYTHIA's particles changed?")


def _unpolarised(top: np.ndarray, w: np.ndarray, cos_alpha: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """|D_t|² times phase space but for constants, where α is the angle of f with the b quark in the W's rest frame."""
    quark, fermion, antifermion = masses[:, 1], masses[:, 2], masses[:, 3]
    inner = decay_momentum(w, fermion, antifermion)
    outer = decay_momentum(top, w, quark)
    # In that frame t and b have the same three-momentum.
    p = outer * top / w
    top_energy, quark_energy = np.hypot(p, top), np.hypot(p, quark)
    top_part = np.hypot(inner, antifermion) * top_energy + inner * p * cos_alpha
    quark_part = np.hypot(inner, fermion) * quark_energy - inner * p * cos_alpha
    return outer * top_part * quark_part * 2 * inner / w


def _correlation(
    amplitudes: np.ndarray, top: np.ndarray, w: np.ndarray, products: np.ndarray, masses: np.ndarray
) -> np.ndarray:
    currents = [w_current(products[:, i], products[:, i + 1], (masses[:, i], masses[:, i + 1])) for i in (2, 4)]
    top_decay = top_decay_amplitudes(top, products[:, 1], masses[:, 1], currents[0])
    return spin_correlation(amplitudes, top_decay, w_decay_amplitudes(w, currents[1]))


def _pick(rng: np.random.Generator, resonance: Resonance, antiparticle: np.ndarray) -> np.ndarray:
    """Products of a channel of the particle, drawn by its fractions; fermions first, W bosons last [N, 2]."""
    cumulative = np.cumsum(resonance.fractions, axis=1)[antiparticle.astype(int)]
    channel = np.argmax(rng.random(len(antiparticle))[:, None] * cumulative[:, -1:] < cumulative, axis=1)
    ordered = [sorted(products, key=lambda pdg: (pdg == W, -pdg)) for products in resonance.channels]
    return np.array(ordered)[channel]


def _turned(momentum: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Momenta given with +z along an axis (unit vectors), turned there [N, 4]."""
    cos_theta = np.clip(axis[:, 2], -1, 1)
    sin_theta = np.sqrt(1 - cos_theta**2)
    phi = np.arctan2(axis[:, 1], axis[:, 0])
    energy, x, y, z = momentum.T
    x, z = cos_theta * x + sin_theta * z, cos_theta * z - sin_theta * x
    return np.stack([energy, np.cos(phi) * x - np.sin(phi) * y, np.sin(phi) * x + np.cos(phi) * y, z], axis=-1)
