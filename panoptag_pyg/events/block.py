"""``EventBlock``: the physical columns of some events, ragged, as they stand in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events.schema import COLUMNS, GROUPS, Column, columns


def lengths_to_offsets(lengths: np.ndarray) -> np.ndarray:
    """``[0, l0, l0 + l1, …]``: where each row's entries begin, int64 [n + 1]."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def ragged_arange(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Indices ``start, …, start + length − 1`` of every row, one after the other, int64 [sum of lengths]."""
    offsets = lengths_to_offsets(lengths)
    return np.repeat(np.asarray(starts, dtype=np.int64) - offsets[:-1], lengths) + np.arange(offsets[-1])


@dataclass
class EventBlock:
    """The physical columns of B events with P PFOs and J jets in all.

    Attributes:
        event: name → array [B]; names, types and units are those of :mod:`panoptag_pyg.events.schema`.
        pfo: name → array [P].
        jet: name → array [J].
        pfo_offsets: int64 [B + 1], first PFO of each event; starts at 0.
        jet_offsets: int64 [B + 1], first jet of each event.
        constituent_offsets: int64 [J + 1], first constituent of each jet.
        constituents: int32 [sum], index of each constituent among the PFOs of its own event.
        constituent: name → array [sum], those of the schema's columns of constituents that are known; none by default.
    """

    event: dict[str, np.ndarray]
    pfo: dict[str, np.ndarray]
    jet: dict[str, np.ndarray]
    pfo_offsets: np.ndarray
    jet_offsets: np.ndarray
    constituent_offsets: np.ndarray
    constituents: np.ndarray
    constituent: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def num_events(self) -> int:
        """B."""
        return len(self.pfo_offsets) - 1

    @property
    def num_pfos(self) -> int:
        """P."""
        return int(self.pfo_offsets[-1])

    @property
    def num_jets(self) -> int:
        """J."""
        return int(self.jet_offsets[-1])

    @property
    def pfo_event(self) -> np.ndarray:
        """Event of each PFO, int64 [P]."""
        return np.repeat(np.arange(self.num_events), np.diff(self.pfo_offsets))

    @property
    def jet_event(self) -> np.ndarray:
        """Event of each jet, int64 [J]."""
        return np.repeat(np.arange(self.num_events), np.diff(self.jet_offsets))

    @property
    def constituent_jet(self) -> np.ndarray:
        """Jet of each constituent, int64 [number of constituents]."""
        return np.repeat(np.arange(self.num_jets), np.diff(self.constituent_offsets))

    @property
    def constituent_pfo(self) -> np.ndarray:
        """Row of each constituent in this block's PFO columns, int64 [number of constituents]."""
        first_pfo = self.pfo_offsets[self.jet_event[self.constituent_jet]]
        return self.constituents.astype(np.int64) + first_pfo

    @classmethod
    def empty(cls) -> EventBlock:
        """A block without events."""
        groups = {g: {c.name: np.empty(0, c.dtype) for c in columns(g)} for g in GROUPS}
        zero = np.zeros(1, np.int64)
        return cls(
            **groups,
            pfo_offsets=zero,
            jet_offsets=zero.copy(),
            constituent_offsets=zero.copy(),
            constituents=np.empty(0, np.int32),
        )

    @classmethod
    def concatenate(cls, blocks: Sequence[EventBlock]) -> EventBlock:
        """Events of all ``blocks``, in order."""
        if not blocks:
            return cls.empty()
        if len(blocks) == 1:
            return blocks[0]

        def join(group: str) -> dict[str, np.ndarray]:
            return {
                name: np.concatenate([getattr(b, group)[name] for b in blocks]) for name in getattr(blocks[0], group)
            }

        def join_offsets(name: str) -> np.ndarray:
            return lengths_to_offsets(np.concatenate([np.diff(getattr(b, name)) for b in blocks]))

        return cls(
            event=join("event"),
            pfo=join("pfo"),
            jet=join("jet"),
            pfo_offsets=join_offsets("pfo_offsets"),
            jet_offsets=join_offsets("jet_offsets"),
            constituent_offsets=join_offsets("constituent_offsets"),
            constituents=np.concatenate([b.constituents for b in blocks]),
            constituent=_join_known(blocks),
        )

    def select(self, indices: np.ndarray | Sequence[int]) -> EventBlock:
        """The events ``indices``, in that order; an event may be named more than once."""
        indices = np.asarray(indices, dtype=np.int64)
        if len(indices) == self.num_events and np.array_equal(indices, np.arange(self.num_events)):
            return self
        num_pfos, num_jets = np.diff(self.pfo_offsets)[indices], np.diff(self.jet_offsets)[indices]
        pfos = ragged_arange(self.pfo_offsets[indices], num_pfos)
        jets = ragged_arange(self.jet_offsets[indices], num_jets)
        num_constituents = np.diff(self.constituent_offsets)[jets]
        constituents = ragged_arange(self.constituent_offsets[jets], num_constituents)
        return EventBlock(
            event={name: _take(values, indices) for name, values in self.event.items()},
            pfo={name: _take(values, pfos) for name, values in self.pfo.items()},
            jet={name: _take(values, jets) for name, values in self.jet.items()},
            pfo_offsets=lengths_to_offsets(num_pfos),
            jet_offsets=lengths_to_offsets(num_jets),
            constituent_offsets=lengths_to_offsets(num_constituents),
            constituents=self.constituents[constituents],
            constituent={name: values[constituents] for name, values in self.constituent.items()},
        )

    def leading(self, max_pfos: int | None = None, max_jets: int | None = None) -> EventBlock:
        """Keep each event's PFOs and jets of highest pT, in their order; of equals the earlier.

        Constituents that are cut away leave their jets' lists too.

        Args:
            max_pfos: how many PFOs. Default: all.
            max_jets: how many jets. Default: all.
        """
        block = self
        if max_jets is not None and max_jets < np.diff(self.jet_offsets).max(initial=0):
            block = block._keep_jets(_leading(self.jet["pt"], self.jet_offsets, max_jets))
        if max_pfos is not None and max_pfos < np.diff(self.pfo_offsets).max(initial=0):
            block = block._keep_pfos(_leading(block.pfo["pt"], block.pfo_offsets, max_pfos))
        return block

    def _keep_pfos(self, keep: np.ndarray) -> EventBlock:
        kept_before = np.concatenate(([0], np.cumsum(keep)))
        offsets = kept_before[self.pfo_offsets]
        rows = self.constituent_pfo
        kept = keep[rows]
        first = offsets[self.jet_event[self.constituent_jet[kept]]]
        return EventBlock(
            event=self.event,
            pfo={name: values[keep] for name, values in self.pfo.items()},
            jet=self.jet,
            pfo_offsets=offsets,
            jet_offsets=self.jet_offsets,
            constituent_offsets=np.concatenate(([0], np.cumsum(kept)))[self.constituent_offsets],
            constituents=(kept_before[rows[kept]] - first).astype(np.int32),
            constituent={name: values[kept] for name, values in self.constituent.items()},
        )

    def _keep_jets(self, keep: np.ndarray) -> EventBlock:
        lengths = np.diff(self.constituent_offsets)
        return EventBlock(
            event=self.event,
            pfo=self.pfo,
            jet={name: values[keep] for name, values in self.jet.items()},
            pfo_offsets=self.pfo_offsets,
            jet_offsets=np.concatenate(([0], np.cumsum(keep)))[self.jet_offsets],
            constituent_offsets=lengths_to_offsets(lengths[keep]),
            constituents=self.constituents[np.repeat(keep, lengths)],
            constituent={name: values[np.repeat(keep, lengths)] for name, values in self.constituent.items()},
        )

    def finite_events(self) -> np.ndarray:
        """Which events have finite values alone in all of their columns, bool [B]."""
        fine = np.ones(self.num_events, dtype=bool)
        of_row = {
            "event": lambda: np.arange(self.num_events),
            "pfo": lambda: self.pfo_event,
            "jet": lambda: self.jet_event,
            "constituent": lambda: self.jet_event[self.constituent_jet],
        }
        for column in self._known_columns():
            values = getattr(self, column.group)[column.name]
            # The sum sees a NaN or an infinity too, and costs less than asking every value.
            if column.is_float and not np.isfinite(values.sum(dtype=np.float64)):
                fine[of_row[column.group]()[~np.isfinite(values)]] = False
        return fine

    def validate(self, source: str = "events", first_event: int = 0, finite: bool = True) -> None:
        """Check that every value is one an event can have.

        Args:
            source: what to call these events in the message, such as the file's path.
            first_event: number of the block's first event within ``source``. Default 0.
            finite: refuse values that are not finite, too. Default ``True``.

        Raises:
            EventFileError: naming ``source``, the event, the column, what was found and what was expected.
        """
        self._validate_shapes(source)
        of_row = {
            "event": lambda row: row,
            "pfo": self._event_of_pfo,
            "jet": self._event_of_jet,
            "constituent": self._event_of_constituent,
        }
        for column in self._known_columns():
            values = getattr(self, column.group)[column.name]
            # min and max see a NaN too, and cost a hundredth of asking every value.
            if len(values) == 0:
                continue
            if values.strides == (0,):  # one number for all
                values = values[:1]
            low, high = values.min(), values.max()
            whole = not column.is_float or (np.isfinite(low) and np.isfinite(high))
            if not whole and not finite:
                values = np.where(np.isfinite(values), values, column.default)  # which is legal
                low, high, whole = values.min(), values.max(), True
            if not whole:
                row = int(np.flatnonzero(~np.isfinite(values))[0])
                problem = f"is {values[row]}, expected a finite number"
            elif column.low is not None and low < column.low:
                row = int(np.flatnonzero(values < column.low)[0])
                problem = f"is {values[row]}, expected at least {column.low:g}"
            elif column.high is not None and high > column.high:
                row = int(np.flatnonzero(values > column.high)[0])
                problem = f"is {values[row]}, expected at most {column.high:g}"
            else:
                continue
            event = int(of_row[column.group](row)) + first_event
            raise EventFileError(f"{source}: event {event}: {column.path} {problem}; mend or drop that event")
        num_pfos = np.diff(self.pfo_offsets)[self.jet_event[self.constituent_jet]]
        bad = np.flatnonzero((self.constituents < 0) | (self.constituents >= num_pfos))
        if len(bad):
            event = int(self.jet_event[self.constituent_jet[bad[0]]]) + first_event
            raise EventFileError(
                f"{source}: event {event}: jet/constituents is {self.constituents[bad[0]]}, "
                f"expected the index of one of the event's {num_pfos[bad[0]]} PFOs; write the file again"
            )

    def _event_of_pfo(self, row: int) -> int:
        return int(np.searchsorted(self.pfo_offsets, row, side="right")) - 1

    def _event_of_jet(self, row: int) -> int:
        return int(np.searchsorted(self.jet_offsets, row, side="right")) - 1

    def _event_of_constituent(self, row: int) -> int:
        return self._event_of_jet(int(np.searchsorted(self.constituent_offsets, row, side="right")) - 1)

    def _known_columns(self) -> tuple[Column, ...]:
        """The columns that every block has, and those of the constituents that this one has."""
        return (*COLUMNS, *(column for column in columns("constituent") if column.name in self.constituent))

    def _validate_shapes(self, source: str) -> None:
        counts = {
            "event": self.num_events,
            "pfo": self.num_pfos,
            "jet": self.num_jets,
            "constituent": len(self.constituents),
        }
        for column in self._known_columns():
            values = getattr(self, column.group).get(column.name)
            if values is None:
                raise EventFileError(f"{source}: column {column.path} is missing; write the file again with it")
            if values.shape != (counts[column.group],):
                raise EventFileError(
                    f"{source}: column {column.path} has {len(values)} entries, expected {counts[column.group]}; "
                    "write the file again"
                )
        check_offsets(self.pfo_offsets, self.num_events, self.num_pfos, f"{source}: pfo/offsets")
        check_offsets(self.jet_offsets, self.num_events, self.num_jets, f"{source}: jet/offsets")
        check_offsets(
            self.constituent_offsets,
            self.num_jets,
            len(self.constituents),
            f"{source}: jet/constituent_offsets",
        )


def _take(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """``values[rows]``; a column of defaults, which is one number in memory, stays one."""
    if values.strides == (0,) and len(values):
        return np.broadcast_to(values[0], len(rows))
    return values[rows]


def _join_known(blocks: Sequence[EventBlock]) -> dict[str, np.ndarray]:
    """The columns of constituents that all of the blocks know; one without constituents has nothing to know."""
    known = [block.constituent for block in blocks if len(block.constituents)]
    names = [name for name in known[0] if all(name in columns for columns in known)] if known else []
    return {name: np.concatenate([columns[name] for columns in known]) for name in names}


def check_offsets(offsets: np.ndarray, rows: int, entries: int, what: str) -> None:
    """Refuse offsets that don't rise from 0 to the number of entries.

    Args:
        offsets: first entry of each row, and their number at the end [rows + 1].
        rows: how many rows there should be.
        entries: how many entries there should be.
        what: what an error calls the offsets.

    Raises:
        EventFileError: if there are too few or too many, or one falls.
    """
    if len(offsets) != rows + 1:
        raise EventFileError(f"{what} has {len(offsets)} entries, expected {rows + 1}; write the file again")
    if offsets[0] != 0 or offsets[-1] != entries:
        raise EventFileError(
            f"{what} runs from {offsets[0]} to {offsets[-1]}, expected 0 to {entries}; write the file again"
        )
    falls = np.flatnonzero(np.diff(offsets) < 0)
    if len(falls):
        raise EventFileError(f"{what} falls after entry {falls[0]}, expected it never to fall; write the file again")


def _leading(pt: np.ndarray, offsets: np.ndarray, count: int) -> np.ndarray:
    """Mask of the ``count`` highest ``pt`` of each row; stable, so equal pT keeps the earlier entry."""
    row = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((-pt, row))
    keep = np.empty(len(pt), dtype=bool)
    keep[order] = np.arange(len(pt)) - offsets[row] < count
    return keep
