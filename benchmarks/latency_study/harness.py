"""Timing in rounds: in each round everybody is measured in every cell, side by side, in turning order.

A *visit* is one subject in one cell in one round. One event at a time: an untimed call, then a few timed ones on
successive events; whole batches: an untimed call where the subject has just lost the caches, then one of the batch
size that was found quickest. Each call is timed in two parts, ``prepare`` and ``score``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from panoptag_pyg.events.block import EventBlock

from ..limits import synchronise
from .cells import Cell
from .subjects import Subject

#: One event at a time, and many.
SINGLE, BATCH = "single", "batch"
MODES = (SINGLE, BATCH)
#: Timed calls of a visit: as many as fit into so many seconds, but these at least and at most.
VISIT_SECONDS, VISIT_CALLS = 0.025, (1, 6)
#: Visits per round in the cell whose tail (p95, p99) is told: with three rounds, more than a hundred calls.
TAIL_VISITS = 8
#: Sizes of batches that are tried, in events, until a call takes longer than this (seconds).
BATCHES, BATCH_SECONDS = (1, 2, 4, 8, 16, 32, 64), 0.12
#: Who takes longer than this for one event (seconds) isn't measured in that cell: it would take everybody's time.
MOST_SECONDS = 3.0
#: A larger batch must be quicker by this factor, so that noise doesn't choose large ones.
BETTER = 1.02

Clock = Callable[[], float]


@dataclass
class Timer:
    """Times the two parts of a call.

    Attributes:
        device: waited for before the clock is read.
        clock: seconds.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    clock: Clock = time.perf_counter

    def now(self) -> float:
        """Seconds, when all work that was handed over is done."""
        synchronise(self.device)
        return self.clock()

    def call(self, subject: Subject, block: EventBlock) -> tuple[float, float]:
        """Seconds of ``prepare`` and of ``score``."""
        start = self.now()
        inputs = subject.prepare(block)
        ready = self.now()
        subject.score(inputs)
        return ready - start, self.now() - ready


@dataclass
class Samples:
    """What was measured of one subject in one cell, mode and number of threads: milliseconds per event.

    Attributes:
        prepare, network: the visits' medians, one per round.
        calls: every timed call's sum of both, of single events only.
    """

    prepare: list[float] = field(default_factory=list)
    network: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)

    def add(self, seconds: Sequence[tuple[float, float]], num_events: int, keep_calls: bool) -> None:
        """Add a visit, whose calls tagged ``num_events`` each."""
        scale = 1e3 / num_events
        self.prepare.append(scale * statistics.median(prepare for prepare, _ in seconds))
        self.network.append(scale * statistics.median(network for _, network in seconds))
        if keep_calls:
            self.calls += [scale * sum(parts) for parts in seconds]


#: (threads, mode, cell, subject) → what was measured.
Key = tuple[int, str, str, str]


@dataclass
class Measurements:
    """All that was measured, and who failed when.

    Attributes:
        samples: by threads, mode, cell and subject.
        batches: (threads, cell, subject) → events of the batch that was quickest.
        yardstick: seconds of one matrix product of always the same size, once per cell and round.
        failed: (cell, subject) → the error that stopped it.
        rounds: whole rounds.
    """

    samples: dict[Key, Samples] = field(default_factory=dict)
    batches: dict[tuple[int, str, str], int] = field(default_factory=dict)
    yardstick: list[float] = field(default_factory=list)
    failed: dict[tuple[str, str], str] = field(default_factory=dict)
    rounds: int = 0


def visit(
    subject: Subject, cell: Cell, number: int, timer: Timer, calls: int | None = None
) -> list[tuple[float, float]]:
    """Single events, one after the other: the seconds of each timed call.

    Args:
        subject: who.
        cell: where.
        number: of the round; rounds begin at different events.
        timer: the clock.
        calls: how many. Default: by their time.
    """
    most = VISIT_CALLS[1]
    first = number * most
    warm = timer.call(subject, cell.events(first + most - 1, 1))
    if calls is None:
        if sum(warm) > BATCH_SECONDS:
            return [warm]  # what a first call costs extra is lost in so long a one
        calls = max(VISIT_CALLS[0], min(most, int(VISIT_SECONDS / max(sum(warm), 1e-9))))
    return [timer.call(subject, cell.events(first + i, 1)) for i in range(calls)]


def visit_batch(subject: Subject, cell: Cell, number: int, size: int, timer: Timer) -> list[tuple[float, float]]:
    """One batch; short ones are called once before, untimed."""
    block = cell.events(number * size, size)
    first = timer.call(subject, block)
    if sum(first) > BATCH_SECONDS / 4:
        return [first]
    return [timer.call(subject, block)]


def best_batch(
    subject: Subject, cell: Cell, timer: Timer, sizes: Sequence[int] = BATCHES, limit: float = BATCH_SECONDS
) -> int:
    """Events of the batch with the least time per event; stops at calls that take longer than ``limit`` seconds.

    Args:
        subject: who.
        cell: where.
        timer: the clock.
        sizes: rising.
        limit: seconds of a call, above which no larger batch is tried.
    """
    best, least = sizes[0], float("inf")
    for size in sizes:
        block = cell.events(0, size)
        try:
            first = sum(timer.call(subject, block))
            seconds = first if first > limit else min(first, sum(timer.call(subject, block)))
        except (MemoryError, torch.OutOfMemoryError):
            if size == sizes[0]:
                raise
            break
        if seconds / size * BETTER < least:
            best, least = size, seconds / size
        if seconds > limit:
            break
    return best


class TooSlow(Exception):
    """One event takes so long that all others would wait."""


@dataclass
class Harness:
    """Measures subjects in cells.

    Attributes:
        subjects: those that can run.
        cells: where.
        threads: numbers of threads, each measured in every round.
        timer: the clock.
        tail: name of the cell in which so many calls are timed that p99 can be told.
        sizes: sizes of batches to try.
        told: called with the number of cells done of a round.
    """

    subjects: Sequence[Subject]
    cells: Sequence[Cell]
    threads: Sequence[int] = (1,)
    timer: Timer = field(default_factory=Timer)
    tail: str = ""
    sizes: Sequence[int] = BATCHES
    told: Callable[[int], None] = lambda cells: None
    found: Measurements = field(default_factory=Measurements)

    def those_in(self, cell: Cell) -> list[Subject]:
        """Subjects that are measured in a cell and haven't failed there."""
        return [
            s
            for s in self.subjects
            if (s.only is None or cell.name in s.only) and (cell.name, s.name) not in self.found.failed
        ]

    def search(self) -> None:
        """Find everybody's quickest batch in every cell; also the first calls, which compile."""
        for threads in self.threads:
            self.use(threads)
            for cell in self.cells:
                for subject in self.those_in(cell):
                    size = self._tried(subject, cell, partial(self._batch_of, threads, subject, cell))
                    if size is not None:
                        self.found.batches[threads, cell.name, subject.name] = size
                self.told(1)

    def _batch_of(self, threads: int, subject: Subject, cell: Cell) -> int:
        """Searched for, or that of a cell in which the network has the same work: see :func:`same_work`."""
        for other in self.cells:
            known = self.found.batches.get((threads, other.name, subject.name))
            if known is not None and other is not cell and same_work(subject, cell, other):
                self._not_too_slow(subject, cell)
                return known
        self._not_too_slow(subject, cell)
        return best_batch(subject, cell, self.timer, self.sizes)

    def _not_too_slow(self, subject: Subject, cell: Cell) -> None:
        """Call it once, so that it is compiled, and if that was slow, once more."""
        for _ in range(2):
            seconds = sum(self.timer.call(subject, cell.events(0, 1)))
            if seconds < MOST_SECONDS:
                return
        raise TooSlow(f"takes {seconds:.1f} s per event, so it wasn't measured further")

    def round(self, yardstick: Callable[[], object]) -> None:
        """Everybody in every cell, for each number of threads; counted when it is whole."""
        number = self.found.rounds
        new: dict[Key, Samples] = {}
        for threads in self.threads:
            self.use(threads)
            for cell in self.cells:
                self.found.yardstick.append(self._yardstick(yardstick))
                order = self.those_in(cell)
                if number % 2:
                    order = order[::-1]
                for mode in MODES:
                    for subject in order:
                        self._measure(new, threads, mode, cell, subject, number)
                if cell.name == self.tail:
                    self._measure_tail(new, threads, cell, order, number)
                self.told(1)
        for key, samples in new.items():
            if (key[2], key[3]) not in self.found.failed:
                known = self.found.samples.setdefault(key, Samples())
                known.prepare += samples.prepare
                known.network += samples.network
                known.calls += samples.calls
        self.found.rounds += 1

    def use(self, threads: int) -> None:
        """Set the number of threads, of torch and of those with threads of their own."""
        torch.set_num_threads(threads)
        for subject in self.subjects:
            subject.set_threads(threads)

    def _measure(
        self, new: dict[Key, Samples], threads: int, mode: str, cell: Cell, subject: Subject, number: int
    ) -> None:
        size = 1 if mode == SINGLE else self.found.batches.get((threads, cell.name, subject.name), 1)

        def run() -> list[tuple[float, float]]:
            if mode == SINGLE:
                return visit(subject, cell, number, self.timer)
            return visit_batch(subject, cell, number, size, self.timer)

        alone = new.get((threads, SINGLE, cell.name, subject.name))
        if mode == BATCH and size == 1 and alone is not None:  # the same thing, just measured
            new[threads, BATCH, cell.name, subject.name] = Samples(list(alone.prepare), list(alone.network))
            return
        seconds = self._tried(subject, cell, run)
        if seconds is not None:
            new.setdefault((threads, mode, cell.name, subject.name), Samples()).add(seconds, size, mode == SINGLE)

    def _measure_tail(
        self, new: dict[Key, Samples], threads: int, cell: Cell, order: Sequence[Subject], number: int
    ) -> None:
        """Further visits, all subjects in turn: single calls only."""
        for more in range(1, TAIL_VISITS):
            for subject in order:
                key = (threads, SINGLE, cell.name, subject.name)
                which = number * TAIL_VISITS + more
                seconds = self._tried(subject, cell, partial(visit, subject, cell, which, self.timer, VISIT_CALLS[1]))
                if seconds is not None and key in new:
                    new[key].calls += [1e3 * sum(parts) for parts in seconds]

    def _tried(self, subject: Subject, cell: Cell, run: Callable[[], Any]) -> Any:
        """What ``run`` gives; a subject that fails in a cell is left out there, and the others go on."""
        try:
            return run()
        except Exception as error:
            text = str(error).splitlines()[0][:200] if str(error) else ""
            self.found.failed[cell.name, subject.name] = f"{type(error).__name__}: {text}"
            return None

    def _yardstick(self, run: Callable[[], object]) -> float:
        start = self.timer.now()
        for _ in range(4):
            run()
        return (self.timer.now() - start) / 4


def same_work(subject: Subject, cell: Cell, other: Cell) -> bool:
    """Whether a subject's network has the same work in two composed cells, so that the same batch is quickest.

    That of single jets sees as many jets; that of whole events as many PFOs after its cut, whatever the jets.
    """
    if None in (cell.jets, cell.pfos, other.jets, other.pfos):
        return False
    if subject.level == "jet":
        return cell.jets == other.jets
    most = subject.max_pfos
    return min(cell.pfos, most or cell.pfos) == min(other.pfos, most or other.pfos)  # type: ignore[type-var]


def percentiles(calls: Sequence[float]) -> Mapping[str, float | int | None]:
    """Median, p95 and p99 of single calls; ``None`` where there are too few: 20 for p95, 100 for p99."""
    ordered = sorted(calls)
    count = len(ordered)

    def at(share: float, least: int) -> float | None:
        return None if count < least else ordered[min(int(share * count), count - 1)]

    median = statistics.median(ordered) if count else None
    return {"calls": count, "median": median, "p95": at(0.95, 20), "p99": at(0.99, 100)}
