"""ROOT files by uproot: open a tree, read some of its branches in steps, and say in one sentence what is wrong."""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from panoptag_pyg.errors import ConversionError, PanopTagError, require_extra

#: Entries and uncompressed bytes that are read at once; whichever is less.
STEP_ENTRIES = 500
STEP_BYTES = 100_000_000
#: From this version number on a ROOT file's header has 64-bit positions.
_LARGE_FILE = 1_000_000
#: Classes that can be read here.
_TREES = ("TTree", "TNtuple", "TNtupleD")
#: The part of ROOT's unique numbers that tells objects apart; the rest says which process made them.
UNIQUE_ID = 0xFFFFFF
#: How many names a sentence lists.
_NAMES_LISTED = 12


@dataclass(frozen=True)
class Step:
    """Some consecutive entries of a tree.

    Attributes:
        start, stop: first entry, and the one after the last.
        arrays: name of each branch → awkward array [stop − start].
        path: the file, for sentences.
    """

    start: int
    stop: int
    arrays: dict[str, Any]
    path: Path = Path()

    @property
    def num_entries(self) -> int:
        """How many entries."""
        return self.stop - self.start

    def jagged(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Values and offsets of a branch with a list of numbers in each entry: [N], int64 [entries + 1].

        Raises:
            ConversionError: the branch holds something else.
        """
        import awkward as ak

        self._require_lists(name)
        layout = ak.to_packed(self.arrays[name]).layout.to_ListOffsetArray64(True)
        if not layout.content.is_numpy:
            self._refuse(name, "a list of numbers")
        return np.asarray(layout.content.data), np.asarray(layout.offsets.data)

    def _require_lists(self, name: str) -> None:
        layout = self.arrays[name].layout
        if not (layout.is_list or layout.is_regular) or layout.parameter("__array__") is not None:
            self._refuse(name, "a list")

    def _refuse(self, name: str, expected: str) -> None:
        raise ConversionError(
            f"{self.path}: branch '{name}' holds '{self.arrays[name].type.content}' in each entry, expected "
            f"{expected}; write the file again with one there"
        )

    def require_same_lengths(self, names: Collection[str]) -> None:
        """Refuse branches of one collection whose lists aren't equally long in every entry.

        Raises:
            ConversionError: naming the first entry and branch.
        """
        import awkward as ak

        for name in names:
            self._require_lists(name)
        first, *others = names
        lengths = np.asarray(ak.num(self.arrays[first]))
        for name in others:
            found = np.asarray(ak.num(self.arrays[name]))
            bad = np.flatnonzero(found != lengths)
            if len(bad):
                raise ConversionError(
                    f"{self.path}: entry {self.start + bad[0]}: '{name}' has {found[bad[0]]} values, '{first}' "
                    f"{lengths[bad[0]]}, expected as many; the file is damaged: make it again"
                )

    def references(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Numbers that a branch of TRef or TRefArray refers to, without the process's number.

        Returns:
            first reference of each object, int64 [N + 1], and the numbers; plain numbers count as references too.
        """
        import awkward as ak

        array = ak.flatten(self.arrays[name], axis=1)
        for field in ("ref", "refs"):
            if field in array.fields:
                array = array[field]
        if array.ndim == 1:
            values = np.asarray(ak.to_numpy(array))
            offsets = np.arange(len(values) + 1)
        else:
            layout = ak.to_packed(array).layout.to_ListOffsetArray64(True)
            values, offsets = np.asarray(layout.content.data), np.asarray(layout.offsets.data)
        return offsets, values.astype(np.int64) & UNIQUE_ID

    def flat(self, name: str) -> np.ndarray:
        """Values of a branch with one number in each entry [entries]."""
        import awkward as ak

        return np.asarray(ak.to_numpy(self.arrays[name]))


class RootTree:
    """A tree of an open ROOT file.

    Args:
        path: the file.
        tree: what uproot gives for the tree.

    Attributes:
        path: the file.
        name: of the tree.
        num_entries: how many entries it has.
    """

    def __init__(self, path: Path, tree: Any) -> None:
        self.path, self._tree = path, tree
        self.name: str = tree.name
        self.num_entries = int(tree.num_entries)
        # Names without the parents', as in "EFlowTrack.PT"; the first of a name counts.
        self._branches: dict[str, Any] = {}
        for branch in tree.itervalues(recursive=True):
            self._branches.setdefault(branch.name, branch)

    @property
    def names(self) -> list[str]:
        """Names of all branches, without their parents'."""
        return list(self._branches)

    @property
    def top_names(self) -> list[str]:
        """Names of the branches at the top of the tree."""
        return [branch.name for branch in self._tree.branches]

    def __contains__(self, name: str) -> bool:
        return name in self._branches

    def kind(self, name: str) -> str:
        """What is in a branch, in C++'s words, such as ``"float[]"``.

        Raises:
            ConversionError: there is no such branch.
        """
        self.require([name])
        with _one_sentence(self.path, f"branch '{name}' can't be read"):
            return str(self._branches[name].typename)

    def require(self, names: Collection[str], what: str = "this conversion") -> None:
        """Refuse a tree without some branches.

        Args:
            names: branches that must be there.
            what: what needs them. Default ``"this conversion"``.

        Raises:
            ConversionError: naming those that are missing, and what the tree has.
        """
        missing = [name for name in names if name not in self]
        if missing:
            raise ConversionError(
                f"{self.path}: tree '{self.name}' has no branch {_listed(missing)}, which {what} needs; it has "
                f"{_listed(self.top_names)}"
            )

    def iterate(
        self,
        names: Collection[str],
        step_entries: int = STEP_ENTRIES,
        step_bytes: int = STEP_BYTES,
        start: int = 0,
        stop: int | None = None,
    ) -> Iterator[Step]:
        """Read branches in steps; memory is bounded by one of them.

        Args:
            names: branches, as in :attr:`names`.
            step_entries: most entries of a step. Default 500.
            step_bytes: about as many bytes, uncompressed, at most. Default 100 MB.
            start, stop: first entry and the one after the last. Default: all.

        Raises:
            ConversionError: a branch is missing, holds what can't be read, or the file is damaged.
        """
        self.require(names)
        stop = self.num_entries if stop is None else min(stop, self.num_entries)
        for name in names:
            self._check_kind(name)
        wanted = {id(self._branches[name]) for name in names}
        done = start
        with _one_sentence(self.path, "its branches can't be read"):
            step = min(step_entries, self._entries_in(names, step_bytes), max(stop - start, 1))
            steps = self._tree.iterate(
                filter_branch=lambda branch: id(branch) in wanted,
                step_size=step,
                entry_start=start,
                entry_stop=stop,
                library="ak",
                how=dict,
                report=True,
            )
        while done < stop:
            with _one_sentence(self.path, f"entries {done} to {min(done + step, stop)} can't be read"):
                arrays, report = next(steps)
            yield Step(int(report.start), int(report.stop), arrays, self.path)
            done = int(report.stop)

    def _check_kind(self, name: str) -> None:
        import uproot

        with _one_sentence(self.path, f"branch '{name}' can't be read"):
            interpretation = self._branches[name].interpretation
            entries = int(self._branches[name].num_entries)
        if entries != self.num_entries:
            # A damaged number of entries may be quintillions, through which uproot would go.
            raise ConversionError(
                f"{self.path}: tree '{self.name}' says {self.num_entries} entries, its branch '{name}' {entries}: the "
                "file is damaged or wasn't closed; make it again"
            )
        if isinstance(interpretation, uproot.interpretation.identify.UnknownInterpretation):
            raise ConversionError(
                f"{self.path}: branch '{name}' of tree '{self.name}' holds '{self.kind(name)}', which can't be read "
                "here; write the file again with plain numbers there"
            )

    def _entries_in(self, names: Collection[str], num_bytes: int) -> int:
        total = sum(int(self._branches[name].uncompressed_bytes) for name in names)
        return max(1, int(num_bytes * self.num_entries / total)) if total > 0 else STEP_ENTRIES


@contextmanager
def open_tree(path: str | os.PathLike[str], tree: str, what: str = "the file") -> Iterator[RootTree]:
    """Open a tree of a ROOT file.

    Args:
        path: the file.
        tree: name of the tree, such as ``"Delphes"``.
        what: what a good file would be, such as ``"a DELPHES file"``; for the sentence.

    Raises:
        MissingExtraError: uproot or awkward isn't installed.
        ConversionError: the file is missing, isn't a ROOT file, is cut short or damaged, or has no such tree with
            events in it.
    """
    with _open_file(path) as file:
        yield _find_tree(Path(path), file, tree, what)


def tree_names(path: str | os.PathLike[str]) -> list[str]:
    """Names of the trees of a ROOT file.

    Args:
        path: the file.

    Raises:
        MissingExtraError: uproot or awkward isn't installed.
        ConversionError: the file is missing, isn't a ROOT file, is cut short or damaged.
    """
    with _open_file(path) as file:
        path = Path(path)
        with _one_sentence(path, "its list of contents can't be read"):
            kinds = {key.partition(";")[0]: kind for key, kind in file.classnames().items()}
        return [key for key, kind in kinds.items() if kind in _TREES]


@contextmanager
def _open_file(path: str | os.PathLike[str]) -> Iterator[Any]:
    uproot = require_extra("uproot", "convert")
    require_extra("awkward", "convert")
    path = Path(path)
    _check_header(path)
    with _one_sentence(path, "it can't be opened"):
        # As a mapping, because a string is split at colons.
        file = uproot.open({os.fspath(path): None})
    with file:
        yield file


def _find_tree(path: Path, file: Any, name: str, what: str) -> RootTree:
    found = None
    with _one_sentence(path, "its list of contents can't be read"):
        kinds = {key.partition(";")[0]: kind for key, kind in file.classnames().items()}
        if kinds.get(name) in _TREES:
            found = RootTree(path, file[name])
    if found is None:
        if name in kinds:
            raise ConversionError(
                f"{path}: '{name}' is a {kinds[name]}, expected a TTree; is it {what}? write the file again as a TTree"
            )
        trees = [key for key, kind in kinds.items() if kind in _TREES or "RNTuple" in kind]
        others = f"its trees are {_listed(trees)}" if trees else "it has no tree at all"
        raise ConversionError(f"{path} has no tree '{name}': {others}; is it {what}?")
    if found.num_entries == 0:
        raise ConversionError(f"{path}: tree '{name}' is empty, expected at least one event; leave this file out")
    return found


def _check_header(path: Path) -> None:
    """Refuse what is no ROOT file, or shorter than its header says."""
    if path.is_dir():
        raise ConversionError(f"{path} is a folder, expected a ROOT file")
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(20)
    except OSError as error:
        raise ConversionError(f"{path} can't be read: {error.strerror or error}") from error
    if size == 0:
        raise ConversionError(f"{path} is empty, expected a ROOT file; copy or make it again")
    if head[:4] != b"root":
        raise ConversionError(f"{path} is no ROOT file (it doesn't begin with 'root'); give one that is")
    if len(head) < 20:
        raise ConversionError(f"{path} is cut short after {size} bytes; copy or make it again")
    large = struct.unpack(">i", head[4:8])[0] >= _LARGE_FILE
    end = struct.unpack(">q", head[12:20]) if large else struct.unpack(">i", head[12:16])
    if size < end[0]:
        raise ConversionError(f"{path} is cut short: {size} of {end[0]} bytes are there; copy or make it again")


@contextmanager
def _one_sentence(path: Path, what: str) -> Iterator[None]:
    """Turn into one sentence whatever uproot, zlib, struct, NumPy, … raise on a damaged file."""
    try:
        yield
    except PanopTagError:
        raise
    except MemoryError as error:
        raise ConversionError(f"{path}: {what}: it doesn't fit into memory; convert it on a larger machine") from error
    except Exception as error:
        raise ConversionError(
            f"{path}: {what} ({_reason(error)}): the file is damaged; copy or make it again"
        ) from error


def _reason(error: Exception) -> str:
    """The beginning of another library's complaint, which may be pages long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0][:100] if lines else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _listed(names: Collection[str]) -> str:
    shown = [f"'{name}'" for name in list(names)[:_NAMES_LISTED]]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return ", ".join(shown) + more if shown else "none"
