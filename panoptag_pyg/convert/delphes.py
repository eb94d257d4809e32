"""``convert delphes``: DELPHES ROOT files into an event file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from panoptag_pyg.convert.delphes_events import Counts, Plan
from panoptag_pyg.convert.delphes_files import DelphesFiles
from panoptag_pyg.convert.delphes_options import DelphesOptions
from panoptag_pyg.convert.delphes_profile import FileProfile
from panoptag_pyg.convert.inputs import find_inputs
from panoptag_pyg.convert.provenance import Converted
from panoptag_pyg.convert.root import STEP_ENTRIES
from panoptag_pyg.errors import ConfigError, ConversionError
from panoptag_pyg.events import EventFileWriter
from panoptag_pyg.events.schema import COLUMNS
from panoptag_pyg.output import check_output
from panoptag_pyg.progress import progress

#: HDF5 keeps an attribute of up to 64 kB.
_LONGEST_NOTES = 50_000


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
    found = find_inputs(paths)
    check_output(output, overwrite)
    files = DelphesFiles.look_into(found, options)
    profiles = files.profiles
    _refuse_twins(profiles)
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
            files.attributes(range(len(profiles)), max_events, command),
            overwrite,
            round_bits,
            unknown={column.path for column in COLUMNS if column.truth} - known,
            sources=[profile.source for profile in profiles],
        ) as writer,
        progress(f"converting to {Path(output).name}", total) as advance,
    ):
        for number, block in files.leading(counts, total, step_events):
            block.event["process"][:] = processes.index(names[number])
            block.event["source"][:] = number
            writer.write(block)
            num_pfos, num_jets = num_pfos + block.num_pfos, num_jets + block.num_jets
            advance(block.num_events)
        notes = [*files.notes(), *_notes_on_counts(counts, files.plan)]
        writer.set_attributes({"notes": _shortened(notes)})
    return Converted(Path(output), total, num_pfos, num_jets, tuple(notes))


def _refuse_twins(profiles: Sequence[FileProfile]) -> None:
    """Copies of one file would put its events there twice, in training and in test data perhaps."""
    seen: dict[str, Path] = {}
    for profile in profiles:
        content = profile.source.rsplit(" ", 1)[1]
        if content in seen:
            raise ConversionError(f"{profile.path} is a copy of {seen[content]}: give one of them")
        seen[content] = profile.path


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
