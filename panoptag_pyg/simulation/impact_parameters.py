"""Measurement of the impact parameters of tracks."""

from __future__ import annotations

import numpy as np

from panoptag_pyg.simulation.detector_card import ImpactParameters


def smear_impact_parameters(
    rng: np.random.Generator, card: ImpactParameters, d0: np.ndarray, dz: np.ndarray, eta: np.ndarray, pt: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Measured d0 and dz and their errors: Gaussian, independent, with the card's σ(|η|, pT).

    Args:
        rng: source of random numbers.
        card: tables of σ in mm.
        d0, dz: true values in mm [N].
        eta: of the point on the surface [N].
        pt: true pT in GeV [N].

    Returns:
        d0, dz, σ(d0), σ(dz), each [N] in mm.
    """
    d0_error, dz_error = card.d0(eta, pt), card.dz(eta, pt)
    noise = rng.standard_normal((2, len(d0)))
    return d0 + noise[0] * d0_error, dz + noise[1] * dz_error, d0_error, dz_error
