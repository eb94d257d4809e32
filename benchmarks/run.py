"""Run a suite: entry by entry, with a progress bar, to a result that holds all that is needed to read it."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from multiprocessing import get_context
from typing import Any

import torch

from panoptag_pyg import __version__, ops
from panoptag_pyg.progress import progress

from .limits import Limits, measure_limits
from .machine import describe_machine
from .rows import Row
from .settings import Settings
from .suites import Entry, entries


@dataclass
class Result:
    """Rows of one run, and what they were measured with.

    Attributes:
        suite: ``"kernels"``, ``"models"``, ``"loader"`` or ``"pipeline"``.
        rows: in the suite's order.
        limits: measured rates.
        settings: as asked for.
    """

    suite: str
    rows: list[Row]
    limits: Limits
    settings: dict[str, Any]

    @property
    def failed(self) -> list[Row]:
        """Rows whose check against the reference failed."""
        return [row for row in self.rows if row.failed]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "benchmark": self.suite,
            "version": __version__,
            "date": date.today().isoformat(),
            "machine": describe_machine(),
            "settings": self.settings,
            "limits": self.limits.to_dict(),
            "backends": {op: ops.available(op) for op in ops.operations()},
            "rows": [row.to_dict() for row in self.rows],
        }


def run_entries(suite: str, chosen: Sequence[Entry], settings: Settings) -> Result:
    """Run them one after the other.

    The machine's rates are measured before and after; of both the higher counts, so that a moment's disturbance doesn't
    flatter us.
    """
    before = settings.limits
    rows: list[Row] = []
    with progress(f"bench {suite}", len(chosen), "rows") as advance:
        for entry in chosen:
            rows += _in_own_process(suite, settings, entry) if entry.alone else entry.run()
            gc.collect()
            advance(1)
    limits = before.at_least(measure_limits(settings.device, settings.limit_dtypes, before.width))
    for row in rows:
        row.set_floor(limits)
    return Result(suite, rows, limits, settings.describe())


def _in_own_process(suite: str, settings: Settings, entry: Entry) -> list[Row]:
    """As a user's first call meets it: after gigabytes of other rows, memory costs less than in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_rows_of, suite, settings, entry.name, torch.get_num_threads()).result()


def _rows_of(suite: str, settings: Settings, name: str, threads: int) -> list[Row]:
    torch.set_num_threads(threads)
    (entry,) = entries(suite, settings, name)
    return entry.run()
