"""Blocks of events in order, made here, by several processes or by a Dask cluster: the same ones everywhere."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Generator, Iterable

from panoptag_pyg.events import EventBlock
from panoptag_pyg.simulation.pipeline import EVENTS_PER_BLOCK, BlockSimulator, SimulationConfig
from panoptag_pyg.simulation.workers import in_order

#: Number of a block, and how many of its events are wanted.
BlockTask = tuple[int, int]

_lock = threading.Lock()
_simulator: tuple[bytes, BlockSimulator] | None = None


def block_tasks(num_events: int) -> list[BlockTask]:
    """The blocks of so many events: all have ``EVENTS_PER_BLOCK``, the last one what is left."""
    full, rest = divmod(num_events, EVENTS_PER_BLOCK)
    return list(enumerate([EVENTS_PER_BLOCK] * full + ([rest] if rest else [])))


def simulate_blocks(
    config: SimulationConfig, tasks: Iterable[BlockTask], workers: int = 1, scheduler: str | None = None
) -> Generator[EventBlock]:
    """Blocks of events in the order of their tasks; who makes them has no influence on them.

    Args:
        config: what to simulate.
        tasks: number and size of each block.
        workers: processes of this machine; with 1 (default) everything happens in this one.
        scheduler: address or scheduler file of a Dask cluster whose workers make them instead. Default: none.

    Raises:
        PanopTagError: the same block ends its worker again and again; the cluster can't be reached.
    """
    tasks = list(tasks)
    if scheduler is not None:
        from panoptag_pyg.simulation.cluster import cluster_blocks

        yield from cluster_blocks(config, tasks, scheduler)
    elif min(workers, len(tasks)) <= 1:
        simulator = BlockSimulator(config)
        for number, size in tasks:
            yield simulator.block(number, size)
    else:
        payload = pickle.dumps(config)
        calls = ((payload, number, size) for number, size in tasks)
        yield from in_order(simulate_block, calls, min(workers, len(tasks)), lambda call: events_of(*call[1:]))


def simulate_block(payload: bytes, number: int, size: int) -> EventBlock:
    """One block in a worker, which keeps PYTHIA initialised for the next one.

    Args:
        payload: the pickled ``SimulationConfig``; the same bytes mean the same simulator.
        number: of the block.
        size: how many of its events.
    """
    global _simulator
    # A worker of Dask may have several threads; one PYTHIA can't make two events at a time.
    with _lock:
        # Initialised with the first block and not with the worker, so that an error in a setting arrives as it is.
        if _simulator is None or _simulator[0] != payload:
            _simulator = None
            _simulator = (payload, BlockSimulator(pickle.loads(payload)))
        return _simulator[1].block(number, size)


def events_of(number: int, size: int) -> str:
    """What to call a block in a message: ``"the events 1700 to 1799"``."""
    first = number * EVENTS_PER_BLOCK
    return f"the events {first} to {first + size - 1}"
