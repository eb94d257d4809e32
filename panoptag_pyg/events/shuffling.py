"""A full shuffle of more events than fit into memory: strewn into buckets on disk, then each bucket in order."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.events.hashing import shuffle_key, unit_interval
from panoptag_pyg.events.joining import Joined
from panoptag_pyg.output import OutputError, refusal

#: PFOs of a bucket, and those that are gathered before they are strewn: some 200 MB in memory.
BUCKET_PFOS = 2_000_000

_GROUPS = ("event", "pfo", "jet", "constituent")
_OFFSETS = ("pfo_offsets", "jet_offsets", "constituent_offsets", "constituents")


def shuffled(joined: Joined, seed: int, folder: Path) -> Iterator[tuple[EventBlock, np.ndarray]]:
    """A stream's events in random order, with their numbers.

    The order is that of :func:`~panoptag_pyg.events.hashing.shuffle_key`: it depends on the seed and on which events
    there are, not on the files that they come from. Buckets hold ranges of the key, so that sorting each of them sorts
    all events.

    Args:
        joined: the events.
        seed: of the order.
        folder: where the buckets go, uncompressed, until all is done.

    Raises:
        OutputError: if the disk is full or refuses.
    """
    key = shuffle_key(joined.hashes(), seed)
    num_buckets = max(1, -(-sum(file.num_pfos for file in joined.files) // BUCKET_PFOS))
    bucket = (unit_interval(key) * num_buckets).astype(np.int64)
    try:
        with tempfile.TemporaryDirectory(prefix=".shuffle.", suffix=".partial", dir=folder) as name:
            for block, numbers in _gathered(joined):
                _strew(Path(name), block, numbers, bucket[numbers])
            for number in range(num_buckets):
                block, numbers = _collect(Path(name) / str(number))
                order = np.argsort(key[numbers], kind="stable")
                yield block.select(order), numbers[order]
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"events could not be shuffled in {folder}: {refusal(error)}") from error


def _gathered(joined: Joined) -> Iterator[tuple[EventBlock, np.ndarray]]:
    """The stream in larger blocks."""
    blocks: list[EventBlock] = []
    numbers: list[np.ndarray] = []
    for block, rows in joined.blocks():
        blocks.append(block)
        numbers.append(rows)
        if sum(held.num_pfos for held in blocks) >= BUCKET_PFOS:
            yield EventBlock.concatenate(blocks), np.concatenate(numbers)
            blocks, numbers = [], []
    if blocks:
        yield EventBlock.concatenate(blocks), np.concatenate(numbers)


def _strew(folder: Path, block: EventBlock, numbers: np.ndarray, bucket: np.ndarray) -> None:
    for found in np.unique(bucket):
        chosen = np.flatnonzero(bucket == found)
        with open(folder / str(found), "ab") as file:
            np.save(file, numbers[chosen])
            _save(file, block.select(chosen))


def _collect(path: Path) -> tuple[EventBlock, np.ndarray]:
    if not path.exists():
        return EventBlock.empty(), np.empty(0, dtype=np.int64)
    blocks, numbers = [], []
    with open(path, "rb") as file:
        size = path.stat().st_size
        while file.tell() < size:
            numbers.append(np.load(file))
            blocks.append(_load(file))
    path.unlink()
    return EventBlock.concatenate(blocks), np.concatenate(numbers)


def _save(file: BinaryIO, block: EventBlock) -> None:
    for group in _GROUPS:
        columns = getattr(block, group)
        np.save(file, np.array(list(columns), dtype=np.str_))
        for values in columns.values():
            np.save(file, values)
    for name in _OFFSETS:
        np.save(file, getattr(block, name))


def _load(file: BinaryIO) -> EventBlock:
    parts: dict[str, Any] = {group: {str(name): np.load(file) for name in np.load(file)} for group in _GROUPS}
    parts.update((name, np.load(file)) for name in _OFFSETS)
    return EventBlock(**parts)
