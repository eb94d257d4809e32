"""Particle-flow objects of a DELPHES file: one table, whichever branches and version they come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from panoptag_pyg.convert.delphes_layout import Collection, Layout
from panoptag_pyg.convert.root import UNIQUE_ID, Step
from panoptag_pyg.events.block import lengths_to_offsets, ragged_arange
from panoptag_pyg.events.schema import ParticleClass
from panoptag_pyg.simulation.propagation import wrap_angle

#: Masses in GeV by |PDG number|, for versions without; others have the pion's. Source: Review of Particle Physics.
_MASSES = {
    **{11: 0.000511, 13: 0.105658, 15: 1.77693, 321: 0.493677, 2212: 0.938272},
    **{3222: 1.18937, 3112: 1.197449, 3312: 1.32171, 3334: 1.67245, 411: 1.86966, 431: 1.96835, 521: 5.27941},
}
_PION_MASS = 0.139570


@dataclass
class FoundPFOs:
    """PFOs of B events, in each event by falling pT.

    Attributes:
        columns: those of the file that the detector knows, name → float64 [P].
        offsets: first PFO of each event, int64 [B + 1].
        cot_theta: pz/pT, for moving impact parameters [P].
        eta_outer: η of a track's point on the calorimeter [P].
        unique_id: number of the object within its event, −1 where unknown [P].
        reference_offsets: first reference of each PFO, int64 [P + 1].
        references: numbers of the generator's particles behind the PFOs.
        dropped: why and how many were left out.
    """

    columns: dict[str, np.ndarray]
    offsets: np.ndarray
    cot_theta: np.ndarray
    eta_outer: np.ndarray
    unique_id: np.ndarray
    reference_offsets: np.ndarray
    references: np.ndarray
    dropped: Counter[str]

    @property
    def event(self) -> np.ndarray:
        """Event of each PFO, int64 [P]."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


def read_pfos(step: Step, layout: Layout, eta_from_cot_theta: bool = False) -> FoundPFOs:
    """The PFOs of some entries.

    Those without momentum (PT = 0: some cards' smearing leaves such tracks) and those with a value that isn't finite
    are dropped and counted.

    Args:
        step: entries of the tree, with the layout's branches.
        layout: which branches hold what.
        eta_from_cot_theta: take a track's η from CtgTheta, where ``Eta`` is that of its point on the calorimeter.
    """
    tables = [_read(step, collection, eta_from_cot_theta) for collection in layout.pfos]
    names = [name for name in tables[0] if name not in ("reference_offsets", "references")]
    joined = {name: np.concatenate([table[name] for table in tables]) for name in names}
    lengths = np.concatenate([np.diff(table["reference_offsets"]) for table in tables])
    references = np.concatenate([table["references"] for table in tables])
    event = joined.pop("event")

    dropped: Counter[str] = Counter()
    numbers = [values for values in joined.values() if values.dtype.kind == "f"]
    with np.errstate(over="ignore", invalid="ignore"):
        # Written in single precision, of which an |η| of 999.9 leaves nothing.
        finite = np.all([np.isfinite(values.astype(np.float32)) for values in numbers], axis=0)
    moving = joined["pt"] > 0
    physical = finite & moving & (joined["energy"] > 0)
    dropped["without momentum (PT = 0)"] = int((~moving & ~np.isnan(joined["pt"])).sum())
    dropped["with a value that isn't finite"] = int((~finite & (moving | np.isnan(joined["pt"]))).sum())
    dropped["with no or negative energy"] = int((finite & moving & ~physical).sum())
    # The first of equals stays the first.
    order = np.lexsort((-joined["pt"], event))
    order = order[physical[order]]
    starts = lengths_to_offsets(lengths)[:-1]
    take = ragged_arange(starts[order], lengths[order])
    columns = {name: values[order] for name, values in joined.items()}
    return FoundPFOs(
        offsets=lengths_to_offsets(np.bincount(event[order], minlength=step.num_entries)),
        cot_theta=columns.pop("cot_theta"),
        eta_outer=columns.pop("eta_outer"),
        unique_id=columns.pop("unique_id"),
        reference_offsets=lengths_to_offsets(lengths[order]),
        references=references[take],
        columns=columns,
        dropped=+dropped,
    )


def _read(step: Step, collection: Collection, eta_from_cot_theta: bool) -> dict[str, np.ndarray]:
    """One collection's table, all PFOs of all entries."""
    offsets = step.jagged(collection.columns["eta"])[1]
    count = int(offsets[-1])
    event = np.repeat(np.arange(step.num_entries), np.diff(offsets))

    def column(name: str, default: float = 0.0) -> np.ndarray:
        if name not in collection.columns:
            return np.full(count, default)
        return step.jagged(collection.columns[name])[0].astype(np.float64)

    unique_id = np.full(count, -1, dtype=np.int64)
    if "unique_id" in collection.columns:
        unique_id = step.jagged(collection.columns["unique_id"])[0].astype(np.int64) & UNIQUE_ID
    eta, phi = column("eta"), column("phi")
    if collection.kind == "towers":
        table = {
            "pt": column("et"),
            "energy": column("energy"),
            "charge": np.zeros(count),
            "particle_class": _tower_class(
                collection.name, column("ecal"), column("hcal"), "ecal" in collection.columns
            ),
        }
        track = np.zeros(count, dtype=bool)
    else:
        table = _tracks(collection, column, eta, eta_from_cot_theta)
        track = table["charge"] != 0
        eta = table.pop("eta")
    for name in ("d0", "dz", "d0_error", "dz_error"):
        table[name] = np.where(track, column(name), 0.0)
        if name.endswith("_error"):
            table[name] = np.maximum(table[name], 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        cot_theta = np.sinh(eta)
    reference_offsets, references = _references(step, collection, count)
    return {
        "event": event,
        **table,
        "eta": eta,
        "phi": wrap_angle(phi),
        "cot_theta": np.where(np.isfinite(cot_theta), cot_theta, 0.0),
        "eta_outer": column("eta_outer") if "eta_outer" in collection.columns else eta,
        "unique_id": unique_id,
        "reference_offsets": reference_offsets,
        "references": references,
    }


def _tracks(
    collection: Collection, column: Callable[..., np.ndarray], eta: np.ndarray, eta_from_cot_theta: bool
) -> dict[str, np.ndarray]:
    """Kinematics and class of tracks and of candidates, neutral ones too."""
    pt, charge, pid = column("pt"), column("charge"), column("pid", 211.0)
    charged = charge != 0
    if eta_from_cot_theta:
        eta = np.where(charged, np.arcsinh(column("cot_theta")), eta)
    if "energy" in collection.columns:
        energy = column("energy")
    else:
        mass = column("mass") if "mass" in collection.columns else np.where(charged, _mass(pid), 0.0)
        with np.errstate(over="ignore", invalid="ignore"):
            energy = np.hypot(pt * np.cosh(eta), np.maximum(mass, 0.0))
    number = np.abs(pid)
    kind = np.where(number == 11, ParticleClass.ELECTRON, ParticleClass.CHARGED_HADRON)
    kind = np.where(number == 13, ParticleClass.MUON, kind)
    if "pid" in collection.columns:
        neutral = np.where(number == 22, ParticleClass.PHOTON, ParticleClass.NEUTRAL_HADRON)
    else:
        neutral = _tower_class(collection.name, column("ecal"), column("hcal"), "ecal" in collection.columns)
    return {
        "pt": pt,
        "energy": energy,
        # A multiply charged nucleus is a track as any other.
        "charge": np.sign(charge),
        "particle_class": np.where(charged, kind, neutral),
        "eta": eta,
    }


def _tower_class(name: str, ecal: np.ndarray, hcal: np.ndarray, known: bool) -> np.ndarray:
    if "Photon" in name or "Neutral" in name or not known:
        return np.full(len(ecal), ParticleClass.PHOTON if "Photon" in name else ParticleClass.NEUTRAL_HADRON)
    return np.where(ecal > hcal, ParticleClass.PHOTON, ParticleClass.NEUTRAL_HADRON)


def _mass(pid: np.ndarray) -> np.ndarray:
    mass = np.full(len(pid), _PION_MASS)
    for number, value in _MASSES.items():
        mass[np.abs(pid) == number] = value
    return mass


def _references(step: Step, collection: Collection, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the particles behind each object: TRef, TRefArray, or plain numbers in files that were copied."""
    if "particle" in collection.columns:
        return np.arange(count + 1), step.references(collection.columns["particle"])[1]
    if "particles" in collection.columns:
        return step.references(collection.columns["particles"])
    return np.zeros(count + 1, dtype=np.int64), np.zeros(0, dtype=np.int64)


def all_unique_ids(step: Step, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Event and number of every PFO, of those without momentum too."""
    events, numbers = [], []
    for collection in layout.pfos:
        if "unique_id" in collection.columns:
            values, offsets = step.jagged(collection.columns["unique_id"])
            events.append(np.repeat(np.arange(step.num_entries), np.diff(offsets)))
            numbers.append(values.astype(np.int64) & UNIQUE_ID)
    none = np.zeros(0, dtype=np.int64)
    return np.concatenate([none, *events]), np.concatenate([none, *numbers])
