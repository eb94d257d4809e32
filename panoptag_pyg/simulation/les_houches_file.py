"""Les Houches event files, plain or gzipped, as a source of hard events: read as a stream, in blocks of 100.

Our own reader, because events must be had by number without holding the file: PYTHIA's can only go forward, and gives
no weights where events are rejected. Source: hep-ph/0609017 (version 1), arXiv:1405.1067 (version 3).
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.simulation.les_houches import HardEvent, HardProcess

#: Events in a block; part of what a block's number means.
BLOCK_EVENTS = 100
#: Bytes read at a time.
_CHUNK = 1 << 20
#: An event or header longer than this is none.
_LONGEST = 1 << 26
_EVENT = re.compile(rb"<event(?:\s[^>]*)?>(.*?)</event\s*>", re.DOTALL)
_EVENT_END = re.compile(rb"</event\s*>")
#: NUP, IDPRUP, XWGTUP, …: the weight is the third.
_WEIGHT = re.compile(rb"(?:\s*#[^\n]*\n)*\s*\S+\s+\S+\s+(\S+)")
_COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
_INIT = re.compile(rb"<init(?:\s[^>]*)?>(.*?)</init\s*>", re.DOTALL)
_LONG_EXPONENT = re.compile(rb"(?<=[0-9.])([+-][0-9]{3})$")
_NUM_COLUMNS = 13
_STATUSES = (-9, -2, -1, 1, 2, 3)


class LesHouchesFileError(PanopTagError, ValueError):
    """A file of Les Houches events that isn't one, is cut off, or holds what no event can have."""


@dataclass(frozen=True)
class Weights:
    """All weights of a file's events.

    Attributes:
        num_events: how many events there are.
        sum_of_weights: over all of them.
        num_negative: how many have a negative weight.
        sum_of_negative_weights: over these.
    """

    num_events: int = 0
    sum_of_weights: float = 0.0
    num_negative: int = 0
    sum_of_negative_weights: float = 0.0


class LesHouchesFile:
    """A file of hard events, such as MadGraph5_aMC@NLO and POWHEG write them.

    Memory is bounded by one block of events. Going forward costs reading the file once; so does going back in a gzipped
    file, while a plain one is entered at the block. Alternative weights (``<rwgt>``, ``<weights>``), scales and
    comments are passed over.

    Args:
        path: the file, plain or gzipped, whatever its name.

    Attributes:
        path: the file.
        origin: the same as text.
        beams: PDG number and energy in GeV of either beam.
        strategy: how weights are meant (IDWTUP).
        processes: the file's processes with their cross sections.

    Raises:
        LesHouchesFileError: there is no such file, or it has no legal ``<init>``.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.origin = str(self.path)
        self._stream = self._open()
        self._buffer = b""
        start = self._read_init()
        self._offset = start  # of the buffer's first byte
        self._starts = [start]  # offsets of the blocks known so far
        self._position = 0  # block that the buffer begins with
        self._num_events: int | None = None
        self._block: tuple[int, list[bytes]] = (-1, [])

    def _open(self) -> BinaryIO:
        try:
            with open(self.path, "rb") as stream:
                zipped = stream.read(2) == b"\x1f\x8b"
            # Open as long as this object lives.
            return cast(BinaryIO, gzip.open(self.path, "rb")) if zipped else open(self.path, "rb")
        except OSError as error:
            raise LesHouchesFileError(f"{self.path}: can't be read: {error.strerror}") from None

    def _more(self) -> bool:
        """Read on; False at the file's end."""
        try:
            chunk = self._stream.read(_CHUNK)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise LesHouchesFileError(f"{self.path}: is damaged or cut off ({error}); fetch it again") from None
        except OSError as error:
            raise LesHouchesFileError(f"{self.path}: can't be read: {error.strerror}") from None
        self._buffer += chunk
        return bool(chunk)

    def _read_init(self) -> int:
        """Read the ``<init>`` block; returns where events begin."""
        while self._more():
            if b"<LesHouchesEvents" not in self._buffer[: 1 << 16]:
                break
            # Blanked, so that offsets stay.
            plain = _COMMENT.sub(lambda match: b" " * len(match[0]), self._buffer)
            found = _INIT.search(plain)
            if found:
                self._parse_init(found[1])
                self._buffer = self._buffer[found.end() :]
                return found.end()
            if len(self._buffer) > _LONGEST:
                break
        if b"<LesHouchesEvents" not in self._buffer[: 1 << 16]:
            raise LesHouchesFileError(f"{self.path}: is no Les Houches event file, <LesHouchesEvents> isn't there")
        raise LesHouchesFileError(
            f"{self.path}: has no complete <init> block, which says what collides; the file is cut off or isn't one of "
            "Les Houches events"
        )

    def _parse_init(self, text: bytes) -> None:
        lines = _rows(text)
        try:
            if not lines or len(lines[0]) < 10:
                raise ValueError("expected 10 numbers in its first line")
            first = lines[0]
            self.beams = (_whole(first[0]), _number(first[2])), (_whole(first[1]), _number(first[3]))
            self.strategy = _whole(first[8])
            if abs(self.strategy) not in (1, 2, 3, 4):
                raise ValueError(f"the weighting strategy is {self.strategy}, expected ±1 to ±4")
            if any(energy <= 0 for _, energy in self.beams):
                raise ValueError("a beam's energy isn't positive")
            rows = lines[1 : 1 + _whole(first[9])]
            if len(rows) < _whole(first[9]) or any(len(row) < 4 for row in rows):
                raise ValueError(f"expected {_whole(first[9])} lines of processes with 4 numbers")
            self.processes: Sequence[HardProcess] = tuple(
                HardProcess(_whole(row[3]), _number(row[0]), _number(row[1]), _number(row[2])) for row in rows
            )
        except ValueError as error:
            raise LesHouchesFileError(f"{self.path}: <init>: {error}") from None

    def _next_block(self) -> list[bytes]:
        """What stands in the tags of each of the next up to 100 events, which leave the buffer."""
        found = end = search = 0
        while found < BLOCK_EVENTS:
            match = _EVENT_END.search(self._buffer, search)
            if match:
                found, end = found + 1, match.end()
                search = end
                continue
            # A tag may stand across the chunks' border.
            search = max(end, len(self._buffer) - 16)
            if len(self._buffer) - end > _LONGEST:
                raise self._error(BLOCK_EVENTS * self._position + found, "goes on for more than 64 MiB")
            if not self._more():
                break
        text, self._buffer = self._buffer[:end], self._buffer[end:]
        if b"<eventgroup" in text:
            raise LesHouchesFileError(
                f"{self.path}: holds an <eventgroup>, correlated events of a fixed-order calculation, which can't be "
                "showered"
            )
        if found < BLOCK_EVENTS:
            self._finish(BLOCK_EVENTS * self._position + found)
        self._offset += end
        self._position += 1
        if self._position == len(self._starts):
            self._starts.append(self._offset)
        events = _EVENT.findall(text)
        if len(events) != found:
            raise self._error(BLOCK_EVENTS * (self._position - 1) + len(events), "or one before it has two ends")
        return events

    def _finish(self, num_events: int) -> None:
        """Check what stands behind the last event."""
        if re.search(rb"<event[\s>]", self._buffer):
            raise self._error(num_events, "has no end: the file is cut off; fetch or make it again")
        if b"</LesHouchesEvents" not in self._buffer:
            raise LesHouchesFileError(
                f"{self.path}: ends after {num_events:,} events without </LesHouchesEvents>: it is cut off; make it "
                "again, or add that line if you know that these are all"
            )
        self._num_events = num_events

    def _texts(self, block: int) -> list[bytes]:
        """What stands between the tags of each of a block's events."""
        if self._block[0] == block:
            return self._block[1]
        known = min(block, len(self._starts) - 1)
        if block < self._position or known > self._position:
            self._enter(known)
        texts: list[bytes] = []
        while self._position <= block:
            if self._num_events is not None and BLOCK_EVENTS * self._position >= self._num_events:
                return []
            texts = self._next_block()
        self._block = block, texts
        return texts

    def _enter(self, block: int) -> None:
        self._position, self._offset, self._buffer = block, self._starts[block], b""
        self._stream.seek(self._offset)

    def event(self, block: int, number: int) -> HardEvent | None:
        """Event ``100 * block + number``, counted from 0; ``None`` beyond the block or the file.

        Raises:
            LesHouchesFileError: the event, or what stands before it, isn't legal; the file is cut off.
        """
        if number >= BLOCK_EVENTS:
            return None
        texts = self._texts(block)
        if number >= len(texts):
            return None
        try:
            return parse_event(texts[number])
        except ValueError as error:
            raise self._error(BLOCK_EVENTS * block + number, str(error)) from None

    def _error(self, event: int, what: str) -> LesHouchesFileError:
        return LesHouchesFileError(f"{self.path}: event {event} (counted from 0) {what}")

    @cached_property
    def weights(self) -> Weights:
        """Number of the events and sums of their weights; reads the whole file, once.

        Raises:
            LesHouchesFileError: the file is cut off, holds no event, or a weight is no number.
        """
        self._enter(0)
        count, total, negative, num_negative = 0, 0.0, 0.0, 0
        while self._num_events is None or count < self._num_events:
            weights: list[float] = []
            for text in self._next_block():
                head = _WEIGHT.match(text)
                try:
                    weights.append(_number(head[1] if head else b""))
                except ValueError as error:
                    raise self._error(count + len(weights), f"has a bad weight: {error}") from None
            below = [weight for weight in weights if weight < 0]
            total, negative = math.fsum((total, *weights)), math.fsum((negative, *below))
            num_negative, count = num_negative + len(below), count + len(weights)
        if count == 0:
            raise LesHouchesFileError(f"{self.path}: holds no events")
        return Weights(count, total, num_negative, negative)

    @cached_property
    def cross_section(self) -> tuple[float, float]:
        """Cross section of all processes and its error in pb: what ``<init>`` says, else the mean of weights in pb."""
        value = math.fsum(process.cross_section for process in self.processes)
        error = math.hypot(*(process.error for process in self.processes))
        if value == 0 and abs(self.strategy) in (1, 4):
            value = self.weights.sum_of_weights / self.weights.num_events
        return value, error

    def describe(self) -> dict[str, Any]:
        """What a file of simulated events says about these: name, beams, processes, sums of weights."""
        return {
            "file": self.path.name,
            "path": str(self.path),
            "digest": self.digest,
            "beams": self.beams,
            "strategy": self.strategy,
            "processes": [asdict(process) for process in self.processes],
            **asdict(self.weights),
        }

    @cached_property
    def digest(self) -> str:
        """Eight hexadecimal digits of the SHA-256 of the file's first and last 64 kB and its size."""
        size, ends = self.path.stat().st_size, hashlib.sha256()
        with open(self.path, "rb") as stream:
            ends.update(stream.read(1 << 16))
            stream.seek(max(size - (1 << 16), 0))
            ends.update(stream.read())
        ends.update(str(size).encode())
        return ends.hexdigest()[:8]


def parse_event(text: bytes) -> HardEvent:
    """One event from what stands between ``<event>`` and ``</event>``.

    Raises:
        ValueError: with the end of a sentence that begins with the event's name.
    """
    rows = _rows(text)
    if not rows or len(rows[0]) < 6:
        raise ValueError("has no first line with 6 numbers")
    try:
        head = [_number(value) for value in rows[0][:6]]
        count = _whole(rows[0][0])
        rows = rows[1 : 1 + count]
        if len(rows) < count or any(len(row) < _NUM_COLUMNS for row in rows):
            complete = sum(len(row) >= _NUM_COLUMNS for row in rows)
            raise ValueError(f"it has {complete} complete lines of particles, expected {count}")
        table = np.array([[_number(value) for value in row[:_NUM_COLUMNS]] for row in rows]).reshape(
            count, _NUM_COLUMNS
        )
    except ValueError as error:
        raise ValueError(f"can't be read: {error}") from None
    whole = table[:, :6].astype(np.int64)
    if (whole != table[:, :6]).any():
        raise ValueError("has a particle, status, mother or colour that is no whole number")
    status, mothers = whole[:, 1], whole[:, 2:4]
    if not np.isin(status, _STATUSES).all():
        raise ValueError(f"has a particle of status {status[~np.isin(status, _STATUSES)][0]}, which means nothing")
    if np.sum(status == -1) != 2 or not (status == 1).any():
        raise ValueError(f"has {np.sum(status == -1)} incoming and {np.sum(status == 1)} outgoing particles")
    if (mothers < 0).any() or (mothers > count).any():
        raise ValueError("has a mother that isn't among its particles")
    return HardEvent(
        weight=head[2],
        scale=head[3],
        alpha_qed=head[4],
        alpha_qcd=head[5],
        process_id=int(head[1]),
        pdg=whole[:, 0],
        status=status,
        mothers=mothers,
        colours=whole[:, 4:6],
        momentum=table[:, 6:10],
        mass=table[:, 10],
        lifetime=table[:, 11],
        spin=table[:, 12],
    )


def _rows(text: bytes) -> list[list[bytes]]:
    """Lines of numbers; comments (``#``) and lines of other tags are left out."""
    lines = (line.partition(b"#")[0].strip() for line in text.splitlines())
    return [line.split() for line in lines if line and not line.startswith(b"<")]


def _number(text: bytes) -> float:
    try:
        value = float(text)
    except ValueError:
        value = _fortran_number(text)
    if not math.isfinite(value) or b"_" in text:
        raise ValueError(f"'{text.decode(errors='replace')}' is no number")
    return value


def _fortran_number(text: bytes) -> float:
    # Fortran writes 1.0D+02 and, where the exponent has three digits, 1.0-100.
    plain = _LONG_EXPONENT.sub(rb"e\1", text.replace(b"D", b"e").replace(b"d", b"e"))
    try:
        return float(plain)
    except ValueError:
        return math.nan


def _whole(text: bytes) -> int:
    value = _number(text)
    if value != int(value):
        raise ValueError(f"'{text.decode(errors='replace')}' is no whole number")
    return int(value)
