"""EventLoader: every event once, in an order that workers and files don't change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.events import assert_same_graphs, random_block, write_events

from panoptag_pyg.events import EventDataset, EventLoader, collate_events


@pytest.fixture
def dataset(tmp_path: Path, rng: np.random.Generator) -> EventDataset:
    for name, n in (("a.h5", 130), ("b.h5", 401)):
        block = random_block(rng, rng.poisson(9, n), rng.poisson(2, n))
        block.event["id"] += 1000 * (name == "b.h5")
        write_events(tmp_path / name, block)
    return EventDataset(tmp_path)


def test_batches_hold_the_planned_events(dataset: EventDataset) -> None:
    loader = EventLoader(dataset, batch_size=100, shuffle=True, seed=3)
    ids = dataset.read_block().event["id"].tolist()
    seen = []
    for batch in loader:
        chosen = [ids.index(i) for i in batch.event_id.tolist()]
        assert_same_graphs(batch, collate_events([dataset[i] for i in chosen]))
        seen += chosen
    assert sorted(seen) == list(range(531))
    assert len(loader) == 6


def test_workers_change_nothing(dataset: EventDataset) -> None:
    alone = list(EventLoader(dataset, max_pfos_per_batch=300, shuffle=True))
    helped = list(EventLoader(dataset, max_pfos_per_batch=300, shuffle=True, num_workers=2))
    assert len(alone) == len(helped) > 10
    for a, b in zip(alone, helped, strict=True):
        assert_same_graphs(a, b)


def test_epochs_differ_and_repeat(dataset: EventDataset) -> None:
    loader = EventLoader(dataset, batch_size=64, shuffle=True)

    def order(epoch: int) -> list[int]:
        loader.set_epoch(epoch)
        return [i for batch in loader for i in batch.event_id.tolist()]

    first, second = order(0), order(1)
    assert first != second
    assert order(0) == first


def test_length_is_the_number_of_batches_on_every_rank(dataset: EventDataset) -> None:
    for options in ({"batch_size": 50}, {"max_pfos_per_batch": 333}, {"batch_size": 50, "drop_last": True}):
        loaders = [EventLoader(dataset, shuffle=True, rank=r, world_size=4, **options) for r in range(4)]
        assert len({len(loader) for loader in loaders}) == 1
        for loader in loaders:
            assert sum(1 for _ in loader) == len(loader)


def test_ranks_without_events_get_an_empty_batch(dataset: EventDataset) -> None:
    (batch,) = EventLoader(dataset[:1], batch_size=8, rank=1, world_size=2)
    assert batch.num_graphs == 0
    assert batch["pfo"].x.shape == (0, 14)
    assert batch["pfo"].ptr.tolist() == [0]


def test_empty_dataset(dataset: EventDataset) -> None:
    loader = EventLoader(dataset[:0], batch_size=8)
    assert len(loader) == 0
    assert list(loader) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 1, "max_pfos_per_batch": 1}, "not both"),
        ({"batch_size": 0}, "at least 1"),
        ({"max_pfos_per_batch": 10, "drop_last": True}, "drop_last needs batch_size"),
        ({"rank": 2, "world_size": 2}, "rank must be 0 to 1"),
    ],
)
def test_options_that_make_no_sense(dataset: EventDataset, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EventLoader(dataset, **options)


def test_batches_move_between_devices(dataset: EventDataset) -> None:
    batch = next(iter(EventLoader(dataset, batch_size=8))).to("meta")
    assert batch["pfo"].x.device == torch.device("meta")
    assert isinstance(batch["pfo"].max_length, int)


@pytest.mark.parametrize("options", [{"batch_size": 37}, {"max_pfos_per_batch": 211}])
def test_an_epoch_begun_in_its_middle_is_the_rest_of_it(
    dataset: EventDataset, rng: np.random.Generator, options: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("panoptag_pyg.events.sampling.WINDOW_PFOS", 1500)  # some 160 events
    loader = EventLoader(dataset, shuffle=True, seed=2, **options)
    loader.set_epoch(4)
    whole = list(loader)
    ids = dataset.read_block().event["id"]
    for number, batch in enumerate(whole):
        assert ids[loader.batch_events(number)].tolist() == batch.event_id.tolist()
    read: list[int] = []
    original = EventDataset.read_block
    monkeypatch.setattr(
        EventDataset, "read_block", lambda self, events, *rest: read.extend(events) or original(self, events, *rest)
    )
    for start in {0, 1, len(whole) - 1, len(whole), *rng.integers(0, len(whole), 3).tolist()}:
        loader.set_epoch(4, start)
        read.clear()
        rest = list(loader)
        assert len(rest) == len(loader) == len(whole) - start
        for a, b in zip(rest, whole[start:], strict=True):
            assert_same_graphs(a, b)
        assert len(read) == sum(batch.num_graphs for batch in rest)


def test_loading_leaves_random_numbers_alone(dataset: EventDataset) -> None:
    before = torch.get_rng_state()
    for workers in (0, 1):
        next(iter(EventLoader(dataset, num_workers=workers)))
    assert torch.equal(torch.get_rng_state(), before)
