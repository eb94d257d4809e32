"""How many CPU threads a run takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


@contextmanager
def cpu_threads(number: int | None) -> Iterator[None]:
    """Run with ``number`` CPU threads; ``None`` takes ``OMP_NUM_THREADS`` or the cores this process may use.

    torch counts the machine's cores, also where a container or a batch system grants fewer of them.
    """
    before = torch.get_num_threads()
    if number is None and "OMP_NUM_THREADS" not in os.environ:
        number = min(before, usable_cores())
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def usable_cores() -> int:
    """Cores granted to this process by its affinity and its control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, -(-int(quota) // int(period)))
    except (OSError, ValueError):
        pass  # no version-2 control group: nothing more is known
    return max(cores, 1)
