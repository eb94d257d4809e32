"""``prepare``: event files made ready for other taggers: subjets, jets of another radius, events with enough jets."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from panoptag_pyg.errors import ConfigError, require_extra
from panoptag_pyg.events import EventBlock, EventFile, EventFileWriter
from panoptag_pyg.events.many_files import open_files
from panoptag_pyg.events.schema import COLUMNS, CONSTITUENT_COLUMNS
from panoptag_pyg.progress import progress
from panoptag_pyg.simulation.detector_card import Jets
from panoptag_pyg.simulation.recluster import DERIVED, recluster
from panoptag_pyg.simulation.request import software_versions
from panoptag_pyg.simulation.subjets import SubjetOptions, add_subjets
from panoptag_pyg.simulation.workers import in_order

#: Events that are read, worked on and written at once.
BLOCK_EVENTS = 200
#: HDF5 keeps an attribute of up to 64 kB.
_LONGEST_ATTRIBUTE = 60_000


@dataclass(frozen=True)
class Prepared:
    """What :func:`prepare` made.

    Attributes:
        path: the file.
        num_events, num_jets: what is in it.
        events_read: events looked at; fewer are written where some have too few jets.
        jets_without_truth: jets of which only the kinematics are known, because they are new.
        truth_is_lost: whether that holds for all jets, so that the file has no truth columns of jets.
    """

    path: Path
    num_events: int
    num_jets: int
    events_read: int
    jets_without_truth: int
    truth_is_lost: bool


@dataclass(frozen=True)
class _Plan:
    """What is done to each block; workers receive it."""

    jets: Jets | None
    keep_truth: bool
    hard_scatter_known: bool
    subjets: SubjetOptions | None
    min_jets: int
    columns: frozenset[str]  # of constituents, those that all files have


@dataclass(frozen=True)
class _Piece:
    """A block that is ready, and what happened to it."""

    block: EventBlock
    events_read: int
    jets_without_truth: int


def prepare(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    subjets: SubjetOptions | None = None,
    jets: dict[str, Any] | None = None,
    min_jets: int = 0,
    max_events: int | None = None,
    workers: int = 1,
    round_bits: int | None = None,
    overwrite: bool = False,
    command: str | None = None,
) -> Prepared:
    """Copy event files into one, with subjets, other jets or fewer events; block by block, in bounded memory.

    All columns that aren't asked to change stay bit for bit. The file's attributes keep those of the source and record
    what was done, with which versions.

    Args:
        paths: a file, several, a folder or a glob.
        output: the file to make.
        subjets: find the jets' subjets in this way. Default ``None``: keep those of the files, if they have any.
        jets: values of :class:`~panoptag_pyg.simulation.detector_card.Jets` (``algorithm``, ``radius``, ``min_pt``,
            ``max_abs_eta``): cluster jets anew from the files' PFOs; what isn't given stays as the files' attributes
            tell. Truth of jets is kept as :func:`~panoptag_pyg.simulation.recluster.recluster` says. Default ``None``:
            keep the files' jets.
        min_jets: leave out events with fewer jets. Default 0.
        max_events: write at most this many. Default: all.
        workers: processes to use. Default 1, which is this one. With more, a script needs
            ``if __name__ == "__main__":`` around its call.
        round_bits: bits of mantissa kept in float columns. Default ``None``, all.
        overwrite: replace an existing file. Default ``False``.
        command: command line to record. Default none.

    Raises:
        ConfigError: nothing was asked for, or a number is out of range.
        EventFileError: a file is missing or damaged; ``output`` exists or can't be written.
        MissingExtraError: fastjet isn't installed.
        PanopTagError: a worker dies.
    """
    _check_numbers(min_jets, max_events, workers, round_bits)
    files = open_files(paths)[0]
    asked = subjets is not None or jets is not None or min_jets > 0 or max_events is not None or round_bits is not None
    if not asked and len(files) == 1:
        raise ConfigError(
            f"there is nothing to do to {files[0].path}; ask for --subjets, other jets (--jet-radius, …), --min-jets, "
            "--events or --round-bits"
        )
    if subjets is not None or jets is not None:
        for module in ("awkward", "fastjet"):
            require_extra(module, "simulation")
    new_jets = None if jets is None else _jets(files, jets)
    keep_truth = new_jets is not None and all(_clustered_alike(_jets_of(file), new_jets) for file in files)
    absent = {c.path for c in COLUMNS if c.truth and not any(file.has(c.path) for file in files)}
    hard_scatter_known = all(file.has("pfo/hard_scatter_fraction") for file in files)
    if new_jets is not None and not keep_truth:
        derived = {f"jet/{DERIVED}"} if hard_scatter_known else set()
        absent = (absent | {c.path for c in COLUMNS if c.truth and c.group == "jet"}) - derived
    plan = _Plan(
        jets=new_jets,
        keep_truth=keep_truth,
        hard_scatter_known=hard_scatter_known,
        subjets=subjets,
        min_jets=min_jets,
        columns=frozenset(c.name for c in CONSTITUENT_COLUMNS if all(c.name in f.constituent_columns for f in files)),
    )
    processes = list(dict.fromkeys(name for file in files for name in file.processes))
    sources = list(dict.fromkeys(name for file in files for name in file.sources))
    parameters = {
        "subjets": None if subjets is None else subjets.model_dump(mode="json"),
        "jets": None if new_jets is None else new_jets.model_dump(mode="json"),
        "min_jets": min_jets,
        "max_events": max_events,
        "round_bits": round_bits,
    }
    attributes = _attributes(files, {name: value for name, value in parameters.items() if value}, command)
    written = jets_written = read = lost = 0
    with (
        EventFileWriter(
            output, processes, attributes, overwrite, round_bits, unknown=absent, sources=sources
        ) as writer,
        progress(f"preparing {Path(output).name}", sum(file.num_events for file in files)) as advance,
    ):
        for piece in in_order(_prepare_block, _tasks(files, processes, sources, plan), workers):
            block = piece.block
            if max_events is not None and written + block.num_events > max_events:
                block = block.select(np.arange(max_events - written))
            writer.write(block)
            written, jets_written = written + block.num_events, jets_written + block.num_jets
            read, lost = read + piece.events_read, lost + piece.jets_without_truth
            advance(piece.events_read)
            if written == max_events:
                break
    return Prepared(Path(output), written, jets_written, read, lost, new_jets is not None and not keep_truth)


def _tasks(
    files: list[EventFile], processes: list[str], sources: list[str], plan: _Plan
) -> Iterator[tuple[EventBlock, _Plan]]:
    for file in files:
        process = np.array([processes.index(name) for name in file.processes], dtype=np.int16)
        source = np.array([sources.index(name) for name in file.sources], dtype=np.int32)
        for block in file.blocks(BLOCK_EVENTS):
            block.event["process"] = process[block.event["process"]]
            block.event["source"] = source[block.event["source"]]
            yield block, plan
        file.close()


def _prepare_block(block: EventBlock, plan: _Plan) -> _Piece:
    events_read, lost = block.num_events, 0
    block = replace(block, constituent={name: block.constituent[name] for name in plan.columns})
    if plan.jets is not None:
        block, lost = recluster(block, plan.jets, plan.keep_truth)
        if not plan.hard_scatter_known:
            block.jet[DERIVED][:] = -1
    if plan.min_jets:
        block = block.select(np.flatnonzero(np.diff(block.jet_offsets) >= plan.min_jets))
    if plan.subjets is not None:
        block = add_subjets(block, plan.subjets)
    return _Piece(block, events_read, lost)


def _check_numbers(min_jets: int, max_events: int | None, workers: int, round_bits: int | None) -> None:
    for name, value, least in (
        ("least number of jets", min_jets, 0),
        ("number of events", max_events, 1),
        ("number of workers", workers, 1),
    ):
        if value is not None and value < least:
            raise ConfigError(f"the {name} is {value}, expected at least {least}")
    if round_bits is not None and not 1 <= round_bits <= 23:
        raise ConfigError(f"round_bits is {round_bits}, expected 1 to 23 bits of mantissa")


def _jets_of(file: EventFile) -> Jets | None:
    """How a file's jets were clustered, if its attributes tell."""
    card = file.attributes.get("detector_card")
    values = file.attributes.get("jets", card.get("jets") if isinstance(card, dict) else None)
    return Jets.parse(values, str(file.path)) if isinstance(values, dict) else None


def _jets(files: list[EventFile], given: dict[str, Any]) -> Jets:
    """The jets asked for, with what isn't said taken from the files."""
    missing = [name for name in Jets.model_fields if name not in given]
    before: dict[str, Any] = {}
    for file in files:
        found = _jets_of(file)
        known = {} if found is None else {name: getattr(found, name) for name in missing}
        if missing and found is None:
            raise ConfigError(f"{file.path} doesn't say how its jets were clustered: give {_option(missing[0])} too")
        differs = [name for name in missing if name in before and before[name] != known[name]]
        if differs:
            raise ConfigError(
                f"{file.path} has jets of another {differs[0]} ({known[differs[0]]}) than the files before it "
                f"({before[differs[0]]}): give {_option(differs[0])}"
            )
        before.update(known)
    return Jets.parse({**before, **given}, "the jets asked for")


def _option(name: str) -> str:
    return "--jet-" + name.replace("_", "-")


def _clustered_alike(one: Jets | None, other: Jets) -> bool:
    return one is not None and (one.algorithm, one.radius) == (other.algorithm, other.radius)


def _attributes(files: list[EventFile], parameters: dict[str, Any], command: str | None) -> dict[str, Any]:
    """The sources' attributes, those that they share at the top, and what is done now at the end of ``prepared``."""
    first = files[0].attributes
    shared = {name: value for name, value in first.items() if all(file.attributes.get(name) == value for file in files)}
    sources: list[dict[str, Any]] = []
    for file in files:
        own = {name: value for name, value in file.attributes.items() if name not in shared}
        sources.append({"path": str(file.path), "events": file.num_events, "attributes": own})
    if len(json.dumps(sources)) > _LONGEST_ATTRIBUTE:
        sources = [{"path": str(file.path), "events": file.num_events} for file in files]
    if len(json.dumps(sources)) > _LONGEST_ATTRIBUTE:
        sources = [{"files": len(files), "events": sum(file.num_events for file in files)}]
    step = {**parameters, "sources": sources, "software": software_versions()}
    if command is not None:
        step["command"] = command
    before = shared.pop("prepared", [])
    for name in ("jets", "subjets"):
        if name in parameters:
            shared[name] = parameters[name]
    if "jets" in parameters and "subjets" not in parameters:
        shared.pop("subjets", None)
    return {**shared, "prepared": [*before, step]}
