"""Events as Awkward arrays and back: what physicists cut, sort and plot with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from panoptag_pyg.convert.awkward_layouts import EVENT_AXIS, JET_AXIS, jagged
from panoptag_pyg.convert.numbers import UnfitError, cast
from panoptag_pyg.errors import EventFileError, require_extra, suggest
from panoptag_pyg.events.block import EventBlock, lengths_to_offsets
from panoptag_pyg.events.file import EventFile
from panoptag_pyg.events.schema import COLUMNS, CONSTITUENTS, Column, columns
from panoptag_pyg.events.writer import EventFileWriter

if TYPE_CHECKING:
    import awkward as ak

    from panoptag_pyg.events.dataset import EventDataset

#: Field of a PFO that says which number it had in its event; jets' ``constituents`` name their PFOs by it.
INDEX = "index"
#: What goes before the names of constituents' columns, as fields of a jet.
_PREFIX = "constituent_"
#: Columns that an array must have; every other one has a value that says "not known" or "as usual".
_NEEDED = {
    "pfo": ("pt", "eta", "phi", "energy", "charge", "particle_class"),
    "jet": ("pt", "eta", "phi", "mass"),
}


def to_awkward(events: EventBlock | EventFile | EventDataset) -> ak.Array:
    """Events as an Awkward array of records; nothing is copied.

    ``array.weight`` and the other event columns are flat; ``array.pfo`` and ``array.jet`` are lists of records with the
    file's columns, called ``Momentum4D``: after ``vector.register_awkward()`` they add up and have masses.
    ``array.jet.constituents`` holds, for each jet, numbers of its PFOs in its event. ``array.pfo.index`` repeats
    each PFO's number, so that :func:`from_awkward` finds the constituents again after PFOs were cut or sorted.

    Args:
        events: a block; or a file or dataset, of which all events are read. Read blocks of a file that is larger than
            memory: ``to_awkward(file.read(0, 1000))``.

    Returns:
        an array [B] with the fields of :mod:`panoptag_pyg.events.schema`, units as in the file (GeV, mm); without the
        truth that a file lacks. The names of processes and sources are in ``array.attrs``, if there are any.

    Raises:
        MissingExtraError: awkward isn't installed.
    """
    ak = require_extra("awkward", "convert")
    attributes = {name: list(getattr(events, name)) for name in ("processes", "sources") if getattr(events, name, None)}
    unknown: set[str] = set()  # truth that a file doesn't have is no field, so that it isn't taken for known
    if isinstance(events, EventBlock):
        block = events
    elif isinstance(events, EventFile):
        block = events.read()
        unknown = _unknown([events])
    else:
        block = events.read_block()
        unknown = _unknown([EventFile(events.files[number].path) for number in np.unique(events.file_of_events())])

    def flat(values: np.ndarray) -> Any:
        return ak.contents.NumpyArray(np.ascontiguousarray(values))

    def lists(offsets: np.ndarray, content: Any) -> Any:
        return ak.contents.ListOffsetArray(ak.index.Index64(np.ascontiguousarray(offsets, dtype=np.int64)), content)

    def records(fields: dict[str, Any], length: int, name: str | None = None) -> Any:
        parameters = {} if name is None else {"__record__": name}
        return ak.contents.RecordArray(list(fields.values()), list(fields), length=length, parameters=parameters)

    pfo = {name: flat(values) for name, values in block.pfo.items() if f"pfo/{name}" not in unknown}
    first = np.repeat(block.pfo_offsets[:-1], np.diff(block.pfo_offsets))
    pfo[INDEX] = flat((np.arange(block.num_pfos) - first).astype(np.int32))
    jet = {name: flat(values) for name, values in block.jet.items() if f"jet/{name}" not in unknown}
    jet["constituents"] = lists(block.constituent_offsets, flat(block.constituents))
    for name, values in block.constituent.items():
        jet[_PREFIX + name] = lists(block.constituent_offsets, flat(values))
    event = {name: flat(values) for name, values in block.event.items()}
    event["pfo"] = lists(block.pfo_offsets, records(pfo, block.num_pfos, "Momentum4D"))
    event["jet"] = lists(block.jet_offsets, records(jet, block.num_jets, "Momentum4D"))
    return ak.Array(records(event, block.num_events), attrs=attributes or None)


def _unknown(files: Sequence[EventFile]) -> set[str]:
    """Truth that none of the files has."""
    return {c.path for c in COLUMNS if c.truth and files and not any(file.has(c.path) for file in files)}


def constituents(array: ak.Array) -> ak.Array:
    """The PFOs of each jet: [B, jets, constituents] records.

    Args:
        array: events from :func:`to_awkward`, also after cuts; a PFO that was cut is in no jet.

    Raises:
        EventFileError: as :func:`from_awkward`.
        MissingExtraError: awkward isn't installed.
    """
    ak = require_extra("awkward", "convert")
    block = from_awkward(array)
    pfos = ak.flatten(array.pfo, axis=1)[block.constituent_pfo]
    lengths, jets = np.diff(block.constituent_offsets), np.diff(block.jet_offsets)
    return ak.unflatten(ak.unflatten(pfos, lengths), jets)


def from_awkward(array: ak.Array, source: str = "array", finite: bool = True) -> EventBlock:
    """An Awkward array's events as a block, exactly as :func:`to_awkward` had them; validated.

    Needed are ``pfo`` with pt, eta, phi, energy, charge and particle_class, and, if there are jets, ``jet`` with pt,
    eta, phi and mass. Impact parameters that aren't there become 0 (no track), truth its "not known", weights 1, event
    numbers 0, 1, 2, …. Other fields (a score, say) stay behind.

    Jets' ``constituents`` refer to the field ``pfo.index`` if there is one: after PFOs were cut or sorted, constituents
    follow them, and those that were cut leave their jets. Without that field they are positions.

    Args:
        array: events, in any layout: cut, masked, sorted, read from Parquet, or built by hand.
        source: what an error calls them. Default ``"array"``.
        finite: refuse values that are not finite, too. Default ``True``.

    Raises:
        EventFileError: a field is missing or misspelt, has the wrong depth or type, a None, lists of other lengths than
            its neighbours, or a value that no event can have.
        MissingExtraError: awkward isn't installed.
    """
    ak = require_extra("awkward", "convert")
    if not isinstance(array, ak.Array):
        kind = "one event; give events[i : i + 1]" if isinstance(array, ak.Record) else type(array).__name__
        raise EventFileError(
            f"{source} is {kind if 'one' in kind else f'a {kind}'}, expected an awkward.Array of events"
        )
    if "pfo" not in array.fields:
        raise EventFileError(
            f"{source} has no field 'pfo' (it has {', '.join(array.fields) or 'none'}); events need the lists 'pfo' "
            "and 'jet', see panoptag_pyg.convert.to_awkward"
        )
    if len(array) == 0:
        return EventBlock.empty()  # without values Awkward may not know the types either
    reader = _Reader(array, source)
    pfo, pfo_offsets = reader.group("pfo")
    jet, jet_offsets = reader.group("jet") if "jet" in array.fields else _no_jets(len(array))
    position, constituent_offsets = reader.constituents(jet_offsets)
    known = {}
    for column in columns("constituent"):
        if _PREFIX + column.name in reader.fields("jet"):
            known[column.name] = reader.column(column, ("jet", _PREFIX + column.name), JET_AXIS, constituent_offsets)
    block = EventBlock(
        event=reader.event(),
        pfo=pfo,
        jet=jet,
        pfo_offsets=pfo_offsets,
        jet_offsets=jet_offsets,
        constituent_offsets=constituent_offsets,
        constituents=position,
        constituent=known,
    )
    if INDEX in reader.fields("pfo"):
        block = _follow(block, reader, source)
    block.validate(source, finite=finite)
    return block


def write_awkward(
    array: ak.Array,
    path: str | os.PathLike[str],
    processes: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
    **options: Any,
) -> Path:
    """Write an Awkward array's events to an event file.

    Args:
        array: what :func:`from_awkward` takes.
        path: the file to make.
        processes: names that ``array.process`` counts through. Default: ``array.attrs["processes"]``, else
            ``["unknown"]``.
        sources: names of files or simulations that ``array.source`` counts through. Default:
            ``array.attrs["sources"]``, else one named after the processes.
        options: of :class:`~panoptag_pyg.events.EventFileWriter`, such as ``overwrite=True``.

    Raises:
        EventFileError: as :func:`from_awkward`; or ``path`` exists or can't be written.
    """
    block = from_awkward(array)
    attrs = getattr(array, "attrs", {})
    names = list(processes or attrs.get("processes") or ["unknown"])
    places = list(sources or attrs.get("sources") or [f"{'+'.join(names)} seed=unknown"])
    for name, known in (("process", names), ("source", places)):
        highest = int(block.event[name].max(initial=0))
        if highest >= len(known):
            raise EventFileError(
                f"the array's {name} goes up to {highest}, but there are the names {known[:9]}; name them all"
            )
    layout = array.layout
    present = {f"event/{name}" for name in layout.fields}
    present |= {f"{g}/{name}" for g in ("pfo", "jet") if g in layout.fields for name in layout[g].fields}
    unknown = {column.path for column in COLUMNS if column.truth and column.path not in present}
    with EventFileWriter(path, names, sources=places, **{"unknown": unknown, **options}) as writer:
        writer.write(block)
    return Path(path)


class _Reader:
    """Columns of one array, with errors that name the field."""

    def __init__(self, array: ak.Array, source: str) -> None:
        # Its layout: behaviours such as vector's refuse a record that lacks a component before we can say so.
        self.layout, self.source = array.layout, source

    def fields(self, group: str = "") -> list[str]:
        """Names of the fields of the events, or of the records ``group``."""
        if not group:
            return list(self.layout.fields)
        return list(self.layout[group].fields) if group in self.layout.fields else []

    def event(self) -> dict[str, np.ndarray]:
        self._refuse_misspelt(self.fields(), [c.name for c in columns("event")], "")
        values = {}
        for column in columns("event"):
            if column.name in self.fields():
                values[column.name] = self.column(column, (column.name,), 0, None)
            elif column.name == "id":
                values["id"] = np.arange(len(self.layout))
            else:
                values[column.name] = np.full(len(self.layout), column.default, column.dtype)
        return values

    def group(self, group: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
        fields = self.fields(group)
        if not fields and (found := self.jagged((group,), EVENT_AXIS))[1][0][-1] == 0:
            return {c.name: np.zeros(0, c.dtype) for c in columns(group)}, found[1][0]  # empty in all events: no type
        self._refuse_misspelt(fields, [c.name for c in columns(group)], f"{group}.")
        missing = [name for name in _NEEDED[group] if name not in fields]
        if missing:
            raise EventFileError(
                f"{self.source}: field {group}.{missing[0]} is missing (there is {', '.join(fields) or 'none'}); add it"
            )
        offsets = self.jagged((group, "pt"), EVENT_AXIS)[1][0]
        values = {}
        for column in columns(group):
            if column.name in fields:
                values[column.name] = self.column(column, (group, column.name), EVENT_AXIS, offsets)
            else:
                values[column.name] = np.full(int(offsets[-1]), column.default, column.dtype)
        return values, offsets

    def constituents(self, jet_offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if "constituents" not in self.fields("jet"):
            return np.zeros(0, np.int32), np.zeros(int(jet_offsets[-1]) + 1, np.int64)
        values, (per_event, per_jet) = self.jagged(("jet", "constituents"), JET_AXIS)
        self._same_lists(("jet", "constituents"), per_event, jet_offsets)
        return self.cast(values, ("jet", "constituents"), "int32"), per_jet

    def column(self, column: Column, path: tuple[str, ...], depth: int, offsets: np.ndarray | None) -> np.ndarray:
        values, found = self.jagged(path, depth)
        if offsets is not None:
            self._same_lists(path, found[-1], offsets)
        return self.cast(values, path, column.dtype)

    def jagged(self, path: tuple[str, ...], depth: int) -> tuple[np.ndarray, list[np.ndarray]]:
        try:
            field = self.layout
            for name in path:
                field = field[name]
            return jagged(field, depth)
        except UnfitError as error:
            raise EventFileError(f"{self.source}: field {'.'.join(path)} {error}") from error

    def cast(self, values: np.ndarray, path: tuple[str, ...], dtype: str) -> np.ndarray:
        try:
            return cast(values, dtype)
        except UnfitError as error:
            raise EventFileError(f"{self.source}: field {'.'.join(path)} {error}") from error

    def _same_lists(self, path: tuple[str, ...], found: np.ndarray, wanted: np.ndarray) -> None:
        if len(found) == len(wanted) and np.array_equal(found, wanted):
            return
        row = int(np.flatnonzero(np.diff(found) != np.diff(wanted))[0]) if len(found) == len(wanted) else 0
        other, what = (".".join((path[0], "pt")), "event") if path[-1][:11] != "constituent" else ("its jets", "jet")
        raise EventFileError(
            f"{self.source}: field {'.'.join(path)} has {np.diff(found)[row]} entries where {other} has "
            f"{np.diff(wanted)[row]} ({what} {row}); lists that belong together need equal lengths"
        )

    def _refuse_misspelt(self, fields: list[str], known: list[str], prefix: str) -> None:
        # Columns that aren't there get a default, so a slip of the pen would go unseen.
        lower = {name.lower(): name for name in known if name not in fields}
        for name in fields:
            if name not in known and name.lower() in lower:
                raise EventFileError(f"{self.source}: unknown field {prefix}{name}{suggest(name, known)}; rename it")


def _no_jets(num_events: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    return {c.name: np.zeros(0, c.dtype) for c in columns("jet")}, np.zeros(num_events + 1, np.int64)


def _follow(block: EventBlock, reader: _Reader, source: str) -> EventBlock:
    """``block`` with its constituents, which are values of ``pfo.index``, turned into positions of today's PFOs."""
    values, (offsets,) = reader.jagged(("pfo", INDEX), EVENT_AXIS)
    reader._same_lists(("pfo", INDEX), offsets, block.pfo_offsets)
    index = reader.cast(values, ("pfo", INDEX), "int64")
    position = np.arange(block.num_pfos) - np.repeat(block.pfo_offsets[:-1], np.diff(block.pfo_offsets))
    if np.array_equal(index, position):
        return block
    if index.min(initial=0) < 0 or block.constituents.min(initial=0) < 0:
        raise EventFileError(
            f"{source}: pfo.{INDEX} or {CONSTITUENTS} is negative, expected 0, 1, 2, …; drop pfo.{INDEX}"
        )
    stride = int(max(index.max(initial=0), block.constituents.max(initial=0))) + 1
    keys = block.pfo_event * stride + index
    order = np.argsort(keys, kind="stable")
    twice = np.flatnonzero(np.diff(keys[order]) == 0)
    if len(twice):
        event = int(keys[order][twice[0]] // stride)
        raise EventFileError(
            f"{source}: event {event} has two PFOs of pfo.{INDEX} {keys[order][twice[0]] % stride}, so constituents "
            f"aren't clear; number them anew, or leave pfo.{INDEX} out for constituents that are positions"
        )
    wanted = block.jet_event[block.constituent_jet] * stride + block.constituents
    place = np.searchsorted(keys[order], wanted)
    rows = order[np.minimum(place, max(len(order) - 1, 0))] if len(order) else np.zeros(len(wanted), np.int64)
    kept = keys[rows] == wanted if len(order) else np.zeros(len(wanted), bool)
    counts = np.bincount(block.constituent_jet[kept], minlength=block.num_jets)
    return EventBlock(
        event=block.event,
        pfo=block.pfo,
        jet=block.jet,
        pfo_offsets=block.pfo_offsets,
        jet_offsets=block.jet_offsets,
        constituent_offsets=lengths_to_offsets(counts),
        constituents=position[rows[kept]].astype(np.int32),
        constituent={name: values[kept] for name, values in block.constituent.items()},
    )
