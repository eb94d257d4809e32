"""Jets for weaver-core's networks and for ours: the same constituents, padded and ragged."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg.events.features import JET_FEATURES, PFO_FEATURES
from panoptag_pyg.events.jets import CONTAINS, JetView, jet_view

logging.getLogger("weaver").setLevel(logging.WARNING)  # its models log all of their arguments


def jets_batch(
    rng: np.random.Generator, lengths: Sequence[Sequence[int]], dtype: torch.dtype = torch.float32
) -> HeteroData:
    """Events with jets of these numbers of constituents, which lie around their jet's axis, some of them massless."""
    batch = HeteroData()
    num_pfos = [sum(event) + 2 for event in lengths]  # two that are in no jet
    flat = [n for event in lengths for n in event]
    total, num_jets = sum(num_pfos), len(flat)
    axis = np.stack([rng.uniform(-2, 2, num_jets), rng.uniform(-math.pi, math.pi, num_jets)], 1)
    x = rng.normal(size=(total, len(PFO_FEATURES)))
    pfo, jet, start, j = [], [], 0, 0
    for event, num in zip(lengths, num_pfos, strict=True):
        order, first = rng.permutation(num), 0
        for n in event:
            rows = start + order[first : first + n]
            x[rows, :2] = axis[j] + rng.normal(size=(n, 2)) * 0.15
            pfo.append(rows)
            jet.append(np.full(n, j))
            first, j = first + n, j + 1
        start += num
    x[:, 1] = (x[:, 1] + math.pi) % (2 * math.pi) - math.pi
    x[:, 2] = rng.normal(size=total)
    cosh = np.cosh(x[:, 0])
    x[:, 3] = np.log(np.hypot(np.exp(x[:, 2]) * cosh, np.where(rng.random(total) < 0.3, 0, 0.3 * rng.random(total))))
    x[:, 5:10] = np.eye(5)[rng.integers(0, 5, total)]
    x[:, -4:] = np.abs(x[:, -4:]) * 0.3
    jets = np.stack([20 + 30 * rng.random(num_jets), axis[:, 0], axis[:, 1], 5 * rng.random(num_jets)], 1)
    assert jets.shape[1] == len(JET_FEATURES)
    for name, values, counts in (("pfo", x, num_pfos), ("jet", jets, [len(event) for event in lengths])):
        batch[name].x = torch.from_numpy(values).to(dtype)
        positions = [0, 1] if name == "pfo" else [1, 2]
        batch[name].pos = batch[name].x[:, positions]
        batch[name].ptr = torch.tensor([0, *np.cumsum(counts)])
    batch["jet"].y = torch.from_numpy(rng.integers(0, 3, num_jets))
    edges = [np.concatenate([*parts, np.empty(0)]).astype(np.int64) for parts in (jet, pfo)]
    batch[CONTAINS].edge_index = torch.from_numpy(np.stack(edges))
    batch[CONTAINS].max_length = max(flat, default=0)
    return batch


def padded(view: JetView, features: Tensor, length: int | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Points [J, 2, L], features [J, F, L], momenta [J, 4, L] (px, py, pz, E) and mask [J, 1, L] for weaver."""
    num_jets = view.ptr.numel() - 1
    place = torch.arange(len(view.jet)) - view.ptr[view.jet]
    length = int(view.ptr.diff().max()) if length is None else length

    def dense(values: Tensor) -> Tensor:
        full = values.new_zeros(num_jets, length, values.size(1))
        return full.index_put((view.jet, place), values).transpose(1, 2).contiguous()

    mask = dense(torch.ones(len(place), 1)).bool()
    return dense(view.pos), dense(features), dense(view.momentum[:, [1, 2, 3, 0]]), mask


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """Weights of every kind off their initial values, and running statistics as after some training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            noise = torch.randn(value.shape, generator=generator) if value.is_floating_point() else None
            if noise is None:
                continue
            if name.endswith("running_var"):
                value.copy_(0.5 + noise.abs())
            elif name.endswith("running_mean"):
                value.copy_(0.5 * noise)
            else:
                value.add_(noise * (0.1 if value.dim() == 1 else 0.02))
    return model


__all__ = ["jet_view", "jets_batch", "padded", "randomised"]
