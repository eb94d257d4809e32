"""Event files as sources: opened when their events are read, closed when those are done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.events.file import EventFile
from panoptag_pyg.events.files import PathLike
from panoptag_pyg.events.manifest import Manifest
from panoptag_pyg.events.many_files import ListedFile
from panoptag_pyg.events.schema import COLUMNS, CONSTITUENT_COLUMNS
from panoptag_pyg.prediction.source import STEP_EVENTS, SourceOptions

#: PFOs of a block at most, unless a single event has more: some 60 MB of columns.
BLOCK_PFOS = 1_000_000


@dataclass(frozen=True)
class OwnSource:
    """An event file as an :class:`~panoptag_pyg.prediction.source.EventSource`; holds nothing per event.

    Attributes:
        path: the file.
        num_events: events in it.
        processes: names that its events' processes count through.
        attributes: what the file tells about itself.
        unknown: paths of the columns that it lacks.
        options: how it is read.
        listed: the manifest that describes it, and the number of its entry there. Default: none.
    """

    path: Path
    num_events: int
    processes: tuple[str, ...]
    attributes: dict[str, Any]
    unknown: frozenset[str]
    options: SourceOptions
    listed: tuple[Manifest, int] | None = None

    def blocks(self, start: int = 0, step: int = STEP_EVENTS) -> Iterator[EventBlock]:
        """See :meth:`~panoptag_pyg.prediction.source.EventSource.blocks`."""
        with self._open() as file:
            offsets = file.pfo_offsets
            while start < file.num_events:
                most = int(np.searchsorted(offsets, offsets[start] + BLOCK_PFOS, side="right")) - 1
                stop = min(max(most, start + 1), start + step, file.num_events)
                yield file.read(start, stop, self.options.columns, finite=False)
                start = stop

    def _open(self) -> EventFile:
        if self.listed is None:
            return EventFile(self.path)
        manifest, number = self.listed
        return ListedFile(manifest, manifest.files[number])


def open_own(path: Path, options: SourceOptions, before: Mapping[str, Any]) -> OwnSource:
    """An event file.

    Args:
        path: the file.
        options: how it is read.
        before: attributes of another file; those that are equal are kept in memory once.

    Raises:
        EventFileError: it is missing, damaged or of another kind.
    """
    with EventFile(path) as file:
        attributes = {
            name: before[name] if before.get(name) == value else value for name, value in file.attributes.items()
        }
        return OwnSource(path, file.num_events, tuple(file.processes), attributes, unknown_columns(file), options)


def open_listed(path: PathLike, options: SourceOptions) -> list[OwnSource]:
    """The files of a manifest, none of which is opened.

    Args:
        path: the manifest, or its folder.
        options: how they are read.

    Raises:
        EventFileError: it is no manifest, or there are files beside it that it doesn't know.
    """
    manifest = Manifest.load(path)
    manifest.refuse_strangers()
    sources = []
    for number, entry in enumerate(manifest.files):
        file = ListedFile(manifest, entry)
        sources.append(
            OwnSource(
                file.path,
                file.num_events,
                tuple(file.processes),
                file.attributes,
                unknown_columns(file),
                options,
                (manifest, number),
            )
        )
    return sources


def unknown_columns(file: EventFile) -> frozenset[str]:
    """Paths of the columns that an event file lacks."""
    return frozenset(column.path for column in (*COLUMNS, *CONSTITUENT_COLUMNS) if not file.has(column.path))
