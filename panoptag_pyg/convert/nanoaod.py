"""``convert nanoaod``: CMS PFNano ROOT files into an event file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from panoptag_pyg.convert.inputs import find_inputs, source_name
from panoptag_pyg.convert.nanoaod_branches import JET_COLLECTIONS, Branches
from panoptag_pyg.convert.nanoaod_columns import Counts, Reading, match_jets, read_block
from panoptag_pyg.convert.provenance import Converted, listed, provenance
from panoptag_pyg.convert.root import RootTree, open_tree
from panoptag_pyg.errors import ConfigError, require_extra, suggest
from panoptag_pyg.events import EventBlock, EventFileWriter
from panoptag_pyg.events.schema import COLUMNS
from panoptag_pyg.output import check_output
from panoptag_pyg.progress import progress
from panoptag_pyg.simulation.detector_card import Jets
from panoptag_pyg.simulation.recluster import recluster

#: What ``jets`` may be.
JET_CHOICES = ("file", "recluster")
#: pT in GeV from which reclustered jets are kept.
_RECLUSTERED_MIN_PT = 20.0
#: Any |eta|: further out than a particle of the beam's energy and a pT of 1 MeV.
_ANY_ETA = 20.0
#: Truth that PFNano doesn't have in our sense; PUPPI's weight is an estimate.
_NEVER_KNOWN = ("pfo/hard_scatter_fraction", "pfo/heavy_ancestry", "jet/hard_scatter_fraction")
_JET_TRUTH = {
    "jet/flavour": "hadronFlavour",
    "jet/num_b_hadrons": "nBHadrons",
    "jet/num_c_hadrons": "nCHadrons",
    "jet/parton_flavour": "partonFlavour",
}


def convert_nanoaod(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    process: str | None = None,
    jets: str = "file",
    collection: str = "Jet",
    radius: float | None = None,
    min_pt: float | None = None,
    max_abs_eta: float | None = None,
    puppi: bool = False,
    max_events: int | None = None,
    round_bits: int | None = None,
    overwrite: bool = False,
    command: str | None = None,
) -> Converted:
    """Convert CMS PFNano files (tree ``Events``) into one event file, in steps of bounded memory.

    PFOs are ``PFCands``; cm become mm, and CMS's dxy changes its sign, since d0 here is x sinφ − y cosφ as in DELPHES.
    Charged candidates whose track isn't stored keep their charge, with impact parameters and errors of 0.

    Args:
        paths: a file, several, a folder (its ``*.root``) or a glob.
        output: the file to make.
        process: what the events are called. Default: each file's name without its ending.
        jets: ``"file"`` (default): the file's jets, calibrated as they are, with the constituents of their table
            (``JetPFCands``), else every candidate in the nearest jet within the radius; ``"recluster"``: anti-kT jets
            of the candidates, which take flavour and truth of the file's nearest jet within half the radius.
        collection: jets of the file: ``"Jet"`` (default; AK4) or ``"FatJet"`` (AK8).
        radius: R of reclustered jets. Default: that of ``collection``, 0.4 or 0.8.
        min_pt: keep jets at or above, GeV. Default: all of the file's, reclustered ones from 20.
        max_abs_eta: keep jets below. Default: all.
        puppi: weigh the candidates' momenta with PUPPI's weights and leave out those of weight 0. Default ``False``.
        max_events: convert at most this many. Default: all.
        round_bits: bits of mantissa kept in float columns. Default ``None``, all.
        overwrite: replace an existing file. Default ``False``.
        command: command line to record. Default none.

    Raises:
        ConfigError: a choice that there isn't, or a number out of range.
        ConversionError: a file is missing, damaged, has no such tree or lacks branches.
        EventFileError: ``output`` can't be written, or an event holds values that no event can have.
        OutputError: ``output`` exists.
        MissingExtraError: uproot isn't installed, or fastjet for reclustering.
    """
    for name, value, known in (("jets", jets, JET_CHOICES), ("collection of jets", collection, JET_COLLECTIONS)):
        if value not in known:
            raise ConfigError(f"unknown {name} '{value}'{suggest(value, known)}")
    if max_events is not None and max_events < 1:
        raise ConfigError(f"the number of events is {max_events}, expected at least 1")
    if round_bits is not None and not 1 <= round_bits <= 23:
        raise ConfigError(f"round_bits is {round_bits}, expected 1 to 23 bits of mantissa")
    if radius is not None and jets == "file":
        raise ConfigError("a radius is for reclustered jets; leave it out, or ask for --jets recluster")
    if jets == "recluster":
        require_extra("fastjet", "simulation")
    definition = Jets.parse(
        {
            "radius": JET_COLLECTIONS[collection][0] if radius is None else float(radius),
            "min_pt": (0.0 if jets == "file" else _RECLUSTERED_MIN_PT) if min_pt is None else float(min_pt),
            "max_abs_eta": _ANY_ETA if max_abs_eta is None else float(max_abs_eta),
        },
        "the jets asked for",
    )
    check_output(output, overwrite)
    files = [_look_into(path, collection, puppi) for path in find_inputs(paths)]
    total = sum(file.num_events for file in files)
    total = total if max_events is None else min(total, max_events)
    plan = _Plan(jets, definition, Reading(puppi, definition.min_pt, definition.max_abs_eta))
    counts = Counts()
    notes = _notes_before(files, jets, collection)
    attributes = {
        "jets": definition.model_dump(mode="json"),
        **provenance(
            "nanoaod",
            [(file.path, file.num_events) for file in files],
            {"jets": jets, "collection": collection, "puppi": puppi, "max_events": max_events},
            command,
        ),
    }
    processes = list(dict.fromkeys(process or file.path.stem for file in files))
    pfos = jets_written = 0
    with (
        EventFileWriter(
            output,
            processes,
            attributes,
            overwrite,
            round_bits,
            unknown=_unknown(files, collection),
            sources=[file.source for file in files],
        ) as writer,
        progress(f"converting to {Path(output).name}", total) as advance,
    ):
        for file, block in _blocks(files, plan, counts, total):
            block.event["process"][:] = processes.index(process or file.path.stem)
            writer.write(block)
            pfos, jets_written = pfos + block.num_pfos, jets_written + block.num_jets
            advance(block.num_events)
        notes += _notes_after(counts, files, jets, puppi)
        writer.set_attributes({"notes": notes})
    return Converted(Path(output), total, pfos, jets_written, tuple(notes))


@dataclass(frozen=True)
class _File:
    """One input, looked into."""

    path: Path
    source: str
    num_events: int
    branches: Branches
    ids: np.ndarray | None  # event numbers, if they are unique


@dataclass(frozen=True)
class _Plan:
    jets: str
    definition: Jets
    reading: Reading


def _open(stack: ExitStack, path: Path) -> RootTree:
    return stack.enter_context(open_tree(path, "Events", "a CMS NanoAOD file"))


def _look_into(path: Path, collection: str, puppi: bool) -> _File:
    with ExitStack() as stack:
        tree = _open(stack, path)
        branches = Branches.find(tree, collection, puppi)
        ids = None
        if "event" in tree:
            found = [step.flat("event") for step in tree.iterate(["event"], step_entries=1_000_000)]
            numbers = np.concatenate(found).astype(np.uint64)
            if len(np.unique(numbers)) == len(numbers) and numbers.max() <= np.iinfo(np.int64).max:
                ids = numbers.astype(np.int64)
        return _File(path, source_name("nanoaod", path), tree.num_entries, branches, ids)


def _blocks(files: list[_File], plan: _Plan, counts: Counts, num_events: int) -> Iterator[tuple[_File, EventBlock]]:
    for number, file in enumerate(files):
        stop = min(file.num_events, num_events)
        num_events -= stop
        with ExitStack() as stack:
            tree = _open(stack, file.path)
            for step in tree.iterate(sorted(file.branches.names), stop=stop):
                if plan.jets == "recluster":
                    # The file's jets of any pT know the truth, so none of them is cut.
                    old = read_block(step, file.branches, replace(plan.reading, min_pt=0.0, max_abs_eta=np.inf), counts)
                    old.validate(str(file.path), step.start)
                    block, _ = recluster(old, plan.definition)
                    match_jets(block, old, plan.definition.radius / 2)
                else:
                    block = read_block(step, file.branches, plan.reading, counts)
                block.event["source"][:] = number
                if file.ids is not None:
                    block.event["id"] = file.ids[step.start : step.stop]
                block.validate(str(file.path), step.start)
                yield file, block


def _unknown(files: list[_File], collection: str) -> set[str]:
    """Truth that no file has."""
    _, gen, index = JET_COLLECTIONS[collection]
    sources = {path: [f"{collection}_{name}"] for path, name in _JET_TRUTH.items()}
    sources |= {f"jet/truth_{name}": [f"{collection}_{index}", f"{gen}_pt", f"{gen}_{name}"] for name in ("pt", "mass")}
    absent = {path for path, names in sources.items() if not any(all(n in f.branches for n in names) for f in files)}
    return (absent | set(_NEVER_KNOWN)) & {column.path for column in COLUMNS}


def _notes_before(files: list[_File], jets: str, collection: str) -> list[str]:
    consequences: dict[str, Any] = {
        "genWeight": "weights are 1",
        "Pileup_nPU": "the number of collisions is unknown and stands as 1",
        f"{collection}_hadronFlavour": "the flavour of jets is unknown (-1)",
    }
    lacking: dict[str, list[str]] = {}
    for file in files:
        for name in file.branches.missing:
            if name.partition("_")[2] in ("d0", "dz", "d0Err", "dzErr"):
                lacking.setdefault(f"{name}: it stands as 0", []).append(file.path.name)
            elif name in consequences:
                lacking.setdefault(f"{name}: {consequences[name]}", []).append(file.path.name)
        if jets == "file" and collection not in file.branches.tables:
            note = (
                f"table {collection}{file.branches.candidates}: each candidate within {JET_COLLECTIONS[collection][0]} "
                "of a jet is taken for a constituent of the nearest"
            )
            lacking.setdefault(note, []).append(file.path.name)
        if file.ids is None:
            lacking.setdefault("unique event numbers: event/id is the entry in the file", []).append(file.path.name)
    return [f"without {what} ({listed(names)})" for what, names in lacking.items()]


def _notes_after(counts: Counts, files: list[_File], jets: str, puppi: bool) -> list[str]:
    notes = []
    if counts.trackless:
        notes.append(
            f"{counts.trackless} of {counts.candidates} candidates are charged but their tracks aren't stored (MiniAOD "
            "keeps none below about 0.95 GeV): their impact parameters and errors are 0"
        )
    if puppi:
        notes.append(f"momenta are weighed by PUPPI; {counts.weightless} candidates of weight 0 were left out")
    if counts.lost_links:
        notes.append(f"{counts.lost_links} entries of the tables of constituents name no stored jet or candidate")
    if any(file.branches.tables for file in files) and counts.candidates and counts.in_jets == counts.candidates:
        consequence = "; reclustered jets near the threshold lack candidates" if jets == "recluster" else ""
        notes.append(f"only constituents of stored jets are there as candidates, not the whole events{consequence}")
    return notes
