"""The counted FLOPs and bytes, against torch's own counter on plain formulations, and by hand."""

import pytest
import torch
import torch.nn.functional as F
from helpers.batches import events_of_batch, random_batch
from torch.utils.flop_counter import FlopCounterMode

from panoptag_pyg.benchmarks.counts import attention_work, edge_conv_work, forward_flops, knn_work, segment_work
from panoptag_pyg.benchmarks.kernels.edge_conv import make_layer
from panoptag_pyg.benchmarks.peers.padded_panoptag import PaddedPanopTag
from panoptag_pyg.models import PanopTag


def counted(run) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return counter.get_total_flops()


def lengths_of(rng, num_events: int = 5) -> torch.Tensor:
    return torch.from_numpy(rng.integers(1, 40, num_events))


def test_distances_in_feature_space(rng):
    lengths, dim = lengths_of(rng), 24
    points = [torch.randn(int(n), dim) for n in lengths]
    assert knn_work(lengths, dim, 7).flops == counted(lambda: [x @ x.T for x in points])
    num_points = int(lengths.sum())
    assert knn_work(lengths, dim, 7).num_bytes == num_points * (4 * dim + 8 * 7)
    assert knn_work(lengths, dim, 7, torch.bfloat16).num_bytes == num_points * (2 * dim + 8 * 7)


def test_edge_conv_is_the_factored_formulation(rng):
    """Products with A and with B − A over points, the others over edges; the plain one has more."""
    num_points, k, dim = int(rng.integers(20, 50)), 6, 16
    x, table = torch.randn(num_points, dim), torch.randint(num_points, (num_points, k))
    layer = make_layer(dim, 3, torch.device("cpu"), 0)

    def factored():
        weight, bias = layer.linears[0]
        first = F.linear(x, weight[:, :dim])
        second = F.linear(x, weight[:, dim:] - weight[:, :dim], bias)
        h = first[table] + second[:, None]
        for linear in layer.linears[1:]:
            h = F.linear(h, *linear)

    work = edge_conv_work(num_points, k, [dim] * 4)
    assert work.flops == counted(factored)
    edges = torch.cat([x[table], x[table]], dim=-1)
    unfactored = counted(lambda: F.linear(edges, *layer.linears[0]))
    over_points = 2 * 2 * num_points * dim * dim
    assert unfactored == k * over_points


@pytest.mark.parametrize("shared", [False, True])
def test_attention(rng, shared):
    k_lengths = lengths_of(rng)
    q_lengths = torch.full_like(k_lengths, 9) if shared else lengths_of(rng)
    heads, width = 4, 8
    q = [torch.randn(heads, int(n), width) for n in q_lengths]
    k = [torch.randn(heads, int(n), width) for n in k_lengths]
    plain = counted(lambda: [(a @ b.transpose(1, 2)).softmax(-1) @ b for a, b in zip(q, k, strict=True)])
    work = attention_work(q_lengths, k_lengths, heads * width, shared_queries=shared)
    assert work.flops == plain
    q_rows = 9 if shared else int(q_lengths.sum())
    assert work.num_bytes == 4 * heads * width * (q_rows + int(q_lengths.sum()) + 2 * int(k_lengths.sum()))


def test_segments():
    assert segment_work(100, 8, 5).num_bytes == 4 * 8 * 105
    assert segment_work(100, 8, 5).times(3).num_bytes == 3 * 4 * 8 * 105


def test_the_models_count_agrees_with_torchs_counter(rng):
    """Torch can't look into custom operations, so the padded model runs, one event at a time so that nothing is padded.

    It doesn't factor the first edge layer and projects the inducing points for each event anew; torch sees neither its
    fused attention nor its distances.
    """
    pfos, jets, dim, k, num_inducing = (30, 41, 17), (2, 3, 4), 16, 4, 5
    batch = random_batch(rng, pfos, jets, torch.float32)
    model = PanopTag(dim=dim, num_heads=4, k=k, num_inducing=num_inducing)
    peer = PaddedPanopTag(dim=dim, num_heads=4, k=k, num_inducing=num_inducing).requires_grad_(False)
    peer.load_state_dict(model.state_dict())
    parts = [events_of_batch(batch, [e]) for e in range(len(pfos))]
    seen = counted(lambda: [peer(part) for part in parts])
    pairs = sum(n * j for n, j in zip(pfos, jets, strict=True))
    squares = sum(n * n for n in pfos)
    seen += 4 * dim * (3 * 2 * num_inducing * sum(pfos) + 4 * pairs)  # attention
    seen += (6 + 2 * dim) * squares  # distances
    seen -= 2 * 4 * sum(pfos) * dim * dim * (k - 1)  # first edge layers over edges
    seen -= 3 * 2 * num_inducing * dim * dim * (len(pfos) - 1)  # queries of the inducing points
    assert forward_flops(model, batch) == seen
