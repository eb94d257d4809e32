"""``EventFileWriter``: ragged events into HDF5 as a stream; a file is whole or isn't there."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.events.schema import (
    COLUMNS,
    CONSTITUENT_COLUMNS,
    CONSTITUENTS,
    FORMAT_NAME,
    FORMAT_VERSION,
    OFFSETS,
    RESERVED_ATTRIBUTES,
    Column,
)
from panoptag_pyg.output import Disk, refusal

# 16k entries: the PFOs of some 50 events. A shuffled epoch reads runs of 256 events, whose first and last chunk it
# decompresses for nothing; larger chunks would make that more, smaller ones cost as much in calls.
CHUNK_ENTRIES = 16384
#: HDF5 keeps attributes of up to 64 kB; thousands of sources are longer, and become a dataset.
LONGEST_ATTRIBUTE = 60_000


def round_mantissa(values: np.ndarray, bits: int) -> np.ndarray:
    """Round floats to some bits of mantissa (half to even), so that they compress well.

    The relative error is at most 2^−(bits + 1); zeros and signs stay.

    Args:
        values: float32.
        bits: of mantissa to keep; 23 or more change nothing.
    """
    drop = 23 - bits
    if drop <= 0 or values.dtype != np.float32:
        return values
    raw = np.ascontiguousarray(values).view(np.uint32)
    half = np.uint32((1 << (drop - 1)) - 1) + ((raw >> np.uint32(drop)) & np.uint32(1))
    rounded = ((raw + half) & ~np.uint32((1 << drop) - 1)).view(np.float32)
    # Only the very largest floats would round to infinity.
    return np.where(np.isfinite(rounded), rounded, values)


class EventFileWriter:
    """Append blocks of events to a new file; nothing stands under ``path`` until all is written.

    Use it as a context manager. The file is made under a temporary name in the same folder and renamed when the
    ``with`` block ends well; an error or Ctrl-C removes it. Memory is bounded by one block.

    Columns of constituents are written if the blocks have them; all blocks must have the same.

    Args:
        path: the file to make, usually ``*.h5``.
        processes: names of the processes that ``event/process`` counts through.
        attributes: provenance (seed, cards, versions, …); strings, numbers, or anything JSON can hold.
        overwrite: replace an existing file. Default ``False``.
        round_bits: bits of mantissa kept in float columns; ``None`` (default) is lossless.
        compression_level: gzip level 0–9. Default 1.
        unknown: paths of optional columns to leave out, such as ``"jet/truth_pt"``; they read as their default.
            Default: none.
        sources: names of the simulations or files that ``event/source`` counts through. Default ``None``: one, named
            after the processes and the attribute ``seed``.

    Raises:
        EventFileError: if ``path`` exists and ``overwrite`` is false, if its folder can't be written, if the disk is
            full, or if a block holds values that no event can have.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        processes: Sequence[str],
        attributes: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        round_bits: int | None = None,
        compression_level: int = 1,
        unknown: Collection[str] = (),
        sources: Sequence[str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.processes = list(processes)
        if sources is None:
            sources = [f"{'+'.join(self.processes)} seed={(attributes or {}).get('seed', 'unknown')}"]
        self.sources = list(sources)
        self.round_bits = round_bits
        self._columns = tuple(column for column in COLUMNS if column.path not in unknown)
        needed = [column.path for column in COLUMNS if column.path in unknown and not column.optional]
        if needed:
            raise ValueError(f"{needed[0]} isn't optional; every file has it")
        self._constituent_columns: tuple[Column, ...] | None = None  # those of the first block that has constituents
        self.num_events = 0
        self._entries = {offsets.path: 0 for offsets in OFFSETS}
        clash = set(attributes or {}) & set(RESERVED_ATTRIBUTES)
        if clash:
            raise ValueError(f"attributes {sorted(clash)} are written by EventFileWriter itself")
        refuse_existing(self.path, overwrite)
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        self._file: h5py.File | None = None
        # Kept open: HDF5 drops a dataset's unfinished chunk, half compressed, each time the last handle goes.
        self._datasets: dict[str, h5py.Dataset] = {}
        self._disk: Disk | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._disk = Disk(self._temporary)
            self._file = h5py.File(self._disk, "w")
            self._create(compression_level, attributes or {})
        except OSError as error:
            self.abort()
            raise _write_error(self.path, error) from error

    def _create(self, compression_level: int, attributes: Mapping[str, Any]) -> None:
        assert self._file is not None
        self._options = options = {
            "maxshape": (None,),
            "shuffle": True,
            "compression": "gzip",
            "compression_opts": compression_level,
        }
        for column in self._columns:
            self._create_column(column)
        for offsets in OFFSETS:
            self._datasets[offsets.path] = self._file.create_dataset(
                offsets.path, (1,), "int64", chunks=(_chunk("event"),), **options
            )
        self._datasets[CONSTITUENTS] = self._file.create_dataset(
            CONSTITUENTS, (0,), "int32", chunks=(CHUNK_ENTRIES,), **options
        )
        self._file.attrs["format"] = FORMAT_NAME
        self._file.attrs["version"] = FORMAT_VERSION
        self._file.attrs["processes"] = json.dumps(self.processes)
        sources = json.dumps(self.sources)
        if len(sources) <= LONGEST_ATTRIBUTE:
            self._file.attrs["sources"] = sources
        else:
            self._file["sources"] = np.frombuffer(sources.encode(), dtype=np.uint8)
        self.set_attributes(attributes)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Add to the provenance what is known only now, such as how many events were lost.

        Args:
            attributes: strings, numbers, or anything JSON can hold; they replace those of the same name.

        Raises:
            ValueError: if the writer is closed, or writes one of these itself.
        """
        clash = set(attributes) & set(RESERVED_ATTRIBUTES)
        if self._file is None or clash:
            raise ValueError(
                "the writer is closed" if self._file is None else f"attributes {sorted(clash)} are its own"
            )
        for name, value in attributes.items():
            plain = isinstance(value, (str, int, float, np.integer, np.floating)) and not isinstance(value, bool)
            self._file.attrs[name] = value if plain else json.dumps(value)

    def _create_column(self, column: Column) -> None:
        assert self._file is not None
        dataset = self._file.create_dataset(
            column.path, (0,), column.dtype, chunks=(_chunk(column.group),), **self._options
        )
        self._datasets[column.path] = dataset
        dataset.attrs["unit"] = column.unit
        dataset.attrs["meaning"] = column.meaning

    def write(self, block: EventBlock) -> None:
        """Append the events of ``block``; it is validated first.

        Raises:
            EventFileError: naming the event and column of the first value that no event can have; or if the disk is
                full or refuses.
            ValueError: if the writer is closed, an event is of a process that it wasn't told, or the block has other
                columns of constituents than those before it.
        """
        if self._file is None:
            raise ValueError("the writer is closed")
        block.validate(source=f"{self.path} (being written)", first_event=self.num_events)
        for name, names in (("process", self.processes), ("source", self.sources)):
            if block.num_events and block.event[name].max() >= len(names):
                raise ValueError(f"event/{name} {block.event[name].max()} is not in {names}")
        try:
            for column in (*self._columns, *self._columns_of_constituents(block)):
                values = getattr(block, column.group)[column.name].astype(column.dtype, copy=False)
                if self.round_bits is not None and column.is_float:
                    values = round_mantissa(values, self.round_bits)
                self._append(column.path, values)
            for path, offsets in (
                ("pfo/offsets", block.pfo_offsets),
                ("jet/offsets", block.jet_offsets),
                ("jet/constituent_offsets", block.constituent_offsets),
            ):
                self._append(path, offsets[1:] + self._entries[path])
                self._entries[path] += int(offsets[-1])
            self._append(CONSTITUENTS, block.constituents)
            self._check_disk()
        except OSError as error:
            self.abort()
            raise _write_error(self.path, error) from error
        self.num_events += block.num_events

    def _columns_of_constituents(self, block: EventBlock) -> tuple[Column, ...]:
        if len(block.constituents) == 0:
            return ()
        found = tuple(column for column in CONSTITUENT_COLUMNS if column.name in block.constituent)
        if self._constituent_columns is None:
            self._constituent_columns = found
            for column in found:
                self._create_column(column)
        if found != self._constituent_columns:
            before, now = ([c.name for c in columns] for columns in (self._constituent_columns, found))
            raise ValueError(f"the block has the constituents' columns {now}, those before it had {before}")
        return found

    def _append(self, path: str, values: np.ndarray) -> None:
        dataset = self._datasets[path]
        start = dataset.shape[0]
        if len(values):
            dataset.resize((start + len(values),))
            dataset[start:] = values

    def close(self) -> None:
        """Finish the file and give it its name.

        Raises:
            EventFileError: if the disk is full or refuses; nothing is left behind.
        """
        if self._file is None:
            return
        try:
            self._file.attrs["complete"] = 1
            self._datasets.clear()
            self._file.close()
            self._file = None
            self._check_disk()
            os.replace(self._temporary, self.path)
        except OSError as error:
            self.abort()
            raise _write_error(self.path, error) from error

    def abort(self) -> None:
        """Drop what was written."""
        self._datasets.clear()
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._disk is not None:
            self._disk.close()
        with suppress(OSError):
            self._temporary.unlink(missing_ok=True)

    def _check_disk(self) -> None:
        assert self._disk is not None
        if self._file is None:
            self._disk.close()
        if self._disk.error is not None:
            raise self._disk.error

    def __enter__(self) -> EventFileWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Refuse a path at which no new file may stand; to be asked before long work too.

    Raises:
        EventFileError: it is a folder, or a file that may not be replaced.
    """
    if path.is_dir():
        raise EventFileError(f"{path} is a folder; give the name of a file in it")
    if path.exists() and not overwrite:
        raise EventFileError(f"{path} exists; choose another name or overwrite it with --overwrite")


def _chunk(group: str) -> int:
    return CHUNK_ENTRIES if group in ("pfo", "constituent") else CHUNK_ENTRIES // 2


def _write_error(path: Path, error: OSError) -> EventFileError:
    return EventFileError(f"{path} could not be written: {refusal(error)}; nothing was left behind")
