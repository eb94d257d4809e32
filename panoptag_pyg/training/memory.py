"""Memory of this process: how much it has taken at most, and how much more it may take without swapping."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
#: Where nothing is known but the machine's memory: the share of it that is taken to be free.
_SHARE_OF_MACHINE = 0.5


def available_memory() -> int:
    """Bytes that this process may still take: the least of what machine, control groups and ``ulimit -v`` leave."""
    return max(min(_of_machine(), _of_groups(), _of_ulimit()), 0)


def resident_memory() -> int:
    """Bytes of this process in memory now; where the system doesn't say, the most there ever were."""
    return _status("VmRSS") or _highest_ever()


def peak_memory() -> int:
    """The most bytes that were in memory since :func:`reset_peak`; where that can't be, since the process began."""
    return _status("VmHWM") or _highest_ever()


def reset_peak() -> None:
    """Let :func:`peak_memory` begin anew, if the system lets us."""
    with suppress(OSError):  # a container that forbids it, or no Linux
        (_PROC / "self/clear_refs").write_text("5")


def _highest_ever() -> int:
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def _status(name: str) -> int:
    return _kilobytes(_PROC / "self/status", name)


def _kilobytes(file: Path, name: str) -> int:
    """The entry ``name:  1234 kB`` of a file, in bytes; 0 if it isn't there."""
    try:
        for line in file.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 0


def _of_machine() -> int:
    free = _kilobytes(_PROC / "meminfo", "MemAvailable")
    return free or int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * _SHARE_OF_MACHINE)


def _of_groups() -> int:
    """What the control groups of this process leave, those around them too, of version 2 or 1."""
    least = sys.maxsize
    try:
        lines = (_PROC / "self/cgroup").read_text().splitlines()
    except OSError:
        return least
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, names = _CGROUPS, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root = _CGROUPS / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = root / path.strip("/")
        # Inside a container the path may be the host's: then the files of its own group are at the root.
        for folder in {group, *(parent for parent in group.parents if parent.is_relative_to(root)), root}:
            least = min(least, _of_group(folder, *names))
    return least


def _of_group(folder: Path, limit: str, usage: str, inactive: str) -> int:
    try:
        allowed = (folder / limit).read_text().strip()
        if allowed == "max":
            return sys.maxsize
        used = int((folder / usage).read_text())
        # Pages of files that were read once go as soon as somebody needs the room.
        for line in (folder / "memory.stat").read_text().splitlines():
            if line.split()[0] == inactive:
                used -= int(line.split()[1])
        return int(allowed) - used
    except (OSError, ValueError, IndexError):
        return sys.maxsize


def _of_ulimit() -> int:
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit - _status("VmSize")
