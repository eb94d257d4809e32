"""Cores and threads, memory, and who manages it."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from panoptag_pyg.doctor.finding import NOTE, OK, PROBLEM, Finding

#: Where worker processes of a loader put what they have read; containers often grant 64 MB.
SHARED_MEMORY = Path("/dev/shm")
#: Bytes of it below which loaders with workers are likely to end with a bus error.
LEAST_SHARED = 512 * 2**20
#: Bytes of free memory below which training is likely to be killed.
LEAST_MEMORY = 2 * 2**30
_GIB = 2.0**30


def threads() -> Iterator[Finding]:
    """How many cores are granted, how many threads torch takes, and whether others compute here."""
    import torch

    from panoptag_pyg.training.cpu import usable_cores

    machine, granted = os.cpu_count() or 1, usable_cores()
    taken, asked = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    values: dict[str, Any] = {
        "cores": machine,
        "granted": granted,
        "torch_threads": taken,
        "OMP_NUM_THREADS": asked,
        "load": load,
    }
    text = f"{_counted(granted, 'core')} granted" + (f" of {machine}" if machine != granted else "")
    text += f", torch takes {_counted(taken, 'thread')}"
    text += f" (OMP_NUM_THREADS={asked})" if asked else ""
    if taken > granted:
        advice = (
            f"Threads that share a core wait for each other: export OMP_NUM_THREADS={granted}"
            if asked
            else f"panoptag's commands take {granted} by themselves; for programs of your own: "
            f"export OMP_NUM_THREADS={granted}"
        )
        yield Finding("threads", PROBLEM if asked else NOTE, text, advice, values)
    elif asked and taken < granted:
        advice = "That is right where several processes share the machine; else unset it."
        yield Finding("threads", NOTE, text, advice, values)
    else:
        yield Finding("threads", OK, text, values=values)
    if load is not None and load > 1.5 * machine:
        advice = "Others compute here: everything takes longer, and timings mean nothing."
        yield Finding("threads", NOTE, f"{load:.1f} processes want these {machine} cores", advice, {"load": load})


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def memory() -> Iterator[Finding]:
    """How much memory is granted and free, and how much of it loaders' workers can share."""
    granted, free = granted_bytes(), free_bytes()
    values = {"granted_bytes": granted, "free_bytes": free}
    if granted is None and free is None:
        yield Finding("memory", OK, "this system doesn't tell how much memory there is", values=values)
    else:
        told = [f"{number / _GIB:.1f} GiB {word}" for number, word in ((granted, "granted"), (free, "free")) if number]
        few = free is not None and free < LEAST_MEMORY
        advice = 'Take fewer events at once: data.batch_size, or data.max_pfos_per_batch = "auto".' if few else ""
        yield Finding("memory", NOTE if few else OK, ", ".join(told), advice, values)
    if SHARED_MEMORY.is_dir():
        about = os.statvfs(SHARED_MEMORY)
        size = about.f_frsize * about.f_blocks
        text, values = f"{SHARED_MEMORY} has {size / _GIB:.1f} GiB", {"shared_bytes": size}
        if size < LEAST_SHARED:
            advice = "Loaders with workers (data.num_workers) may end with a bus error; docker run --shm-size=8g"
            yield Finding("memory", NOTE, text, advice, values)
        else:
            yield Finding("memory", OK, text, values=values)


def allocator() -> Iterator[Finding]:
    """Which malloc is in use, and what to do where a long run grows."""
    found = loaded_allocator()
    settings = {name: value for name, value in os.environ.items() if name.startswith("MALLOC_") or name in _TUNABLES}
    values = {"allocator": found, "settings": settings}
    told = "".join(f", {name}={value}" for name, value in settings.items())
    if found != "glibc":
        yield Finding("malloc", OK, f"memory comes from {found}{told}", values=values)
        return
    advice = (
        ""
        if settings
        else "It keeps what threads have freed. Where a run of hours grows, start it with MALLOC_ARENA_MAX=2, or with "
        "jemalloc (LD_PRELOAD=libjemalloc.so.2)."
    )
    yield Finding("malloc", OK, f"memory comes from glibc's malloc{told}", advice, values)


_TUNABLES = ("GLIBC_TUNABLES", "LD_PRELOAD")


def loaded_allocator() -> str:
    """``"jemalloc"``, ``"tcmalloc"`` or ``"mimalloc"`` where one is loaded in place of the C library's, else that."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        maps = os.environ.get("LD_PRELOAD", "")
    # Wheels such as pyarrow's bring an allocator of their own, for themselves alone; those have other names.
    replaced = re.search(r"/lib(jemalloc|tcmalloc|mimalloc)[\w.-]*\.so", maps)
    if replaced:
        return replaced.group(1)
    return "glibc" if platform.libc_ver()[0] == "glibc" else "the system"


def granted_bytes() -> int | None:
    """Memory that this process may take: the machine's, or its control group's if that is less."""
    found = []
    with suppress(ValueError, OSError, AttributeError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            found.append(int(Path(limit).read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue  # no such control group, or "max"
    return min(found, default=None)


def free_bytes() -> int | None:
    """Memory that can be had without swapping, as Linux tells it."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None
