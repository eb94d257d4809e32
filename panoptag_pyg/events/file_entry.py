"""``FileEntry``: what there is to know of one event file without opening it again; how it is found out."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events.file import EventFile
from panoptag_pyg.events.schema import COLUMNS, FLAVOUR_NAMES

#: Classes of :attr:`FileEntry.class_counts`, in this order.
CLASS_NAMES = (*FLAVOUR_NAMES, "unknown")

_HASHED_AT_ONCE = 1 << 20
_EVENTS_AT_ONCE = 1 << 18

Advance = Callable[[int], object]
PathLike = str | os.PathLike[str]


class ProcessCounts(BaseModel):
    """What a file holds of one process."""

    model_config = ConfigDict(frozen=True)

    num_events: int = 0
    num_pfos: int = 0
    num_jets: int = 0
    class_counts: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __add__(self, other: ProcessCounts) -> ProcessCounts:
        light, c, b, unknown = (x + y for x, y in zip(self.class_counts, other.class_counts, strict=True))
        return ProcessCounts(
            num_events=self.num_events + other.num_events,
            num_pfos=self.num_pfos + other.num_pfos,
            num_jets=self.num_jets + other.num_jets,
            class_counts=(light, c, b, unknown),
        )


class FileEntry(BaseModel):
    """One event file, as a manifest tells it.

    Attributes:
        path: where it lies, relative to the manifest's folder; with ``/`` on every system.
        num_events, num_pfos, num_jets: counts.
        bytes: its size.
        sha256: its checksum, 64 hexadecimal digits.
        processes: names that its ``event/process`` counts through.
        sources: names that its ``event/source`` counts through.
        class_counts: jets that are light, c, b, of unknown flavour.
        by_process: the same counts for the events of each process.
        absent: optional columns that it lacks, such as ``"jet/truth_pt"``.
        constituent_columns: names of the columns of constituents that it has.
        num_constituents: constituents of all jets.
        attributes: its attributes, but for those that stand in the manifest because all files share them.
    """

    model_config = ConfigDict(frozen=True)

    path: str
    num_events: int = Field(ge=0)
    num_pfos: int = Field(ge=0)
    num_jets: int = Field(ge=0)
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    processes: tuple[str, ...]
    sources: tuple[str, ...]
    class_counts: tuple[int, int, int, int]
    by_process: dict[str, ProcessCounts] = {}
    absent: tuple[str, ...] = ()
    constituent_columns: tuple[str, ...] = ()
    num_constituents: int = 0
    attributes: dict[str, Any] = {}


def describe_file(path: PathLike, folder: PathLike | None = None, advance: Advance = lambda n: None) -> FileEntry:
    """One file's entry, with all of its attributes: reads the header, offsets, processes and flavours, and hashes it.

    Args:
        path: the event file.
        folder: what the entry's path is relative to. Default: the folder of the file.
        advance: called with the number of bytes hashed each time. Default: nothing.

    Raises:
        EventFileError: if the file is damaged.
    """
    path = Path(path)
    with EventFile(path) as file:
        by_process = count_processes(file)
        total = sum(by_process.values(), ProcessCounts())
        return FileEntry(
            path=relative_path(path, path.parent if folder is None else Path(folder)),
            num_events=file.num_events,
            num_pfos=file.num_pfos,
            num_jets=file.num_jets,
            bytes=path.stat().st_size,
            sha256=file_sha256(path, advance),
            processes=tuple(file.processes),
            sources=tuple(file.sources),
            class_counts=total.class_counts,
            by_process=by_process,
            absent=tuple(column.path for column in COLUMNS if not file.has(column.path)),
            constituent_columns=file.constituent_columns,
            num_constituents=file.num_constituents,
            attributes=json.loads(json.dumps(file.attributes, default=_plain)),
        )


def file_sha256(path: PathLike, advance: Advance = lambda n: None) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits; ``advance`` hears of every piece.

    Raises:
        EventFileError: if it can't be read.
    """
    found = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as file:
            while piece := file.read(_HASHED_AT_ONCE):
                found.update(piece)
                advance(len(piece))
    except OSError as error:
        raise EventFileError(f"{path} can't be read: {error.strerror}; copy it again") from error
    return found.hexdigest()


def relative_path(path: Path, folder: Path) -> str:
    """``path`` as seen from ``folder``, with ``/`` on every system."""
    return Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()


def count_processes(file: EventFile) -> dict[str, ProcessCounts]:
    """Events, PFOs, jets and classes of each process of a file, by its name; reads two columns, piece by piece.

    Raises:
        EventFileError: for a process or flavour that there isn't.
    """
    totals = np.zeros((len(file.processes), 3 + len(CLASS_NAMES)), dtype=np.int64)
    unknown = len(FLAVOUR_NAMES)
    for start in range(0, file.num_events, _EVENTS_AT_ONCE):
        stop = min(start + _EVENTS_AT_ONCE, file.num_events)
        process = file.column("event/process", start, stop).astype(np.int64)
        jets = file.jet_offsets[start : stop + 1]
        flavour = file.column("jet/flavour", int(jets[0]), int(jets[-1])).astype(np.int64)
        for name, values, low, high in (
            ("event/process", process, 0, len(file.processes) - 1),
            ("jet/flavour", flavour, -1, unknown - 1),
        ):
            if len(values) and not low <= values.min() <= values.max() <= high:
                raise EventFileError(
                    f"{file.path}: {name} lies between {values.min()} and {values.max()}, expected {low} to {high}; "
                    "panoptag inspect --check names the event"
                )
        np.add.at(totals[:, 0], process, 1)
        np.add.at(totals[:, 1], process, np.diff(file.pfo_offsets[start : stop + 1]))
        np.add.at(totals[:, 2], process, np.diff(jets))
        column = 3 + np.where(flavour < 0, unknown, flavour)
        np.add.at(totals, (np.repeat(process, np.diff(jets)), column), 1)
    rows = zip(file.processes, totals.tolist(), strict=True)
    return {
        name: ProcessCounts(num_events=n[0], num_pfos=n[1], num_jets=n[2], class_counts=tuple(n[3:]))  # type: ignore[arg-type]
        for name, n in rows
    }


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else str(value)
