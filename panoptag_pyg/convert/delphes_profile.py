"""A first look into a DELPHES file: what its numbers mean, decided once so that all its events are read alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from panoptag_pyg.convert.delphes_jets import share_of_pfos
from panoptag_pyg.convert.delphes_layout import Layout, find_layout
from panoptag_pyg.convert.delphes_options import DelphesOptions
from panoptag_pyg.convert.delphes_pfos import FoundPFOs, all_unique_ids, read_pfos
from panoptag_pyg.convert.delphes_truth import Conventions, Record, pfo_truth, read_record, weak_hadrons
from panoptag_pyg.convert.delphes_vertex import VERTICES, hard_scatter_vertices, has_errors, refers_to_origin
from panoptag_pyg.convert.inputs import source_name
from panoptag_pyg.convert.root import RootTree, Step, open_tree
from panoptag_pyg.errors import ConversionError
from panoptag_pyg.simulation.detector_card import DetectorCard
from panoptag_pyg.simulation.pdg import open_heavy_flavour

#: Events that are looked at.
SAMPLE_EVENTS = 100
#: η of a track's momentum and ``Eta`` may differ by rounding alone.
_SAME_ETA = 1e-3
#: Least share of references that must lead somewhere for them to be the right ones.
_ENOUGH = 0.5
#: Share of the tracks that must have their particle in the record for there to be no pileup.
_ALL_TRACKS = 0.99


@dataclass(frozen=True)
class FileProfile:
    """A file, and how it is read.

    Attributes:
        path, source, num_events: the file, its name for ever, and how many events it has.
        layout: its branches.
        eta_from_cot_theta: whether a track's ``Eta`` is that of its point on the calorimeter.
        vertex: where the vertex that d0 and dz are moved to comes from; ``"origin"``: they stay.
        has_errors: whether d0 and dz have errors.
        match: how the file's jets find their constituents.
        truth: paths of the truth columns that are known.
        follow_references: whether PFOs lead to their particles.
        has_pileup: whether there is pileup.
        conventions: of the generator's record; ``None`` if there is none.
        notes: what is missing or odd, and what is done about it.
    """

    path: Path
    source: str
    num_events: int
    layout: Layout
    eta_from_cot_theta: bool
    vertex: str
    has_errors: bool
    match: str
    truth: frozenset[str]
    follow_references: bool
    has_pileup: bool
    conventions: Conventions | None
    notes: tuple[str, ...]


def look_into(path: Path, options: DelphesOptions, card: DetectorCard) -> FileProfile:
    """Read the first events of a file and decide how all of them are read.

    Raises:
        ConversionError: the file can't be read, or lacks what the options ask for.
    """
    with open_tree(path, options.tree, "a DELPHES file") as tree:
        layout = find_layout(tree, options.pfo_branches, options.jet_branch if options.jets == "file" else "")
        step = next(iter(tree.iterate(layout.branches, step_entries=SAMPLE_EVENTS)))
        for names in layout.collections:
            step.require_same_lengths(names)
        notes = layout.notes
        eta_from_cot_theta = _eta_is_outer(step, layout, notes)
        pfos = read_pfos(step, layout, eta_from_cot_theta)
        if len(pfos.unique_id) == 0:
            notes.append(f"the first {step.num_entries} events have no particle-flow objects")
        profile = FileProfile(
            path=path,
            source=source_name("delphes", path),
            num_events=tree.num_entries,
            layout=layout,
            eta_from_cot_theta=eta_from_cot_theta,
            vertex=_choose_vertex(step, layout, pfos, options.vertex, notes, path),
            has_errors=has_errors(pfos),
            match=_choose_match(step, layout, notes) if layout.jets else "",
            truth=frozenset(),
            follow_references=False,
            has_pileup=_has_pileup(step, layout),
            conventions=None,
            notes=(),
        )
        profile = _look_for_truth(step, profile, pfos, options, card, notes)
        _drop_unread(profile, tree)
    return replace(profile, notes=tuple(dict.fromkeys(notes)))


def _eta_is_outer(step: Step, layout: Layout, notes: list[str]) -> bool:
    """Some cards write as ``Eta`` where the track meets the calorimeter; CtgTheta still has the momentum's slope."""
    for collection in layout.pfos:
        columns = collection.columns
        if collection.kind == "towers" or "cot_theta" not in columns:
            continue
        eta, slope, pt, charge = (
            step.jagged(columns[name])[0].astype(np.float64) for name in ("eta", "cot_theta", "pt", "charge")
        )
        tracks = (charge != 0) & (pt > 0) & np.isfinite(eta) & np.isfinite(slope)
        if tracks.any() and np.median(np.abs(eta - np.arcsinh(slope))[tracks]) > _SAME_ETA:
            notes.append(
                f"{collection.name}.Eta isn't the direction of the tracks' momentum (but where they meet the "
                "calorimeter): it is taken from CtgTheta"
            )
            return True
    return False


def _choose_vertex(step: Step, layout: Layout, pfos: FoundPFOs, asked: str, notes: list[str], path: Path) -> str:
    there = {"vertex": bool(layout.vertices), "particles": {"X", "Y", "Z", "Status"} <= set(layout.particles)}
    if asked == "origin":
        return asked
    if asked != "auto":
        if not there[asked]:
            what = "branch Vertex" if asked == "vertex" else "branch Particle with Status, X, Y and Z"
            raise ConversionError(f"{path} has no {what} to find the vertex by: ask for another with --vertex")
        return asked
    for source in VERTICES:
        if not there[source]:
            continue
        vertices = hard_scatter_vertices(step, layout, source)
        if not vertices.any():
            continue
        origin = refers_to_origin(pfos, vertices)
        if origin is False:
            notes.append("d0 and dz refer to the collision's vertex already: they stay as they are")
            return "origin"
        if origin is True:
            where = "Particle" if source == "particles" else "Vertex"
            notes.append(
                f"d0 and dz refer to the origin, the collisions are elsewhere: they were moved to the vertex ({where})"
            )
            return source
    return "origin"


def _choose_match(step: Step, layout: Layout, notes: list[str]) -> str:
    share = share_of_pfos(step, layout, all_unique_ids(step, layout))
    if share >= _ENOUGH:
        return "references"
    why = "have no list of constituents" if "Constituents" not in layout.jets else "aren't made of these PFOs"
    notes.append(f"the jets '{layout.jet_branch}' {why}: each PFO within R of a jet is its constituent, the nearest's")
    return "distance"


def _has_pileup(step: Step, layout: Layout) -> bool:
    several = bool(layout.vertices) and bool((np.diff(step.jagged(layout.vertices["Z"])[1]) > 1).any())
    return several or ("IsPU" in layout.particles and bool(step.jagged(layout.particles["IsPU"])[0].any()))


def _look_for_truth(
    step: Step, profile: FileProfile, pfos: FoundPFOs, options: DelphesOptions, card: DetectorCard, notes: list[str]
) -> FileProfile:
    """Which truth the file holds."""
    layout, known = profile.layout, set[str]()
    if options.label == "file":
        _flavour_of_file(step, layout, known, notes)
    if not layout.particles:
        return replace(profile, truth=frozenset(known))
    record = read_record(step, layout, np.ones(step.num_entries))
    profile = replace(profile, conventions=record.conventions)
    weak = weak_hadrons(record)
    _truth_of_jets(record, options.label, known, notes)
    if not layout.has_references():
        notes.append("the PFOs don't name their particles (Particle, Particles): their ancestry is unknown")
    elif not record.conventions.is_cut:
        found = pfo_truth(pfos, record, weak, card)
        if found.resolved == 0:
            notes.append("the PFOs' references lead to no entry of Particle: their ancestry is unknown")
        else:
            unresolved = found.tracks_resolved < _ALL_TRACKS
            if unresolved and not profile.has_pileup:
                notes.append("tracks whose particles aren't in the branch Particle are taken for pileup")
            known.add("pfo/heavy_ancestry")
            profile = replace(profile, follow_references=True, has_pileup=profile.has_pileup or unresolved)
    if profile.follow_references or not profile.has_pileup:
        known |= {"pfo/hard_scatter_fraction", "jet/hard_scatter_fraction"}
    else:
        notes.append("there is pileup, but nothing tells which PFOs it makes: their share of it is unknown")
    return replace(profile, truth=frozenset(known))


def _flavour_of_file(step: Step, layout: Layout, known: set[str], notes: list[str]) -> None:
    if "Flavor" not in layout.jets:
        notes.append(f"{layout.jet_branch} has no Flavor: the jets' flavour is unknown")
    elif not step.jagged(layout.jets["Flavor"])[0].any():
        notes.append(f"{layout.jet_branch}.Flavor is 0 everywhere, no flavour was looked for: it is unknown")
    else:
        known.add("jet/flavour")


def _truth_of_jets(record: Record, label: str, known: set[str], notes: list[str]) -> None:
    events = record.events
    if record.conventions.is_cut:
        notes.append(
            "Particle isn't the whole record (mothers are missing): matched jets of stable particles and ancestry are "
            "unknown, and weakly decaying hadrons are known by their PDG numbers alone"
        )
    else:
        known |= {"jet/truth_pt", "jet/truth_mass"}
    number = np.abs(events.pdg)
    has_hadrons = bool(((number > 100) & (events.status < 0)).any() or open_heavy_flavour(events.pdg).any())
    has_partons = bool(((number == 4) | (number == 5) | (number == 21)).any() and (events.status < 0).any())
    if has_hadrons:
        known |= {"jet/num_b_hadrons", "jet/num_c_hadrons"}
    else:
        notes.append("Particle has no hadrons that decay: the numbers of b and c hadrons in jets are unknown")
    if has_partons and record.conventions.has_codes:
        known.add("jet/parton_flavour")
    else:
        why = "whose status codes aren't PYTHIA 8's" if has_partons else "because Particle has none"
        notes.append(f"the jets' partons are unknown, {why}")
    if {"hadron": has_hadrons, "delphes": has_partons}.get(label):
        known.add("jet/flavour")
    elif label != "file":  # that of the file was looked for before
        notes.append(f"the label rule '{label}' finds nothing to go by in Particle: the jets' flavour is unknown")


def _drop_unread(profile: FileProfile, tree: RootTree) -> None:
    """Don't read references that nobody follows: they are most of a file's bytes."""
    if not profile.follow_references:
        for collection in profile.layout.pfos:
            for name in ("particle", "particles"):
                collection.columns.pop(name, None)
    if profile.match == "distance":
        profile.layout.jets.pop("Constituents", None)
