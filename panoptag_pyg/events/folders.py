"""Folders of event files that are whole or not there: shards of even size, and their manifest last."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.events.file_entry import describe_file
from panoptag_pyg.events.manifest import Manifest
from panoptag_pyg.events.writer import EventFileWriter
from panoptag_pyg.output import OutputError, refusal


@contextmanager
def atomic_folder(path: str | os.PathLike[str], overwrite: bool = False, ours: str = "manifest.json") -> Iterator[Path]:
    """Yield a new folder; it becomes ``path`` if the block ends well, else it is removed with all that is in it.

    Args:
        path: where the folder belongs; it may be there if it is empty.
        overwrite: replace a folder that is there, if this package has made it. Default ``False``.
        ours: the file by which such a folder is known. Default: a manifest.

    Raises:
        OutputError: if something is there that may not be replaced, or the place can't be written.
    """
    path = Path(path)
    check_folder(path, overwrite, ours)
    temporary = path.absolute().with_name(f".{path.absolute().name}.{os.getpid()}.partial")
    old = temporary.with_suffix(".old")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{path} could not be written: {refusal(error)}; nothing was left behind") from error
    finally:
        if old.exists() and not path.exists():
            os.replace(old, path)
        for left in (temporary, old):
            shutil.rmtree(left, ignore_errors=True)


def check_folder(path: Path, overwrite: bool = False, ours: str = "manifest.json") -> None:
    """Refuse a place where :func:`atomic_folder` may not make its folder; ask before long work, not after it.

    Raises:
        OutputError: as from :func:`atomic_folder`.
    """
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file; give the name of a folder to make")
    if path.is_dir() and any(path.iterdir()):
        if not overwrite:
            raise OutputError(f"{path} exists; choose another name or overwrite it with --overwrite")
        if not (path / ours).is_file():
            raise OutputError(
                f"{path} holds other things (it has no {ours}); choose another name or remove it yourself"
            )
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise OutputError(f"{path} can't be written: {folder} is a file, not a folder; choose another place")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{path} can't be written: no permission to write in {folder}; choose another place")


def even_sizes(num_events: int, num_shards: int) -> list[int]:
    """Events of each shard: equal, to within one."""
    return np.diff(np.linspace(0, num_events, num_shards + 1).astype(np.int64)).tolist()


class ShardWriter:
    """Writes a stream of events into files of given sizes, ``STEM-00000.h5`` and so on, and then their manifest.

    Args:
        folder: where; see :func:`atomic_folder`.
        stem: what the files' names begin with.
        sizes: events of each file.
        options: what :class:`~panoptag_pyg.events.EventFileWriter` is told.
    """

    def __init__(self, folder: Path, stem: str, sizes: Sequence[int], **options: Any) -> None:
        self.folder = folder
        self.stem = stem
        self.sizes = list(sizes)
        self._options = options
        self._done: list[Path] = []
        self._writer: EventFileWriter | None = None

    def write(self, block: EventBlock) -> None:
        """Append the events of ``block``.

        Raises:
            ValueError: if they are more than the files were to hold.
            EventFileError: as from :meth:`~panoptag_pyg.events.EventFileWriter.write`.
        """
        start = 0
        while start < block.num_events:
            writer = self._current()
            space = self.sizes[len(self._done)] - writer.num_events
            stop = min(start + space, block.num_events)
            writer.write(block.select(np.arange(start, stop)))
            start = stop

    def close(self) -> Manifest:
        """Finish the last file and write the manifest.

        Raises:
            EventFileError: if the disk is full or refuses.
        """
        while len(self._done) < len(self.sizes):
            self._finish(self._open())
        manifest = Manifest.gather([describe_file(path) for path in self._done], self.folder)
        manifest.save()
        return manifest

    def abort(self) -> None:
        """Drop the file in the making."""
        if self._writer is not None:
            self._writer.abort()
            self._writer = None

    def _current(self) -> EventFileWriter:
        """The file in the making, with space for an event or more."""
        writer = self._open()
        while writer.num_events >= self.sizes[len(self._done)]:
            self._finish(writer)
            writer = self._open()
        return writer

    def _open(self) -> EventFileWriter:
        if self._writer is None:
            if len(self._done) == len(self.sizes):
                raise ValueError(f"more events than the {sum(self.sizes)} that the files were to hold")
            path = self.folder / f"{self.stem}-{len(self._done):05d}.h5"
            self._writer = EventFileWriter(path, **self._options)
        return self._writer

    def _finish(self, writer: EventFileWriter) -> None:
        writer.close()
        self._done.append(writer.path)
        self._writer = None

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()
