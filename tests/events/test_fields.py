"""Fields of a batch that are there only when asked for: the same whichever route built the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.events import random_block, write_events
from torch_geometric.data import Batch

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import CONTAINS, EventDataset, EventLoader
from panoptag_pyg.events.features import JET_FEATURES, constituent_features
from panoptag_pyg.events.fields import Fields
from panoptag_pyg.events.jets import jet_view, momentum

FIELDS = ["constituents", "jet/truth_pt", "jet/num_b_hadrons", "pfo/heavy_ancestry"]


@pytest.fixture
def block(rng):
    return random_block(rng, rng.integers(0, 30, 23), rng.integers(0, 5, 23))


@pytest.fixture
def dataset(block, tmp_path):
    return EventDataset(write_events(tmp_path / "a.h5", block), fields=FIELDS)


def test_the_edges_are_the_files_constituents(block, dataset):
    batch = dataset.get_batch(np.arange(len(dataset)))
    expected = np.stack([block.constituent_jet, block.constituent_pfo])
    np.testing.assert_array_equal(batch[CONTAINS].edge_index, expected)
    assert batch[CONTAINS].max_length == np.diff(block.constituent_offsets).max(initial=0)


def test_columns_of_the_file(block, dataset):
    batch = dataset.get_batch(np.arange(len(dataset)))
    assert batch["jet"].truth_pt.dtype == torch.float32
    assert batch["jet"].num_b_hadrons.dtype == batch["pfo"].heavy_ancestry.dtype == torch.int64
    np.testing.assert_array_equal(batch["jet"].truth_pt, block.jet["truth_pt"])
    np.testing.assert_array_equal(batch["pfo"].heavy_ancestry, block.pfo["heavy_ancestry"])


def test_every_route_gives_the_same(dataset):
    """Loader, PyG's own batching, and taking a batch apart."""
    for batch, first in zip(EventLoader(dataset, batch_size=7), range(0, len(dataset), 7), strict=True):
        single = [dataset[i] for i in range(first, min(first + 7, len(dataset)))]
        expected = Batch.from_data_list(single)
        torch.testing.assert_close(batch[CONTAINS].edge_index, expected[CONTAINS].edge_index)
        for group, name in (("jet", "truth_pt"), ("pfo", "heavy_ancestry")):
            torch.testing.assert_close(batch[group][name], expected[group][name])
        for event, again in zip(single, batch.to_data_list(), strict=True):
            torch.testing.assert_close(again[CONTAINS].edge_index, event[CONTAINS].edge_index)
            torch.testing.assert_close(again["jet"].truth_pt, event["jet"].truth_pt)


def test_the_jet_view_is_the_constituents_features(block, dataset):
    batch = dataset.get_batch(np.arange(len(dataset)))
    jets = jet_view(batch)
    np.testing.assert_allclose(jets.x, constituent_features(block), rtol=0, atol=2e-6)
    np.testing.assert_array_equal(jets.ptr, block.constituent_offsets)
    np.testing.assert_array_equal(jets.jet, block.constituent_jet)
    np.testing.assert_array_equal(jets.pos, jets.x[:, :2])
    assert jets.max_length == np.diff(block.constituent_offsets).max(initial=0)


def test_momenta(rng):
    """Against NumPy in float64; never below the mass shell."""
    n = 50
    pt, eta, phi = rng.exponential(10, n) + 0.1, rng.normal(0, 2, n), rng.uniform(-np.pi, np.pi, n)
    mass = rng.exponential(0.5, n) * (rng.random(n) < 0.7)
    energy = np.sqrt((pt * np.cosh(eta)) ** 2 + mass**2)
    x = torch.zeros(n, 14, dtype=torch.float64)
    for column, values in enumerate((eta, phi, np.log(pt), np.log(energy))):
        x[:, column] = torch.from_numpy(values)
    expected = np.stack([energy, pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=1)
    np.testing.assert_allclose(momentum(x), expected, rtol=1e-12)
    short = momentum(x.float()).double()
    assert (short[:, 0] >= short[:, 1:].norm(dim=1) * (1 - 1e-6)).all()


def test_names_that_are_wrong(dataset):
    with pytest.raises(ConfigError, match="did you mean 'jet/truth_pt'"):
        Fields.parse(["jet/truthpt"])
    with pytest.raises(ConfigError, match="begin with pt, eta, phi, mass"):
        Fields.parse([], ["eta", "pt"])
    with pytest.raises(ConfigError, match="no jet feature 'widht'"):
        EventDataset(dataset.files[0].path, jet_features=[*JET_FEATURES, "widht"])[0]
    plain = EventDataset(dataset.files[0].path).get_batch([0, 1])
    with pytest.raises(ConfigError, match=r"fields=\['constituents'\]"):
        jet_view(plain)
