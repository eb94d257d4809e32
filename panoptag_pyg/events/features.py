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
#: Units of the features; those that aren't here have none.
FEATURE_UNITS = {
    **{"phi": "rad", "log_pt": "ln(GeV)", "log_energy": "ln(GeV)", "charge": "e", "pt": "GeV", "mass": "GeV"},
    **dict.fromkeys(("d0", "dz", "d0_error", "dz_error"), "mm"),
}
#: The features of a jet's constituents, for taggers that see one jet at a time.
CONSTITUENT_FEATURES = ("delta_eta", "delta_phi", *PFO_FEATURES[2:])

#: The columns that they are made of.
PFO_COLUMNS = ("pt", "eta", "phi", "energy", "charge", "particle_class", "d0", "dz", "d0_error", "dz_error")
#: PFOs whose features are computed at a time: their rows stay in the processor's cache.
_PIECE = 32768
#: pT and E below this (GeV) have the logarithm of this: far below any detector's threshold, so that 0 stays finite.
MIN_ENERGY = 1e-3
_PI = np.float32(np.pi)


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
    rows = np.empty((len(PFO_FEATURES), min(len(features), _PIECE)), dtype=np.float32)
    for start in range(0, len(features), _PIECE):
        piece = slice(start, start + _PIECE)
        # Feature by feature first: writing every fourteenth number takes twice as long as this and one transposition.
        count = len(features[piece])
        _fill_rows(rows[:, :count], {name: pfo[name][piece] for name in PFO_COLUMNS})
        features[piece] = rows[:, :count].T
    return features


def _fill_rows(rows: np.ndarray, pfo: Mapping[str, np.ndarray]) -> None:
    """The features of some PFOs, one row per feature, [14, P]."""
    rows[0] = pfo["eta"]
    rows[1] = _phi_float32(pfo["phi"])
    for row, name in ((2, "pt"), (3, "energy")):
        rows[row] = np.log(np.maximum(pfo[name], np.asarray(MIN_ENERGY, dtype=pfo[name].dtype)))
    rows[4] = pfo["charge"]
    for kind in ParticleClass:
        np.equal(pfo["particle_class"], kind, out=rows[5 + kind], casting="unsafe")
    for row, name in enumerate(PFO_FEATURES[10:], start=10):
        rows[row] = pfo[name]


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
    if phi.dtype == np.float32 and len(phi) and phi.min() > -_PI and phi.max() < _PI:
        return phi
    # float32(−π) lies below −π and float32(π) above π; both are the same direction and stay inside [−π, π] as float32.
    return wrap_phi(phi).astype(np.float32)
