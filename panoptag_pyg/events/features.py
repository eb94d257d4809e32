"""What a network sees of an event: 14 numbers per PFO, 4 per jet, from the physical columns of a file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.events.schema import ParticleClass

#: The PFO features, in order. pT and E in GeV, impact parameters and their errors in mm.
PFO_FEATURES = (
    "eta",
    "phi",
    "log_pt",
    "log_energy",
    "charge",
    *(f"is_{particle.name.lower()}" for particle in ParticleClass),
    "d0",
    "dz",
    "d0_error",
    "dz_error",
)
#: The jet features, in order. pT and mass in GeV.
JET_FEATURES = ("pt", "eta", "phi", "mass")
#: The features of a jet's constituents, for taggers that see one jet at a time.
CONSTITUENT_FEATURES = ("delta_eta", "delta_phi", *PFO_FEATURES[2:])

#: pT and E below this (GeV) have the logarithm of this: far below any detector's threshold, so that 0 stays finite.
MIN_ENERGY = 1e-3


def wrap_phi(phi: np.ndarray) -> np.ndarray:
    """Bring an azimuth or a difference of azimuths into [−π, π), in float64; values inside stay as they are."""
    phi = np.asarray(phi, dtype=np.float64)
    outside = (phi < -np.pi) | (phi >= np.pi)
    if not outside.any():
        return phi
    return np.where(outside, np.mod(phi + np.pi, 2 * np.pi) - np.pi, phi)


def pfo_features(pfo: Mapping[str, np.ndarray]) -> np.ndarray:
    """The 14 features of each PFO, finite for every legal value.

    η, φ ∈ [−π, π), ln pT, ln E, charge, five one-hot flags, d0, dz, σ(d0), σ(dz).

    Args:
        pfo: the columns of :data:`panoptag_pyg.events.schema.COLUMNS`' group ``pfo``, each [P].

    Shapes:
        returns float32 [P, 14], columns as in :data:`PFO_FEATURES`.

    Source: arXiv 2601.16417, section on inputs.
    """
    features = np.empty((len(pfo["pt"]), len(PFO_FEATURES)), dtype=np.float32)
    features[:, 0] = pfo["eta"]
    features[:, 1] = _phi_float32(pfo["phi"])
    features[:, 2] = np.log(np.maximum(pfo["pt"], MIN_ENERGY))
    features[:, 3] = np.log(np.maximum(pfo["energy"], MIN_ENERGY))
    features[:, 4] = pfo["charge"]
    features[:, 5:10] = pfo["particle_class"][:, None] == np.arange(len(ParticleClass))
    for column, name in enumerate(PFO_FEATURES[10:], start=10):
        features[:, column] = pfo[name]
    return features


def jet_features(jet: Mapping[str, np.ndarray]) -> np.ndarray:
    """The 4 query features of each jet: pT (GeV), η, φ ∈ [−π, π), mass (GeV).

    Shapes:
        returns float32 [J, 4], columns as in :data:`JET_FEATURES`.

    Source: arXiv 2601.16417, section on inputs.
    """
    features = np.stack([np.asarray(jet[name], dtype=np.float32) for name in JET_FEATURES], axis=1)
    features[:, 2] = _phi_float32(jet["phi"])
    return features


def constituent_features(block: EventBlock) -> np.ndarray:
    """The 14 features of each jet constituent, with (Δη, Δφ) to its jet's axis in place of (η, φ).

    Rows follow ``block.constituents``: those of jet j are ``constituent_offsets[j]`` to ``constituent_offsets[j + 1]``.

    Shapes:
        returns float32 [number of constituents, 14], columns as in :data:`CONSTITUENT_FEATURES`.
    """
    rows, jets = block.constituent_pfo, block.constituent_jet
    features = pfo_features({name: values[rows] for name, values in block.pfo.items()})
    features[:, 0] = block.pfo["eta"][rows] - block.jet["eta"][jets]
    features[:, 1] = wrap_phi(block.pfo["phi"][rows].astype(np.float64) - block.jet["phi"][jets])
    return features


def _phi_float32(phi: np.ndarray) -> np.ndarray:
    # float32(−π) lies below −π and float32(π) above π; both are the same direction and stay inside [−π, π] as float32.
    return wrap_phi(phi).astype(np.float32)
