"""What this process uses of the memory, and what control groups and limits leave of it."""

import sys
from pathlib import Path

import pytest
import torch

from panoptag_pyg.training import memory

linux = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux's /proc")


@linux
def test_peak_and_resident_memory_see_a_large_tensor():
    memory.reset_peak()
    before = memory.resident_memory()
    block = torch.ones(50_000_000)  # 200 MB
    assert memory.resident_memory() - before > 150e6
    del block
    assert memory.peak_memory() - before > 150e6
    assert 0 < memory.available_memory() < 2**50


def group(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of 64 GB of which 40 are free."""
    group(tmp_path / "proc/self", status="VmRSS:\t 1024 kB\nVmSize: 2048 kB\n", cgroup="0::/job/step\n")
    group(tmp_path / "proc", meminfo="MemTotal: 64000000 kB\nMemAvailable:   40000000 kB\n")
    monkeypatch.setattr(memory, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path / "cgroup")
    return tmp_path


def test_the_tightest_group_counts(machine):
    assert memory.available_memory() == 40_000_000 * 1024
    assert memory.resident_memory() == 2**20
    root = machine / "cgroup"
    group(root / "job/step", memory__max="max\n", memory__current="5\n", memory__stat="inactive_file 0\n")
    assert memory.available_memory() == 40_000_000 * 1024
    group(root / "job", memory__max="9000\n", memory__current="5000\n", memory__stat="anon 1\ninactive_file 700\n")
    assert memory.available_memory() == 9000 - 5000 + 700
    group(root, memory__max="3000\n", memory__current="2900\n", memory__stat="inactive_file 0\n")
    assert memory.available_memory() == 100


def test_groups_of_version_1(machine):
    group(machine / "proc/self", cgroup="5:cpu,memory:/slurm/job_7\n1:name=systemd:/x\n")
    files = {"memory__limit_in_bytes": "8000\n", "memory__usage_in_bytes": "1000\n"}
    group(machine / "cgroup/memory/slurm/job_7", **files, memory__stat="total_inactive_file 10\n")
    assert memory.available_memory() == 7010


def test_without_any_of_it_half_the_machine_is_taken_to_be_free(machine, monkeypatch):
    monkeypatch.setattr(memory, "_PROC", machine / "nowhere")
    assert 0 < memory.available_memory() < sys.maxsize
    memory.reset_peak()
    assert memory.resident_memory() == memory.peak_memory() > 0
