"""Random batches for models: continuous features, so that no two distances are equal."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from panoptag_pyg.events.features import JET_FEATURES, PFO_FEATURES


def ptr_of(lengths: Sequence[int]) -> Tensor:
    """First row of each event, and the end."""
    return torch.tensor([0, *np.cumsum(lengths)], dtype=torch.long)


def random_batch(
    rng: np.random.Generator,
    num_pfos: Sequence[int],
    num_jets: Sequence[int],
    dtype: torch.dtype = torch.float64,
) -> HeteroData:
    """A batch of events of the given sizes, without ``max_length``."""
    batch = HeteroData()
    for name, lengths, features in (("pfo", num_pfos, PFO_FEATURES), ("jet", num_jets, JET_FEATURES)):
        total = int(sum(lengths))
        x = torch.from_numpy(rng.normal(size=(total, len(features))))
        eta, phi = features.index("eta"), features.index("phi")
        x[:, phi] = torch.from_numpy(rng.uniform(-math.pi, math.pi, total))
        if name == "jet":
            x[:, 0] = 20 + 30 * x[:, 0].abs()
            x[:, 3] = 5 * x[:, 3].abs()
        else:
            x[:, -4:] *= 0.05
        batch[name].x = x.to(dtype)
        batch[name].pos = x[:, [eta, phi]].to(dtype)
        batch[name].ptr = ptr_of(lengths)
    batch["jet"].y = torch.from_numpy(rng.integers(0, 3, int(sum(num_jets))))
    return batch


def events_of_batch(batch: HeteroData, events: Sequence[int]) -> HeteroData:
    """Some events of a batch, in the given order."""
    chosen = HeteroData()
    for name in ("pfo", "jet"):
        ptr = batch[name].ptr.tolist()
        rows = torch.cat([torch.arange(0), *(torch.arange(ptr[e], ptr[e + 1]) for e in events)])
        for key in ("x", "pos"):
            chosen[name][key] = batch[name][key][rows]
        chosen[name].ptr = ptr_of([ptr[e + 1] - ptr[e] for e in events])
    return chosen
