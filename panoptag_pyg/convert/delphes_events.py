"""Entries of a DELPHES tree as a block of events."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from panoptag_pyg.convert.delphes_jets import cluster_pfos, read_jets
from panoptag_pyg.convert.delphes_options import DelphesOptions
from panoptag_pyg.convert.delphes_pfos import FoundPFOs, read_pfos
from panoptag_pyg.convert.delphes_profile import FileProfile
from panoptag_pyg.convert.delphes_truth import Record, pfo_truth, read_record, weak_hadrons
from panoptag_pyg.convert.delphes_vertex import fill_errors, hard_scatter_vertices, move_to_vertex
from panoptag_pyg.convert.root import Step
from panoptag_pyg.events import EventBlock
from panoptag_pyg.events.schema import columns
from panoptag_pyg.simulation.detector_card import DetectorCard, Jets
from panoptag_pyg.simulation.jets import ClusteredJets
from panoptag_pyg.simulation.labels import label_jets
from panoptag_pyg.simulation.particles import stable_particles
from panoptag_pyg.simulation.partons import parton_flavour
from panoptag_pyg.simulation.truth import hard_scatter_share, match_truth_jets


@dataclass(frozen=True)
class Plan:
    """What is done to every file alike.

    Attributes:
        options: what was asked for.
        card: the detector.
        jets: radius and bounds of the jets.
        impact_parameters: ``"as-is"``, ``"smeared"`` or ``"errors"``.
    """

    options: DelphesOptions
    card: DetectorCard
    jets: Jets
    impact_parameters: str


@dataclass
class Counts:
    """What was met on the way.

    Attributes:
        pfos: objects in the file, dropped ones too.
        dropped: why and how many PFOs were left out.
        tracks_outside: tracks beyond the η of the card's errors.
        jets_left_out: the file's jets outside the bounds.
    """

    pfos: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    tracks_outside: int = 0
    jets_left_out: int = 0


def read_events(step: Step, profile: FileProfile, plan: Plan, counts: Counts) -> EventBlock:
    """The columns of some entries of a file.

    Args:
        step: entries of its tree.
        profile: how the file is read.
        plan: what is done to every file.
        counts: added to.
    """
    layout = profile.layout
    for names in layout.collections:
        step.require_same_lengths(names)
    pfos = read_pfos(step, layout, profile.eta_from_cot_theta)
    counts.pfos += len(pfos.unique_id) + pfos.dropped.total()
    counts.dropped += pfos.dropped
    if profile.vertex != "origin":
        move_to_vertex(pfos, hard_scatter_vertices(step, layout, profile.vertex))
    if plan.impact_parameters != "as-is":
        errors = plan.card.impact_parameters
        bound = min(errors.d0.abs_eta_up_to[-1], errors.dz.abs_eta_up_to[-1])
        outside = (pfos.columns["charge"] != 0) & (np.abs(pfos.eta_outer) > bound)
        counts.tracks_outside += int(outside.sum())
        fill_errors(
            pfos,
            errors,
            smear=plan.impact_parameters == "smeared",
            seed=plan.options.seed,
            source=profile.source,
            first_event=step.start,
        )
    weight = _weights(step, layout.weight)
    record = read_record(step, layout, weight, profile.conventions) if layout.particles else None
    weak = weak_hadrons(record) if record is not None else np.zeros(0, dtype=np.int8)
    _add_truth(pfos, record, weak, profile, plan.card)
    pfo = {column.name: pfos.columns[column.name].astype(column.dtype) for column in columns("pfo")}

    flavour = None
    if plan.options.jets == "file":
        jets, flavour, left_out = read_jets(
            step,
            layout,
            pfos,
            radius=plan.jets.radius,
            match=profile.match,
            min_pt=plan.jets.min_pt,
            max_abs_eta=plan.jets.max_abs_eta,
        )
        counts.jets_left_out += left_out
    else:
        jets = cluster_pfos(pfo, pfos.offsets, plan.jets, plan.jets.max_abs_eta)
    truth = {column.name: np.full(len(jets.pt), column.default) for column in columns("jet") if column.truth}
    if record is not None:
        truth |= _jet_truth(jets, record, weak, profile, plan)
    if plan.options.label == "file" and flavour is not None:
        truth["flavour"] = flavour
    if "jet/hard_scatter_fraction" in profile.truth:
        truth["hard_scatter_fraction"] = hard_scatter_share(jets, pfo["pt"], pfo["hard_scatter_fraction"], pfos.offsets)
    jet = {"pt": jets.pt, "eta": jets.eta, "phi": jets.phi, "mass": jets.mass, **truth}
    event = {
        "id": np.arange(step.start, step.stop),
        "process": np.zeros(step.num_entries),
        "source": np.zeros(step.num_entries),
        "weight": weight,
        "num_interactions": _interactions(step, profile),
    }
    return EventBlock(
        event={column.name: event[column.name].astype(column.dtype) for column in columns("event")},
        pfo=pfo,
        jet={column.name: jet[column.name].astype(column.dtype) for column in columns("jet")},
        pfo_offsets=pfos.offsets,
        jet_offsets=jets.offsets,
        constituent_offsets=jets.constituent_offsets,
        constituents=jets.constituents,
    )


def _weights(step: Step, branch: str) -> np.ndarray:
    """Weight of each event: the first entry of the branch, 1 where there is none."""
    weight = np.ones(step.num_entries)
    if branch:
        values, offsets = step.jagged(branch)
        some = np.diff(offsets) > 0
        weight[some] = values[offsets[:-1][some]]
    return weight


def _interactions(step: Step, profile: FileProfile) -> np.ndarray:
    """Vertices of each event; reconstructed ones, unless the card had them written from the pileup merger."""
    if not profile.layout.vertices:
        return np.ones(step.num_entries)
    return np.maximum(np.diff(step.jagged(profile.layout.vertices["Z"])[1]), 1)


def _add_truth(
    pfos: FoundPFOs, record: Record | None, weak: np.ndarray, profile: FileProfile, card: DetectorCard
) -> None:
    count = len(pfos.unique_id)
    pfos.columns["heavy_ancestry"] = np.zeros(count)
    pfos.columns["hard_scatter_fraction"] = np.ones(count)
    if record is None or not profile.follow_references:
        return
    found = pfo_truth(pfos, record, weak, card)
    pfos.columns["heavy_ancestry"] = found.heavy_ancestry
    if profile.has_pileup:
        pfos.columns["hard_scatter_fraction"] = found.hard_scatter_fraction


def _jet_truth(
    jets: ClusteredJets, record: Record, weak: np.ndarray, profile: FileProfile, plan: Plan
) -> dict[str, np.ndarray]:
    """The jets' truth columns, as the simulation makes them; only those that the file knows."""
    events, labels = record.events, plan.card.labels
    rule = "hadron" if plan.options.label == "file" else plan.options.label
    truth: dict[str, np.ndarray] = dict(vars(label_jets(jets, events, weak, labels, rule)))
    truth["parton_flavour"] = parton_flavour(jets, events, labels, plan.jets.radius)
    if "jet/truth_pt" in profile.truth:
        card = plan.card.model_copy(update={"jets": plan.jets})
        particles = stable_particles(events, np.zeros(len(weak), dtype=np.int8))
        truth["truth_pt"], truth["truth_mass"] = match_truth_jets(particles, jets, card, plan.jets.max_abs_eta)
    return {name: values for name, values in truth.items() if f"jet/{name}" in profile.truth}
