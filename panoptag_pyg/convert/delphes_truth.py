"""The generator's record in a DELPHES file, brought to the form in which the simulation's truth code takes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panoptag_pyg.convert.delphes_layout import Layout
from panoptag_pyg.convert.delphes_pfos import FoundPFOs
from panoptag_pyg.convert.root import UNIQUE_ID, Step
from panoptag_pyg.events.schema import HeavyAncestry, ParticleClass
from panoptag_pyg.simulation.calorimeter import energy_fraction
from panoptag_pyg.simulation.detector_card import DetectorCard
from panoptag_pyg.simulation.particles import GeneratedEvents
from panoptag_pyg.simulation.pdg import open_heavy_flavour
from panoptag_pyg.simulation.truth import heavy_ancestry, weakly_decaying

#: Heavy hadrons that decay weakly, for records whose decay chains are broken: the ground states, as no other does.
_WEAKLY_DECAYING = (411, 421, 431, 4122, 4132, 4232, 4332, 511, 521, 531, 541, 5122, 5132, 5232, 5332)
#: PYTHIA's codes: an incoming beam, an entry of the shower, a primary hadron, a decay product.
_BEAM, _SHOWER, _PRIMARY, _DECAY = 12, 62, 83, 91
#: Final, decayed, documentation, beam: the only codes that all generators share in HepMC.
_SHARED_CODES = (1, 2, 3, 4)
#: Decay chains are much shorter; longer ones run in circles.
_LONGEST_CHAIN = 100
#: Share of entries that may be odd before a record counts as cut down.
_ODD_SHARE = 0.01


@dataclass(frozen=True)
class Conventions:
    """How a file's record is to be read; the same for all of its events.

    Attributes:
        signed: whether the status codes are PYTHIA's own, negative for what isn't final, in place of HepMC's.
        has_codes: whether partons carry PYTHIA 8's codes.
        is_cut: whether entries were taken out, so that mothers can't be found.
    """

    signed: bool
    has_codes: bool
    is_cut: bool


@dataclass
class Record:
    """The generator's record of some entries.

    Attributes:
        events: as the simulation's truth code takes it.
        is_pileup: entries from pileup [N].
        unique_id: number of each entry among its event's objects, −1 where unknown [N].
        conventions: how it was read.
    """

    events: GeneratedEvents
    is_pileup: np.ndarray
    unique_id: np.ndarray
    conventions: Conventions


def read_record(step: Step, layout: Layout, weight: np.ndarray, conventions: Conventions | None = None) -> Record:
    """The record of some entries.

    DELPHES writes what its reader found: HepMC's status codes (1 final, 2 decayed, 4 beam, others the generator's
    own, PYTHIA 8's as absolute values) or PYTHIA's own with their sign. Both become PYTHIA's; decay products, which
    HepMC doesn't tell from others, are those whose mother is a hadron or a charged lepton.

    Args:
        step: entries of the tree.
        layout: which branches hold what.
        weight: of each event [entries].
        conventions: of the file. Default ``None``: those of these entries.
    """
    pid, offsets = step.jagged(layout.particles["PID"])

    def column(name: str) -> np.ndarray:
        if name not in layout.particles:
            return np.zeros(len(pid))
        return step.jagged(layout.particles[name])[0].astype(np.float64)

    pdg = pid.astype(np.int64)
    status = column("Status").astype(np.int64)
    is_pileup = column("IsPU") != 0
    px, py, pz, e = (column(name) for name in ("Px", "Py", "Pz", "E"))
    mother = column("M1").astype(np.int64)
    size = np.repeat(np.diff(offsets), np.diff(offsets))
    first = np.repeat(offsets[:-1], np.diff(offsets))
    has_mother = (mother >= 0) & (mother < size) & ~is_pileup
    mother_row = np.where(has_mother, mother + first, -1)

    parton = _is_parton(pdg)
    if conventions is None:
        conventions = _conventions(status, parton, is_pileup, mother, size, mother_row)
    code = np.abs(status)
    final = (status > 0) if conventions.signed else (status == 1)
    if not conventions.signed:
        decay = _decay_products(pdg, code, mother_row, parton)
        code = np.where((code > 10) & (code < _DECAY), code, np.where(final, _PRIMARY, _SHOWER))
        code = np.where(status == 4, _BEAM, np.where(decay, _DECAY, code))
    code = np.where(_runs_in_circles(code, mother_row), _PRIMARY, code)
    unique_id = np.full(len(pdg), -1, dtype=np.int64)
    if "unique_id" in layout.particles:
        unique_id = step.jagged(layout.particles["unique_id"])[0].astype(np.int64) & UNIQUE_ID
    zeros = np.zeros(len(pdg))
    events = GeneratedEvents(
        offsets=offsets,
        pdg=pdg,
        # Pileup is neither stable here nor a parton: truth is the hard scatter's.
        status=np.where(is_pileup, 0, np.where(final, code, -code)),
        mother=np.where(has_mother, mother, 0),
        px=px,
        py=py,
        pz=pz,
        e=e,
        mass=column("Mass"),
        x=column("X"),
        y=column("Y"),
        z=column("Z"),
        tau=zeros,
        weight=weight,
    )
    return Record(events, is_pileup, unique_id, conventions)


def weak_hadrons(record: Record) -> np.ndarray:
    """Weakly decaying hadrons of the hard scatter, as :func:`~panoptag_pyg.simulation.truth.weakly_decaying`. [N]"""
    if record.conventions.is_cut:
        flavour = open_heavy_flavour(record.events.pdg)
        weak = np.where(np.isin(np.abs(record.events.pdg), _WEAKLY_DECAYING), flavour, HeavyAncestry.NONE)
    else:
        weak = weakly_decaying(record.events)
    return np.where(record.is_pileup, HeavyAncestry.NONE, weak).astype(np.int8)


def _is_parton(pdg: np.ndarray) -> np.ndarray:
    number = np.abs(pdg)
    diquark = (number > 1000) & (number < 10_000) & (number // 10 % 10 == 0)
    return (number <= 9) | (number == 21) | diquark


def _is_hadron(pdg: np.ndarray) -> np.ndarray:
    number = np.abs(pdg)
    plain = (number > 100) & ((number < 1_000_000) | ((number > 9_000_000) & (number < 10_000_000)))
    return plain & (number // 10 % 10 > 0) & (number // 100 % 10 > 0)


def _decay_products(pdg: np.ndarray, code: np.ndarray, mother_row: np.ndarray, parton: np.ndarray) -> np.ndarray:
    """Entries that come from a hadron's decay or from its leptons and photons, by their mother, [N].

    So do the products of any other lepton and photon, whose chains lead to no hadron; partons only if their code says
    so, because remnants of beams and of diffraction have hadrons as mothers too.
    """
    number = np.abs(pdg)
    beam = (code == 4) | ((mother_row < 0) & (code == 3))
    decays = (_is_hadron(pdg) | np.isin(number, (11, 13, 15, 22))) & ~beam
    from_decay = (mother_row >= 0) & decays[np.maximum(mother_row, 0)]
    return np.where(parton, (code >= _DECAY) & (code < 100), from_decay)


def _conventions(
    status: np.ndarray,
    parton: np.ndarray,
    is_pileup: np.ndarray,
    mother: np.ndarray,
    size: np.ndarray,
    mother_row: np.ndarray,
) -> Conventions:
    signed = bool((status < 0).any())
    coded = parton & ~np.isin(np.abs(status), _SHARED_CODES)
    final = ((status > 0) if signed else (status == 1)) & ~is_pileup
    rows = np.flatnonzero(final & (mother >= 0))
    # Mothers that aren't in the record, or are final themselves, stood elsewhere in the whole one; a record without
    # mothers is no better.
    odd = (mother[rows] >= size[rows]) | final[np.maximum(mother_row[rows], 0)]
    is_cut = len(rows) == 0 or len(rows) < 0.5 * final.sum() or odd.mean() > _ODD_SHARE
    return Conventions(signed, signed or bool(coded.sum() > 0.5 * parton.sum() > 0), bool(is_cut))


def _runs_in_circles(code: np.ndarray, mother_row: np.ndarray) -> np.ndarray:
    """Decay products whose chain of mothers never ends, as only in damaged records, [N]."""
    decay = (code >= _DECAY) & (code < 100)
    ancestor = np.where(decay, mother_row, -1)
    alive = np.flatnonzero(ancestor >= 0)
    current = ancestor[alive]
    for _ in range(_LONGEST_CHAIN):
        current = ancestor[current]
        alive, current = alive[current >= 0], current[current >= 0]
        if len(alive) == 0:
            break
    result = np.zeros(len(code), dtype=bool)
    result[alive] = True
    return result


@dataclass
class PFOTruth:
    """What the record tells of P PFOs.

    Attributes:
        heavy_ancestry: 0 none, 1 c hadron, 2 b hadron among the ancestors [P].
        hard_scatter_fraction: share of the energy from the hard scatter [P].
        resolved: references that lead to an entry of the record.
        tracks_resolved: share of the tracks with such a reference; 1 if there are no tracks.
    """

    heavy_ancestry: np.ndarray
    hard_scatter_fraction: np.ndarray
    resolved: int
    tracks_resolved: float


def pfo_truth(pfos: FoundPFOs, record: Record, weak: np.ndarray, card: DetectorCard) -> PFOTruth:
    """Follow each PFO's references to the particles behind it.

    A track has its particle's ancestry. A neutral one has the ancestry that carries most of the energy that its
    particles leave in the calorimeter; those with a track count only where there are no others. References that lead
    nowhere are pileup, whose particles DELPHES doesn't keep.

    Args:
        pfos: P PFOs.
        record: of the same entries.
        weak: weakly decaying hadrons of the record, from :func:`weak_hadrons`.
        card: the detector, for the calorimeters' shares.
    """
    events = record.events
    num_references = np.diff(pfos.reference_offsets)
    pfo = np.repeat(np.arange(len(num_references)), num_references)
    row = _rows_of(pfos.references, pfos.event[pfo], record)
    found = row >= 0
    track = pfos.columns["charge"] != 0

    resolved_pfo = np.zeros(len(track), dtype=bool)
    resolved_pfo[pfo[found]] = True
    unresolved_pfo = np.zeros(len(track), dtype=bool)
    unresolved_pfo[pfo[~found]] = True

    tracked = np.zeros(len(events.pdg), dtype=bool)
    tracked[row[found & track[pfo]]] = True
    ecal, hcal = (energy_fraction(card.energy_fractions, name, events.pdg) for name in ("ecal", "hcal"))
    photon = pfos.columns["particle_class"][pfo] == ParticleClass.PHOTON
    r = np.maximum(row, 0)
    share = np.where(track[pfo], 1.0, np.where(photon, ecal[r], hcal[r]))
    energy = np.where(found, share * events.e[r], 0.0)
    # A TRefArray may name a particle more than once, which changes neither the largest ancestry nor a ratio by much.
    weight = energy * np.where(tracked[r] & ~track[pfo], 1e-9, 1.0) + np.where(found, 1e-30, 0.0)

    ancestry = np.where(record.is_pileup, HeavyAncestry.NONE, heavy_ancestry(events, weak))
    kinds = len(HeavyAncestry)
    bins = pfo[found] * kinds + ancestry[r[found]]
    per_kind = np.bincount(bins, weight[found], len(track) * kinds).reshape(-1, kinds)

    hard = found & ~record.is_pileup[r]
    hard_weight = np.bincount(pfo[hard], weight[hard], len(track))
    all_weight = np.bincount(pfo, weight, len(track))
    ratio = hard_weight / np.where(all_weight > 0, all_weight, 1.0)
    # Where some of a tower's particles aren't in the record, the rest of its energy is theirs.
    hard_energy = np.bincount(pfo[hard], (energy * (~tracked[r] | track[pfo]))[hard], len(track))
    mixed = resolved_pfo & unresolved_pfo & ~track
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(mixed, np.clip(hard_energy / pfos.columns["energy"], 0, 1), ratio)
    return PFOTruth(
        heavy_ancestry=per_kind.argmax(axis=1),
        hard_scatter_fraction=np.where(resolved_pfo, ratio, 0.0),
        resolved=int(found.sum()),
        tracks_resolved=float(resolved_pfo[track].mean()) if track.any() else 1.0,
    )


def _rows_of(references: np.ndarray, event: np.ndarray, record: Record) -> np.ndarray:
    """Row of the record that each reference leads to, −1 where it leads nowhere, [number of references]."""
    events = record.events
    of_row = np.repeat(np.arange(events.num_events), np.diff(events.offsets))
    key = of_row * (UNIQUE_ID + 1) + record.unique_id
    order = np.argsort(key, kind="stable")
    wanted = event * (UNIQUE_ID + 1) + references
    place = np.minimum(np.searchsorted(key[order], wanted), max(len(key) - 1, 0))
    if len(key) == 0:
        return np.full(len(references), -1)
    return np.where(key[order][place] == wanted, order[place], -1)
