"""Batches straight from columns are the batches that PyG makes of single events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.events import assert_same_graphs, random_block, write_events
from torch_geometric.data import Batch, HeteroData

from panoptag_pyg.events import EventDataset, EventLoader, attention_edges, collate_events
from panoptag_pyg.events.batching import window_of, window_to_batch

# no PFOs and no jets, one PFO, jets without PFOs, 5,000 PFOs, an empty event at the end
PFOS = [0, 1, 5000, 0, 307, 13, 0]
JETS = [0, 2, 20, 3, 0, 1, 0]


@pytest.fixture(params=[None, "all", 0.8])
def dataset(request: pytest.FixtureRequest, tmp_path: Path, rng: np.random.Generator) -> EventDataset:
    write_events(tmp_path / "events.h5", random_block(rng, PFOS, JETS, 3), ["ttbar", "ZH", "ttH"])
    return EventDataset(tmp_path / "events.h5", edges=request.param)


def test_loader_equals_from_data_list(dataset: EventDataset) -> None:
    (batch,) = EventLoader(dataset, batch_size=len(PFOS))
    reference = collate_events([dataset[i] for i in range(len(dataset))])
    assert isinstance(batch, Batch)
    assert isinstance(batch, HeteroData)
    assert_same_graphs(batch, reference)
    assert (batch["pfo"].max_length, batch["jet"].max_length) == (5000, 20)
    assert batch.num_graphs == len(PFOS)


def test_plain_from_data_list_differs_by_max_length_only(dataset: EventDataset) -> None:
    (batch,) = EventLoader(dataset, batch_size=len(PFOS))
    for group in ("pfo", "jet"):
        del batch[group].max_length
    assert_same_graphs(batch, Batch.from_data_list([dataset[i] for i in range(len(dataset))]))


def test_to_data_list_gives_the_events_back(dataset: EventDataset) -> None:
    (batch,) = EventLoader(dataset, batch_size=len(PFOS))
    events = batch.to_data_list()
    assert len(events) == len(PFOS)
    for i, event in enumerate(events):
        assert_same_graphs(event, dataset[i])
        assert_same_graphs(batch[i], dataset[i])


def test_shapes_and_types(dataset: EventDataset) -> None:
    (batch,) = EventLoader(dataset, batch_size=len(PFOS))
    num_pfos, num_jets = sum(PFOS), sum(JETS)
    assert batch["pfo"].x.shape == (num_pfos, 14)
    assert batch["pfo"].pos.shape == (num_pfos, 2)
    assert batch["jet"].x.shape == (num_jets, 4)
    assert batch["jet"].y.shape == (num_jets,)
    assert batch["pfo"].ptr.tolist() == [0, *np.cumsum(PFOS)]
    assert batch["jet"].batch.tolist() == np.repeat(range(7), JETS).tolist()
    assert torch.equal(batch["jet"].pos, batch["jet"].x[:, 1:3])
    assert torch.equal(batch["pfo"].pos, batch["pfo"].x[:, :2])
    assert batch.process.dtype == torch.int64


def test_batches_of_only_empty_events(tmp_path: Path, rng: np.random.Generator) -> None:
    write_events(tmp_path / "empty.h5", random_block(rng, [0, 0], [0, 0]))
    dataset = EventDataset(tmp_path / "empty.h5", edges="all")
    (batch,) = EventLoader(dataset, batch_size=8)
    assert_same_graphs(batch, collate_events([dataset[0], dataset[1]]))
    assert batch["pfo"].x.shape == (0, 14)


@pytest.mark.parametrize("max_delta_r", [None, 0.4, 3.0])
def test_attention_edges_against_a_loop(rng: np.random.Generator, max_delta_r: float | None) -> None:
    jet_ptr, pfo_ptr = torch.tensor([0, 2, 2, 5]), torch.tensor([0, 11, 18, 18])
    jet_pos = torch.from_numpy(rng.uniform(-np.pi, np.pi, (5, 2)))
    pfo_pos = torch.from_numpy(rng.uniform(-np.pi, np.pi, (18, 2)))
    expected = [
        [jet, pfo]
        for event in range(3)
        for jet in range(jet_ptr[event], jet_ptr[event + 1])
        for pfo in range(pfo_ptr[event], pfo_ptr[event + 1])
        if max_delta_r is None or _delta_r(jet_pos[jet], pfo_pos[pfo]) < max_delta_r
    ]
    edges = attention_edges(jet_pos, pfo_pos, jet_ptr, pfo_ptr, max_delta_r)
    assert edges.T.tolist() == expected


def _delta_r(a: torch.Tensor, b: torch.Tensor) -> float:
    d_eta, d_phi = (a - b).tolist()
    return float(np.hypot(d_eta, np.angle(np.exp(1j * d_phi))))


def test_batches_cut_from_one_window(dataset: EventDataset) -> None:
    """Pieces share the window's memory, and are what each would be by itself."""
    window = window_of(dataset.read_block())
    for start, stop in ((0, 3), (3, 3), (3, 7), (2, 5)):
        batch = window_to_batch(window, start, stop, dataset.edges)
        if start < stop:
            assert_same_graphs(batch, collate_events([dataset[i] for i in range(start, stop)]))
        assert batch.num_graphs == stop - start
        assert batch["pfo"].x.untyped_storage().data_ptr() == window.nodes["pfo"]["x"].untyped_storage().data_ptr()


def test_unknown_edges_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    write_events(tmp_path / "events.h5", random_block(rng, [3], [1]))
    with pytest.raises(ValueError, match="edges must be None, 'all' or a ΔR"):
        EventDataset(tmp_path / "events.h5", edges="some")[0]
