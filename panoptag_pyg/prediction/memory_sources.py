"""Events that are in memory already, or in a dataset, as sources."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.events.dataset import EventDataset
from panoptag_pyg.prediction.own_files import OwnSource, unknown_columns
from panoptag_pyg.prediction.source import STEP_EVENTS, SourceOptions
from panoptag_pyg.prediction.workfolder import file_identity


class BlockSource:
    """A block as an :class:`~panoptag_pyg.prediction.source.EventSource`.

    Args:
        block: the events.
        processes: names that their processes count through. Default: ``process 0`` and so on; of one, ``events``.
    """

    def __init__(self, block: EventBlock, processes: Sequence[str] | None = None) -> None:
        number = int(block.event["process"].max(initial=0)) + 1
        names = ["events"] if number == 1 else [f"process {i}" for i in range(number)]
        self.block = block
        self.path = Path("memory")
        self.num_events = block.num_events
        self.processes: Sequence[str] = names if processes is None or len(processes) < number else list(processes)
        self.attributes: dict[str, Any] = {}
        self.unknown: frozenset[str] = frozenset()

    @property
    def digest(self) -> str:
        """Of all values: what tells these events from others."""
        found = hashlib.sha256()
        for group in (self.block.event, self.block.pfo, self.block.jet, {"offsets": self.block.pfo_offsets}):
            for values in group.values():
                found.update(np.ascontiguousarray(values).tobytes())
        return found.hexdigest()

    def blocks(self, start: int = 0, step: int = STEP_EVENTS) -> Iterator[EventBlock]:
        """See :meth:`~panoptag_pyg.prediction.source.EventSource.blocks`."""
        for begin in range(start, self.num_events, step):
            yield self.block.select(np.arange(begin, min(begin + step, self.num_events)))


class DatasetSource:
    """A dataset, or a view of one, as an :class:`~panoptag_pyg.prediction.source.EventSource`.

    Args:
        dataset: the events.
        columns: paths of the columns that are needed.
    """

    def __init__(self, dataset: EventDataset, columns: frozenset[str]) -> None:
        self.dataset, self.columns = dataset, columns
        first = dataset.files[0]
        more = len(dataset.files) - 1
        self.path = Path(f"{first.path} and {more} more file{'s' * (more > 1)}" if more else first.path)
        self.num_events = len(dataset)
        self.processes: Sequence[str] = dataset.processes
        self.attributes: dict[str, Any] = dict(first.attributes)
        known = frozenset.intersection(*(frozenset(c for c in columns if file.has(c)) for file in dataset.files))
        self.unknown: frozenset[str] = columns - known

    def files(self) -> list[OwnSource]:
        """Each file that there are events of, as a source of all its events."""
        return [
            OwnSource(
                path=Path(file.path),
                num_events=file.num_events,
                processes=tuple(file.processes),
                attributes=dict(file.attributes),
                unknown=unknown_columns(file),
                options=SourceOptions(self.columns),
            )
            for file in (self.dataset.files[number] for number in np.unique(self.dataset.file_of_events()))
        ]

    @property
    def digest(self) -> str:
        """Of the files' names, sizes and times, and of which events of them these are."""
        found = hashlib.sha256()
        for file in self.dataset.files:
            found.update(json.dumps(file_identity(Path(file.path))).encode())
        found.update(self.dataset.file_of_events().tobytes() + self.dataset.number_in_file().tobytes())
        return found.hexdigest()

    def blocks(self, start: int = 0, step: int = STEP_EVENTS) -> Iterator[EventBlock]:
        """See :meth:`~panoptag_pyg.prediction.source.EventSource.blocks`."""
        for begin in range(start, self.num_events, step):
            chosen = np.arange(begin, min(begin + step, self.num_events))
            yield self.dataset.read_block(chosen, self.columns, finite=False)
