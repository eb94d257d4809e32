"""``split``: events into train, val and test by a hash of each event, so that no event ever changes sides."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events.files import PathLike
from panoptag_pyg.events.folders import ShardWriter, atomic_folder, check_folder, even_sizes
from panoptag_pyg.events.hashing import event_hash, unit_interval
from panoptag_pyg.events.joining import join_files
from panoptag_pyg.events.shuffling import shuffled
from panoptag_pyg.output import write_json
from panoptag_pyg.progress import progress

if TYPE_CHECKING:
    from panoptag_pyg.events.dataset import EventDataset

#: The sides, and the shares of the paper's split.
SIDES = ("train", "val", "test")
FRACTIONS = (0.75, 0.10, 0.15)
#: Most events in a file of a side.
EVENTS_PER_FILE = 20_000
#: Tells what was done, beside the sides' folders.
FILE_NAME = "split.json"


@dataclass(frozen=True)
class Split:
    """What :func:`split` made.

    Attributes:
        path: the folder, with a folder of shards and a manifest for each side.
        num_events: events of each side, by its name.
        notes: sentences on what was left out, filled in, or forced.
    """

    path: Path
    num_events: dict[str, int]
    notes: tuple[str, ...]


def side_of(hashes: np.ndarray, fractions: Sequence[float] = FRACTIONS) -> np.ndarray:
    """Side of each event: 0 train, 1 val, 2 test.

    With u in [0, 1) the upper 53 bits of the event's hash over 2⁵³, an event trains if u < f_train, validates if
    u < f_train + f_val, else tests. Other fractions move only the events between the old and the new bounds.

    Args:
        hashes: of :func:`~panoptag_pyg.events.hashing.event_hash`.
        fractions: shares of the three sides; they sum to 1. Default 75, 10 and 15 %, as in the paper.

    Shapes:
        hashes uint64 [N]; returns int8 [N].

    Raises:
        ConfigError: for fractions that aren't shares of 1.
    """
    _check_fractions(fractions)
    side = np.searchsorted(np.cumsum(fractions)[:-1], unit_interval(hashes), side="right")
    # A sum such as 0.7 + 0.2 + 0.1 rounds; a side of no share gets nothing all the same.
    return np.minimum(side, max(i for i, share in enumerate(fractions) if share > 0)).astype(np.int8)


def split_masks(dataset: EventDataset, fractions: Sequence[float] = FRACTIONS) -> dict[str, np.ndarray]:
    """Which of a dataset's events train, validate and test, without writing anything.

    ``dataset.select(split_masks(dataset)["train"])`` holds the events that :func:`split` writes to ``train``.

    Args:
        dataset: the events; only their sources and ids are read.
        fractions: as for :func:`side_of`.

    Returns:
        name of the side → bool [len(dataset)].

    Raises:
        ConfigError: for fractions that aren't shares of 1.
    """
    source, event_id = dataset.event_keys()
    side = side_of(event_hash(dataset.sources, source, event_id), fractions)
    return {name: side == number for number, name in enumerate(SIDES)}


def split(
    paths: PathLike | Sequence[PathLike],
    output: PathLike,
    *,
    fractions: Sequence[float] = FRACTIONS,
    events_per_file: int = EVENTS_PER_FILE,
    shuffle: int | None = None,
    drop_duplicates: bool = False,
    name_sources: bool = False,
    force: bool = False,
    overwrite: bool = False,
    command: str | None = None,
) -> Split:
    """Copy events into ``train``, ``val`` and ``test``: folders of shards, each with its manifest.

    An event's side depends on its source and id only (:func:`side_of`): not on files, shards, their order, or on
    which other events there are. Files that are made later can be split later, and whatever is in ``train`` once is
    never in ``test``. Values stay bit for bit, memory is bounded.

    Args:
        paths: a file, several, a folder, a manifest or a glob.
        output: the folder to make.
        fractions: as for :func:`side_of`. A side of share 0 isn't made.
        events_per_file: at most so many. Default 20,000.
        shuffle, drop_duplicates, name_sources, force, overwrite, command: as in
            :func:`~panoptag_pyg.events.merge.merge`.

    Raises:
        EventFileError: if a file is missing or damaged, if files don't belong together, or an event is there twice.
        OutputError: if ``output`` exists or can't be written.
        ConfigError: for fractions that aren't shares of 1, or a number out of range.
    """
    _check_fractions(fractions)
    if events_per_file < 1:
        raise ConfigError(f"events per file is {events_per_file}, expected at least 1")
    output = Path(os.fspath(output))
    check_folder(output, overwrite, FILE_NAME)
    joined = join_files(paths, force=force, drop_duplicates=drop_duplicates, name_sources=name_sources)
    side = side_of(joined.hashes(), fractions)
    sides = [number for number, share in enumerate(fractions) if share > 0]
    counts = np.bincount(side[joined.kept()], minlength=len(SIDES)).tolist()
    options = {"processes": joined.processes, "sources": joined.sources, "unknown": joined.absent}
    asked = {
        "fractions": dict(zip(SIDES, fractions, strict=True)),
        "shuffle": shuffle,
        "notes": joined.notes or None,
        "command": command,
    }
    with ExitStack() as stack:
        folder = stack.enter_context(atomic_folder(output, overwrite, FILE_NAME))
        writers = {}
        for number in sides:
            done = {"side": SIDES[number], **{name: value for name, value in asked.items() if value is not None}}
            sizes = even_sizes(counts[number], max(1, -(-counts[number] // events_per_file)))
            writers[number] = stack.enter_context(
                ShardWriter(
                    folder / SIDES[number], SIDES[number], sizes, attributes=joined.attributes("split", done), **options
                )
            )
        advance = stack.enter_context(progress(f"splitting into {output.name}", joined.num_events))
        for block, numbers in joined.blocks() if shuffle is None else shuffled(joined, shuffle, folder):
            for number, writer in writers.items():
                writer.write(block.select(np.flatnonzero(side[numbers] == number)))
            advance(block.num_events)
        made: dict[str, Any] = {}
        for number, writer in writers.items():
            manifest = writer.close()
            made[SIDES[number]] = {"events": manifest.num_events, "sha256": manifest.sha256}
        inputs = [str(file.path) for file in joined.files]
        write_json(
            folder / FILE_NAME,
            {"format": "panoptag-split", "version": 1, **asked, "hash": _RULE, "sides": made, "inputs": inputs},
        )
    return Split(output, {name: counts[number] for number, name in enumerate(SIDES)}, tuple(joined.notes))


_RULE = (
    "u = (h >> 11) / 2**53; train if u < f_train, val if u < f_train + f_val, else test; "
    "h = splitmix64_finaliser(s + (id + 1) * 0x9E3779B97F4A7C15 mod 2**64), "
    "s = little-endian BLAKE2b (8 bytes) of the source's UTF-8 text"
)


def _check_fractions(fractions: Sequence[float]) -> None:
    told = ", ".join(f"{share:g}" for share in fractions)
    if len(fractions) != len(SIDES) or not all(0 <= share <= 1 for share in fractions):
        raise ConfigError(f"the shares of {', '.join(SIDES)} are {told}, expected three numbers from 0 to 1")
    if not math.isclose(sum(fractions), 1, abs_tol=1e-9):
        raise ConfigError(f"the shares of {', '.join(SIDES)} are {told} and sum to {sum(fractions):g}, expected 1")
