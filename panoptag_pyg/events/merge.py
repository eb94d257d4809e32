"""``merge``: event files joined into one, or dealt out anew into shards of even size; mixed, if asked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events.files import PathLike
from panoptag_pyg.events.folders import ShardWriter, atomic_folder, check_folder, even_sizes
from panoptag_pyg.events.joining import join_files
from panoptag_pyg.events.shuffling import shuffled
from panoptag_pyg.events.writer import EventFileWriter
from panoptag_pyg.output import check_output
from panoptag_pyg.progress import progress

#: What ``merge --shards`` calls its files.
STEM = "events"


@dataclass(frozen=True)
class Merged:
    """What :func:`merge` made.

    Attributes:
        path: the file, or the folder of shards.
        num_files: files that went in.
        num_events: events that came out.
        notes: sentences on what was left out, filled in, or forced.
    """

    path: Path
    num_files: int
    num_events: int
    notes: tuple[str, ...]


def merge(
    paths: PathLike | Sequence[PathLike],
    output: PathLike,
    *,
    shards: int | None = None,
    shuffle: int | None = None,
    drop_duplicates: bool = False,
    name_sources: bool = False,
    force: bool = False,
    overwrite: bool = False,
    command: str | None = None,
) -> Merged:
    """Join event files of any processes and sources; values stay bit for bit, memory is bounded.

    ``event/process`` and ``event/source`` count through all files' names afterwards. Attributes that all files share
    stay; the list ``merged`` gains what went in.

    Args:
        paths: a file, several, a folder, a manifest or a glob.
        output: the file to make, or with ``shards`` the folder.
        shards: make so many files of even size, and their manifest. Default ``None``: one file.
        shuffle: seed of a full shuffle, so that processes are mixed; needs space for the events, uncompressed, beside
            ``output``. The order depends on the seed and the events, not on the files they come from. Default
            ``None``: keep the order.
        drop_duplicates: leave out events that came before, by source and id. Default ``False``: refuse them.
        name_sources: take files that don't say where their events come from for different ones. Default ``False``.
        force: join files that were made with different detectors, jets, labels or setups. Default ``False``.
        overwrite: replace what is there. Default ``False``.
        command: command line to record. Default none.

    Raises:
        EventFileError: if a file is missing or damaged, if files don't belong together, or an event is there twice.
        OutputError: if ``output`` exists or can't be written.
        ConfigError: for a number out of range.
    """
    if shards is not None and shards < 1:
        raise ConfigError(f"the number of shards is {shards}, expected at least 1")
    output = Path(os.fspath(output))
    if shards is None:
        check_output(output, overwrite)
    else:
        check_folder(output, overwrite)
    joined = join_files(paths, force=force, drop_duplicates=drop_duplicates, name_sources=name_sources)
    asked = {"shuffle": shuffle, "shards": shards, "notes": joined.notes or None, "command": command}
    options: dict[str, Any] = {
        "processes": joined.processes,
        "sources": joined.sources,
        "attributes": joined.attributes("merged", {name: value for name, value in asked.items() if value is not None}),
        "unknown": joined.absent,
    }
    with ExitStack() as stack:
        writer: EventFileWriter | ShardWriter
        if shards is None:
            writer = stack.enter_context(EventFileWriter(output, overwrite=overwrite, **options))
            beside = output.parent
        else:
            beside = stack.enter_context(atomic_folder(output, overwrite))
            writer = stack.enter_context(ShardWriter(beside, STEM, even_sizes(joined.num_events, shards), **options))
        advance = stack.enter_context(progress(f"merging {output.name}", joined.num_events))
        for block, _ in joined.blocks() if shuffle is None else shuffled(joined, shuffle, beside):
            writer.write(block)
            advance(block.num_events)
        if isinstance(writer, ShardWriter):
            writer.close()
    return Merged(output, len(joined.files), joined.num_events, tuple(joined.notes))
