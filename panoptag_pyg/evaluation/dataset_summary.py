"""What is in many event files together: a row per file, a row per process, and whether all of it is sound."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events.file import EventFile
from panoptag_pyg.events.file_entry import CLASS_NAMES, ProcessCounts, count_processes
from panoptag_pyg.events.files import PathLike, find_files, is_manifest, total_bytes
from panoptag_pyg.events.many_files import ListedFile, open_files

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

#: Rows of files that are printed; JSON has all.
MOST_ROWS = 40
BLOCK_EVENTS = 1000


@dataclass(frozen=True)
class FileRow:
    """One file.

    Attributes:
        path: where it lies.
        bytes: its size.
        counts: what it holds.
        by_process: the same for each process.
        sha256: its checksum as a manifest tells it, else ``None``.
    """

    path: str
    bytes: int
    counts: ProcessCounts
    by_process: dict[str, ProcessCounts]
    sha256: str | None = None


@dataclass
class DatasetSummary:
    """What is in some event files.

    Attributes:
        files: one row each.
        attributes: those that all files share.
        checked: whether every value was read and validated, and every checksum compared.
        listed: files that a manifest describes.
    """

    files: list[FileRow] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    checked: bool = False
    listed: int = 0

    @property
    def total(self) -> ProcessCounts:
        """All files together."""
        return sum((row.counts for row in self.files), ProcessCounts())

    @property
    def by_process(self) -> dict[str, ProcessCounts]:
        """All files' events of each process."""
        total: dict[str, ProcessCounts] = {}
        for row in self.files:
            for name, counts in row.by_process.items():
                total[name] = total.get(name, ProcessCounts()) + counts
        return total

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        return {
            "format": "panoptag-dataset",
            "checked": self.checked,
            **self.total.model_dump(mode="json"),
            "classes": list(CLASS_NAMES),
            "processes": {name: counts.model_dump(mode="json") for name, counts in self.by_process.items()},
            "attributes": self.attributes,
            "files": [
                {"path": row.path, "bytes": row.bytes, "sha256": row.sha256, **row.counts.model_dump(mode="json")}
                for row in self.files
            ],
        }


def summarise(
    paths: PathLike | Sequence[PathLike], check: bool = False, advance: Callable[[int], object] = lambda n: None
) -> DatasetSummary:
    """Summarise many files; those that a manifest describes aren't opened, unless they are to be checked.

    Args:
        paths: files, folders, manifests or globs.
        check: compare sizes and checksums with the manifest, then read and validate every value of every column.
        advance: called with the number of bytes done each time; :func:`work` says how many there are. Default:
            nothing.

    Raises:
        EventFileError: naming the first file that is missing or has changed, or the first value that no event can have.
    """
    files, opened = open_files(paths)
    if check:
        manifests = {id(file.manifest): file.manifest for file in files if isinstance(file, ListedFile)}
        for manifest in manifests.values():
            manifest.verify(advance)
    summary = DatasetSummary(checked=check, listed=sum(isinstance(file, ListedFile) for file in files))
    for file in files:
        opened.use(file)
        listed = isinstance(file, ListedFile)
        by_process = dict(file.entry.by_process) if isinstance(file, ListedFile) else {}
        size = file.entry.bytes if isinstance(file, ListedFile) else os.path.getsize(file.path)
        if check:
            for start in range(0, file.num_events, BLOCK_EVENTS):
                read = file.read(start, start + BLOCK_EVENTS).num_events
                advance(size * (start + read) // file.num_events - size * start // file.num_events)
        if check or not by_process:
            found = count_processes(file)
            if by_process and found != by_process:
                raise EventFileError(
                    f"{file.path}: the manifest counts other events, jets or classes than the file has; renew it with "
                    "panoptag inspect FOLDER --write-manifest"
                )
            by_process = found
        counts = sum(by_process.values(), ProcessCounts())
        row = FileRow(
            str(file.path),
            size,
            counts,
            by_process,
            file.entry.sha256 if isinstance(file, ListedFile) else None,
        )
        summary.files.append(row)
        if not check and not listed:
            advance(size)
    summary.attributes = _shared(files)
    return summary


def work(paths: Sequence[PathLike], check: bool = False) -> int:
    """Bytes that :func:`summarise` goes through: those of files with a manifest twice if they are checked, else not."""
    total = 0
    for path in paths:
        listed = is_manifest(path)
        total += total_bytes(find_files(path)) * (2 if listed and check else 0 if listed else 1)
    return total


def rich_dataset(summary: DatasetSummary) -> RenderableType:
    """The summary for a terminal: processes, files, shared attributes."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    classes = CLASS_NAMES if summary.total.class_counts[-1] else CLASS_NAMES[:-1]
    processes = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    _columns(processes, "process", classes)
    for name, counts in summary.by_process.items():
        processes.add_row(name, *_cells(counts, classes))
    if len(summary.by_process) > 1:
        processes.add_section()
        processes.add_row("all", *_cells(summary.total, classes))
    files = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    _columns(files, "file", classes)
    files.add_column("MB", justify="right")
    shown = summary.files if len(summary.files) <= MOST_ROWS else summary.files[: MOST_ROWS - 1]
    folder = os.path.commonpath([os.path.dirname(row.path) for row in summary.files])
    for row in shown:
        files.add_row(os.path.relpath(row.path, folder or "."), *_cells(row.counts, classes), f"{row.bytes / 1e6:,.1f}")
    rest = len(summary.files) - len(shown)
    if rest:
        files.add_row(f"… {rest:,} more", style="dim")
    files.add_section()
    size = sum(row.bytes for row in summary.files) / 1e6
    files.add_row(f"{len(summary.files):,} files", *_cells(summary.total, classes), f"{size:,.1f}")
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in summary.attributes.items():
        text = str(value)
        facts.add_row(Text(name, style="dim"), Text(text if len(text) <= 110 else text[:109] + "…", style="dim"))
    return Group(Text(folder, style="bold"), processes, files, facts, Text(_soundness(summary), style="dim"))


def _soundness(summary: DatasetSummary) -> str:
    if not summary.checked:
        told = "counts are the manifest's; " if summary.listed == len(summary.files) else ""
        return f"{told}--check compares checksums, reads and validates all"
    sums = {0: "no manifest, so no checksums to compare"}.get(
        summary.listed, f"{summary.listed:,} sizes and checksums are those of the manifest"
    )
    return f"all {summary.total.num_events:,} events read and valid; {sums}"


def _columns(table: Table, first: str, classes: Sequence[str]) -> None:
    table.add_column(first, overflow="fold")
    for name in ("events", "PFOs/event", "jets/event", *(f"{name} %" for name in classes)):
        table.add_column(name, justify="right", no_wrap=True)


def _cells(counts: ProcessCounts, classes: Sequence[str]) -> list[str]:
    per_event = [
        f"{number / counts.num_events:.1f}" if counts.num_events else "–"
        for number in (counts.num_pfos, counts.num_jets)
    ]
    shares = [
        f"{100 * number / counts.num_jets:.1f}" if counts.num_jets else "–"
        for number in counts.class_counts[: len(classes)]
    ]
    return [f"{counts.num_events:,}", *per_event, *shares]


def _shared(files: Sequence[EventFile]) -> dict[str, Any]:
    shared = dict(files[0].attributes)
    for file in files[1:]:
        attributes = file.attributes
        shared = {name: value for name, value in shared.items() if attributes.get(name) == value}
        if not shared:
            break
    return shared
