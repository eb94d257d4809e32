"""Calorimeter towers and the energy flow: what the calorimeter sees beyond the tracks becomes neutral particles.

The algorithm is that of DELPHES's SimpleCalorimeter (arXiv:1307.6346, section 3), on all towers of many events at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import Polynomial

from panoptag_pyg.simulation.detector_card import CalorimeterCard, EnergyFractions
from panoptag_pyg.simulation.random import log_normal

#: Species below this are looked up in a table; its last entry stands for all others.
_COMMON_NUMBERS = 10_000


@dataclass
class Towers:
    """The T towers that were hit.

    Attributes:
        of_particle: tower of each particle [N], −1 where it leaves none.
        event: event of each tower [T].
        eta_bin, phi_bin: cell of each tower [T].
    """

    of_particle: np.ndarray
    event: np.ndarray
    eta_bin: np.ndarray
    phi_bin: np.ndarray


@dataclass
class EnergyFlow:
    """What one calorimeter makes of an event.

    Attributes:
        event, eta, phi, energy: the neutral particles that it found [M].
        tower: their tower [M].
        track_scale: factor on every track's momentum [K].
        tower_energy: measured energy of each tower after thresholds [T].
    """

    event: np.ndarray
    eta: np.ndarray
    phi: np.ndarray
    energy: np.ndarray
    tower: np.ndarray
    track_scale: np.ndarray
    tower_energy: np.ndarray


def energy_fraction(card: EnergyFractions, calorimeter: str, pdg: np.ndarray) -> np.ndarray:
    """Share of each particle's energy that ``calorimeter`` (``"ecal"`` or ``"hcal"``) sees. [N] → [N]."""
    number = np.abs(pdg)
    table = np.full(_COMMON_NUMBERS, getattr(card.default, calorimeter))
    rare = []
    for entry in card.species:
        for species in entry.pdg:
            if species < _COMMON_NUMBERS - 1:
                table[species] = getattr(entry, calorimeter)
            else:
                rare.append((species, getattr(entry, calorimeter)))
    shares = table[np.minimum(number, _COMMON_NUMBERS - 1)]
    for species, share in rare:
        shares[number == species] = share
    return shares


class Calorimeter:
    """One calorimeter of cells in (η, φ).

    Args:
        card: its numbers.
    """

    def __init__(self, card: CalorimeterCard) -> None:
        self.card = card
        edges = np.concatenate([region.edges[:-1] for region in card.cells] + [card.cells[-1].edges[-1:]])
        num_phi = np.repeat([r.num_phi for r in card.cells], [len(r.edges) - 1 for r in card.cells])
        self.eta_edges = np.concatenate([-edges[:0:-1], edges])
        self.num_phi = np.concatenate([num_phi[::-1], num_phi])
        self.first_cell = np.concatenate([[0], np.cumsum(self.num_phi)])
        self.eta_centre = (self.eta_edges[1:] + self.eta_edges[:-1]) / 2
        self._resolution = self._resolution_by_eta_bin()

    def _resolution_by_eta_bin(self) -> np.ndarray:
        """Rows constant², stochastic², noise² for each eta bin; 0 beyond the last range. [3, bins]."""
        centre = np.abs(self.eta_centre)
        result = np.zeros((3, len(centre)))
        below = np.zeros(len(centre), dtype=bool)
        for entry in self.card.resolution:
            rows = (centre <= entry.abs_eta_up_to) & ~below
            scale = Polynomial(entry.eta_polynomial)(centre[rows]) ** 2
            result[:, rows] = np.outer([entry.constant**2, entry.stochastic**2, entry.noise**2], scale)
            below |= rows
        return result

    def sigma(self, energy: np.ndarray, eta_bin: np.ndarray) -> np.ndarray:
        """σ(E) at the centre of the eta bin, GeV. [T] → [T]."""
        constant, stochastic, noise = self._resolution[:, eta_bin]
        return np.sqrt(constant * energy**2 + stochastic * energy + noise)

    def towers(self, event: np.ndarray, eta: np.ndarray, phi: np.ndarray, hit: np.ndarray) -> Towers:
        """Sort particles into towers.

        Args:
            event: event of each particle [N].
            eta, phi: where it meets the calorimeter [N].
            hit: whether it leaves energy here [N].
        """
        eta_bin = np.searchsorted(self.eta_edges, eta, side="right") - 1
        rows = np.flatnonzero(hit & (eta_bin >= 0) & (eta_bin < len(self.num_phi)))
        eta_bin = eta_bin[rows]
        num_phi = self.num_phi[eta_bin]
        phi_bin = ((phi[rows] / (2 * np.pi) + 0.5) * num_phi).astype(np.int64)
        phi_bin = np.minimum(np.maximum(phi_bin, 0), num_phi - 1)
        num_cells = int(self.first_cell[-1])
        key = event[rows] * num_cells + self.first_cell[eta_bin] + phi_bin

        # Key and row are sorted as one number: faster than a stable argsort, and with the same result everywhere.
        count = max(len(rows), 1)
        packed = np.sort(key * count + np.arange(len(rows)))
        order = packed % count
        sorted_key = packed // count
        is_first = np.empty(len(rows), dtype=bool)
        is_first[:1] = True
        np.not_equal(sorted_key[1:], sorted_key[:-1], out=is_first[1:])
        of_particle = np.full(len(event), -1)
        of_particle[rows[order]] = np.cumsum(is_first) - 1
        first = order[is_first]
        return Towers(of_particle, event[rows[first]], eta_bin[first], phi_bin[first])

    def flow(
        self,
        rng: np.random.Generator,
        towers: Towers,
        energy: np.ndarray,
        track_tower: np.ndarray,
        track_energy: np.ndarray,
        track_sigma: np.ndarray,
    ) -> EnergyFlow:
        """Measure the towers, and compare them with the tracks that point at them.

        A tower of true energy E₀ is measured as E, log-normal with σ(E₀), and is put to 0 below the thresholds. With
        E_trk the tracks' energy, the rest N = max(E − E_trk, 0) becomes a neutral particle if it is above the minimal
        energy and significance N/sqrt(σ_trk² + σ²); otherwise the tracks are scaled to the inverse-variance mean of
        E_trk and E.

        Args:
            rng: source of random numbers.
            towers: T towers hit by N particles.
            energy: energy that each particle leaves here [N].
            track_tower: tower of each track, −1 for tracks that pass untouched [K].
            track_energy: energy that each track's particle should leave here, from the measured momentum [K].
            track_sigma: uncertainty of the track's energy [K].
        """
        card = self.card
        num_towers = len(towers.event)
        hit = np.flatnonzero(towers.of_particle >= 0)
        true_energy = np.bincount(towers.of_particle[hit], energy[hit], num_towers)
        measured = log_normal(rng, true_energy, self.sigma(true_energy, towers.eta_bin))
        sigma = self.sigma(measured, towers.eta_bin)
        measured[(measured < card.min_energy) | (measured < card.min_significance * sigma)] = 0.0

        on_tower = np.flatnonzero(track_tower >= 0)
        of_track = track_tower[on_tower]
        sum_tracks = np.bincount(of_track, track_energy[on_tower], num_towers)
        variance_tracks = np.bincount(of_track, track_sigma[on_tower] ** 2, num_towers)
        excess = np.maximum(measured - sum_tracks, 0.0)
        significant = excess > card.min_significance * np.sqrt(variance_tracks + sigma**2)
        neutral = np.flatnonzero((excess > card.min_energy) & significant)

        with np.errstate(divide="ignore", invalid="ignore"):
            track_weight = 1 / variance_tracks
            tower_weight = np.where(sigma > 0, 1 / sigma**2, 0.0)
            best = (track_weight * sum_tracks + tower_weight * measured) / (track_weight + tower_weight)
            scale = best / sum_tracks
        # Perfect tracks (σ = 0) keep their energy, and so do the tracks of a tower that has found a neutral particle.
        scale[(sum_tracks <= 0) | (variance_tracks <= 0)] = 1.0
        scale[neutral] = 1.0
        track_scale = np.ones(len(track_tower))
        track_scale[on_tower] = scale[of_track]

        eta_bin, phi_bin = towers.eta_bin[neutral], towers.phi_bin[neutral]
        place = rng.random((2, len(neutral)))
        low, high = self.eta_edges[eta_bin], self.eta_edges[eta_bin + 1]
        return EnergyFlow(
            event=towers.event[neutral],
            eta=low + place[0] * (high - low),
            phi=((phi_bin + place[1]) / self.num_phi[eta_bin] - 0.5) * 2 * np.pi,
            energy=excess[neutral],
            tower=neutral,
            track_scale=track_scale,
            tower_energy=measured,
        )
