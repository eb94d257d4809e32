"""A few events of CMS PFNano as columns of ours: cm become mm, markers of missing tracks 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from panoptag_pyg.convert.nanoaod_branches import JET_COLLECTIONS, Branches
from panoptag_pyg.convert.root import Step
from panoptag_pyg.events.block import EventBlock, lengths_to_offsets
from panoptag_pyg.events.schema import Flavour, ParticleClass, columns
from panoptag_pyg.simulation.matching import pairs_within

_TO_MM = 10.0  # PFNano has cm
#: Particle-flow identity (1 and 2: forward calorimeter, hadronic and electromagnetic) → our class.
_CLASS_OF_PDG = {
    11: ParticleClass.ELECTRON,
    13: ParticleClass.MUON,
    22: ParticleClass.PHOTON,
    2: ParticleClass.PHOTON,
    211: ParticleClass.CHARGED_HADRON,
    130: ParticleClass.NEUTRAL_HADRON,
    1: ParticleClass.NEUTRAL_HADRON,
}


@dataclass
class Counts:
    """What was seen, for the notes.

    Attributes:
        candidates: PFOs written.
        trackless: charged candidates whose track parameters aren't stored.
        in_jets: candidates that are constituents of a stored jet of any collection.
        weightless: candidates left out because their PUPPI weight is 0.
        lost_links: entries of the table that name no stored jet or candidate.
        unlabelled: jets whose flavour isn't known.
        jets: jets written.
    """

    candidates: int = 0
    trackless: int = 0
    in_jets: int = 0
    weightless: int = 0
    lost_links: int = 0
    unlabelled: int = 0
    jets: int = 0


@dataclass(frozen=True)
class Reading:
    """How candidates and jets are taken from a file.

    Attributes:
        puppi: weigh candidates with PUPPI's weights.
        min_pt: jets at or above are kept, GeV.
        max_abs_eta: jets below are kept.
    """

    puppi: bool = False
    min_pt: float = 0.0
    max_abs_eta: float = np.inf


@dataclass
class _Candidates:
    columns: dict[str, np.ndarray]
    offsets: np.ndarray
    place: np.ndarray  # row of each stored candidate, −1 for those left out
    stored: np.ndarray  # offsets of the stored ones


def read_block(step: Step, branches: Branches, reading: Reading, counts: Counts) -> EventBlock:
    """The events of a step, with the file's jets.

    Args:
        step: some entries of the tree.
        branches: what there is.
        reading: how it is taken.
        counts: grows.
    """
    candidates = _candidates(step, branches, reading, counts)
    jet, jet_offsets, kept = _jets(step, branches, reading)
    _count_in_jets(step, branches, candidates, counts)
    if branches.jets in branches.tables:
        lengths, members = _table_constituents(step, branches, candidates, kept, counts)
    else:
        lengths, members = _near_constituents(candidates, jet, jet_offsets, JET_COLLECTIONS[branches.jets][0])
    counts.jets += len(jet["pt"])
    counts.unlabelled += int((jet["flavour"] == Flavour.UNKNOWN).sum())
    return EventBlock(
        event=_events(step, branches),
        pfo=candidates.columns,
        jet=jet,
        pfo_offsets=candidates.offsets,
        jet_offsets=jet_offsets,
        constituent_offsets=lengths_to_offsets(lengths),
        constituents=members.astype(np.int32),
    )


def _events(step: Step, branches: Branches) -> dict[str, np.ndarray]:
    event = {c.name: np.full(step.num_entries, c.default, c.dtype) for c in columns("event")}
    event["id"] = np.arange(step.start, step.stop, dtype=np.int64)
    if "genWeight" in branches:
        event["weight"] = step.flat("genWeight").astype(np.float32)
    if "Pileup_nPU" in branches:
        event["num_interactions"] = (1 + step.flat("Pileup_nPU")).astype(np.int16)
    return event


def _candidates(step: Step, branches: Branches, reading: Reading, counts: Counts) -> _Candidates:
    cand = branches.candidates

    def read(name: str) -> np.ndarray:
        return step.jagged(f"{cand}_{name}")[0]

    pt, stored = step.jagged(f"{cand}_pt")
    pdg = read("pdgId").astype(np.int64)
    magnitude = np.abs(pdg)
    if f"{cand}_charge" in branches:
        charge = np.clip(read("charge"), -1, 1)
    else:  # leptons of positive number are negative
        charge = np.where(np.isin(magnitude, (11, 13)), -np.sign(pdg), np.where(magnitude == 211, np.sign(pdg), 0))
    kind = np.where(charge != 0, ParticleClass.CHARGED_HADRON, ParticleClass.NEUTRAL_HADRON)
    for number, particle in _CLASS_OF_PDG.items():
        kind[magnitude == number] = particle
    pt64 = pt.astype(np.float64)
    eta = read("eta")
    # Rounding to few bits leaves some masses a little below 0.
    energy = np.hypot(pt64 * np.cosh(eta.astype(np.float64)), np.maximum(read("mass"), 0))
    tracks = _tracks(read, branches, charge, len(pt))
    trackless = (charge != 0) & ~tracks.pop("has_track")
    pfo = {
        "pt": pt64,
        "eta": eta,
        "phi": read("phi"),
        "energy": energy,
        "charge": charge,
        "particle_class": kind,
        **tracks,
    }
    keep = np.ones(len(pt), bool)
    if reading.puppi:
        weight = read("puppiWeight").astype(np.float64)
        pfo["pt"], pfo["energy"] = pfo["pt"] * weight, pfo["energy"] * weight
        keep = weight > 0
        counts.weightless += int((~keep).sum())
    for column in columns("pfo"):
        values = pfo.get(column.name)
        pfo[column.name] = (np.full(len(pt), column.default) if values is None else values)[keep].astype(column.dtype)
    before = np.concatenate(([0], np.cumsum(keep)))
    counts.candidates += int(keep.sum())
    counts.trackless += int((trackless & keep).sum())
    return _Candidates(pfo, before[stored], np.where(keep, before[:-1], -1), stored)


def _tracks(
    read: Callable[[str], np.ndarray], branches: Branches, charge: np.ndarray, count: int
) -> dict[str, np.ndarray]:
    """d0, dz and their errors in mm, 0 without a track; and who has one."""
    cand = branches.candidates
    there = [name for name in ("d0", "dz", "d0Err", "dzErr") if f"{cand}_{name}" in branches]
    values = {name: read(name).astype(np.float64) for name in there}
    has_track = charge != 0
    for name, found in values.items():
        has_track &= np.isfinite(found)
        if name.endswith("Err"):
            has_track &= found >= 0  # −1 where there is no track
    if not any(name.endswith("Err") for name in values) and {"d0", "dz"} <= values.keys():
        has_track &= (values["d0"] != -1) | (values["dz"] != -1)
    if not values:
        has_track = np.zeros(count, bool)
    result: dict[str, np.ndarray] = {"has_track": has_track}
    # CMS fills in dxy = −x sinφ + y cosφ; d0 here, as in DELPHES, is x sinφ − y cosφ.
    for name, source, factor in (
        ("d0", "d0", -_TO_MM),
        ("dz", "dz", _TO_MM),
        ("d0_error", "d0Err", _TO_MM),
        ("dz_error", "dzErr", _TO_MM),
    ):
        result[name] = np.where(has_track, factor * values[source], 0.0) if source in values else np.zeros(count)
    return result


def _jets(step: Step, branches: Branches, reading: Reading) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Columns and offsets of the jets that are kept, and the row of each stored jet among them, −1 if it isn't."""
    jets = branches.jets
    _, gen, gen_index = JET_COLLECTIONS[jets]
    pt, stored = step.jagged(f"{jets}_pt")
    event = np.repeat(np.arange(step.num_entries), np.diff(stored))
    jet: dict[str, np.ndarray] = {"pt": pt}
    for name in ("eta", "phi", "mass"):
        jet[name] = step.jagged(f"{jets}_{name}")[0]
    jet["mass"] = np.maximum(jet["mass"], 0)
    if f"{jets}_hadronFlavour" in branches:
        found = step.jagged(f"{jets}_hadronFlavour")[0].astype(np.int64)
        flavour = np.full(len(pt), Flavour.UNKNOWN, np.int64)
        for number, kind in ((0, Flavour.LIGHT), (4, Flavour.C), (5, Flavour.B)):
            flavour[found == number] = kind
        jet["flavour"] = flavour
    if f"{jets}_partonFlavour" in branches:
        parton = np.abs(step.jagged(f"{jets}_partonFlavour")[0].astype(np.int64))
        jet["parton_flavour"] = np.where(np.isin(parton, (1, 2, 3, 4, 5, 21)), parton, 0)
    for name, source in (("num_b_hadrons", "nBHadrons"), ("num_c_hadrons", "nCHadrons")):
        if f"{jets}_{source}" in branches:
            jet[name] = np.clip(step.jagged(f"{jets}_{source}")[0], 0, 127)
    if all(name in branches for name in (f"{jets}_{gen_index}", f"{gen}_pt")):
        index = step.jagged(f"{jets}_{gen_index}")[0].astype(np.int64)
        gen_offsets = step.jagged(f"{gen}_pt")[1]
        # The index counts generator jets before those of low pT were left out.
        has = (index >= 0) & (index < np.diff(gen_offsets)[event])
        rows = (gen_offsets[event] + index)[has]
        for name, source in (("truth_pt", "pt"), ("truth_mass", "mass")):
            if f"{gen}_{source}" in branches:
                jet[name] = np.zeros(len(pt))
                jet[name][has] = np.maximum(step.jagged(f"{gen}_{source}")[0][rows], 0)
    keep = (pt >= reading.min_pt) & (np.abs(jet["eta"]) < reading.max_abs_eta)
    before = np.concatenate(([0], np.cumsum(keep)))
    for column in columns("jet"):
        values = jet.get(column.name)
        jet[column.name] = (np.full(len(pt), column.default) if values is None else values)[keep].astype(column.dtype)
    return jet, before[stored], np.where(keep, before[:-1], -1)


def _links(step: Step, branches: Branches, collection: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Event, jet and candidate of each entry of a collection's table; jet and candidate as numbered in the event."""
    jet_name, candidate_name = branches.tables[collection]
    jet, offsets = step.jagged(jet_name)
    candidate = step.jagged(candidate_name)[0]
    event = np.repeat(np.arange(step.num_entries), np.diff(offsets))
    return event, jet.astype(np.int64), candidate.astype(np.int64)


def _table_constituents(
    step: Step, branches: Branches, candidates: _Candidates, kept: np.ndarray, counts: Counts
) -> tuple[np.ndarray, np.ndarray]:
    """Number of constituents of each jet, and their indices within the events, jet by jet."""
    event, jet, candidate = _links(step, branches, branches.jets)
    jet_offsets = step.jagged(f"{branches.jets}_pt")[1]
    valid = (jet >= 0) & (jet < np.diff(jet_offsets)[event])
    valid &= (candidate >= 0) & (candidate < np.diff(candidates.stored)[event])
    counts.lost_links += int((~valid).sum())
    event, jet, candidate = event[valid], jet[valid], candidate[valid]
    jet = kept[jet_offsets[event] + jet]
    row = candidates.place[candidates.stored[event] + candidate]
    valid = (jet >= 0) & (row >= 0)
    pairs = np.unique(np.stack([jet[valid], row[valid], event[valid]], axis=1), axis=0)
    lengths = np.bincount(pairs[:, 0], minlength=int((kept >= 0).sum()))
    return lengths, pairs[:, 1] - candidates.offsets[pairs[:, 2]]


def _near_constituents(
    candidates: _Candidates, jet: dict[str, np.ndarray], jet_offsets: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """As a table would have them: each candidate belongs to the nearest jet within its radius."""
    pfo, num_jets = candidates.columns, len(jet["pt"])
    row, number, distance = pairs_within(
        candidates.offsets,
        pfo["eta"].astype(np.float64),
        pfo["phi"].astype(np.float64),
        jet_offsets,
        jet["eta"].astype(np.float64),
        jet["phi"].astype(np.float64),
        radius,
    )
    order = np.lexsort((distance, row))
    nearest = order[np.flatnonzero(np.diff(row[order], prepend=-1))]
    row, number = row[nearest], number[nearest]
    order = np.lexsort((row, number))
    row, number = row[order], number[order]
    event = np.repeat(np.arange(len(jet_offsets) - 1), np.diff(jet_offsets))
    return np.bincount(number, minlength=num_jets), row - candidates.offsets[event[number]]


def _count_in_jets(step: Step, branches: Branches, candidates: _Candidates, counts: Counts) -> None:
    inside = np.zeros(len(candidates.place), bool)
    for collection in branches.tables:
        event, _, candidate = _links(step, branches, collection)
        valid = (candidate >= 0) & (candidate < np.diff(candidates.stored)[event])
        inside[candidates.stored[event[valid]] + candidate[valid]] = True
    counts.in_jets += int((inside & (candidates.place >= 0)).sum())


def match_jets(block: EventBlock, old: EventBlock, max_delta_r: float) -> EventBlock:
    """``block`` with the truth of the nearest jet of ``old`` within a distance; defaults where there is none.

    Args:
        block: events with new jets; changed in place.
        old: the same events with jets whose truth is known.
        max_delta_r: largest distance.
    """
    new, partner, distance = pairs_within(
        block.jet_offsets,
        block.jet["eta"].astype(np.float64),
        block.jet["phi"].astype(np.float64),
        old.jet_offsets,
        old.jet["eta"].astype(np.float64),
        old.jet["phi"].astype(np.float64),
        max_delta_r,
    )
    order = np.lexsort((distance, new))
    nearest = order[np.flatnonzero(np.diff(new[order], prepend=-1))]
    for column in columns("jet"):
        if column.truth:
            values = np.full(block.num_jets, column.default, column.dtype)
            values[new[nearest]] = old.jet[column.name][partner[nearest]]
            block.jet[column.name] = values
    return block
