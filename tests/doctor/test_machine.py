"""Threads, memory and malloc: what is granted, set against what is taken."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from panoptag_pyg.doctor import NOTE, OK, PROBLEM, machine
from panoptag_pyg.training import cpu


@pytest.mark.parametrize(
    ("granted", "taken", "asked", "status", "words"),
    [
        (4, 4, None, OK, ""),
        (4, 4, "4", OK, ""),
        (4, 8, None, NOTE, "export OMP_NUM_THREADS=4"),
        (4, 8, "8", PROBLEM, "export OMP_NUM_THREADS=4"),
        (4, 1, "1", NOTE, "unset it"),
    ],
)
def test_threads(granted, taken, asked, status, words, monkeypatch) -> None:
    monkeypatch.setattr(cpu, "usable_cores", lambda: granted)
    monkeypatch.setattr(torch, "get_num_threads", lambda: taken)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    (found,) = machine.threads()
    assert found.status == status
    assert words in found.advice
    assert f"{granted} cores granted" in found.text
    assert f"takes {taken} thread" in found.text


def test_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (100.0 * (os.cpu_count() or 1), 0.0, 0.0))
    *_, found = machine.threads()
    assert found.status == NOTE
    assert "Others compute here" in found.advice


@pytest.mark.parametrize(("free", "shared", "statuses"), [
    (8 * 2**30, 8 * 2**30, [OK, OK]),
    (2**30, 64 * 2**20, [NOTE, NOTE]),
    (None, 8 * 2**30, [OK, OK]),
])  # fmt: skip
def test_memory(free, shared, statuses, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(machine, "free_bytes", lambda: free)
    monkeypatch.setattr(machine, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_frsize=1, f_blocks=shared))
    found = list(machine.memory())
    assert [finding.status for finding in found] == statuses
    if shared < 2**30:
        assert "--shm-size" in found[1].advice


@pytest.mark.skipif(sys.platform != "linux", reason="as Linux tells it")
def test_memory_is_what_the_system_tells() -> None:
    import resource

    granted, free = machine.granted_bytes(), machine.free_bytes()
    assert granted
    assert free
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < granted
    assert free < 2 * granted or granted < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.skipif(sys.platform != "linux", reason="as glibc has it")
@pytest.mark.parametrize(("settings", "advice"), [({}, True), ({"MALLOC_ARENA_MAX": "2"}, False)])
def test_malloc(settings: dict[str, str], advice: bool) -> None:
    code = (
        "from panoptag_pyg.doctor.machine import allocator\n"
        "(found,) = allocator()\nprint(found.values['allocator'], bool(found.advice), sep='\\n')"
    )
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith("MALLOC_") and name not in ("LD_PRELOAD", "GLIBC_TUNABLES")}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], env={**environment, **settings}, capture_output=True, text=True, check=True
    )
    allocator, advised = done.stdout.split("\n")[:2]
    assert advised == str(advice and allocator == "glibc")
