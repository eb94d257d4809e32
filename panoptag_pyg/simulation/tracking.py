"""Tracks: which charged particles are found, and how well their momentum is measured."""

from __future__ import annotations

import numpy as np

from panoptag_pyg.simulation.detector_card import TRACK_SPECIES, Tracking
from panoptag_pyg.simulation.random import log_normal

HADRON, ELECTRON, MUON = range(3)


def track_species(pdg: np.ndarray) -> np.ndarray:
    """Code of each charged particle in ``TRACK_SPECIES``: electrons and muons, all others hadrons. [N] → [N]."""
    number = np.abs(pdg)
    return np.where(number == 11, ELECTRON, np.where(number == 13, MUON, HADRON))


def efficiency(card: Tracking, species: np.ndarray, eta: np.ndarray, pt: np.ndarray) -> np.ndarray:
    """Probability to be found.

    Args:
        card: the tables.
        species: which table is each particle's [N].
        eta: of the point on the surface [N].
        pt: true, GeV [N].

    Shapes:
        → [N].
    """
    probability = np.zeros(len(pt))
    for code, name in enumerate(TRACK_SPECIES):
        rows = np.flatnonzero(species == code)
        probability[rows] = getattr(card.efficiency, name)(eta[rows], pt[rows])
    return probability


def relative_error(card: Tracking, species: np.ndarray, eta: np.ndarray, pt: np.ndarray) -> np.ndarray:
    """σ(pT)/pT, at most the card's ``max_relative_error``; arguments as of :func:`efficiency`. [N] → [N]."""
    sigma = np.zeros(len(pt))
    for code, name in enumerate(TRACK_SPECIES):
        rows = np.flatnonzero(species == code)
        sigma[rows] = getattr(card.resolution, name)(eta[rows], pt[rows])
    return np.minimum(sigma, card.max_relative_error)


def smear_pt(rng: np.random.Generator, pt: np.ndarray, relative: np.ndarray) -> np.ndarray:
    """Measured pT: log-normal around the true one, its mean kept; mass, η and φ are left as they are.

    Args:
        rng: source of random numbers.
        pt: true, GeV [N].
        relative: σ(pT)/pT [N].

    Shapes:
        → [N].
    """
    return log_normal(rng, pt, relative * pt)
