"""What is measured on: a grid of jets and PFOs per event, and simulated events as they are, with pileup or without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events import EventDataset
from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.events.file import EventFile

from .compose import compose, fits

#: Grid of the default run. Of the pairs those are left out whose PFOs would not hold the jets' constituents.
JETS = (2, 5, 10, 20)
PFOS = (50, 200, 500, 1500, 5000)
#: Distinct events of each cell.
EVENTS = 32
#: Of simulated events with pileup the leading jets: as many as the grid has at most.
MOST_JETS = 20


@dataclass
class Cell:
    """Events of one size.

    Attributes:
        name: such as ``"5x500"``: jets and PFOs; or ``"pileup 60"``.
        block: the events.
        jets, pfos: per event; of simulated events ``None``, as they vary.
        pileup: mean number of pileup collisions of simulated events; ``None`` for composed ones.
    """

    name: str
    block: EventBlock
    jets: int | None = None
    pfos: int | None = None
    pileup: float | None = None

    def __post_init__(self) -> None:
        self._one = lru_cache(maxsize=None)(lambda number: self.block.select([number]))

    @property
    def num_events(self) -> int:
        """Distinct events."""
        return self.block.num_events

    def events(self, first: int, count: int) -> EventBlock:
        """``count`` events from ``first`` on, going round; single ones are kept, as they are asked for often."""
        if count == 1:
            return self._one(first % self.num_events)
        return self.block.select((first + np.arange(count)) % self.num_events)

    def describe(self) -> dict[str, Any]:
        """For JSON: what the events are like."""
        block = self.block
        constituents = np.diff(block.constituent_offsets)
        return {
            "jets": self.jets,
            "pfos": self.pfos,
            "pileup": self.pileup,
            "events": self.num_events,
            "mean_jets": round(block.num_jets / self.num_events, 2),
            "median_pfos": float(np.median(np.diff(block.pfo_offsets))),
            "constituents_per_jet": round(float(constituents.mean()), 2) if len(constituents) else 0.0,
            "most_constituents": int(constituents.max(initial=0)),
        }


def grid(
    source: EventBlock,
    jets: Sequence[int] = JETS,
    pfos: Sequence[int] = PFOS,
    num_events: int = EVENTS,
    seed: int = 0,
) -> tuple[list[Cell], list[str]]:
    """Composed events of all sizes that are possible, and the names of those that aren't.

    Args:
        source: simulated events, from which they are put together.
        jets: numbers of jets.
        pfos: numbers of PFOs.
        num_events: distinct events of each size.
        seed: of what is drawn.
    """
    cells, left_out = [], []
    for p in sorted(pfos):
        for j in sorted(jets):
            name = f"{j}x{p}"
            if not fits(source, j, p):
                left_out.append(name)
                continue
            rng = np.random.default_rng([seed, j, p])
            cells.append(Cell(name, compose(source, num_events, j, p, rng), j, p))
    return cells, left_out


def read_source(paths: Sequence[str], num_events: int | None = None) -> EventBlock:
    """Events of files, all or the first.

    Raises:
        EventFileError: for files that aren't there, are damaged or empty.
    """
    dataset = EventDataset(list(paths))
    if len(dataset) == 0:
        raise EventFileError(f"{', '.join(paths)}: no events in it; simulate some with panoptag simulate")
    return dataset.read_block(np.arange(len(dataset) if num_events is None else min(num_events, len(dataset))))


def simulated(path: str | Path, num_events: int = EVENTS, most_jets: int = MOST_JETS) -> Cell:
    """The first events of a file as they were simulated, with their leading jets.

    Raises:
        EventFileError: if the file isn't there, is damaged or empty.
    """
    block = read_source([str(path)], num_events)
    with EventFile(path) as file:
        said = file.attributes.get("pileup") or {}
    means, weights = said.get("mu") or [0.0], said.get("weight") or [1.0]
    mean = float(np.average(means, weights=weights))
    return Cell(f"pileup {mean:g}", block.leading(max_jets=most_jets), pileup=mean)
