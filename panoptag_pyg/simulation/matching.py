"""Pairs of near objects in (η, φ), event by event."""

from __future__ import annotations

import numpy as np

from panoptag_pyg.simulation.propagation import wrap_angle


def pairs_within(
    offsets: np.ndarray,
    eta: np.ndarray,
    phi: np.ndarray,
    other_offsets: np.ndarray,
    other_eta: np.ndarray,
    other_phi: np.ndarray,
    max_delta_r: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs of the same event with ΔR = sqrt(Δη² + Δφ²) ≤ ``max_delta_r``, Δφ wrapped.

    Args:
        offsets: first of the one kind in each event [B + 1].
        eta, phi: of the one kind [N].
        other_offsets, other_eta, other_phi: of the other kind [B + 1], [M], [M].
        max_delta_r: largest distance.

    Returns:
        Row of the one and of the other kind, and ΔR, of each pair.
    """
    num_others = np.repeat(np.diff(other_offsets), np.diff(offsets))
    one = np.repeat(np.arange(len(eta)), num_others)
    begin = np.repeat(other_offsets[:-1], np.diff(offsets))
    first_pair = np.concatenate([[0], np.cumsum(num_others)])[:-1]
    other = np.arange(len(one)) + np.repeat(begin - first_pair, num_others)
    distance = np.hypot(eta[one] - other_eta[other], wrap_angle(phi[one] - other_phi[other]))
    near = distance <= max_delta_r
    return one[near], other[near], distance[near]
