"""Made-up files whose events tell their sources; for tests of what puts files together and takes them apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from helpers.events import events_of, random_block, write_events
from panoptag_pyg.events import EventFile

CARD = {"name": "atlas", "jets": {"radius": 0.4, "min_pt": 20.0}}


def make(
    path: Path,
    rng: np.random.Generator,
    count: int,
    processes: tuple[str, ...] = ("ttbar",),
    sources: tuple[str, ...] = ("ttbar seed=0 settings=00000000",),
    attributes: dict | None = None,
    columns: tuple[str, ...] = (),
    first_id: int = 0,
    **options: object,
) -> Path:
    block = random_block(rng, rng.poisson(12, count), rng.poisson(3, count), len(processes))
    block.event["id"] += first_id
    block.event["source"] = rng.integers(0, len(sources), count).astype(np.int32)
    if len(block.constituents):
        block.constituent = {n: rng.integers(0, 4, len(block.constituents)).astype(np.int16) for n in columns}
    attributes = {"setup": "paper", "detector_card": CARD} if attributes is None else attributes
    return write_events(path, block, processes, sources=sources, attributes=attributes, **options)


def named(path: Path) -> list[dict]:
    """All events of a file with process and source as words, without the columns of constituents."""
    file = EventFile(path)
    events = events_of(file.read())
    for event in events:
        event["event"]["process"] = file.processes[event["event"]["process"]]
        event["event"]["source"] = file.sources[event["event"]["source"]]
    return events
