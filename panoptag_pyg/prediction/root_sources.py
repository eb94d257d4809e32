"""ROOT files as sources: DELPHES trees and CMS PFNano, read by the converters' own code, without a file in between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from panoptag_pyg.convert.root import tree_names
from panoptag_pyg.convert.root_files import RootFiles
from panoptag_pyg.errors import ConversionError
from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.prediction.root_options import RootOptions
from panoptag_pyg.prediction.root_words import errors_in_words_of_root, in_words_of_root
from panoptag_pyg.prediction.source import STEP_EVENTS, SourceOptions

#: Tree of CMS's NanoAOD.
_EVENTS = "Events"


@dataclass(frozen=True)
class RootSource:
    """A ROOT file as an :class:`~panoptag_pyg.prediction.source.EventSource`; every entry of its tree is an event.

    Attributes:
        path: the file.
        num_events: entries of its tree.
        processes: its name without the ending, as a conversion would call its events.
        attributes: what an event file converted from it would tell.
        unknown: paths of the columns that hold nothing but their default.
        notes: what is missing in the files that it was opened with, and what is done about it, a sentence each.
        format: ``"delphes"`` or ``"nanoaod"``.
    """

    path: Path
    num_events: int
    processes: tuple[str, ...]
    attributes: dict[str, Any]
    unknown: frozenset[str]
    notes: tuple[str, ...]
    format: str
    _files: RootFiles = field(repr=False)
    _number: int = 0

    @property
    def digest(self) -> list[Any]:
        """What its events depend on, JSON-able: another run that finds the same reads the same."""
        from panoptag_pyg.prediction.workfolder import file_identity

        # Together with its format these say it all; the versions of the packages are not events.
        told = {name: value for name, value in self.attributes.items() if name != "software"}
        return [*file_identity(self.path), self.format, told]

    def blocks(self, start: int = 0, step: int = STEP_EVENTS) -> Iterator[EventBlock]:
        """See :meth:`~panoptag_pyg.prediction.source.EventSource.blocks`.

        PFOs without momentum, and those of a DELPHES file that aren't finite, are left out, as in a conversion.
        """
        # What is counted becomes the notes of a conversion; here nobody asks.
        yield from self._files.blocks(self._number, self._files.new_counts(), start=start, step=step, finite=False)


def open_root_sources(paths: Sequence[Path], options: SourceOptions) -> list[RootSource]:
    """ROOT files as sources, in their order.

    Files of one format are looked into together, as a conversion into one file would: what is done to the impact
    parameters of DELPHES files is the same for all of them.

    Args:
        paths: the files.
        options: how they are read.

    Raises:
        ConfigError: an option that no file has a use for, or an unknown detector card.
        ConversionError: a file is damaged, has no tree that is known, lacks branches, or doesn't fit the others.
        MissingExtraError: uproot or fastjet isn't installed.
    """
    with errors_in_words_of_root():
        return _open(paths, options.root or RootOptions())


def _open(paths: Sequence[Path], root: RootOptions) -> list[RootSource]:
    from panoptag_pyg.convert.delphes_files import DelphesFiles
    from panoptag_pyg.convert.nanoaod_files import NanoaodFiles

    formats = [root_format(path, root.values.get("tree", "Delphes")) for path in paths]
    root.refuse_unused(formats)
    sources: dict[int, RootSource] = {}
    for name in dict.fromkeys(formats):
        numbers = [number for number, found in enumerate(formats) if found == name]
        mine = [paths[number] for number in numbers]
        files: RootFiles
        if name == "delphes":
            files = DelphesFiles.look_into(mine, root.delphes)
        else:
            files = NanoaodFiles.look_into(mine, root.nanoaod)
        sources |= {number: _source(files, place, name) for place, number in enumerate(numbers)}
    return [sources[number] for number in range(len(paths))]


def root_format(path: Path, delphes_tree: str = "Delphes") -> str:
    """``"delphes"`` or ``"nanoaod"``, by the trees in a file.

    Args:
        path: the file.
        delphes_tree: what the tree of a DELPHES file is called. Default ``"Delphes"``.

    Raises:
        ConversionError: the file is damaged, or has neither tree.
        MissingExtraError: uproot isn't installed.
    """
    names = tree_names(path)
    if delphes_tree in names:
        return "delphes"
    if _EVENTS in names:
        return "nanoaod"
    found = f"its trees are {', '.join(repr(name) for name in names[:12])}" if names else "it has no tree at all"
    raise ConversionError(
        f"{path} has neither a tree '{delphes_tree}' of DELPHES nor '{_EVENTS}' of CMS PFNano: {found}; name a DELPHES "
        "tree of another name with --root tree=NAME"
    )


def _source(files: RootFiles, place: int, format_name: str) -> RootSource:
    path, num_events, *_ = files.tree(place)
    return RootSource(
        path=path,
        num_events=num_events,
        processes=(path.stem,),
        attributes=files.attributes([place]),
        unknown=files.unknown([place]) | files.unfilled([place]),
        notes=tuple(map(in_words_of_root, files.notes())) if place == 0 else (),
        format=format_name,
        _files=files,
        _number=place,
    )
