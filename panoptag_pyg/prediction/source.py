"""``EventSource``: what a tagger reads events from, whatever the file's format; and finding out which format it is."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.events.files import PathLike, find_files, is_manifest

if TYPE_CHECKING:
    from panoptag_pyg.prediction.root_options import RootOptions

#: Events that a source gives at a time unless it is told otherwise.
STEP_EVENTS = 1000
#: What a folder's files may end in; what they are is seen from their content.
ENDINGS = (".h5", ".hdf5", ".root")

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ROOT = b"root"
#: Where an HDF5 file may begin, if something stands before it: 0, 512, 1024, 2048, ….
_LATEST_BEGINNING = 1 << 16


class EventSource(Protocol):
    """The events of one file, in order, none left out.

    Attributes:
        path: the file.
        num_events: events in it: entries of its tree, for a ROOT file.
        processes: names that ``event/process`` of its blocks counts through; at least one.
        attributes: what the file tells about itself, in the words of our event files: ``detector_card``, ``jets``, ….
        unknown: paths of columns, such as ``jet/flavour``, that the file doesn't have; blocks hold their default.
    """

    @property
    def path(self) -> Path: ...

    @property
    def num_events(self) -> int: ...

    @property
    def processes(self) -> Sequence[str]: ...

    @property
    def attributes(self) -> Mapping[str, Any]: ...

    @property
    def unknown(self) -> frozenset[str]: ...

    def blocks(self, start: int = 0, step: int = STEP_EVENTS) -> Iterator[EventBlock]:
        """The events from ``start`` on, in the file's order, as blocks of ``step`` events at most.

        What is held does not grow with the file. Whoever asks may stop at any block; the file is closed then.

        Values that are not finite stay as they are: whoever tags decides about that event. A structure that can't be
        (offsets that fall, a class that there isn't) is an error.

        Args:
            start: number of the first event. Default 0.
            step: events of a block; fewer where they are large, and in the last. Default 1000.

        Raises:
            PanopTagError: naming the file, and the event if it is one event's fault.
        """
        ...


@dataclass(frozen=True)
class SourceOptions:
    """How files are read.

    Attributes:
        columns: paths of those that are needed; others may hold their default. Default ``None``: all.
        root: how ROOT files are read. Default ``None``: as the converters do without options.
    """

    columns: frozenset[str] | None = field(default=None)
    root: RootOptions | None = field(default=None)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: for processes of their own, and to know whether another run read its files alike."""
        return {
            "columns": None if self.columns is None else sorted(self.columns),
            "root": None if self.root is None else self.root.values,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SourceOptions:
        """What :meth:`to_dict` gave."""
        from panoptag_pyg.prediction.root_options import RootOptions

        names, root = values["columns"], values.get("root")
        return cls(None if names is None else frozenset(names), None if root is None else RootOptions(root))


def open_sources(paths: PathLike | Sequence[PathLike], options: SourceOptions = SourceOptions()) -> list[EventSource]:
    """The files meant by files, folders, manifests and globs, in that order, each by the format that it is in.

    A folder means the files of its ``manifest.json``, or else its ``*.h5``, ``*.hdf5`` and ``*.root``, sorted. What a
    file is, its content says, not its name.

    Args:
        paths: one or several.
        options: how they are read. Default: all columns.

    Raises:
        EventFileError: naming what is missing, damaged or of no known format.
        ConversionError: the same of a ROOT file.
        MissingExtraError: uproot isn't installed, and a file is a ROOT file.
    """
    from panoptag_pyg.prediction.own_files import open_listed, open_own

    sources: list[EventSource | None] = []
    roots: list[tuple[int, Path]] = []
    before: dict[str, Any] = {}
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        if is_manifest(path):
            sources += open_listed(path, options)
            continue
        for single in _expand(path):
            if file_format(single) == "root":
                roots.append((len(sources), single))
                sources.append(None)
            else:
                own = open_own(single, options, before)
                before = own.attributes
                sources.append(own)
    if roots:
        from panoptag_pyg.prediction.root_sources import open_root_sources

        # Together: what all of them have decides how each is read.
        opened = open_root_sources([path for _, path in roots], options)
        for (place, _), source in zip(roots, opened, strict=True):
            sources[place] = source
    if not sources:
        raise EventFileError("no file of events was named; give a file, a folder or a glob")
    return [source for source in sources if source is not None]


def file_format(path: PathLike) -> str:
    """``"hdf5"`` or ``"root"``, as the file's first bytes tell.

    Raises:
        EventFileError: if it is missing, empty, can't be read, or is neither.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(len(_HDF5))
            place = 512
            while head != _HDF5 and place <= _LATEST_BEGINNING:
                file.seek(place)
                if file.read(len(_HDF5)) == _HDF5:
                    return "hdf5"
                place *= 2
    except FileNotFoundError:
        raise EventFileError(f"{path}: no such file; make one with panoptag simulate") from None
    except IsADirectoryError:
        raise EventFileError(f"{path} is a folder inside a folder of events; name it by itself") from None
    except OSError as error:
        raise EventFileError(f"{path} can't be read: {error.strerror or error}") from error
    if head == _HDF5:
        return "hdf5"
    if head.startswith(_ROOT):
        return "root"
    if not head:
        raise EventFileError(f"{path} is empty")
    raise EventFileError(
        f"{path} is neither an HDF5 nor a ROOT file; give event files of panoptag simulate, or the ROOT files of "
        "DELPHES or CMS"
    )


def _expand(path: PathLike) -> list[Path]:
    """The files that a path means, sorted."""
    if os.path.isdir(path):
        found = sorted(
            file for file in Path(path).iterdir() if file.suffix in ENDINGS and not file.name.startswith(".")
        )
        if not found:
            raise EventFileError(f"{path} has no *.h5 and no *.root file; make one with panoptag simulate")
        return found
    if os.path.exists(path) or not glob.has_magic(os.fspath(path)):
        return [Path(path)]
    return find_files(path, manifests=False)
