"""A run: events, subjects, the search for batches, rounds until the time is up, and the result after each of them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from panoptag_pyg.benchmarks.load import LoadWatch
from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.progress import Advance, progress

from ..limits import Limits, measure_limits
from ..sampling import sample_file
from .cells import EVENTS, JETS, PFOS, Cell, grid, read_source, simulated
from .harness import BATCHES, Clock, Harness, Timer
from .lineup import check, chosen, lineup, study_subjects
from .result import to_dict
from .subjects import Subject

#: Rounds that are made however long they take.
LEAST_ROUNDS = 3
#: Events of a cell whose work is counted, fewer where each has many PFOs.
COUNTED, MANY_PFOS = 4, 1000
#: What tells the time.
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass
class Asked:
    """Options of a run.

    Attributes:
        jets, pfos: the grid.
        threads: numbers of threads.
        minutes: for all of it.
        events: files from which events are put together.
        simulated: files whose events are measured as they are.
        only: patterns of subjects' names.
        device: where to compute.
        study: measure every model of the study's plan, too.
        clock: ``"wall"``, or ``"cpu"``: the processor time of this process, which other programs lengthen far less; on
            one thread alone.
        quick: only small taggers, few events and sizes: to see that all works.
        seed: of events and weights.
    """

    jets: Sequence[int] = JETS
    pfos: Sequence[int] = PFOS
    threads: Sequence[int] = (1, 2)
    minutes: float = 12.0
    events: Sequence[str] = ()
    simulated: Sequence[str] = ()
    only: Sequence[str] = ()
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    study: bool = True
    clock: str = "wall"
    quick: bool = False
    seed: int = 0

    @classmethod
    def for_quick(cls, **changes: Any) -> Asked:
        """What ``--quick`` does."""
        small = {"jets": (2, 4), "pfos": (70, 150), "threads": (1,), "minutes": 0.3, "study": False, "quick": True}
        return cls(**{**small, **changes})

    def checked(self) -> Asked:
        """The same.

        Raises:
            ConfigError: for numbers that mean nothing.
        """
        for name in ("jets", "pfos", "threads"):
            if not getattr(self, name) or min(getattr(self, name)) < 1:
                raise ConfigError(f"--{name} should be whole numbers of at least 1, not {getattr(self, name)}")
        if len(set(self.jets)) < 2:
            raise ConfigError("--jets needs two different numbers at least: a crossover lies between")
        if self.clock not in CLOCKS:
            raise ConfigError(f"there is no clock '{self.clock}'{suggest(self.clock, CLOCKS)}")
        if self.clock == "cpu" and (list(self.threads) != [1] or self.device.type != "cpu"):
            raise ConfigError("--clock cpu adds up the time of all threads; give --threads 1 and --device cpu")
        if self.minutes <= 0:
            raise ConfigError(f"--minutes should be above 0, not {self.minutes:g}")
        return self

    def describe(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "jets": sorted(set(self.jets)),
            "pfos": sorted(set(self.pfos)),
            "threads": list(self.threads),
            "minutes": self.minutes,
            "events": [Path(name).name for name in self.events] or [Path(sample_file()).name],
            "simulated": [Path(name).name for name in self.simulated],
            "device": str(self.device),
            "clock": self.clock,
            "quick": self.quick,
            "seed": self.seed,
            "dtype": "float32",
        }


def run(asked: Asked, write: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Measure; the result, which is also written after each round, so that nothing is lost when it is stopped.

    Args:
        asked: options.
        write: takes the result.

    Raises:
        ConfigError: for options that mean nothing.
        EventFileError: for events that can't be read.
    """
    asked.checked()
    start = time.monotonic()
    torch.set_num_threads(max(asked.threads))
    num_events = 6 if asked.quick else EVENTS
    source = read_source(asked.events or [sample_file()])
    cells, left_out = grid(source, asked.jets, asked.pfos, num_events, asked.seed)
    if not cells:
        raise ConfigError("no size of the grid has room for its jets' constituents; ask for more --pfos")
    tail = tail_cell(cells).name
    real = [simulated(path, num_events) for path in (sample_file(), *asked.simulated)]
    everywhere = [*cells, *_distinct(real)]
    watch = LoadWatch(asked.device)
    with tempfile.TemporaryDirectory() as folder:
        subjects = _subjects(asked, source, cells, Path(folder), everywhere)
        ready = [subject for subject in subjects if subject.missing is None]
        limits = {threads: _limits(asked, threads) for threads in asked.threads}
        harness = Harness(ready, everywhere, asked.threads, Timer(asked.device, CLOCKS[asked.clock]), tail)
        if asked.quick:
            harness.sizes = BATCHES[:3]
        work = count(harness)

        def result() -> dict[str, Any]:
            return to_dict(
                asked.describe(), subjects, everywhere, left_out, harness, work, limits,
                watch.result(harness.found.yardstick), time.monotonic() - start,
            )  # fmt: skip

        steps = len(everywhere) * len(asked.threads)
        with progress("latency: quickest batches", steps, "cells") as advance:
            harness.told = advance
            harness.search()
        last = 0.0
        # Stopped in a round, the whole rounds before it are what was written.
        while harness.found.rounds < LEAST_ROUNDS or time.monotonic() - start + last < 60 * asked.minutes:
            began = time.monotonic()
            with progress(f"latency: round {harness.found.rounds + 1}", steps, "cells") as advance:
                harness.told = advance
                harness.round(watch.yardstick)
            last = time.monotonic() - began
            write(result())
        limits = {threads: limits[threads].at_least(_limits(asked, threads)) for threads in asked.threads}
        final = result()
    write(final)
    return final


def tail_cell(cells: Sequence[Cell]) -> Cell:
    """The cell whose p95 and p99 are told: the one nearest to a tt̄ event, 5 jets and 300 PFOs."""
    return min(cells, key=lambda c: (abs(np.log((c.jets or 1) / 5)), abs(np.log((c.pfos or 1) / 300))))


def cut_cells(cells: Sequence[Cell]) -> list[str]:
    """The cell in which PanopTag is measured with further cuts: 5 jets, or about, and many PFOs."""
    jets = tail_cell(cells).jets
    return [min((c for c in cells if c.jets == jets), key=lambda c: abs(np.log((c.pfos or 1) / 1500))).name]


def _subjects(
    asked: Asked, source: EventBlock, cells: Sequence[Cell], folder: Path, everywhere: Sequence[Cell]
) -> list[Subject]:
    example = source.select(np.arange(min(16, source.num_events)))
    cuts = [] if asked.quick else cut_cells(cells)
    subjects = lineup(example, asked.device, folder, asked.seed, cuts, asked.quick)
    if asked.study:
        subjects += study_subjects(example, asked.device, asked.seed, everywhere[len(cells)].name)
    subjects = chosen(subjects, asked.only)
    check(subjects, [cells[0].events(0, 1), tail_cell(cells).events(0, 3)])
    return subjects


def _distinct(cells: Sequence[Cell]) -> list[Cell]:
    """Of cells of the same name, such as two files without pileup, the first."""
    found: dict[str, Cell] = {}
    for cell in cells:
        found.setdefault(cell.name, cell)
    return list(found.values())


def _limits(asked: Asked, threads: int) -> Limits:
    torch.set_num_threads(threads)
    return measure_limits(asked.device, (torch.float32,))


def count(harness: Harness) -> dict[tuple[str, str], dict[str, float]]:
    """FLOPs and bytes of one event at a time, in the mean over some, by cell and subject; also compiles kernels."""
    found = {}
    steps = len(harness.cells)
    with progress("latency: counting", steps, "cells") as advance:
        for cell in harness.cells:
            for subject in harness.those_in(cell):
                if subject.work is not None:
                    works = [subject.work(cell.events(i, 1)) for i in range(_counted(cell))]
                    found[cell.name, subject.name] = {
                        "flops": float(np.mean([work.flops for work in works])),
                        "bytes": float(np.mean([work.num_bytes for work in works])),
                    }
            _tell(advance)
    return found


def _counted(cell: Cell) -> int:
    return 1 if cell.block.num_pfos / cell.num_events > MANY_PFOS else COUNTED


def _tell(advance: Advance) -> None:
    advance(1)
