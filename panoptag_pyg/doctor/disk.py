"""A folder's file system: what it is, how fast, whether it can lock; and folders for caches."""

from __future__ import annotations

import errno
import os
import random
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from panoptag_pyg.doctor.finding import NOTE, OK, PROBLEM, Finding

#: Bytes per second below which reading is told to be slow: some 4,000 of the sample's events.
SLOW_READING = 20e6
#: Bytes that are read and written at a time, and of each read from a random place.
CHUNK, PAGE = 2**20, 4096
#: Random reads, and small files made; at most, or for so many seconds.
SMALL_READS, SMALL_FILES, PATIENCE = 200, 50, 5.0


def speed(folder: Path, megabytes: int) -> Iterator[Finding]:
    """Write a file there, read it back past the cache, read from random places in it, make small files; remove all."""
    kind, free = file_system(folder), shutil.disk_usage(folder).free
    values: dict[str, object] = {"file_system": kind, "free_bytes": free}
    name = f"{folder.resolve()} ({kind or 'file system unknown'})"
    if free < 2 * megabytes * CHUNK:
        yield Finding("disk", PROBLEM, f"{name} is full: {free / 1e6:.0f} MB are free", "Free some.", values)
        return
    try:
        with tempfile.TemporaryDirectory(prefix=".panoptag-doctor-", dir=folder) as place:
            values |= measure(Path(place), megabytes)
    except OSError as error:
        advice = "Name a folder that you may write to: panoptag doctor FOLDER"
        yield Finding("disk", NOTE, f"{name}: nothing can be written there ({error.strerror})", advice, values)
        return
    writing, reading = float(values["write_bytes_per_second"]), float(values["read_bytes_per_second"])  # type: ignore[arg-type]
    text = (
        f"{name}: writes {writing / 1e6:,.0f} MB/s, reads {reading / 1e6:,.0f} MB/s, "
        f"{float(values['random_reads_per_second']):,.0f} reads/s from random places, "  # type: ignore[arg-type]
        f"makes {float(values['files_per_second']):,.0f} files/s, {free / 1e9:,.0f} GB free"  # type: ignore[arg-type]
    )
    if not values["past_cache"]:
        text += " (read from memory: this system can't be asked to forget)"
    if reading < SLOW_READING:
        events = reading / bytes_per_event()
        advice = f"Some {events:,.0f} events/s at most: copy events to a local disk before a training ($TMPDIR)."
        yield Finding("disk", NOTE, text, advice, values)
    else:
        yield Finding("disk", OK, text, values=values)


def measure(place: Path, megabytes: int) -> dict[str, object]:
    """Rates of writing, reading, random reads and making files in a folder.

    Args:
        place: an empty folder.
        megabytes: size of the file.
    """
    path, piece = place / "large", os.urandom(CHUNK)
    start = time.perf_counter()
    with open(path, "wb", buffering=0) as file:
        for _ in range(megabytes):
            file.write(piece)
        os.fsync(file.fileno())
    writing = time.perf_counter() - start
    with open(path, "rb", buffering=0) as file:
        past_cache = _forget(file.fileno())
        start = time.perf_counter()
        while file.read(CHUNK):
            pass
        reading = time.perf_counter() - start
        _forget(file.fileno())
        number, start = 0, time.perf_counter()
        while number < SMALL_READS and time.perf_counter() - start < PATIENCE:
            file.seek(random.randrange(megabytes * CHUNK // PAGE) * PAGE)
            file.read(PAGE)
            number += 1
        jumping = (time.perf_counter() - start) / number
    number, start = 0, time.perf_counter()
    while number < SMALL_FILES and time.perf_counter() - start < PATIENCE:
        (place / f"small-{number}").write_bytes(b"x")
        number += 1
    making = (time.perf_counter() - start) / number
    return {
        "write_bytes_per_second": megabytes * CHUNK / writing,
        "read_bytes_per_second": megabytes * CHUNK / reading,
        "random_reads_per_second": 1 / jumping,
        "files_per_second": 1 / making,
        "past_cache": past_cache,
    }


def _forget(descriptor: int) -> bool:
    """Ask the system to read the file from the disk the next time; whether it can be asked."""
    if not hasattr(os, "posix_fadvise"):
        return False
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def locking(folder: Path) -> Iterator[Finding]:
    """Whether HDF5 can lock files there, and we folders: on some network file systems neither works."""
    import h5py

    setting = os.environ.get("HDF5_USE_FILE_LOCKING")
    values: dict[str, object] = {"HDF5_USE_FILE_LOCKING": setting, "hdf5": h5py.version.hdf5_version}
    told = f" (HDF5_USE_FILE_LOCKING={setting})" if setting is not None else ""
    try:
        with tempfile.TemporaryDirectory(prefix=".panoptag-doctor-", dir=folder) as place:
            values["hdf5_locks"] = problem = _hdf5_problem(Path(place) / "a.h5")
            values["folder_locks"] = folders = _locks_folders(Path(place))
    except OSError:
        return  # told already: nothing can be written there
    if problem:
        advice = (
            "export HDF5_USE_FILE_LOCKING=FALSE; finished event files are never changed, so nothing is lost by that."
        )
        yield Finding("locking", PROBLEM, f"HDF5 can't open files there{told}: {problem}", advice, values)
    else:
        yield Finding(
            "locking", OK, f"HDF5 {h5py.version.hdf5_version} writes and reads files there{told}", values=values
        )
    if not folders:
        text = "folders can't be locked there: nothing keeps two runs from writing to the same output"
        yield Finding("locking", NOTE, text, "Start one at a time for each output folder.", {"folder_locks": False})


def _hdf5_problem(path: Path) -> str:
    """What HDF5 says when it writes and opens a file; nothing if that works."""
    import h5py

    try:
        with h5py.File(path, "w") as file:
            file["a"] = [1.0, 2.0]
        with h5py.File(path, "r") as file:
            return "" if file["a"][1] == 2.0 else "what was written isn't what is read"
    except OSError as error:
        return " ".join(str(error).split())


def _locks_folders(place: Path) -> bool:
    """Whether :func:`~panoptag_pyg.output.lock_folder` has something to hold on to."""
    from panoptag_pyg.output import lock_folder

    handle = lock_folder(place)
    if handle is None:
        return False
    os.close(handle)
    return True


def caches() -> Iterator[Finding]:
    """Whether the folders can be written where pileup libraries and compiled kernels are kept."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    values: dict[str, object] = {"folder": str(folder)}
    problem = _unwritable(folder)
    if problem:
        advice = "export XDG_CACHE_HOME, MPLCONFIGDIR and NUMBA_CACHE_DIR to folders that you may write to."
        text = f"{folder} can't be written ({problem}): fonts, kernels and pileup libraries are made anew each time"
        yield Finding("caches", NOTE, text, advice, values)
    else:
        yield Finding("caches", OK, f"caches go to {folder}", values=values)


def _unwritable(folder: Path) -> str:
    """Why nothing can be written to a folder, or made in the nearest one above it that is there."""
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    if not nearest.is_dir():
        return f"{nearest} is a file"
    return "" if os.access(nearest, os.W_OK) else os.strerror(errno.EACCES).lower()


def file_system(folder: Path) -> str:
    """The type of the file system that a folder is on, such as ``"ext4"`` or ``"nfs4"``; empty where unknown."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    found, length = "", -1
    resolved = folder.resolve()
    for line in lines:
        before, _, after = line.partition(" - ")
        # A blank in a path is written \\040.
        point = Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), before.split()[4]))
        # Of two mounts on the same point the later one is seen.
        if (resolved == point or point in resolved.parents) and len(point.parts) >= length:
            found, length = after.split()[0], len(point.parts)
    return found


def bytes_per_event() -> float:
    """Bytes on disk of one of the sample's tt̄ events."""
    from panoptag_pyg.events import EventFile

    path = Path(str(files("panoptag_pyg.data"))) / "sample" / "ttbar.h5"
    with EventFile(path) as file:
        return path.stat().st_size / file.num_events
