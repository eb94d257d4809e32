"""The detector card's numbers, looked up row by row, apart from the simulation's own look-up, which this checks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from panoptag_pyg.simulation.detector_card import (
    CalorimeterCard,
    DetectorCard,
    EtaPtTable,
    MomentumResolution,
)
from panoptag_pyg.simulation.tracking import track_species

SPECIES = ("hadron", "electron", "muon")


def eta_bins(upper: tuple[float, ...], eta: np.ndarray, last_is_open: bool = False) -> Iterator[tuple[int, np.ndarray]]:
    """Number and members of each bin in |η|; upper edges belong to their bin. [N] → masks [N]."""
    size = np.abs(eta)
    for number, edge in enumerate(upper):
        inside = (size <= edge) | (last_is_open and number == len(upper) - 1)
        if number > 0:
            inside &= size > upper[number - 1]
        yield number, inside


def table_value(table: EtaPtTable, eta: np.ndarray, pt: np.ndarray) -> np.ndarray:
    """A table's value for each particle, 0 outside. [N] → [N]."""
    result = np.zeros(len(pt))
    for row, inside in eta_bins(table.abs_eta_up_to, eta):
        for low, value in zip(table.pt_above, table.values[row], strict=True):
            result[inside & (pt > low)] = value  # later columns overwrite: the highest edge below pT wins
    return result


def efficiency(card: DetectorCard, pdg: np.ndarray, eta: np.ndarray, pt: np.ndarray) -> np.ndarray:
    """Probability of each charged particle to be found, from η at the calorimeter and true pT. [N] → [N]."""
    species = track_species(pdg)
    values = [table_value(getattr(card.tracking.efficiency, name), eta, pt) for name in SPECIES]
    return np.choose(species, values)


def relative_error(card: DetectorCard, pdg: np.ndarray, eta: np.ndarray, pt: np.ndarray) -> np.ndarray:
    """σ(pT)/pT of each charged particle. [N] → [N]."""
    species = track_species(pdg)
    values = [resolution_value(getattr(card.tracking.resolution, name), eta, pt) for name in SPECIES]
    return np.minimum(np.choose(species, values), card.tracking.max_relative_error)


def resolution_value(resolution: MomentumResolution, eta: np.ndarray, pt: np.ndarray) -> np.ndarray:
    """sqrt(constant² + (linear·pT)²), the last bin open. [N] → [N]."""
    result = np.zeros(len(pt))
    for row, inside in eta_bins(resolution.abs_eta_up_to, eta, last_is_open=True):
        size = resolution.constant[row] ** 2 + (resolution.linear[row] * pt[inside]) ** 2
        result[inside] = size**0.5
    return result


def energy_error(card: CalorimeterCard, centre: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """σ(E) of towers whose cells' centres are at ``centre`` in η; 0 beyond the last range. [T] → [T]."""
    result = np.zeros(len(energy))
    for row, inside in eta_bins(tuple(entry.abs_eta_up_to for entry in card.resolution), centre):
        entry, e = card.resolution[row], energy[inside]
        scale = sum(c * np.abs(centre[inside]) ** power for power, c in enumerate(entry.eta_polynomial))
        square = entry.constant**2 * e**2 + entry.stochastic**2 * e + entry.noise**2
        result[inside] = np.abs(scale) * np.sqrt(square)
    return result


def log_normal_deviate(measured: np.ndarray, true: np.ndarray, relative: np.ndarray) -> np.ndarray:
    """Standard normal deviate of a log-normal draw whose mean is kept: (ln(x/μ) + v/2)/√v, v = ln(1 + (σ/μ)²).

    Args:
        measured, true: x and μ [N].
        relative: σ/μ [N].
    """
    variance = np.log1p(relative**2)
    return (np.log(measured / true) + variance / 2) / np.sqrt(variance)
