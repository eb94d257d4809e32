"""From a file to batches: collating, and whole epochs."""

from __future__ import annotations

import torch
from torch_geometric.data import Batch, HeteroData
from torch_geometric.loader import DataLoader

from panoptag_pyg.events import EventDataset, EventLoader
from panoptag_pyg.events.batching import block_to_batch, window_of, window_to_batch

from ..compare import Contestant, compare
from ..rows import Row
from ..sampling import RANDOM
from ..settings import Settings

COLLATED = 512


def collate(settings: Settings, num_events: int = COLLATED) -> list[Row]:
    """Events that are in memory, features and all, to one batch.

    ``EventLoader`` reads a window of some thousand events and computes its features once; a batch is cut out of it.
    PyG's ``Batch.from_data_list`` joins graphs made one by one; making them isn't counted.
    """
    block = settings.block(2 * num_events)
    window = window_of(block)
    graphs = _graphs(settings, num_events)
    expected = Batch.from_data_list(graphs)
    return compare(
        settings,
        "",
        f"collate {num_events} events, features at hand",
        [Contestant("EventLoader", lambda: window_to_batch(window, 0, num_events),
                    lambda: _same(window_to_batch(window, 0, num_events), expected))],
        [Contestant("Batch.from_data_list", lambda: Batch.from_data_list(graphs), lambda: 0.0)],
        targets={"Batch.from_data_list": 50.0},
        note="a batch is cut out of a window of events; the peer's graphs are made beforehand",
    )  # fmt: skip


def from_columns(settings: Settings, num_events: int = COLLATED) -> list[Row]:
    """The same from physical columns: computing the features counts for both."""
    block = settings.block(num_events)
    pieces = [block.select([i]) for i in range(num_events)]
    expected = Batch.from_data_list(_graphs(settings, num_events))

    def peer() -> HeteroData:
        from panoptag_pyg.events.batching import block_to_event

        return Batch.from_data_list([block_to_event(piece) for piece in pieces])

    return compare(
        settings,
        "",
        f"batch of {num_events} events from physical columns",
        [Contestant("block_to_batch", lambda: block_to_batch(block), lambda: _same(block_to_batch(block), expected))],
        [Contestant("event by event, Batch.from_data_list", peer, lambda: _same(peer(), expected))],
    )


def epoch(settings: Settings, num_events: int = 2000) -> list[Row]:
    """All events of a dataset once, in file order, batches of 64; the floor is reading the columns and nothing else."""
    dataset = EventDataset(settings.events)[:num_events]
    batches = -(-len(dataset) // 64)

    def run(loader: type) -> int:
        return sum(1 for _ in loader(dataset, batch_size=64))

    def check(loader: type) -> float:
        return 0.0 if run(loader) == batches else float("inf")

    rows = compare(
        settings,
        "",
        f"an epoch of {len(dataset):,} events, batches of 64",
        [Contestant("EventLoader", lambda: run(EventLoader), lambda: check(EventLoader))],
        [
            Contestant("PyG DataLoader", lambda: run(DataLoader), lambda: check(DataLoader)),
            Contestant("reading the columns alone", dataset.read_block, lambda: 0.0),
        ],
        budget=8.0,
        per=len(dataset),
        unit="ms/event",
    )
    return rows


def has_files(settings: Settings) -> bool:
    """Whether there is a file to read: random events have none."""
    return settings.events != [RANDOM]


def _graphs(settings: Settings, num_events: int) -> list[HeteroData]:
    from panoptag_pyg.events.batching import block_to_event

    block = settings.block(num_events)
    return [block_to_event(block.select([i])) for i in range(num_events)]


def _same(batch: HeteroData, expected: HeteroData) -> float:
    """0 where every tensor of the peer's batch is in ours, bit for bit."""
    for store in expected.stores:
        own = batch if store._key is None else batch[store._key]
        for name, value in store.items():
            if isinstance(value, torch.Tensor) and not torch.equal(own[name], value):
                return float("inf")
    return 0.0
