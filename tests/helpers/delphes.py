"""DELPHES-like files made from our own simulated events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot

from panoptag_pyg.events.schema import ParticleClass
from panoptag_pyg.simulation.particles import GeneratedEvents
from panoptag_pyg.simulation.pipeline import SimulatedBlock

#: PDG numbers that stand for a track's class.
_PID = {ParticleClass.ELECTRON: 11, ParticleClass.MUON: 13, ParticleClass.CHARGED_HADRON: 211}


def write_delphes(path: Path, columns: Mapping[str, Any], tree: str = "Delphes") -> Path:
    """Write columns, such as ``"EFlowTrack.PT"`` → (values, offsets) or lists, as a tree of jagged branches."""
    arrays = {}
    for name, column in columns.items():
        if isinstance(column, tuple):
            values, offsets = column
            column = ak.Array(ak.contents.ListOffsetArray(ak.index.Index64(offsets), ak.contents.NumpyArray(values)))
        arrays[name] = column
    with uproot.recreate(path) as file:
        out = file.mktree(tree, {name: array.type.content for name, array in arrays.items()})
        out.extend(arrays)
    return path


def delphes_columns(simulated: SimulatedBlock) -> dict[str, Any]:
    """What DELPHES would write of these events: energy-flow branches, Particle and Event; every track names its
    particle by a plain number, since uproot can't write ROOT's references."""
    pfo, offsets = simulated.pfos.columns, simulated.pfos.offsets
    event = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    energy, pt = pfo["energy"].astype(np.float64), pfo["pt"].astype(np.float64)
    mass = np.sqrt(np.maximum(energy**2 - (pt * np.cosh(pfo["eta"].astype(np.float64))) ** 2, 0))
    kind = pfo["particle_class"]
    sign = np.where(np.isin(kind, (ParticleClass.ELECTRON, ParticleClass.MUON)), -1, 1) * np.sign(pfo["charge"])
    pid = sign * np.vectorize(lambda k: _PID.get(k, 0))(kind)
    tracks = pfo["charge"] != 0
    columns: dict[str, Any] = {}

    def put(branch: str, rows: np.ndarray, **values: np.ndarray) -> None:
        of_event = np.concatenate([[0], np.cumsum(np.bincount(event[rows], minlength=len(offsets) - 1))])
        for name, column in values.items():
            columns[f"{branch}.{name}"] = (np.ascontiguousarray(column[rows]), of_event)

    f4 = np.float32
    put(
        "EFlowTrack",
        np.flatnonzero(tracks),
        **{
            name: pfo[ours] for name, ours in (("PT", "pt"), ("Eta", "eta"), ("Phi", "phi"), ("D0", "d0"), ("DZ", "dz"))
        },
        **{"ErrorD0": pfo["d0_error"], "ErrorDZ": pfo["dz_error"], "Mass": mass.astype(f4)},
        **{"CtgTheta": np.sinh(pfo["eta"].astype(np.float64)).astype(f4), "PID": pid.astype(np.int32)},
        Charge=pfo["charge"].astype(np.int32),
    )
    for branch, wanted in (
        ("EFlowPhoton", ParticleClass.PHOTON),
        ("EFlowNeutralHadron", ParticleClass.NEUTRAL_HADRON),
    ):
        put(branch, np.flatnonzero(kind == wanted), ET=pfo["pt"], Eta=pfo["eta"], Phi=pfo["phi"], E=pfo["energy"])
    columns |= particle_columns(simulated.events)
    columns["Event.Weight"] = (simulated.block.event["weight"], np.arange(len(offsets)))
    return columns


def particle_columns(events: GeneratedEvents) -> dict[str, Any]:
    """The branch Particle, as DELPHES fills it from PYTHIA: no system entry, indices from 0, HepMC's status codes."""
    keep = np.ones(len(events.pdg), dtype=bool)
    keep[events.offsets[:-1]] = False
    offsets = events.offsets - np.arange(len(events.offsets))
    columns: dict[str, Any] = {
        "PID": events.pdg.astype(np.int32),
        "Status": _hepmc_status(events).astype(np.int32),
        "M1": (events.mother - 1).astype(np.int32),
        "IsPU": np.zeros(len(events.pdg), np.int32),
        "fUniqueID": (np.arange(len(events.pdg)) + 0x01000000).astype(np.uint32),
    }
    for name, values in {
        **{"Px": events.px, "Py": events.py, "Pz": events.pz, "E": events.e, "Mass": events.mass},
        **{"X": events.x, "Y": events.y, "Z": events.z},
    }.items():
        columns[name] = values.astype(np.float32)
    return {f"Particle.{name}": (np.ascontiguousarray(values[keep]), offsets) for name, values in columns.items()}


def _hepmc_status(events: GeneratedEvents) -> np.ndarray:
    """PYTHIA's ``Particle::statusHepMC``, by a loop over the entries."""
    status = []
    for first, stop in zip(events.offsets, events.offsets[1:], strict=False):
        of_event = events.status[first:stop]
        pdg = events.pdg[first:stop]
        daughter = np.zeros(stop - first, dtype=np.int64)
        for row in range(stop - first - 1, 0, -1):  # the first daughter is set last
            daughter[events.mother[first + row]] = row
        for row, code in enumerate(of_event):
            number = abs(int(pdg[row]))
            hadron = number > 100 and number // 10 % 10 > 0 and number // 100 % 10 > 0
            if code > 0:
                status.append(1)
            elif code == -12:
                status.append(4)
            elif (hadron or number in (13, 15)) and 90 < abs(of_event[daughter[row]]) < 95:
                status.append(2)
            else:
                status.append(-int(code))
    return np.array(status)
