"""``convert padded``: the usual [B, N, F] arrays and masks into an event file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from panoptag_pyg.convert.column_map import ColumnMap, shipped_maps
from panoptag_pyg.convert.inputs import find_inputs, source_name
from panoptag_pyg.convert.padded_arrays import ENDINGS, PaddedFile, array_names
from panoptag_pyg.convert.padded_columns import Rows, known_columns
from panoptag_pyg.convert.provenance import Converted, provenance
from panoptag_pyg.errors import ConfigError, ConversionError
from panoptag_pyg.events import EventFileWriter
from panoptag_pyg.events.schema import COLUMNS
from panoptag_pyg.output import check_output
from panoptag_pyg.progress import progress

#: Root attribute of an HDF5 file that holds its own column map, as ``to-padded`` writes it.
MAP_ATTRIBUTE = "column_map"
#: Numbers, padding too, that are read at once.
_CHUNK_NUMBERS = 4_000_000
_LONGEST_CHUNK = 10_000


def convert_padded(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    column_map: str | os.PathLike[str] | ColumnMap | None = None,
    process: str | None = None,
    max_events: int | None = None,
    round_bits: int | None = None,
    overwrite: bool = False,
    command: str | None = None,
) -> Converted:
    """Convert padded arrays in HDF5, ``.npz`` or ``.npy`` into one event file, in chunks of rows.

    Args:
        paths: a file, several, a folder or a glob.
        output: the file to make.
        column_map: a map, a shipped one's name (``"jetnet"``, ``"top_tagging"``, ``"quark_gluon"``) or a TOML file's
            path. Default ``None``: the one that the file carries, if :func:`~panoptag_pyg.convert.to_padded` made it.
        process: what the events are called, where the map doesn't say. Default: each file's name without its ending.
        max_events: convert at most this many. Default: all.
        round_bits: bits of mantissa kept in float columns. Default ``None``, all.
        overwrite: replace an existing file. Default ``False``.
        command: command line to record. Default none.

    Raises:
        ConfigError: there is no such map, or something in it isn't legal; a number out of range.
        ConversionError: a file is missing or damaged, or its arrays don't fit the map.
        EventFileError: ``output`` can't be written, or a row holds values that no event can have.
        OutputError: ``output`` exists.
    """
    if max_events is not None and max_events < 1:
        raise ConfigError(f"the number of events is {max_events}, expected at least 1")
    if round_bits is not None and not 1 <= round_bits <= 23:
        raise ConfigError(f"round_bits is {round_bits}, expected 1 to 23 bits of mantissa")
    check_output(output, overwrite)
    files = find_inputs(paths, ENDINGS)
    chosen = column_map if isinstance(column_map, ColumnMap) else _load(column_map, files[0])
    source = "the column map" if isinstance(column_map, ColumnMap) or column_map is None else f"column map {column_map}"
    names = array_names(_sources(chosen))
    rows = []
    for path in files:  # all are looked into before long work begins
        with PaddedFile(path, chosen.arrays, names, source) as file:
            Rows(file, chosen, 0, 1).block()
            rows.append(file.num_rows)
    total = sum(rows) if max_events is None else min(sum(rows), max_events)
    known = known_columns(chosen)
    processes = _names(chosen, "process", list(dict.fromkeys(process or path.stem for path in files)))
    sources = _names(chosen, "source", [source_name("padded", path) for path in files])
    notes = _notes(chosen, known)
    attributes = provenance(
        "padded",
        list(zip(files, rows, strict=True)),
        {"column_map": chosen.model_dump(mode="json", exclude_defaults=True), "max_events": max_events},
        command,
    )
    if chosen.jet_radius is not None:
        attributes["jets"] = {"algorithm": "antikt", "radius": chosen.jet_radius, "min_pt": 0.0, "max_abs_eta": 20.0}
    attributes["notes"] = notes
    num_pfos = num_jets = 0
    with (
        EventFileWriter(
            output,
            processes,
            attributes,
            overwrite,
            round_bits,
            unknown={column.path for column in COLUMNS if column.truth and column.path not in known},
            sources=sources,
        ) as writer,
        progress(f"converting to {Path(output).name}", total) as advance,
    ):
        for number, path in enumerate(files):
            with PaddedFile(path, chosen.arrays, names, source) as file:
                step = max(1, min(_LONGEST_CHUNK, _CHUNK_NUMBERS // max(file.row_size(), 1)))
                stop = min(file.num_rows, total - writer.num_events)
                for start in range(0, stop, step):
                    block = Rows(file, chosen, start, min(start + step, stop)).block()
                    if "source" not in chosen.event:
                        block.event["source"][:] = number
                    if "process" not in chosen.event:
                        block.event["process"][:] = processes.index(process or path.stem)
                    for name, names_of in (("process", processes), ("source", sources)):
                        _check_names(block.event[name], name, names_of, path, start)
                    block.validate(str(path), start)
                    writer.write(block)
                    num_pfos, num_jets = num_pfos + block.num_pfos, num_jets + block.num_jets
                    advance(block.num_events)
    return Converted(Path(output), total, num_pfos, num_jets, tuple(notes))


def _load(column_map: str | os.PathLike[str] | None, first: Path) -> ColumnMap:
    if column_map is not None:
        return ColumnMap.load(os.fspath(column_map))
    if first.is_file() and h5py.is_hdf5(first):
        try:
            with h5py.File(first, "r") as file:
                text = file.attrs.get(MAP_ATTRIBUTE)
        except OSError as error:
            raise ConversionError(f"{first} can't be opened; is it cut short? copy or make it again") from error
        if isinstance(text, str):
            try:
                return ColumnMap.parse(json.loads(text), f"the column map inside {first}")
            except ValueError as error:  # JSON's; ours is one too, and says more
                raise error if isinstance(error, ConfigError) else _not_a_map(first) from error
    raise ConfigError(
        f"{first} doesn't say what its arrays hold: give a column map with --map, a TOML file or one of "
        f"{', '.join(shipped_maps())}"
    )


def _sources(column_map: ColumnMap) -> list[str]:
    groups = [column_map.pfo, *([column_map.jet] if column_map.jet is not None else [])]
    quantities = [q for group in groups for q in group.columns.values()] + list(column_map.event.values())
    masks = [group.parsed_mask.source for group in groups if group.parsed_mask is not None]
    return [source for quantity in quantities for source in quantity.sources] + masks


def _notes(column_map: ColumnMap, known: set[str]) -> list[str]:
    notes = []
    missing = [name for name in ("d0", "dz", "d0_error", "dz_error") if f"pfo/{name}" not in known]
    if missing:
        notes.append(f"{', '.join(missing)} of PFOs aren't in the column map and stand as 0, as without a track")
    for name in ("charge", "particle_class"):
        quantity = column_map.pfo.columns.get(name)
        if quantity is not None and quantity.value is not None:
            notes.append(f"pfo/{name} is {quantity.value:g} for all PFOs, as the column map says")
    if column_map.layout == "events" and column_map.jet is not None:
        if "jet" not in column_map.pfo.columns and column_map.jet_radius is None:
            notes.append("jets have no constituents: the column map has neither pfo.jet nor jet_radius")
        elif "jet" not in column_map.pfo.columns:
            notes.append(f"constituents are the PFOs nearest to their jet within {column_map.jet_radius:g}")
    if column_map.jet is None and column_map.layout == "events":
        notes.append("the column map has no jets")
    if "jet/flavour" not in known:
        notes.append("the flavour of jets isn't in the column map: it is unknown (-1)")
    return notes


def _names(column_map: ColumnMap, name: str, default: list[str]) -> list[str]:
    quantity = column_map.event.get(name)
    return default if quantity is None else list(quantity.names or [])


def _not_a_map(path: Path) -> ConfigError:
    return ConfigError(f"the column map inside {path} is damaged; give one with --map")


def _check_names(values: np.ndarray, name: str, names: list[str], path: Path, start: int) -> None:
    wrong = np.flatnonzero((values < 0) | (values >= len(names)))
    if len(wrong):
        raise ConversionError(
            f"{path}: row {start + wrong[0]}: event.{name} is {values[wrong[0]]}, but the column map has the names "
            f"{names[:9]}; name them all"
        )
