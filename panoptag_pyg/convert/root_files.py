"""Files of one ROOT format, looked into together and read from any entry on; for conversion and for tagging."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from panoptag_pyg.convert.root import STEP_ENTRIES, Step, open_tree
from panoptag_pyg.events import EventBlock


class TreeInFile(NamedTuple):
    """What is read of one file.

    Attributes:
        path, num_events: the file, and how many events it has.
        tree: name of the tree.
        branches: names of the branches.
    """

    path: Path
    num_events: int
    tree: str
    branches: Collection[str]


class RootFiles(ABC):
    """Some files of one format, and how all of them are read."""

    #: What a good file is, for sentences.
    what: str

    @abstractmethod
    def __len__(self) -> int:
        """How many files."""

    @abstractmethod
    def tree(self, number: int) -> TreeInFile:
        """What is read of one file.

        Args:
            number: which file.
        """

    @abstractmethod
    def new_counts(self) -> Any:
        """Where reading counts what it meets; notes after a conversion are made of it."""

    @abstractmethod
    def read(self, number: int, step: Step, counts: Any, finite: bool) -> EventBlock:
        """The events of some entries of one file, every entry one event.

        Args:
            number: which file.
            step: the entries.
            counts: added to.
            finite: whether values that aren't finite are refused later; if not, they must do no harm here.
        """

    @abstractmethod
    def unknown(self, numbers: Sequence[int]) -> frozenset[str]:
        """Truth that none of some files has.

        Args:
            numbers: which files.
        """

    @abstractmethod
    def unfilled(self, numbers: Sequence[int]) -> frozenset[str]:
        """Columns that every event file has, but for which none of some files has anything.

        Args:
            numbers: which files.
        """

    @abstractmethod
    def attributes(
        self, numbers: Sequence[int], max_events: int | None = None, command: str | None = None
    ) -> dict[str, Any]:
        """What an event file says of where its events come from, if these files go into it.

        Args:
            numbers: which files.
            max_events: at most so many of their events. Default: all.
            command: command line. Default: none.
        """

    @abstractmethod
    def notes(self) -> list[str]:
        """What is missing or changed in the files, as far as it is known before they are read; a sentence each."""

    def blocks(
        self,
        number: int,
        counts: Any,
        start: int = 0,
        stop: int | None = None,
        step: int = STEP_ENTRIES,
        finite: bool = True,
    ) -> Iterator[EventBlock]:
        """Events of one file, every entry one event; memory is bounded by one block.

        Args:
            number: which file.
            counts: added to; of :meth:`new_counts`.
            start, stop: first entry and the one after the last. Default: all.
            step: most events of a block; fewer where they are large. Default 500.
            finite: refuse values that aren't finite. Default ``True``.

        Raises:
            ConversionError: the file is damaged.
            EventFileError: an event holds values that no event can have.
        """
        file = self.tree(number)
        with open_tree(file.path, file.tree, self.what) as tree:
            for part in tree.iterate(file.branches, step, start=start, stop=stop):
                block = self.read(number, part, counts, finite)
                block.validate(str(file.path), part.start, finite)
                yield block

    def leading(self, counts: Any, num_events: int, step: int = STEP_ENTRIES) -> Iterator[tuple[int, EventBlock]]:
        """Number of the file and a block of its events, file after file, until there are ``num_events``.

        Arguments and errors as of :meth:`blocks`.
        """
        for number in range(len(self)):
            stop = min(self.tree(number).num_events, num_events)
            num_events -= stop
            for block in self.blocks(number, counts, stop=stop, step=step) if stop else ():
                yield number, block
