"""``convert delphes``: DELPHES ROOT files into an event file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from panoptag_pyg.convert.delphes_events import Counts, Plan, read_events
from panoptag_pyg.convert.delphes_options import DelphesOptions
from panoptag_pyg.convert.delphes_profile import FileProfile, look_into
from panoptag_pyg.convert.inputs import find_inputs
from panoptag_pyg.convert.provenance import Converted, provenance
from panoptag_pyg.convert.root import STEP_ENTRIES, open_tree
from panoptag_pyg.errors import ConfigError, ConversionError, require_extra
from panoptag_pyg.events import EventBlock, EventFileWriter
from panoptag_pyg.events.schema import COLUMNS
from panoptag_pyg.output import check_output
from panoptag_pyg.progress import progress
from panoptag_pyg.simulation.detector_card import DetectorCard

#: HDF5 keeps an attribute of up to 64 kB.
_LONGEST_NOTES = 50_000
#: Files that a note names.
_FILES_NAMED = 3


def convert_delphes(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    options: DelphesOptions | None = None,
    *,
    process: str | None = None,
    max_events: int | None = None,
    round_bits: int | None = None,
    overwrite: bool = False,
    step_events: int = STEP_ENTRIES,
    command: str | None = None,
) -> Converted:
    """Convert DELPHES files into one event file, in steps of bounded memory.

    Each file's first events decide how it is read, so that all of its events are read alike; what is missing or odd
    is told in the result's ``notes``, which the file keeps as an attribute.

    Args:
        paths: a file, several, a folder (its ``*.root``) or a glob.
        output: the file to make.
        options: how the files are read. Default: as :class:`DelphesOptions` says.
        process: what the events are called. Default: each file's name without its ending.
        max_events: convert at most this many. Default: all.
        round_bits: bits of mantissa kept in float columns. Default ``None``, all.
        overwrite: replace an existing file. Default ``False``.
        step_events: most events held in memory at once; fewer where they are large. Default 500.
        command: command line to record. Default none.

    Raises:
        ConfigError: a number out of range, or an unknown detector card.
        ConversionError: a file is missing, damaged, has no such tree or lacks branches; or the files don't fit
            together.
        EventFileError: ``output`` can't be written, or an event holds values that no event can have.
        OutputError: ``output`` exists.
        MissingExtraError: uproot or fastjet isn't installed.
    """
    options = options or DelphesOptions()
    for name, value in (("number of events", max_events), ("number of events at once", step_events)):
        if value is not None and value < 1:
            raise ConfigError(f"the {name} is {value}, expected at least 1")
    if round_bits is not None and not 1 <= round_bits <= 23:
        raise ConfigError(f"round_bits is {round_bits}, expected 1 to 23 bits of mantissa")
    for module, extra in (("uproot", "convert"), ("awkward", "convert"), ("fastjet", "simulation")):
        require_extra(module, extra)
    card = DetectorCard.load(options.detector)
    files = find_inputs(paths)
    check_output(output, overwrite)
    profiles = []
    with progress("looking into the files", len(files), "files") if len(files) > 1 else nullcontext() as advance:
        for path in files:
            profiles.append(look_into(path, options, card))
            if advance is not None:
                advance(1)
    _refuse_twins(profiles)
    plan = Plan(options, card, options.jet_definition(card), _impact_parameters(profiles, options))
    known = frozenset.intersection(*(profile.truth for profile in profiles))
    names = [process if process is not None else profile.path.stem for profile in profiles]
    processes = list(dict.fromkeys(names))
    total = sum(profile.num_events for profile in profiles)
    total = total if max_events is None else min(total, max_events)
    counts = Counts()
    num_pfos = num_jets = 0
    with (
        EventFileWriter(
            output,
            processes,
            _attributes(profiles, plan, max_events, command),
            overwrite,
            round_bits,
            unknown={column.path for column in COLUMNS if column.truth} - known,
            sources=[profile.source for profile in profiles],
        ) as writer,
        progress(f"converting to {Path(output).name}", total) as advance,
    ):
        for number, block in _blocks(profiles, plan, counts, total, step_events):
            block.event["process"][:] = processes.index(names[number])
            block.event["source"][:] = number
            writer.write(block)
            num_pfos, num_jets = num_pfos + block.num_pfos, num_jets + block.num_jets
            advance(block.num_events)
        notes = [*_notes(profiles), *_notes_on_plan(plan, profiles), *_notes_on_counts(counts, plan)]
        writer.set_attributes({"notes": _shortened(notes)})
    return Converted(Path(output), total, num_pfos, num_jets, tuple(notes))


def _blocks(
    profiles: Sequence[FileProfile], plan: Plan, counts: Counts, num_events: int, step_events: int
) -> Iterator[tuple[int, EventBlock]]:
    """Number of the file and a block of its events, until there are ``num_events``."""
    for number, profile in enumerate(profiles):
        stop = min(profile.num_events, num_events)
        num_events -= stop
        if stop == 0:
            return
        with open_tree(profile.path, plan.options.tree, "a DELPHES file") as tree:
            for step in tree.iterate(profile.layout.branches, step_events, stop=stop):
                block = read_events(step, profile, plan, counts)
                block.validate(str(profile.path), step.start)
                yield number, block


def _refuse_twins(profiles: Sequence[FileProfile]) -> None:
    """Copies of one file would put its events there twice, in training and in test data perhaps."""
    seen: dict[str, Path] = {}
    for profile in profiles:
        content = profile.source.rsplit(" ", 1)[1]
        if content in seen:
            raise ConversionError(f"{profile.path} is a copy of {seen[content]}: give one of them")
        seen[content] = profile.path


def _impact_parameters(profiles: Sequence[FileProfile], options: DelphesOptions) -> str:
    """What is done to d0 and dz; the same in all files, since true and measured values must not mix."""
    asked = options.impact_parameters
    having = [profile for profile in profiles if profile.has_errors]
    lacking = [profile for profile in profiles if not profile.has_errors]
    if asked in ("smeared", "errors") and having:
        raise ConversionError(
            f"{having[0].path} has errors of d0 and dz, so that its values are measured already: leave "
            f"--impact-parameters {asked} out"
        )
    if asked != "auto":
        return asked
    if having and lacking:
        raise ConversionError(
            f"{having[0].path} has errors of d0 and dz, {lacking[0].path} has none: convert them into files of their "
            "own, or keep all values with --impact-parameters as-is"
        )
    return "as-is" if having else "smeared"


def _attributes(
    profiles: Sequence[FileProfile], plan: Plan, max_events: int | None, command: str | None
) -> dict[str, Any]:
    options = plan.options
    done = {
        **options.model_dump(mode="json"),
        "vertex": sorted({profile.vertex for profile in profiles}),
        "impact_parameters": plan.impact_parameters,
        "max_events": max_events,
    }
    return {
        "jets": plan.jets.model_dump(mode="json"),
        "label": options.label,
        "impact_parameters": plan.impact_parameters,
        "seed": options.seed,
        "detector_card": plan.card.model_dump(mode="json"),
        **provenance("delphes", [(profile.path, profile.num_events) for profile in profiles], done, command),
    }


def _notes(profiles: Sequence[FileProfile]) -> list[str]:
    """The files' notes, each once; those that don't hold for all name their files."""
    holds: dict[str, list[str]] = {}
    for profile in profiles:
        for note in profile.notes:
            holds.setdefault(note, []).append(profile.path.name)
    result = []
    for note, files in holds.items():
        if len(files) == len(profiles):
            result.append(note)
            continue
        more = f" and {len(files) - _FILES_NAMED} more" if len(files) > _FILES_NAMED else ""
        result.append(f"{', '.join(files[:_FILES_NAMED])}{more}: {note}")
    left_out = sorted(
        frozenset.union(*(p.truth for p in profiles)) - frozenset.intersection(*(p.truth for p in profiles))
    )
    if left_out:
        result.append(f"{', '.join(left_out)} left out: not every file knows them")
    return result


def _notes_on_plan(plan: Plan, profiles: Sequence[FileProfile]) -> list[str]:
    notes = []
    card = plan.card.name
    if plan.impact_parameters == "smeared":
        notes.append(
            f"the tracks have no errors: d0 and dz were drawn with those of the detector card '{card}' (seed "
            f"{plan.options.seed}); --impact-parameters as-is keeps the values, with errors of 0"
        )
    elif plan.impact_parameters == "errors":
        notes.append(f"errors of d0 and dz are those of the detector card '{card}', the values the file's own")
    elif not any(profile.has_errors for profile in profiles):
        notes.append("the tracks have no errors of d0 and dz: they are 0")
    if plan.options.radius_is_assumed:
        notes.append(
            f"nothing says which radius the jets '{plan.options.jet_branch}' have: 0.4 is assumed; see --jet-radius"
        )
    if any(profile.layout.vertices for profile in profiles):
        notes.append("event/num_interactions is the number of vertices in the branch Vertex")
    return notes


def _notes_on_counts(counts: Counts, plan: Plan) -> list[str]:
    notes = [f"{number} of {counts.pfos} PFOs {why} were left out" for why, number in sorted(counts.dropped.items())]
    if counts.tracks_outside:
        notes.append(
            f"{counts.tracks_outside} tracks are beyond the |eta| of the detector card's errors and have those of its "
            "last bin"
        )
    if counts.jets_left_out:
        notes.append(
            f"{counts.jets_left_out} jets of the file were left out: below pT = {plan.jets.min_pt:g} GeV, beyond "
            f"|eta| = {plan.jets.max_abs_eta:g}, or not finite"
        )
    return notes


def _shortened(notes: list[str]) -> list[str]:
    """Notes that fit into an attribute; with many odd files the first ones tell enough."""
    sizes = np.cumsum([len(json.dumps(note)) + 2 for note in notes])
    fitting = int((sizes < _LONGEST_NOTES).sum())
    return notes if fitting == len(notes) else [*notes[:fitting], f"{len(notes) - fitting} more notes"]
