"""``convert to-padded``: events as [B, N, F] arrays with masks, for programs that need padding."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from panoptag_pyg.convert.padded import MAP_ATTRIBUTE
from panoptag_pyg.convert.provenance import provenance
from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.events import EventBlock, EventFile
from panoptag_pyg.events.features import JET_FEATURES, PFO_FEATURES, jet_features, pfo_features
from panoptag_pyg.events.files import find_files
from panoptag_pyg.events.schema import COLUMNS, columns
from panoptag_pyg.output import atomic_hdf5, check_output
from panoptag_pyg.progress import progress

#: What ``features`` may be: columns of the file, or what networks see.
FEATURES = ("physical", "network")
FORMAT_NAME = "panoptag-padded"
_PHYSICAL = tuple(column.name for column in columns("pfo") if not column.truth)
#: Datasets of one number per event.
_EVENT = ("id", "process", "source", "weight", "num_interactions")
_CHUNK_NUMBERS = 4_000_000
#: Numbers of one compressed piece of a dataset.
_PIECE = 65_536
#: HDF5 keeps an attribute of up to 64 kB. Of events from more sources than that, numbers are given anew.
_LONGEST_NAMES = 40_000


@dataclass(frozen=True)
class Padded:
    """What :func:`to_padded` made.

    Attributes:
        path: the file.
        num_events: events in it.
        num_pfos, num_jets: what there was before the cut.
        pfos_cut, jets_cut: those that had no place.
        events_cut: events that lost PFOs.
        pt_cut: share of the PFOs' summed pT that was cut.
        filled: share of the places for PFOs that are filled.
    """

    path: Path
    num_events: int
    num_pfos: int
    num_jets: int
    pfos_cut: int
    jets_cut: int
    events_cut: int
    pt_cut: float
    filled: float


def to_padded(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    max_pfos: int = 128,
    max_jets: int = 10,
    features: str = "physical",
    max_events: int | None = None,
    overwrite: bool = False,
    command: str | None = None,
) -> Padded:
    """Write events as padded arrays in HDF5, in chunks: PFOs and jets by falling pT, zeros behind them.

    Datasets: ``pfo`` [B, N, F], ``pfo_mask`` [B, N] (true where there is one), ``pfo_jet`` [B, N] (place of the jet
    that it is in, −1 none), ``jet`` [B, M, 4], ``jet_mask`` [B, M], ``label`` [B, M] (0 light, 1 c, 2 b, −1 unknown or
    padding), ``event_id``, ``event_process``, ``event_source``, ``event_weight``, ``event_num_interactions`` [B]; and,
    if a file has truth, ``pfo_truth`` and ``jet_truth``. A dataset's attribute ``features`` names its last axis. The
    file carries a column map, so that :func:`~panoptag_pyg.convert.convert_padded` reads it back.

    Args:
        paths: event files: one, several, a folder or a glob.
        output: the file to make.
        max_pfos: N. Default 128.
        max_jets: M. Default 10.
        features: ``"physical"`` (default): the PFO columns of a file, GeV and mm; ``"network"``: the 14 of
            :data:`~panoptag_pyg.events.PFO_FEATURES`.
        max_events: write at most this many. Default: all.
        overwrite: replace an existing file. Default ``False``.
        command: command line to record. Default none.

    Raises:
        ConfigError: a number out of range, or no such features.
        EventFileError: a file is missing or damaged.
        OutputError: ``output`` exists or can't be written.
    """
    for name, value in (("places for PFOs", max_pfos), ("places for jets", max_jets), ("events", max_events)):
        if value is not None and value < 1:
            raise ConfigError(f"the number of {name} is {value}, expected at least 1")
    if features not in FEATURES:
        raise ConfigError(f"unknown features '{features}'{suggest(features, FEATURES)}")
    check_output(output, overwrite)
    files = [EventFile(path) for path in find_files(paths)]
    processes = list(dict.fromkeys(name for file in files for name in file.processes))
    sources: list[str] | None = list(dict.fromkeys(name for file in files for name in file.sources))
    if len(json.dumps(sources)) > _LONGEST_NAMES:
        sources = None
    total = sum(file.num_events for file in files)
    total = total if max_events is None else min(total, max_events)
    known = [c for c in COLUMNS if c.truth and c.path != "jet/flavour" and any(file.has(c.path) for file in files)]
    truth = {group: [column.name for column in known if column.group == group] for group in ("pfo", "jet")}
    layout = _Layout(max_pfos, max_jets, features, truth)
    step = max(1, min(1000, _CHUNK_NUMBERS // (max_pfos * len(layout.pfo_features))))
    seen = _Seen()
    with (
        atomic_hdf5(output, overwrite) as out,
        progress(f"padding to {Path(output).name}", total) as advance,
    ):
        datasets = _create(out, layout, total)
        for name, value in {
            "format": FORMAT_NAME,
            "version": 1,
            "processes": processes,
            "sources": sources or [],
            MAP_ATTRIBUTE: layout.column_map(processes, sources),
            **provenance(
                "padded arrays",
                [(file.path, file.num_events) for file in files],
                {"max_pfos": max_pfos, "max_jets": max_jets, "features": features, "max_events": max_events},
                command,
            ),
        }.items():
            out.attrs[name] = value if isinstance(value, (str, int)) else json.dumps(value)
        start = 0
        for block in _blocks(files, processes, sources, step, total):
            for name, values in layout.arrays(block, seen).items():
                datasets[name][start : start + block.num_events] = values
            start += block.num_events
            advance(block.num_events)
    return Padded(
        path=Path(output),
        num_events=total,
        num_pfos=seen.pfos,
        num_jets=seen.jets,
        pfos_cut=seen.pfos_cut,
        jets_cut=seen.jets_cut,
        events_cut=seen.events_cut,
        pt_cut=seen.pt_cut / seen.pt if seen.pt > 0 else 0.0,
        filled=(seen.pfos - seen.pfos_cut) / max(total * max_pfos, 1),
    )


@dataclass
class _Seen:
    """Sums over all events."""

    pfos: int = 0
    jets: int = 0
    pfos_cut: int = 0
    jets_cut: int = 0
    events_cut: int = 0
    pt: float = 0.0
    pt_cut: float = 0.0


@dataclass(frozen=True)
class _Layout:
    """Shapes and features of the arrays."""

    max_pfos: int
    max_jets: int
    features: str
    truth: dict[str, list[str]]

    @property
    def pfo_features(self) -> tuple[str, ...]:
        return _PHYSICAL if self.features == "physical" else PFO_FEATURES

    def datasets(self) -> dict[str, tuple[tuple[int, ...], str, tuple[str, ...]]]:
        """Name → shape of a row, type, names of the last axis."""
        pfos, jets = (self.max_pfos,), (self.max_jets,)
        result: dict[str, tuple[tuple[int, ...], str, tuple[str, ...]]] = {
            "pfo": ((*pfos, len(self.pfo_features)), "float32", self.pfo_features),
            "pfo_mask": (pfos, "bool", ()),
            "pfo_jet": (pfos, "int16", ()),
            "jet": ((*jets, len(JET_FEATURES)), "float32", JET_FEATURES),
            "jet_mask": (jets, "bool", ()),
            "label": (jets, "int8", ()),
        }
        for group, row in (("pfo", pfos), ("jet", jets)):
            names = tuple(self.truth[group])
            if names:
                result[f"{group}_truth"] = ((*row, len(names)), "float32", names)
        types = {column.name: column.dtype for column in columns("event")}
        return result | {f"event_{name}": ((), types[name], ()) for name in _EVENT}

    def arrays(self, block: EventBlock, seen: _Seen) -> dict[str, np.ndarray]:
        """The block's events, padded."""
        rows = {
            name: np.zeros((block.num_events, *shape), dtype) for name, (shape, dtype, _) in self.datasets().items()
        }
        rows["label"][:], rows["pfo_jet"][:] = -1, -1
        pfo_place, jet_place = (
            _places(values["pt"], offsets)
            for values, offsets in ((block.pfo, block.pfo_offsets), (block.jet, block.jet_offsets))
        )
        pfo, jet = pfo_place < self.max_pfos, jet_place < self.max_jets
        at_pfo, at_jet = (block.pfo_event[pfo], pfo_place[pfo]), (block.jet_event[jet], jet_place[jet])
        if self.features == "physical":
            values = np.stack([block.pfo[name].astype(np.float32) for name in _PHYSICAL], axis=1)
        else:
            values = pfo_features(block.pfo)
        rows["pfo"][at_pfo], rows["pfo_mask"][at_pfo] = values[pfo], True
        rows["jet"][at_jet], rows["jet_mask"][at_jet] = jet_features(block.jet)[jet], True
        rows["label"][at_jet] = block.jet["flavour"][jet]
        for group, columns_of, keep, at in (("pfo", block.pfo, pfo, at_pfo), ("jet", block.jet, jet, at_jet)):
            for number, name in enumerate(self.truth[group]):
                rows[f"{group}_truth"][(*at, number)] = columns_of[name][keep]
        for name in _EVENT:
            rows[f"event_{name}"][:] = block.event[name]
        # A PFO of several jets belongs to the first of them.
        owner = np.full(block.num_pfos, self.max_jets)
        np.minimum.at(owner, block.constituent_pfo, jet_place[block.constituent_jet])
        owned = pfo & (owner < self.max_jets)
        rows["pfo_jet"][block.pfo_event[owned], pfo_place[owned]] = owner[owned]
        self._count(block, pfo, jet, seen)
        return rows

    def _count(self, block: EventBlock, pfo: np.ndarray, jet: np.ndarray, seen: _Seen) -> None:
        seen.pfos, seen.jets = seen.pfos + block.num_pfos, seen.jets + block.num_jets
        seen.pfos_cut, seen.jets_cut = seen.pfos_cut + int((~pfo).sum()), seen.jets_cut + int((~jet).sum())
        seen.events_cut += int((np.diff(block.pfo_offsets) > self.max_pfos).sum())
        pt = block.pfo["pt"].astype(np.float64)
        seen.pt, seen.pt_cut = seen.pt + float(pt.sum()), seen.pt_cut + float(pt[~pfo].sum())

    def column_map(self, processes: list[str], sources: list[str] | None) -> dict[str, Any]:
        """How it is read back."""
        pfo: dict[str, Any] = {"mask": "pfo_mask", "jet": "pfo_jet"}
        if self.features == "physical":
            pfo |= {name: f"pfo.{name}" for name in _PHYSICAL}
        else:
            logarithmic = {name: {"source": f"pfo.log_{name}", "transform": "exp"} for name in ("pt", "energy")}
            flags = [name for name in PFO_FEATURES if name.startswith("is_")]
            plain = ("eta", "phi", "charge", "d0", "dz", "d0_error", "dz_error")
            pfo |= {**logarithmic, "particle_class": {"one_hot": [f"pfo.{name}" for name in flags]}}
            pfo |= {name: f"pfo.{name}" for name in plain}
        pfo |= {name: f"pfo_truth.{name}" for name in self.truth["pfo"]}
        jet = {"mask": "jet_mask", **{name: f"jet.{name}" for name in JET_FEATURES}, "flavour": "label"}
        jet |= {name: f"jet_truth.{name}" for name in self.truth["jet"]}
        event: dict[str, Any] = {name: f"event_{name}" for name in _EVENT}
        for name, names in (("process", processes), ("source", sources)):
            event[name] = {"source": f"event_{name}", "names": names}
        if sources is None:
            del event["source"]
        return {"layout": "events", "pfo": pfo, "jet": jet, "event": event}


def _places(pt: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Place of each entry by falling pT in its row; of equals the earlier comes first."""
    row = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((-pt, row))
    place = np.empty(len(pt), np.int64)
    place[order] = np.arange(len(pt)) - offsets[row]
    return place


def _create(out: h5py.File, layout: _Layout, num_events: int) -> dict[str, h5py.Dataset]:
    units = {column.path: column.unit for column in COLUMNS}
    datasets = {}
    for name, (shape, dtype, names) in layout.datasets().items():
        chunk = max(1, min(num_events, _PIECE // max(int(np.prod(shape)), 1)))
        datasets[name] = out.create_dataset(
            name,
            (num_events, *shape),
            dtype,
            maxshape=(None, *shape),
            chunks=(chunk, *shape),
            shuffle=True,
            compression="gzip",
            compression_opts=1,
        )
        if names:
            group = name.partition("_")[0]
            datasets[name].attrs["features"] = json.dumps(names)
            if layout.features == "physical" or name != "pfo":
                datasets[name].attrs["units"] = json.dumps([units[f"{group}/{feature}"] for feature in names])
    return datasets


def _blocks(
    files: list[EventFile], processes: list[str], sources: list[str] | None, step: int, num_events: int
) -> Iterator[EventBlock]:
    left = num_events
    for file in files:
        process = np.array([processes.index(name) for name in file.processes], dtype=np.int16)
        first, stop = num_events - left, min(file.num_events, left)
        left -= stop
        for start in range(0, stop, step):
            block = file.read(start, min(start + step, stop))
            block.event["process"] = process[block.event["process"]]
            if sources is None:
                block.event["id"] = np.arange(first + start, first + start + block.num_events)
                block.event["source"][:] = 0
            else:
                source = np.array([sources.index(name) for name in file.sources], dtype=np.int32)
                block.event["source"] = source[block.event["source"]]
            yield block
