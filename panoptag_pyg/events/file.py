"""``EventFile``: ragged events in HDF5, read by slice or by list."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events.block import EventBlock, check_offsets
from panoptag_pyg.events.chunks import SliceReader
from panoptag_pyg.events.schema import (
    COLUMNS,
    CONSTITUENT_COLUMNS,
    CONSTITUENTS,
    FORMAT_NAME,
    FORMAT_VERSION,
    GROUPS,
    OFFSETS,
    RESERVED_ATTRIBUTES,
    Column,
)


class EventFile:
    """Read an event file by slice or by list of events; opened lazily, once per process.

    Args:
        path: the file.

    Raises:
        EventFileError: if it is missing, empty, cut short, not HDF5, of another format or version, or if a column is
            missing or of the wrong length.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._handle: h5py.File | None = None
        self._readers: dict[str, SliceReader] = {}  # of the open handle
        self._process_id = -1
        self._check_header()
        self.attributes: dict[str, Any] = {
            name: _decode(value) for name, value in self._file.attrs.items() if name not in RESERVED_ATTRIBUTES
        }
        self.processes: list[str] = self._read_names("processes")
        #: What ``event/source`` counts through: the simulations or files that the events come from.
        told = "sources" in self._file.attrs or "sources" in self._file
        self.sources: list[str] = self._read_names("sources") if told else [self._source()]
        #: Names of the columns of constituents that this file has.
        self.constituent_columns: tuple[str, ...] = tuple(c.name for c in CONSTITUENT_COLUMNS if c.path in self._file)
        self.pfo_offsets: np.ndarray = self._file["pfo/offsets"][:]
        self.jet_offsets: np.ndarray = self._file["jet/offsets"][:]
        # Told without the file, which may have been closed since.
        self._present = frozenset(c.path for c in (*COLUMNS, *CONSTITUENT_COLUMNS) if c.path in self._file)
        self._num_constituents = len(self._file[CONSTITUENTS])
        self._check_lengths()

    @property
    def num_events(self) -> int:
        """Events in the file."""
        return len(self.pfo_offsets) - 1

    @property
    def num_pfos(self) -> int:
        """PFOs of all events."""
        return int(self.pfo_offsets[-1])

    @property
    def num_jets(self) -> int:
        """Jets of all events."""
        return int(self.jet_offsets[-1])

    @property
    def num_constituents(self) -> int:
        """Constituents of all jets."""
        return self._num_constituents

    @property
    def jet_radius(self) -> float | None:
        """R of the jets' clustering, as the attributes tell it; ``None`` where they don't."""
        card = self.attributes.get("detector_card")
        jets = self.attributes.get("jets", card.get("jets") if isinstance(card, dict) else None)
        radius = jets.get("radius") if isinstance(jets, dict) else None
        return float(radius) if isinstance(radius, (int, float)) else None

    def has(self, path: str) -> bool:
        """Whether the file holds the dataset ``path``; a truth column that it lacks reads as its default."""
        return path in self._present

    def column(self, path: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """One column's rows ``start`` to ``stop`` (default: all), unchecked; its default where the file lacks it."""
        column = next(c for c in (*COLUMNS, *CONSTITUENT_COLUMNS) if c.path == path)
        length = {"event": self.num_events, "pfo": self.num_pfos, "jet": self.num_jets}
        rows = slice(start, length.get(column.group, self.num_constituents) if stop is None else stop)
        try:
            return self._read_column(column, rows)
        except (OSError, RuntimeError) as error:
            raise EventFileError(
                f"{self.path}: {path} can't be read; the file is damaged: copy or simulate it again"
            ) from error

    def __len__(self) -> int:
        return self.num_events

    def __repr__(self) -> str:
        return f"EventFile({str(self.path)!r}, events={self.num_events}, pfos={self.num_pfos}, jets={self.num_jets})"

    def read(
        self,
        start: int = 0,
        stop: int | None = None,
        columns: Collection[str] | None = None,
        finite: bool = True,
    ) -> EventBlock:
        """Consecutive events, validated.

        Args:
            start: the first. Default 0.
            stop: the one after the last. Default: to the end of the file.
            columns: paths of those to read; others hold their default, and without ``jet/constituents`` no jet has any.
                Default ``None``: all.
            finite: refuse values that are not finite, too. Default ``True``.

        Raises:
            EventFileError: naming the event and column of the first value that no event can have.
        """
        start, stop, _ = slice(start, stop).indices(self.num_events)
        stop = max(start, stop)
        pfo = slice(int(self.pfo_offsets[start]), int(self.pfo_offsets[stop]))
        jet = slice(int(self.jet_offsets[start]), int(self.jet_offsets[stop]))
        rows = {"event": slice(start, stop), "pfo": pfo, "jet": jet}
        try:
            groups: dict[str, dict[str, np.ndarray]] = {group: {} for group in GROUPS}
            for column in COLUMNS:
                wanted = rows[column.group]
                groups[column.group][column.name] = (
                    self._read_column(column, wanted)
                    if columns is None or column.path in columns
                    else _default(column, wanted)
                )
            if columns is None or CONSTITUENTS in columns:
                constituent_offsets = self._reader("jet/constituent_offsets").read(jet.start, jet.stop + 1)
                check_offsets(
                    constituent_offsets - constituent_offsets[0],
                    jet.stop - jet.start,
                    int(constituent_offsets[-1] - constituent_offsets[0]),
                    f"{self.path}: jet/constituent_offsets",
                )
            else:
                constituent_offsets = np.zeros(jet.stop - jet.start + 1, dtype=np.int64)
            inside = slice(int(constituent_offsets[0]), int(constituent_offsets[-1]))
            constituents = self._reader(CONSTITUENTS).read(inside.start, inside.stop)
            constituent = {
                column.name: self._read_column(column, inside)
                for column in CONSTITUENT_COLUMNS
                if column.name in self.constituent_columns and (columns is None or column.path in columns)
            }
        except (OSError, RuntimeError) as error:
            raise EventFileError(
                f"{self.path}: events {start} to {stop} can't be read; the file is damaged: copy or simulate it again"
            ) from error
        block = EventBlock(
            **groups,
            pfo_offsets=self.pfo_offsets[start : stop + 1] - self.pfo_offsets[start],
            jet_offsets=self.jet_offsets[start : stop + 1] - self.jet_offsets[start],
            constituent_offsets=constituent_offsets - constituent_offsets[0],
            constituents=constituents,
            constituent=constituent,
        )
        block.validate(source=str(self.path), first_event=start, finite=finite)
        for name in ("process", "source"):
            self.check_names(name, block.event[name], np.arange(start, stop))
        return block

    def check_names(self, name: str, codes: np.ndarray, events: np.ndarray) -> None:
        """Refuse a number of a process or source that the file has no name for.

        Args:
            name: ``"process"`` or ``"source"``.
            codes: that column of some events.
            events: which.

        Raises:
            EventFileError: naming the first such event.
        """
        names = self.processes if name == "process" else self.sources
        if len(codes) and codes.max() >= len(names):
            bad = int(np.argmax(codes))
            raise EventFileError(
                f"{self.path}: event {events[bad]}: event/{name} is {codes[bad]}, expected less than "
                f"{len(names)} (the file names {names[:9]}); write the file again"
            )

    def read_events(self, indices: Sequence[int] | np.ndarray) -> EventBlock:
        """The events ``indices``, in that order; runs of neighbours are read in one go.

        Raises:
            IndexError: for an index below 0 or beyond the last event.
            EventFileError: as :meth:`read`.
        """
        indices = np.asarray(indices, dtype=np.int64)
        if len(indices) == 0:
            return self.read(0, 0)
        wanted, place = np.unique(indices, return_inverse=True)
        if wanted[0] < 0 or wanted[-1] >= self.num_events:
            bad = wanted[0] if wanted[0] < 0 else wanted[-1]
            raise IndexError(f"{self.path}: event {bad} is out of range, expected 0 to {self.num_events - 1}")
        runs = np.split(wanted, np.flatnonzero(np.diff(wanted) != 1) + 1)
        block = EventBlock.concatenate([self.read(int(run[0]), int(run[-1]) + 1) for run in runs])
        return block.select(place)

    def blocks(self, size: int = 1000) -> Iterator[EventBlock]:
        """All events, ``size`` at a time."""
        for start in range(0, self.num_events, size):
            yield self.read(start, start + size)

    def check(self) -> None:
        """Read and validate every value of every column.

        Raises:
            EventFileError: naming the first thing that is wrong.
        """
        for _ in self.blocks():
            pass

    def close(self) -> None:
        """Close the file; reading opens it again."""
        if self._handle is not None:
            self._readers.clear()
            self._handle.close()
            self._handle = None

    def __enter__(self) -> EventFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None, "_readers": {}, "_process_id": -1}

    @property
    def _file(self) -> h5py.File:
        # An HDF5 handle must not cross a fork: each loader worker opens its own.
        if self._handle is None or self._process_id != os.getpid():
            self._handle = self._open()
            self._readers = {}
            self._process_id = os.getpid()
        return self._handle

    def _open(self) -> h5py.File:
        try:
            return h5py.File(self.path, "r")
        except FileNotFoundError as error:
            raise EventFileError(f"{self.path}: no such file; make one with panoptag simulate") from error
        except OSError as error:
            if not self.path.is_file():
                problem = "is not a file"
            elif self.path.stat().st_size == 0:
                problem = "is empty"
            elif "truncated" in str(error):
                problem = "is cut short: copy or simulate it again"
            elif "unable to lock file" in str(error):
                problem = (
                    "is locked: another program writes it, or its file system can't lock files; wait for it, or set "
                    "HDF5_USE_FILE_LOCKING=FALSE"
                )
            elif not h5py.is_hdf5(self.path):
                problem = "is not an HDF5 file; event files are made by panoptag simulate"
            else:
                problem = f"can't be opened ({error})"
            raise EventFileError(f"{self.path} {problem}") from error

    def _check_header(self) -> None:
        attributes = self._file.attrs
        if attributes.get("format") != FORMAT_NAME:
            raise EventFileError(
                f"{self.path} is an HDF5 file of another kind (its attribute 'format' is "
                f"{attributes.get('format')!r}, expected {FORMAT_NAME!r}); make event files with panoptag simulate"
            )
        version = attributes.get("version")
        if version != FORMAT_VERSION:
            raise EventFileError(
                f"{self.path} has format version {version}, this panoptag-pyg reads version {FORMAT_VERSION}; "
                "simulate it again, or install the release that wrote it"
            )
        if not attributes.get("complete", 0):
            raise EventFileError(f"{self.path} was not written to its end: simulate it again")
        missing = [c.path for c in COLUMNS if not c.optional and c.path not in self._file]
        missing += [offsets.path for offsets in OFFSETS if offsets.path not in self._file]
        missing += [] if CONSTITUENTS in self._file else [CONSTITUENTS]
        if missing:
            raise EventFileError(f"{self.path}: column {missing[0]} is missing; write the file again with it")
        for column in (*COLUMNS, *CONSTITUENT_COLUMNS):
            self._check_dataset(column.path, "iuf" if column.is_float else "iu")
        for path in (*(offsets.path for offsets in OFFSETS), CONSTITUENTS):
            self._check_dataset(path, "iu")

    def _check_dataset(self, path: str, kinds: str) -> None:
        """Refuse anything but one row of numbers; ``kinds`` are NumPy's letters for those that will do."""
        dataset = self._file.get(path)
        if dataset is None:  # what this file doesn't know
            return
        if not isinstance(dataset, h5py.Dataset) or dataset.ndim != 1 or dataset.dtype.kind not in kinds:
            found = (
                f"holds {dataset.dtype} of shape {dataset.shape}"
                if isinstance(dataset, h5py.Dataset)
                else "is a group of others"
            )
            wanted = "numbers" if "f" in kinds else "whole numbers"
            raise EventFileError(f"{self.path}: column {path} {found}, expected one row of {wanted}; write it again")

    def _source(self) -> str:
        """A name for the events of a file that doesn't tell their source; the same for all pieces of a simulation."""
        return f"{'+'.join(self.processes)} seed={self.attributes.get('seed', 'unknown')}"

    def _read_names(self, attribute: str) -> list[str]:
        found = self._file.attrs.get(attribute)
        if found is None and attribute in self._file:  # too long for an attribute
            found = self._file[attribute][:].tobytes()
        try:
            names = json.loads(found)
        except (TypeError, ValueError):
            names = None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise EventFileError(
                f"{self.path}: its attribute '{attribute}' is {found!r}, expected a JSON list of names such as "
                "'[\"ttbar\"]'; write the file again"
            )
        return names

    def _check_lengths(self) -> None:
        num_events = len(self._file["event/id"])
        counts = {
            "event": num_events,
            "pfo": len(self._file["pfo/pt"]),
            "jet": len(self._file["jet/pt"]),
            "constituent": len(self._file[CONSTITUENTS]),
        }
        check_offsets(self.pfo_offsets, num_events, counts["pfo"], f"{self.path}: pfo/offsets")
        check_offsets(self.jet_offsets, num_events, counts["jet"], f"{self.path}: jet/offsets")
        for column in (*COLUMNS, *CONSTITUENT_COLUMNS):
            if column.path in self._file and len(self._file[column.path]) != counts[column.group]:
                raise EventFileError(
                    f"{self.path}: column {column.path} has {len(self._file[column.path])} entries, "
                    f"expected {counts[column.group]}; write the file again"
                )
        offsets = self._file["jet/constituent_offsets"]
        last = offsets[-1] if len(offsets) else "none"
        if len(offsets) != counts["jet"] + 1 or last != len(self._file[CONSTITUENTS]):
            raise EventFileError(
                f"{self.path}: jet/constituent_offsets has {len(offsets)} entries and ends at {last}, expected "
                f"{counts['jet'] + 1} ending at {len(self._file[CONSTITUENTS])}; write the file again"
            )

    def _read_column(self, column: Any, rows: slice) -> np.ndarray:
        if not self.has(column.path):  # what this file doesn't know
            return np.full(rows.stop - rows.start, column.default, dtype=column.dtype)
        return self._reader(column.path).read(rows.start, rows.stop).astype(column.dtype, copy=False)

    def _reader(self, path: str) -> SliceReader:
        file = self._file  # opens it if need be, which forgets the readers of another process's handle
        if path not in self._readers:
            self._readers[path] = SliceReader(file[path])
        return self._readers[path]


def _default(column: Column, rows: slice) -> np.ndarray:
    """As many defaults of a column; one number in memory."""
    return np.broadcast_to(np.asarray(column.default, dtype=column.dtype), rows.stop - rows.start)


def _decode(value: Any) -> Any:
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, str) and (value[:1] in ("[", "{", '"') or value in ("true", "false", "null")):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value.item() if isinstance(value, np.generic) else value
