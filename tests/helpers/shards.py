"""Small simulations in shards, quick to make."""

from __future__ import annotations

import hashlib
from pathlib import Path

from panoptag_pyg.simulation.request import SimulationPlan, plan_simulation

#: Without multi-parton interactions PYTHIA is four times as fast.
QUICK = "PartonLevel:MPI = off"


def quick_plan(num_events: int, seed: int = 5, settings: tuple[str, ...] = (), **options) -> SimulationPlan:
    return plan_simulation("ZH", num_events, seed=seed, settings=(QUICK, *settings), **options)


def checksums(folder: Path) -> dict[str, str]:
    """Of all event files in a folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.h5"))}


def file_numbers(folder: Path) -> dict[str, int]:
    """The files' numbers in the file system: a file that is written again gets another one."""
    return {path.name: path.stat().st_ino for path in sorted(folder.glob("*.h5"))}
