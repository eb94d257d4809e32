"""The FLOP count of the benchmarks, against torch's own counter."""

import sys
from pathlib import Path

import torch
from helpers.batches import random_batch
from torch.utils.flop_counter import FlopCounterMode

from panoptag_pyg.models import PanopTag

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks.models.flops import forward_flops


def counted(model, batch):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(batch)
    return counter.get_total_flops()


def test_count_agrees_with_torchs_counter(rng):
    """Torch doesn't see the CPU's fused attention nor distances in (η, φ); both are written out here."""
    pfos, jets, dim, num_inducing = (30, 41, 17), (2, 3, 4), 16, 5
    batch = random_batch(rng, pfos, jets, torch.float32)
    model = PanopTag(dim=dim, num_heads=4, k=4, num_inducing=num_inducing)
    pairs = sum(n * j for n, j in zip(pfos, jets, strict=True))
    unseen = 4 * dim * (3 * 2 * num_inducing * sum(pfos) + 4 * pairs)
    unseen += 6 * sum(n * n for n in pfos)
    assert forward_flops(model, batch) == counted(model, batch) + unseen
