"""Results that are whole or not there: written beside their place under another name, then renamed."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panoptag_pyg.errors import PanopTagError

if TYPE_CHECKING:
    import h5py


class OutputError(PanopTagError, OSError):
    """A result that cannot be written where it was asked for."""


def check_output(path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Refuse a path if something stands there and may not be replaced; ask before long work, not after it.

    Args:
        path: where the result belongs.
        overwrite: whether it may replace what stands there. Default ``False``.

    Raises:
        OutputError: if ``path`` exists and ``overwrite`` is false, is a folder, or can't be made in its folder.
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give the name of a file in it")
    folder = next(folder for folder in path.parents if folder.exists())
    if not folder.is_dir():
        raise OutputError(f"{path} can't be written: {folder} is a file, not a folder; choose another place")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{path} can't be written: no permission to write in {folder}; choose another place")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists; choose another name or overwrite it with --overwrite")
    return path


def refusal(error: OSError) -> str:
    """Why the operating system or HDF5 refused to write, in words that a user can act on."""
    text = str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in text or f"errno = {errno.ENOSPC}" in text:
        return "the disk is full: free some space"
    if error.errno == errno.EFBIG:
        return "the file grew beyond the limit for files here"
    if isinstance(error, PermissionError) or error.errno == errno.EROFS or "Permission denied" in text:
        return "its folder can't be written"
    if isinstance(error, (NotADirectoryError, FileExistsError)):
        return "a part of its path is a file, not a folder"
    return text.splitlines()[0] if text else type(error).__name__


@contextmanager
def atomic_output(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary name with the same ending; it becomes ``path`` if the block ends well, else it is
    removed.

    Args:
        path: where the result belongs; missing folders are made.
        overwrite: replace what stands there. Default ``False``.

    Raises:
        OutputError: if ``path`` exists, its folder cannot be written, or the disk is full.
    """
    path = check_output(path, overwrite)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    new_folders = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
        new_folders.clear()
    except OSError as error:
        if isinstance(error, PanopTagError):
            raise
        raise OutputError(f"{path} could not be written: {refusal(error)}; nothing was left behind") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
            for folder in new_folders:  # innermost first; only empty ones go
                folder.rmdir()


def lock_folder(folder: str | os.PathLike[str]) -> int | None:
    """Hold a folder against other processes until the returned handle is closed, or this process ends.

    Args:
        folder: that is there.

    Returns:
        the handle, for ``os.close``; ``None`` where folders can't be locked.

    Raises:
        BlockingIOError: if another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        # Of the folder itself: it goes with this process, however that ends, and leaves no file behind.
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError:  # a file system that can't lock folders
        os.close(handle)
        return None
    return handle


def check_folder(folder: str | os.PathLike[str], mark: str, overwrite: bool = False) -> Path:
    """Refuse a report's folder that may not be made or replaced; ask before long work, not after it.

    Args:
        folder: to make.
        mark: name of the file by which a report is known; a folder with other things in it is never replaced.
        overwrite: whether it may replace an older report. Default ``False``.

    Raises:
        OutputError: it is a file, holds something, isn't a report, or can't be written.
    """
    folder = Path(folder)
    if folder.is_dir():
        names = os.listdir(folder)
        if names and mark not in names:
            raise OutputError(f"{folder} is not an empty folder, nor a report (it has no {mark}); choose another name")
        if names and not overwrite:
            raise OutputError(f"{folder} holds a report; choose another name or overwrite it with --overwrite")
        check_output(folder / mark, overwrite=True)
    elif folder.exists():
        raise OutputError(f"{folder} is a file; give the name of a folder to make")
    else:
        check_output(folder)
    return folder


@contextmanager
def atomic_folder(folder: str | os.PathLike[str], mark: str, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder beside ``folder``, which takes its place if the block ends well, else is removed.

    Arguments and errors as of :func:`check_folder`.
    """
    folder = check_folder(folder, mark, overwrite)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{folder} could not be written: {refusal(error)}; nothing was left behind") from error
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for rest in (temporary, old):
            shutil.rmtree(rest, ignore_errors=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file whole or not at all, in place of an older one."""
    with atomic_output(path, overwrite=True) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as indented JSON, whole or not at all, in place of an older file."""
    write_text(path, json.dumps(value, indent=2) + "\n")


class Disk:
    """The file under HDF5, given to ``h5py.File`` in a name's place. It keeps an error to itself until asked.

    HDF5 can't close a file that it failed to write: it prints tracebacks and may crash the process. So a full disk is
    remembered in ``error``, HDF5 goes on in the belief that all is well, and whoever writes looks here.
    """

    def __init__(self, path: Path) -> None:
        self.error: OSError | None = None
        self._raw = open(path, "wb+", buffering=0)  # noqa: SIM115 - lives as long as the writer
        self.seek, self.tell = self._raw.seek, self._raw.tell
        self.read, self.readinto = self._raw.read, self._raw.readinto

    def write(self, data: memoryview) -> int:
        view = memoryview(data).cast("B")
        done = 0
        try:
            while self.error is None and done < len(view):
                done += self._raw.write(view[done:])
        except OSError as error:
            self.error = error
        return len(view)

    def truncate(self, size: int) -> int:
        try:
            if self.error is None:
                self._raw.truncate(size)
        except OSError as error:
            self.error = error
        return size

    def flush(self) -> None:
        pass  # unbuffered

    def close(self) -> None:
        if self._raw.closed:
            return
        try:
            os.fsync(self._raw.fileno())
        except OSError as error:
            self.error = self.error or error
        self._raw.close()


@contextmanager
def atomic_hdf5(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[h5py.File]:
    """:func:`atomic_output` for an HDF5 file: yield it, open for writing.

    Raises:
        OutputError: as from :func:`atomic_output`.
    """
    import h5py

    with atomic_output(path, overwrite) as temporary:
        disk = Disk(temporary)
        try:
            with h5py.File(disk, "w") as file:
                yield file
        except OSError as error:
            raise disk.error or error from error
        finally:
            disk.close()
        if disk.error is not None:
            raise disk.error
