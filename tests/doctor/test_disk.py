"""The file system: measured, locked, and left as it was."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import h5py
import pytest

from panoptag_pyg.doctor import NOTE, OK, PROBLEM, disk

ROOT_USER = hasattr(os, "geteuid") and os.geteuid() == 0


def test_speed_is_measured_and_nothing_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    (found,) = disk.speed(tmp_path, 2)
    assert found.status in (OK, NOTE)
    assert all(found.values[name] > 0 for name in found.values if name.endswith("per_second"))
    assert found.values["free_bytes"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_rates_are_bytes_by_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(10_000))
    monkeypatch.setattr(disk.time, "perf_counter", lambda: float(next(ticks)))
    monkeypatch.setattr(disk, "SMALL_READS", 3)
    monkeypatch.setattr(disk, "SMALL_FILES", 2)
    monkeypatch.setattr(disk, "PATIENCE", 1e9)
    found = disk.measure(tmp_path, 3)
    assert found["write_bytes_per_second"] == found["read_bytes_per_second"] == 3 * 2**20
    assert (tmp_path / "large").stat().st_size == 3 * 2**20
    assert sum(path.name.startswith("small") for path in tmp_path.iterdir()) == 2


def test_a_slow_one_is_told_in_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {"write_bytes_per_second": 1e6, "read_bytes_per_second": 5e6, "random_reads_per_second": 100.0,
             "files_per_second": 3.0, "past_cache": True}  # fmt: skip
    monkeypatch.setattr(disk, "measure", lambda place, megabytes: rates)
    (found,) = disk.speed(tmp_path, 1)
    assert found.status == NOTE
    assert f"{5e6 / disk.bytes_per_event():,.0f} events/s" in found.advice
    assert "reads 5 MB/s" in found.text


def test_a_full_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    (found,) = disk.speed(tmp_path, 64)
    assert found.status == PROBLEM
    assert "is full" in found.text


@pytest.mark.skipif(ROOT_USER, reason="root may write everywhere")
def test_one_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    (found,) = disk.speed(tmp_path, 1)
    assert found.status == NOTE
    assert "nothing can be written" in found.text
    assert not list(disk.locking(tmp_path))


def test_locks(tmp_path: Path) -> None:
    hdf5, *more = disk.locking(tmp_path)
    assert hdf5.status == OK, hdf5.text
    assert h5py.version.hdf5_version in hdf5.text
    assert all(finding.status == NOTE for finding in more)
    assert not list(tmp_path.iterdir())


def test_hdf5_that_cannot_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments, **settings):
        raise BlockingIOError(37, "Unable to synchronously create file (unable to lock file, errno = 37)")

    monkeypatch.setattr(h5py, "File", refuse)
    monkeypatch.setattr(disk, "_locks_folders", lambda place: False)
    hdf5, folders = disk.locking(tmp_path)
    assert hdf5.status == PROBLEM
    assert "unable to lock file" in hdf5.text
    assert "export HDF5_USE_FILE_LOCKING=FALSE" in hdf5.advice
    assert folders.status == NOTE
    assert "two runs" in folders.text


def test_which_file_system(tmp_path: Path) -> None:
    if shutil.which("findmnt") is None:
        pytest.skip("no findmnt to compare with")
    for place in (tmp_path, Path("/proc/self")):
        done = subprocess.run(
            ["findmnt", "-no", "FSTYPE", "-T", str(place)], capture_output=True, text=True, check=True
        )
        assert disk.file_system(place) == done.stdout.split()[-1]


def test_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "not-yet"))
    (found,) = disk.caches()
    assert found.status == OK
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (found,) = disk.caches()
    assert found.status == NOTE
    assert "is a file" in found.text
    assert "XDG_CACHE_HOME" in found.advice
