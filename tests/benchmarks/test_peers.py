"""The peers compute what ours does, or say that they are not installed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from panoptag_pyg import ops
from panoptag_pyg.benchmarks.kernels.edge_conv import make_layer
from panoptag_pyg.benchmarks.peers import weaver
from panoptag_pyg.benchmarks.peers.dense import padded_knn, padding
from panoptag_pyg.benchmarks.peers.pyg import edge_conv_of_pyg
from panoptag_pyg.benchmarks.sampling import events_of_sizes


def test_pygs_edge_conv_with_our_weights(rng: np.random.Generator) -> None:
    dim, k, ptr = 6, 4, torch.tensor([0, 9, 9, 20])
    x = torch.from_numpy(rng.normal(size=(20, dim)))
    table = ops.neighbour_table(x, k, ptr)
    layer = make_layer(dim, 3, torch.device("cpu"), 1).to(torch.float64)
    edge_index = torch.stack([table.flatten(), torch.arange(20).repeat_interleave(k)])
    expected = ops.edge_conv(x, table, layer.linears, layer.norms, backend="reference")
    torch.testing.assert_close(edge_conv_of_pyg(layer.linears, layer.norms)(x, edge_index), expected)


def test_padded_knn(rng: np.random.Generator) -> None:
    ptr, k = torch.tensor([0, 7, 8, 30]), 3
    x = torch.from_numpy(rng.normal(size=(30, 2)))
    rows, real = padding(ptr)
    found = (padded_knn(x[rows], real, k) + ptr[:-1, None, None])[real]
    assert torch.equal(found, ops.neighbour_table(x, k, ptr, loop=True, backend="reference"))


def test_jets_have_their_constituents() -> None:
    block = events_of_sizes([60, 5], [3, 1], 2)
    jets = weaver.jets_of(block)
    lengths = np.diff(block.constituent_offsets)
    assert jets.mask.sum(dim=(1, 2)).tolist() == lengths.tolist()
    energy = np.bincount(block.constituent_jet, block.pfo["energy"][block.constituent_pfo], minlength=4)
    torch.testing.assert_close(jets.vectors[:, 3].sum(-1).double(), torch.from_numpy(energy), rtol=1e-5, atol=1e-3)
    assert float(jets.features[:, 0].abs().max()) < 1  # Δη, not η
    assert float((jets.features * (1 - jets.mask)).abs().max()) == 0
    for batching in ("in order", "by length", "padded", "together"):
        for groups in weaver.ways_to_batch(jets, batching).values():
            assert sorted(torch.cat([rows for rows, _ in groups]).tolist()) == [0, 1, 2, 3]
            for rows, group in groups:
                assert group.mask.sum(dim=(1, 2)).tolist() == lengths[rows].tolist()
    (((_, padded),),) = weaver.ways_to_batch(jets, "padded").values()
    assert padded.mask.shape == (4, 1, 128)


@pytest.mark.parametrize(("make", "parameters"), [("particle_transformer", 2.14e6), ("particle_net", 3.7e5)])
def test_weavers_taggers_have_their_papers_sizes(make: str, parameters: float) -> None:
    pytest.importorskip("weaver", reason="weaver-core is not installed")
    model = getattr(weaver, make)()
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(parameters, rel=0.01)
    jets = weaver.jets_of(events_of_sizes([80], [4], 0))
    with torch.no_grad():
        assert weaver.tagger_call(model, jets)().shape == (4, 3)
