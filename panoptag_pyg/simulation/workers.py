"""Blocks of events from several processes, in order, with bounded memory."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.events import EventBlock
from panoptag_pyg.simulation.pipeline import EVENTS_PER_BLOCK, BlockSimulator, SimulationConfig

Result = TypeVar("Result")

_simulator: BlockSimulator | None = None


def block_sizes(num_events: int) -> list[int]:
    """Events in each block: all have ``EVENTS_PER_BLOCK``, the last one what is left."""
    full, rest = divmod(num_events, EVENTS_PER_BLOCK)
    return [EVENTS_PER_BLOCK] * full + ([rest] if rest else [])


def simulate_blocks(config: SimulationConfig, num_events: int, workers: int = 1) -> Iterator[EventBlock]:
    """Blocks of events in order, the same ones for every number of workers.

    Args:
        config: what to simulate.
        num_events: how many in all.
        workers: processes; with 1 (default) everything happens in this one.

    Raises:
        PanopTagError: a worker dies.
    """
    sizes = block_sizes(num_events)
    if workers <= 1 or len(sizes) <= 1:
        simulator = BlockSimulator(config)
        for number, size in enumerate(sizes):
            yield simulator.block(number, size)
        return
    tasks = ((config, number, size) for number, size in enumerate(sizes))
    yield from in_order(_simulate_block, tasks, min(workers, len(sizes)))


def in_order(function: Callable[..., Result], tasks: Iterable[tuple[Any, ...]], workers: int) -> Iterator[Result]:
    """``function(*task)`` for each task, in order; in other processes if there are to be several.

    Args:
        function: of a module, so that other processes can import it.
        tasks: its arguments; taken from the iterator when a process is about to be free.
        workers: processes; with 1 everything happens in this one.

    Raises:
        PanopTagError: a worker dies.
    """
    if workers <= 1:
        for task in tasks:
            yield function(*task)
        return
    # Fresh processes: a fork would copy locks of threads that torch or BLAS may have running here.
    executor = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_ignore_interrupts)
    waiting: deque[Future[Result]] = deque()
    try:
        for task in tasks:
            # Two blocks for each worker keep all busy and memory bounded.
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
            with _interrupts_blocked():
                waiting.append(executor.submit(function, *task))
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise PanopTagError(
            "a worker ended unexpectedly, perhaps for lack of memory; use fewer --workers, and in a script of your own "
            "call this under `if __name__ == '__main__':`"
        ) from None
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    # Ctrl-C reaches the whole process group; the parent alone decides what to do about it. Workers start inside
    # submit() and inherit the blocked signal, so that they don't fall over it while they import; here it only waits.
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ignore_interrupts() -> None:
    # Where signals can't be blocked (Windows).
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _simulate_block(config: SimulationConfig, number: int, size: int) -> EventBlock:
    # Initialised with the first block and not with the worker, so that an error in a setting arrives as it is.
    global _simulator
    if _simulator is None:
        _simulator = BlockSimulator(config)
    return _simulator.block(number, size)
