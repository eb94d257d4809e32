"""All that is looked at, one part after the other."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from panoptag_pyg import __version__
from panoptag_pyg.doctor.finding import NOTE, PROBLEM, Finding
from panoptag_pyg.errors import ConfigError


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes:
        folder: whose file system was tried.
        findings: in the order in which they are told.
        seconds: how long it took.
    """

    folder: Path
    findings: list[Finding]
    seconds: float

    def count(self, status: str) -> int:
        """How many findings have a status."""
        return sum(finding.status == status for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "panoptag_pyg": __version__,
            "python": platform.python_version(),
            "executable": sys.executable,
            "system": platform.platform(),
            "folder": str(self.folder),
            "seconds": round(self.seconds, 2),
            "problems": self.count(PROBLEM),
            "notes": self.count(NOTE),
            "findings": [finding.to_dict() for finding in self.findings],
        }


def examine(
    folder: str | os.PathLike[str] = ".",
    megabytes: int = 64,
    advance: Callable[[int], object] = lambda number: None,
) -> Examination:
    """Look at the installation, the kernels, the GPU, threads, memory, and a folder's file system.

    Args:
        folder: where events or runs are, or will be. Default: the working folder.
        megabytes: size of the file that is written there, read and removed. Default 64.
        advance: called with 1 when a part is done, for a progress bar.

    Raises:
        ConfigError: if ``folder`` is not a folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; name the one where events or runs are, or will be")
    start = time.monotonic()
    findings: list[Finding] = []
    for look in parts(folder, megabytes):
        findings += look()
        advance(1)
    return Examination(folder, findings, time.monotonic() - start)


def parts(folder: Path, megabytes: int) -> list[Callable[[], Iterator[Finding]]]:
    """The functions that look; each is imported and run when its turn comes."""
    from panoptag_pyg.doctor import disk, gpu, installation, kernels, machine

    return [
        installation.python,
        installation.torch,
        installation.packages,
        installation.extras,
        kernels.backends,
        kernels.tagger,
        gpu.gpu,
        machine.threads,
        machine.memory,
        machine.allocator,
        lambda: disk.speed(folder, megabytes),
        lambda: disk.locking(folder),
        disk.caches,
    ]
