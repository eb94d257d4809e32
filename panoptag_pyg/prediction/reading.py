"""From the sources' blocks to batches for the tagger: bounded memory, whole batches across the ends of files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from torch_geometric.data import HeteroData

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events.angularities import RADIUS, jet_radius
from panoptag_pyg.events.batching import window_of, window_to_batch
from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.events.features import JET_FEATURES
from panoptag_pyg.events.fields import Fields
from panoptag_pyg.events.loader import GROUP_EVENTS
from panoptag_pyg.events.sampling import budget_cuts
from panoptag_pyg.events.schema import columns
from panoptag_pyg.prediction.source import EventSource

#: PFOs of so many events together at most, but for those of one batch.
GROUP_PFOS = 500_000
#: Columns that blocks get on their way: which file an event is from, whether it can't be tagged, and the number of a
#: jet or PFO within its event before any was cut.
FILE, MISSING, NUMBER = "file", "missing", "number"
#: What events that can't be tagged hold in place of their values, so that they are no trouble to others: all else is 0.
_NEUTRAL = {"pt": 1.0, "energy": 1.0}


@dataclass(frozen=True)
class Prepared:
    """Some events, ready for the tagger.

    Attributes:
        first: number of the first event among all.
        block: as read, after the cuts on leading PFOs and jets; with the columns above.
        bounds: first event of each batch within the block, and their number.
        batches: of the block's events, those that can't be tagged made neutral.
    """

    first: int
    block: EventBlock
    bounds: list[int]
    batches: list[HeteroData]


class EventStream:
    """All sources' events in order, as a tagger wants them.

    Args:
        sources: the files.
        fields: what batches hold beyond the usual.
        max_pfos: leading PFOs of each event that are kept. Default: all.
        max_jets: the same of jets. Default: all.
        processes: names that ``batch.process`` counts first. Default: none.
        pin_memory: copy batches into pinned memory, for a GPU. Default ``False``.

    Raises:
        EventFileError: if a file lacks a column of constituents that is needed.
    """

    def __init__(
        self,
        sources: Sequence[EventSource],
        fields: Fields,
        max_pfos: int | None = None,
        max_jets: int | None = None,
        processes: Sequence[str] = (),
        pin_memory: bool = False,
    ) -> None:
        self.sources = list(sources)
        self.fields = fields
        self.max_pfos, self.max_jets = max_pfos, max_jets
        self.pin_memory = pin_memory
        for source in self.sources:
            missing = [name for name in fields.constituent if f"constituent/{name}" in source.unknown]
            if missing and source.num_events:
                raise EventFileError(
                    f"{source.path} lacks the column constituent/{missing[0]}; `panoptag prepare {source.path} "
                    "--subjets -o OUT.h5` adds it"
                )
        self.processes: list[str] = list(
            dict.fromkeys([*processes, *(name for source in self.sources for name in source.processes)])
        )
        #: First event of each source among all, and their number.
        self.starts: np.ndarray = np.concatenate(([0], np.cumsum([source.num_events for source in self.sources])))

    @property
    def num_events(self) -> int:
        """Events of all sources."""
        return int(self.starts[-1])

    def file_of(self, event: int) -> int:
        """Which source an event is of."""
        return int(np.searchsorted(self.starts, event, side="right")) - 1

    def name_of(self, event: int) -> str:
        """What a message calls an event."""
        file = self.file_of(event)
        return f"event {event - int(self.starts[file])} of {self.sources[file].path}"

    def prepared(
        self,
        start: int,
        stop: int,
        batch_size: int | None = None,
        max_pfos_per_batch: int | None = None,
        strict: bool = False,
    ) -> Iterator[Prepared]:
        """The events ``start`` to ``stop``, some hundreds at a time.

        Args:
            start: the first.
            stop: one after the last.
            batch_size: events per batch; all batches but the last have so many.
            max_pfos_per_batch: PFOs per batch at most, in its place; an event with more is a batch by itself.
            strict: refuse events with a value that is not finite. Default ``False``: mark them.

        Raises:
            EventFileError: as the sources do; or if one has fewer events than it said.
        """
        if start == stop:  # so that even no events have their columns
            yield self._prepare(start, self._complete(EventBlock.empty(), 0), [0, 0])
        waiting: EventBlock | None = None
        first = start
        for block in self._blocks(start, stop, strict):
            waiting = block if waiting is None else EventBlock.concatenate([waiting, block])
            small = waiting.num_events < GROUP_EVENTS and waiting.num_pfos < GROUP_PFOS
            if small and first + waiting.num_events < stop:
                continue
            bounds = _bounds(np.diff(waiting.pfo_offsets), batch_size, max_pfos_per_batch)
            if first + waiting.num_events < stop and len(bounds) > 2:
                bounds.pop()  # the last batch may not be full yet
            elif first + waiting.num_events < stop:
                continue
            done = waiting.select(np.arange(bounds[-1]))
            yield self._prepare(first, done, bounds)
            waiting, first = waiting.select(np.arange(bounds[-1], waiting.num_events)), first + bounds[-1]

    def _prepare(self, first: int, block: EventBlock, bounds: list[int]) -> Prepared:
        fine = neutralised(block, block.event[MISSING])
        window = window_of(fine, self.fields)
        batches = [window_to_batch(window, low, high) for low, high in pairwise(bounds)]
        if self.pin_memory:
            batches = [batch.pin_memory() for batch in batches]
        return Prepared(first, block, bounds, batches)

    def _blocks(self, start: int, stop: int, strict: bool) -> Iterator[EventBlock]:
        for number in range(self.file_of(start), len(self.sources)):
            begin, end = (int(np.clip(edge, start, stop)) - int(self.starts[number]) for edge in self._edges(number))
            place = begin
            if place >= end:
                continue
            for block in self.sources[number].blocks(place, GROUP_EVENTS):
                if block.num_events > end - place:
                    block = block.select(np.arange(end - place))
                if strict:
                    block.validate(str(self.sources[number].path), place)
                yield self._complete(block, number)
                place += block.num_events
                if place >= end:
                    break
            if place < end:
                raise EventFileError(
                    f"{self.sources[number].path} ended after {place} of its {self.sources[number].num_events} events; "
                    "has it changed meanwhile? Start again"
                )

    def _edges(self, number: int) -> tuple[int, int]:
        return int(self.starts[number]), int(self.starts[number + 1])

    def _complete(self, block: EventBlock, number: int) -> EventBlock:
        """The block with process numbers of the whole and the columns above, after the cuts."""
        source = self.sources[number]
        place = np.array([self.processes.index(name) for name in source.processes], dtype=np.int16)
        event = {
            **block.event,
            "process": place[block.event["process"]],
            FILE: np.full(block.num_events, number, np.int32),
            MISSING: ~block.finite_events(),
        }
        pfo = {**block.pfo, NUMBER: _numbers(block.pfo_offsets)}
        jet = {**block.jet, NUMBER: _numbers(block.jet_offsets)}
        if len(self.fields.jet_features) > len(JET_FEATURES):
            jet[RADIUS] = np.full(block.num_jets, jet_radius(dict(source.attributes)))
        return replace(block, event=event, pfo=pfo, jet=jet).leading(self.max_pfos, self.max_jets)


def neutralised(block: EventBlock, events: np.ndarray) -> EventBlock:
    """The block with plain numbers in place of all values of some events.

    Args:
        block: the events.
        events: which of them, bool [B].
    """
    if not events.any():
        return block
    return replace(
        block,
        pfo=_neutral("pfo", block.pfo, np.repeat(events, np.diff(block.pfo_offsets))),
        jet=_neutral("jet", block.jet, np.repeat(events, np.diff(block.jet_offsets))),
    )


def _neutral(group: str, values: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    names = {column.name for column in columns(group) if column.is_float}
    changed: dict[str, Any] = {
        name: np.where(rows, np.asarray(_NEUTRAL.get(name, 0.0), old.dtype), old)
        for name, old in values.items()
        if name in names
    }
    return {**values, **changed}


def _bounds(sizes: np.ndarray, batch_size: int | None, max_pfos: int | None) -> list[int]:
    """Where the batches of events with ``sizes`` PFOs begin, and the number of events."""
    if max_pfos is not None:
        return [0, *budget_cuts(sizes, max_pfos), len(sizes)]
    return [*range(0, len(sizes), batch_size or 64), len(sizes)]


def _numbers(offsets: np.ndarray) -> np.ndarray:
    return (np.arange(offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets))).astype(np.int32)
