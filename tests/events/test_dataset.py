"""EventDataset over one file, several, a folder, a glob; views, limits, processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.events import events_of, random_block, write_events

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events import EventBlock, EventDataset


@pytest.fixture
def blocks(rng: np.random.Generator) -> list[EventBlock]:
    return [random_block(rng, rng.poisson(20, n), rng.poisson(3, n), 2) for n in (5, 1, 301)]


@pytest.fixture
def folder(tmp_path: Path, blocks: list[EventBlock]) -> Path:
    names = [["ttbar", "ZH"], ["ZH", "ttbar"], ["tW", "ZH"]]
    for name, block, processes in zip(["a.h5", "b.h5", "c.h5"], blocks, names, strict=True):
        write_events(tmp_path / name, block, processes)
    return tmp_path


def joined(block: EventBlock, index: list[int], source: int) -> EventBlock:
    event = {
        **block.event,
        "process": np.array(index, np.int16)[block.event["process"]],
        "source": np.full(block.num_events, source, np.int32),
    }
    return EventBlock(**{**block.__dict__, "event": event})


def test_every_way_to_name_files(folder: Path) -> None:
    every = [
        EventDataset(folder),
        EventDataset(str(folder)),
        EventDataset(folder / "*.h5"),
        EventDataset([folder / "a.h5", folder / "b.h5", folder / "c.h5"]),
        EventDataset([folder / "[ab].h5", folder / "c.h5"]),
    ]
    assert [len(dataset) for dataset in every] == [307] * 5
    assert len(EventDataset(folder / "a.h5")) == 5


def test_processes_and_sources_are_joined_over_files(folder: Path, blocks: list[EventBlock]) -> None:
    dataset = EventDataset(folder)
    assert dataset.processes == ["ttbar", "ZH", "tW"]
    assert dataset.sources == ["ttbar+ZH seed=unknown", "ZH+ttbar seed=unknown", "tW+ZH seed=unknown"]
    expected = [joined(b, i, n) for n, (b, i) in enumerate(zip(blocks, [[0, 1], [1, 0], [2, 1]], strict=True))]
    assert events_of(dataset.read_block()) == [event for block in expected for event in events_of(block)]


def test_read_block_in_any_order(folder: Path) -> None:
    dataset = EventDataset(folder)
    everything = events_of(dataset.read_block())
    for indices in ([306, 0, 5, 6, 5], [], list(range(4, 8)), [0, 100, 300]):
        assert events_of(dataset.read_block(indices)) == [everything[i] for i in indices]


def test_views(folder: Path) -> None:
    dataset = EventDataset(folder)
    view = dataset[4:20:3]
    assert isinstance(view, EventDataset)
    assert len(view) == 6
    assert torch.equal(view[1]["pfo"].x, dataset[7]["pfo"].x)
    again = view[[5, 0]]
    assert torch.equal(again[0]["pfo"].x, dataset[19]["pfo"].x)
    mask = np.zeros(len(dataset), dtype=bool)
    mask[[3, 200]] = True
    assert torch.equal(dataset[mask][1]["jet"].x, dataset[200]["jet"].x)
    assert view.num_pfos().tolist() == dataset.num_pfos()[4:20:3].tolist()
    assert torch.equal(dataset[-1]["pfo"].x, dataset[306]["pfo"].x)
    assert sum(1 for _ in view) == 6


def test_single_events_in_any_order_are_those_of_the_block(folder: Path, rng: np.random.Generator) -> None:
    dataset = EventDataset(folder)
    for view in (dataset, dataset[3:290], dataset[rng.permutation(len(dataset))], dataset[::-1], dataset[[5, 6, 6]]):
        ids = view.read_block().event["id"]
        for i in [*range(len(view)), *rng.permutation(len(view))[:50].tolist()]:
            event = view[i]
            assert int(event.event_id) == ids[i]
            assert event["pfo"].num_nodes == view.num_pfos()[i]


def test_file_of_events(folder: Path) -> None:
    dataset = EventDataset(folder)
    assert dataset.file_of_events().tolist() == [0] * 5 + [1] + [2] * 301
    assert dataset[[306, 5, 0]].file_of_events().tolist() == [2, 1, 0]


def test_out_of_range(folder: Path) -> None:
    with pytest.raises(IndexError, match=r"event 307 is out of range, the dataset has 307 events \(0 to 306\)"):
        EventDataset(folder)[307]


def test_limits(folder: Path) -> None:
    dataset, everything = EventDataset(folder, max_pfos=7, max_jets=2), EventDataset(folder)
    for i in (0, 5, 100):
        event, whole = dataset[i], everything[i]
        assert event["pfo"].num_nodes == min(7, whole["pfo"].num_nodes)
        assert event["jet"].num_nodes == min(2, whole["jet"].num_nodes)
        leading = whole["pfo"].x[whole["pfo"].x[:, 2].argsort(descending=True)[:7]]
        assert sorted(event["pfo"].x[:, 2].tolist()) == sorted(leading[:, 2].tolist())
    assert dataset.num_pfos().max() == 7
    assert dataset.num_jets().tolist() == np.minimum(everything.num_jets(), 2).tolist()


def test_class_counts(folder: Path) -> None:
    dataset = EventDataset(folder)
    flavour = dataset.read_block().jet["flavour"]
    assert dataset.class_counts().tolist() == [int((flavour == c).sum()) for c in range(3)]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(EventFileError, match=r"has no \*\.h5 file"):
        EventDataset(tmp_path)
    with pytest.raises(EventFileError, match="matches no file"):
        EventDataset(tmp_path / "*.hdf5")
    with pytest.raises(EventFileError, match="no such file"):
        EventDataset(tmp_path / "nope.h5")
    with pytest.raises(EventFileError, match="no event file was named"):
        EventDataset([])
