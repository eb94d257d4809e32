"""Many files as one stream of events: do they belong together, is none there twice, what do they have in common."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.events.file import EventFile
from panoptag_pyg.events.file_entry import file_sha256
from panoptag_pyg.events.files import PathLike
from panoptag_pyg.events.hashing import event_hash
from panoptag_pyg.events.many_files import ListedFile, OpenFiles, open_files
from panoptag_pyg.events.schema import COLUMNS, CONSTITUENT_COLUMNS
from panoptag_pyg.events.writer import LONGEST_ATTRIBUTE

#: Attributes that decide what a jet or PFO is: files in which they differ aren't put together unasked.
MUST_AGREE = ("setup", "label", "impact_parameters", "all_eta", "detector_card", "jets", "pileup")
#: Most events and PFOs that are read at once.
BLOCK_EVENTS = 2000
BLOCK_PFOS = 1_000_000
#: How the source of events ends that nobody has named.
_UNNAMED = "seed=unknown"


@dataclass
class Joined:
    """Files that are read as one.

    Attributes:
        files: in their order.
        processes, sources: names over all files, which the events' ``process`` and ``source`` count through.
        source: source of each event, int32 [N].
        event_id: its number there, int64 [N].
        dropped: events that came before, as numbers, ascending; the stream leaves them out.
        absent: optional columns that are left out because some file lacks them.
        constituent_columns: columns of constituents that all files have.
        notes: sentences on what is left out or filled in.
    """

    files: list[EventFile]
    processes: list[str]
    sources: list[str]
    source: np.ndarray
    event_id: np.ndarray
    absent: tuple[str, ...]
    constituent_columns: tuple[str, ...]
    notes: list[str] = field(default_factory=list)
    dropped: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    _opened: OpenFiles = field(default_factory=OpenFiles)

    @property
    def num_events(self) -> int:
        """Events that the stream gives."""
        return len(self.source) - len(self.dropped)

    def kept(self) -> np.ndarray:
        """Which of the files' events the stream gives, bool [N]."""
        keep = np.ones(len(self.source), dtype=bool)
        keep[self.dropped] = False
        return keep

    def hashes(self) -> np.ndarray:
        """:func:`~panoptag_pyg.events.hashing.event_hash` of all files' events, uint64 [N]."""
        return event_hash(self.sources, self.source, self.event_id)

    def blocks(self) -> Iterator[tuple[EventBlock, np.ndarray]]:
        """All events but the dropped ones, in order, with their numbers; memory is bounded."""
        keep = self.kept()
        place = {name: number for number, name in enumerate(self.processes)}
        first = 0
        for file in self.files:
            process = np.array([place[name] for name in file.processes], dtype=np.int16)
            self._opened.use(file)
            for start, stop in _pieces(file):
                block = file.read(start, stop)
                numbers = np.arange(first + start, first + stop)
                block.event["process"] = process[block.event["process"]]
                block.event["source"] = self.source[numbers]
                # A file without constituents has none of their columns.
                known = {n: v for n, v in block.constituent.items() if n in self.constituent_columns}
                block = replace(block, constituent=known)
                chosen = np.flatnonzero(keep[numbers])
                yield block.select(chosen), numbers[chosen]
            first += file.num_events
            file.close()

    def attributes(self, step: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Provenance: what all files share, and at the end of the list ``step`` what went in.

        Files whose own attributes are the same are told together.

        Args:
            step: name of what is done, such as ``"merged"``.
            parameters: how it is done.
        """
        first = self.files[0].attributes
        shared = {n: v for n, v in first.items() if all(f.attributes.get(n, _MISSING) == v for f in self.files)}
        before = shared.pop(step, [])
        groups: dict[str, dict[str, Any]] = {}
        for file in self.files:
            own = {name: value for name, value in file.attributes.items() if name not in shared and name != step}
            if file.attributes.get(step, []) != before:
                own[step] = file.attributes.get(step, [])
            key = json.dumps(own, sort_keys=True, default=str)
            group = groups.setdefault(key, {"files": [], "events": 0, "processes": file.processes, "attributes": own})
            group["files"].append(str(file.path))
            group["events"] += file.num_events
        entries: list[dict[str, Any]] = list(groups.values())
        if len(json.dumps([before, parameters, entries], default=str)) > LONGEST_ATTRIBUTE // 2:
            entries = [{**entry, "files": len(entry["files"])} for entry in entries]
        if len(json.dumps([before, parameters, entries], default=str)) > LONGEST_ATTRIBUTE // 2:
            total = sum(file.num_events for file in self.files)
            entries = [{"files": len(self.files), "events": total, "processes": self.processes}]
        return {**shared, step: [*before, {**parameters, "inputs": entries}]}


_MISSING = object()


def join_files(
    paths: PathLike | Sequence[PathLike],
    *,
    force: bool = False,
    drop_duplicates: bool = False,
    name_sources: bool = False,
) -> Joined:
    """Open files as one stream, if they belong together.

    Args:
        paths: files, folders, manifests or globs.
        force: put them together though they were made differently. Default ``False``.
        drop_duplicates: leave out events that came before, by source and id. Default ``False``: refuse them.
        name_sources: take files that don't say where their events come from for different ones, and name their
            sources after their content. Default ``False``.

    Raises:
        EventFileError: if a file is missing or damaged; if two differ in one of :data:`MUST_AGREE`, saying in what; if
            an event is there twice, saying where.
    """
    files, opened = open_files(paths)
    notes: list[str] = []
    first = files[0]
    for file in files[1:]:
        found = next((d for name in MUST_AGREE if (d := _difference(first, file, name)) is not None), None)
        if found is not None:
            sentence = f"{file.path} and {first.path} were made differently: {found}"
            if not force:
                raise EventFileError(f"{sentence}; leave one out, or put them together all the same with --force")
            notes.append(sentence)
            break
    names = [_named(file) if name_sources else file.sources for file in files]
    sources = list(dict.fromkeys(name for own in names for name in own))
    place = {name: number for number, name in enumerate(sources)}
    source, event_id = [], []
    for file, own in zip(files, names, strict=True):
        opened.use(file)
        index = np.array([place[name] for name in own], dtype=np.int32)
        known = file.column("event/source")
        if len(known) and not 0 <= known.min() <= known.max() < len(index):
            file.check()  # names the event
        source.append(index[known])
        event_id.append(file.column("event/id"))
    joined = Joined(
        files=files,
        processes=list(dict.fromkeys(name for file in files for name in file.processes)),
        sources=sources,
        source=np.concatenate(source),
        event_id=np.concatenate(event_id),
        absent=(),
        constituent_columns=(),
        notes=notes,
        _opened=opened,
    )
    _settle_columns(joined)
    joined.dropped = _repeated(joined, drop_duplicates)
    return joined


def _pieces(file: EventFile) -> Iterator[tuple[int, int]]:
    """Bounds of blocks with few enough events and PFOs."""
    offsets, start = file.pfo_offsets, 0
    while start < file.num_events:
        most = int(np.searchsorted(offsets, offsets[start] + BLOCK_PFOS, side="right")) - 1
        stop = min(max(most, start + 1), start + BLOCK_EVENTS, file.num_events)
        yield start, stop
        start = stop


def _difference(one: EventFile, other: EventFile, name: str) -> str | None:
    """What of the attribute ``name`` isn't the same, in words; ``None`` if all is."""
    values = tuple(_essence(file.attributes.get(name, _MISSING)) for file in (other, one))
    path = name
    while all(isinstance(value, dict) for value in values) and values[0] != values[1]:
        keys = [k for k in (*values[0], *values[1]) if values[0].get(k, _MISSING) != values[1].get(k, _MISSING)]
        path += f".{keys[0]}"
        values = (values[0].get(keys[0], _MISSING), values[1].get(keys[0], _MISSING))
    if values[0] == values[1]:
        return None
    words = ["unknown" if value is _MISSING else _short(value) for value in values]
    return f"{path} is {words[0]} in the one, {words[1]} in the other"


def _essence(value: Any) -> Any:
    """A card without what only people read."""
    return {k: v for k, v in value.items() if k not in ("name", "description")} if isinstance(value, dict) else value


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "…"


def _named(file: EventFile) -> list[str]:
    if not any(name.endswith(_UNNAMED) for name in file.sources):
        return file.sources
    digest = file.entry.sha256 if isinstance(file, ListedFile) else file_sha256(file.path)
    return [
        f"{name.removesuffix(_UNNAMED)}content={digest[:16]}" if name.endswith(_UNNAMED) else name
        for name in file.sources
    ]


def _settle_columns(joined: Joined) -> None:
    """Which columns are written, and sentences on the others."""
    absent = []
    for column in COLUMNS:
        lacking = [file for file in joined.files if not file.has(column.path)]
        if not lacking or column.path == "event/source":
            continue
        some = lacking[0].path if len(lacking) == 1 else f"{lacking[0].path} and {len(lacking) - 1} more"
        if len(lacking) == len(joined.files):
            absent.append(column.path)
        elif column.default == -1:  # which says so itself
            joined.notes.append(f"{column.path} is -1 (unknown) where it isn't known: {some} lack it")
        else:
            absent.append(column.path)
            joined.notes.append(f"{column.path} is left out: {some} lack it")
    filled = [file for file in joined.files if file.num_constituents]
    kept = []
    for column in CONSTITUENT_COLUMNS:
        lacking = [file for file in filled if column.name not in file.constituent_columns]
        if filled and not lacking:
            kept.append(column.name)
        elif lacking and len(lacking) < len(filled):
            joined.notes.append(f"{column.path} is left out: {lacking[0].path} lacks it")
    joined.absent, joined.constituent_columns = tuple(absent), tuple(kept)


def _repeated(joined: Joined, drop: bool) -> np.ndarray:
    """Numbers of the events that came before, ascending; 12 bytes and a sort per event."""
    order = np.lexsort((joined.event_id, joined.source))  # stable: the first comes first
    source, event_id = joined.source[order], joined.event_id[order]
    again = np.flatnonzero((source[1:] == source[:-1]) & (event_id[1:] == event_id[:-1])) + 1
    if len(again) and not drop:
        place = int(again[np.argmin(order[again])])
        one, two = (_where(joined, int(order[row])) for row in (place - 1, place))
        name = joined.sources[source[place]]
        hint = " or, if they are different events, tell the files apart with --name-sources"
        raise EventFileError(
            f"{two} is {one} once more: event {event_id[place]} of '{name}' ({len(again)} such events); leave a file "
            f"out, drop what comes twice with --drop-duplicates{hint if name.endswith(_UNNAMED) else ''}"
        )
    if len(again):
        joined.notes.append(f"{len(again)} events that came twice are left out")
    return np.sort(order[again])


def _where(joined: Joined, number: int) -> str:
    bounds = np.cumsum([0, *(file.num_events for file in joined.files)])
    file = int(np.searchsorted(bounds, number, side="right")) - 1
    return f"event {number - bounds[file]} of {joined.files[file].path}"
