"""Made-up events: legal in every column, of any size; for tests of structure, not of physics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch_geometric.data import HeteroData

from panoptag_pyg.events import EventBlock, EventFileWriter
from panoptag_pyg.events.block import lengths_to_offsets
from panoptag_pyg.events.schema import Column, columns


def random_block(
    rng: np.random.Generator, num_pfos: Sequence[int], num_jets: Sequence[int], num_processes: int = 1
) -> EventBlock:
    """Random legal columns for events of the given sizes; jets of events without PFOs have no constituents."""
    pfos, jets = np.asarray(num_pfos, dtype=np.int64), np.asarray(num_jets, dtype=np.int64)
    pfos_of_jet = np.repeat(pfos, jets)
    lengths = np.minimum(rng.integers(0, 20, len(pfos_of_jet)), pfos_of_jet)
    constituents = [rng.choice(n, size=m, replace=False) for n, m in zip(pfos_of_jet, lengths, strict=True)]
    event = _columns(rng, "event", len(pfos))
    event["id"] = np.arange(len(pfos))
    event["process"] = rng.integers(0, num_processes, len(pfos)).astype(np.int16)
    event["source"] = np.zeros(len(pfos), dtype=np.int32)
    return EventBlock(
        event=event,
        pfo=_columns(rng, "pfo", int(pfos.sum())),
        jet=_columns(rng, "jet", int(jets.sum())),
        pfo_offsets=lengths_to_offsets(pfos),
        jet_offsets=lengths_to_offsets(jets),
        constituent_offsets=lengths_to_offsets(lengths),
        constituents=np.concatenate([*constituents, np.empty(0)]).astype(np.int32),
    )


def write_events(path: Path, block: EventBlock, processes: Sequence[str] = ("ttbar",), **options: object) -> Path:
    """Write ``block`` to ``path``."""
    with EventFileWriter(path, processes, **options) as writer:  # type: ignore[arg-type]
        writer.write(block)
    return path


def events_of(block: EventBlock) -> list[dict]:
    """Each event as plain lists, by a loop: the reference for every way of cutting a block."""
    events = []
    for e in range(block.num_events):
        pfos = slice(block.pfo_offsets[e], block.pfo_offsets[e + 1])
        jets = range(block.jet_offsets[e], block.jet_offsets[e + 1])
        events.append(
            {
                "event": {name: values[e].item() for name, values in block.event.items()},
                "pfo": {name: values[pfos].tolist() for name, values in block.pfo.items()},
                "jet": {name: values[jets.start : jets.stop].tolist() for name, values in block.jet.items()},
                "constituents": [
                    block.constituents[block.constituent_offsets[j] : block.constituent_offsets[j + 1]].tolist()
                    for j in jets
                ],
            }
        )
    return events


def assert_same_graphs(a: HeteroData, b: HeteroData) -> None:
    """Same stores, same fields, same dtypes, same values."""
    assert a.node_types == b.node_types
    assert a.edge_types == b.edge_types
    for store_a, store_b in zip(a.stores, b.stores, strict=True):
        assert set(store_a.keys()) == set(store_b.keys())
        for name, value in store_a.items():
            if isinstance(value, torch.Tensor):
                assert value.dtype == store_b[name].dtype, name
                assert torch.equal(value, store_b[name]), name
            else:
                assert value == store_b[name], name


def _columns(rng: np.random.Generator, group: str, count: int) -> dict[str, np.ndarray]:
    return {column.name: _values(rng, column, count).astype(column.dtype) for column in columns(group)}


def _values(rng: np.random.Generator, column: Column, count: int) -> np.ndarray:
    low = -np.pi if column.low is None else column.low
    high = low + 2 * np.pi if column.high is None else column.high
    if column.is_float:
        return rng.uniform(low, high, count)
    return rng.integers(int(low), int(high) + 1, count)
