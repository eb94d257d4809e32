"""Counted cost of whole networks: against the benchmarks' own count of PanopTag, and by hand."""

import pytest
import torch
from torch import nn

from panoptag_pyg.backbones import build_backbone
from panoptag_pyg.benchmarks import counts
from panoptag_pyg.models import PanopTag, build_tagger
from panoptag_pyg.models.cost import backbone_cost, forward_flops, num_parameters, tagger_cost
from panoptag_pyg.testing import joined, random_events

PFOS, JETS = (30, 1, 41, 0, 17), (2, 1, 3, 1, 4)


@pytest.fixture
def batch():
    return joined(random_events(PFOS, JETS, ("constituents",)))


@pytest.mark.parametrize("decoder", ["cross_attention", "geometric"])
def test_panoptag_costs_what_the_benchmarks_count(batch, decoder):
    """The benchmarks count it from its sizes, here torch counts the operations as they run.

    Geometric attention appends to each head's queries and keys the terms of its distance, and to values as many zeros;
    the benchmarks don't count these, as the paper's attention has none.
    """
    model = PanopTag(dim=16, num_heads=4, k=4, num_inducing=5, decoder=decoder)
    expected = counts.forward_flops(model, batch)
    if decoder == "geometric":
        pairs = sum(n * j for n, j in zip(PFOS, JETS, strict=True))
        query = model.decoder[0].attention.project(
            torch.zeros(1, 16), torch.zeros(1, 16), (torch.zeros(1, 2), torch.zeros(1, 2))
        )[0]
        expected += 4 * 4 * (query.size(-1) - 4) * pairs * len(model.decoder)
    assert forward_flops(model, batch) == expected


def test_deep_sets_and_single_jets_by_hand(batch):
    dim = 8
    per_pfo = 2 * (14 * dim + 2 * dim * dim)
    cost = backbone_cost(build_backbone("deepsets", 14, dim=dim), batch)
    assert cost.flops_per_event == per_pfo * sum(PFOS) / len(PFOS)
    assert cost.parameters == (14 * dim + dim) + 2 * (dim * dim + dim) + 2 * 2 * dim
    model = build_tagger("single_jet", dim=dim)
    constituents = batch["jet", "contains", "pfo"].edge_index.size(1)
    head = 2 * (dim * dim + dim * 3) * sum(JETS)
    assert forward_flops(model, batch) == constituents * per_pfo + head


def test_fused_attention_of_torch_is_counted(batch):
    """On a CPU torch's own counter leaves it out."""

    class Attends(nn.Module):
        def forward(self, batch):
            q = torch.randn(1, 2, 11, 8)
            return nn.functional.scaled_dot_product_attention(q, q, q)

    assert forward_flops(Attends(), batch) == 2 * 2 * 2 * 11 * 11 * 8


def test_counting_leaves_the_network_as_it_was(batch):
    model = PanopTag(dim=16, num_heads=4, k=4, num_inducing=5)
    model.head.linears[0].weight.requires_grad_(False)
    model.train()
    model.decoder.eval()
    cost = tagger_cost(model, batch)
    assert model.training
    assert not model.decoder[0].training
    assert cost.parameters == num_parameters(model) == sum(p.numel() for p in model.parameters()) - 16 * 16
    assert all(p.grad is None for p in model.parameters())
