"""Four-momenta in whatever coordinates they come, as pT, η, φ and energy or mass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from panoptag_pyg.convert.numbers import UnfitError

#: Masses in GeV of the particles that live long enough to meet a detector. Source: Review of Particle Physics.
_MASSES = {
    11: 0.000511, 12: 0.0, 13: 0.105658, 14: 0.0, 16: 0.0, 22: 0.0, 130: 0.497611, 211: 0.139570, 310: 0.497611,
    311: 0.497611, 321: 0.493677, 2112: 0.939565, 2212: 0.938272, 3112: 1.197449, 3122: 1.115683, 3222: 1.18937,
    3312: 1.32171, 3322: 1.31486, 3334: 1.67245,
}  # fmt: skip
#: |η| where a particle without transverse momentum is put; tan(θ/2) = e^−η is then 10⁻⁹.
_ALONG_THE_BEAM = 20.0


def pdg_masses(pdg: np.ndarray) -> np.ndarray:
    """Masses in GeV of particles by their PDG number.

    Shapes: [N] integers → [N].

    Raises:
        UnfitError: a number whose mass isn't known here.
    """
    result = np.full(len(pdg), np.nan)
    for number, mass in _MASSES.items():
        result[np.abs(pdg) == number] = mass
    unknown = np.flatnonzero(np.isnan(result))
    if len(unknown):
        raise UnfitError(f"is {pdg[unknown[0]]}, whose mass isn't known here; give pfo.energy or pfo.mass")
    return result


def four_momenta(columns: Mapping[str, np.ndarray], keep: str) -> dict[str, np.ndarray]:
    """``columns`` with ``pt``, ``eta``, ``phi`` and ``keep``, whichever complete set of coordinates they have.

    Args:
        columns: ``pt`` and ``phi``, or ``px`` and ``py``; ``eta``, ``pz`` or ``rapidity``; ``energy`` or ``mass``. What
            else there is stays.
        keep: ``"energy"`` or ``"mass"``: which of them is wanted.

    Shapes: all [N]; float64 inside.
    """
    found = dict(columns)
    with np.errstate(all="ignore"):  # NaN and infinity are looked at when the events are validated
        if "px" in found:
            px, py = found.pop("px").astype(np.float64), found.pop("py").astype(np.float64)
            found["pt"], found["phi"] = np.hypot(px, py), np.arctan2(py, px)
        pt = found["pt"].astype(np.float64)
        energy: Any = found.pop("energy", None)
        mass: Any = found.pop("mass", None)
        if "eta" in found:
            pz = None
        elif "pz" in found:
            pz = found.pop("pz").astype(np.float64)
        elif energy is not None:
            pz = energy * np.tanh(found.pop("rapidity").astype(np.float64))
        else:
            pz = np.hypot(pt, mass) * np.sinh(found.pop("rapidity").astype(np.float64))
        if pz is not None:
            found["eta"] = np.where(pt > 0, np.arcsinh(pz / pt), np.sign(pz) * _ALONG_THE_BEAM)
            # Without transverse momentum pT and η don't know the momentum.
            momentum = np.hypot(pt, pz)
        else:
            momentum = pt * np.cosh(found["eta"].astype(np.float64))
        if keep == "energy":
            found["energy"] = np.hypot(momentum, mass) if energy is None else energy
        elif mass is not None:
            found["mass"] = mass
        else:
            found["mass"] = np.sqrt(np.maximum((energy - momentum) * (energy + momentum), 0))
    return found
