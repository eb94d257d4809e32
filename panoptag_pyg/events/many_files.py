"""Thousands of event files as one data set: opened when first read, few at a time, as far as a manifest knows them."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.events.file import EventFile
from panoptag_pyg.events.file_entry import FileEntry
from panoptag_pyg.events.files import PathLike, find_files, is_manifest
from panoptag_pyg.events.manifest import Manifest

#: Files of a data set that are open at a time; a process may have 1,024 on most systems, and others need some.
MAX_OPEN = 64


def open_files(paths: PathLike | Sequence[PathLike]) -> tuple[list[EventFile], OpenFiles]:
    """The files meant by a file, a folder, a manifest, a glob, or a list of these.

    Those that a manifest describes aren't opened; others are, and closed again beyond :data:`MAX_OPEN`.

    Returns:
        the files, and what keeps the number of open ones in bounds.

    Raises:
        EventFileError: naming the file that is missing or damaged, or that a manifest doesn't know.
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    files: list[EventFile] = []
    opened = OpenFiles()
    for path in paths:
        if is_manifest(path):
            manifest = Manifest.load(path)
            manifest.refuse_strangers()
            files += [ListedFile(manifest, entry) for entry in manifest.files]
        else:
            for single in find_files(path):
                file = opened.use(EventFile(single))
                _share(file.attributes, files[-1].attributes if files else {})
                files.append(file)
    if not files:
        find_files(paths)  # says what there isn't
    return files, opened


def _share(attributes: dict[str, Any], before: dict[str, Any]) -> None:
    """Keep equal cards and settings of many files in memory once."""
    for name, value in attributes.items():
        if before.get(name) == value:
            attributes[name] = before[name]


class OpenFiles:
    """Closes the file that was used longest ago when too many are open.

    Args:
        limit: how many may be open. Default :data:`MAX_OPEN`.
    """

    def __init__(self, limit: int = MAX_OPEN) -> None:
        self.limit = limit
        self._files: OrderedDict[int, EventFile] = OrderedDict()
        self._lock = threading.RLock()
        self._process_id = os.getpid()

    @property
    def lock(self) -> threading.RLock:
        """Held by the thread that uses the files: one of them may be reading ahead."""
        if self._process_id != os.getpid():  # forked: whoever held it isn't here
            self._lock, self._process_id = threading.RLock(), os.getpid()
        return self._lock

    def use(self, file: EventFile) -> EventFile:
        """``file``, which is about to be read."""
        self._files[id(file)] = file
        self._files.move_to_end(id(file))
        while len(self._files) > self.limit:
            self._files.popitem(last=False)[1].close()
        return file

    def __getstate__(self) -> dict[str, Any]:
        return {"limit": self.limit}  # nothing is open in another process

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["limit"])  # type: ignore[misc]


class ListedFile(EventFile):
    """An event file of which a manifest tells all but the events; opened, and compared with that, when first read.

    Args:
        manifest: that lists it.
        entry: what it says.
    """

    def __init__(self, manifest: Manifest, entry: FileEntry) -> None:
        self.path = manifest.path_of(entry)
        self.entry = entry
        self.processes = list(entry.processes)
        self.sources = list(entry.sources)
        self.constituent_columns = entry.constituent_columns
        self.manifest = manifest
        self._handle = None
        self._process_id = -1
        self._offsets: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def attributes(self) -> dict[str, Any]:  # type: ignore[override]
        """All attributes of the file."""
        return self.manifest.attributes_of(self.entry)

    @property
    def num_events(self) -> int:
        """Events in the file."""
        return self.entry.num_events

    @property
    def num_pfos(self) -> int:
        """PFOs of all events."""
        return self.entry.num_pfos

    @property
    def num_jets(self) -> int:
        """Jets of all events."""
        return self.entry.num_jets

    @property
    def num_constituents(self) -> int:
        """Constituents of all jets."""
        return self.entry.num_constituents

    @property
    def pfo_offsets(self) -> np.ndarray:  # type: ignore[override]
        """First PFO of each event; read when asked for."""
        return self._read_offsets()[0]

    @property
    def jet_offsets(self) -> np.ndarray:  # type: ignore[override]
        """First jet of each event; read when asked for."""
        return self._read_offsets()[1]

    def has(self, path: str) -> bool:
        """Whether the file holds the dataset ``path``, as the manifest says."""
        group, _, name = path.partition("/")
        return name in self.constituent_columns if group == "constituent" else path not in self.entry.absent

    def read(
        self,
        start: int = 0,
        stop: int | None = None,
        columns: Collection[str] | None = None,
        finite: bool = True,
    ) -> EventBlock:
        """Consecutive events, validated; see :meth:`EventFile.read`."""
        try:
            return super().read(start, stop, columns, finite)
        except KeyError:  # a file of the same size and number of events, and yet another one
            self._check_header()
            raise

    def close(self) -> None:
        """Close the file and forget its offsets; reading opens it again."""
        super().close()
        self._offsets = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_offsets": None}

    def _open(self) -> Any:
        # Every column was looked at when the manifest was made. Looking again at each opening would take ten times
        # longer than the opening itself, and loader workers open all files anew in every epoch.
        self.manifest.check_size(self.entry)
        return super()._open()

    def _read_offsets(self) -> tuple[np.ndarray, np.ndarray]:
        if self._offsets is None:
            try:
                found = self._file["pfo/offsets"][:], self._file["jet/offsets"][:]
            except (KeyError, OSError, RuntimeError):
                self._check_header()
                raise EventFileError(
                    f"{self.path} can't be read; the file is damaged: copy or simulate it again"
                ) from None
            for name, offsets, entries in (
                ("PFOs", found[0], self.entry.num_pfos),
                ("jets", found[1], self.entry.num_jets),
            ):
                if (len(offsets) - 1, offsets[-1]) != (self.num_events, entries):
                    raise EventFileError(
                        f"{self.path} has changed: {len(offsets) - 1} events with {offsets[-1]} {name}, its manifest "
                        f"says {self.num_events} with {entries}; copy it again, or renew the manifest with panoptag "
                        "inspect FOLDER --write-manifest"
                    )
            self._offsets = found
        return self._offsets
