"""Made-up events whose jets look like jets: constituents around an axis, displaced tracks by flavour; a toy tagger."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from panoptag_pyg.events import EventBlock
from panoptag_pyg.events.batching import attention_edges
from panoptag_pyg.events.block import lengths_to_offsets
from panoptag_pyg.events.schema import ParticleClass, columns


def displaced_block(
    rng: np.random.Generator,
    num_events: int = 200,
    jets_per_event: float = 5,
    num_processes: int = 1,
    with_errors: bool = True,
    num_soft: int = 60,
) -> EventBlock:
    """Events with Poisson numbers of jets (0 too), each of a falling spectrum of PFOs, over soft PFOs everywhere."""
    jets = rng.poisson(jets_per_event, num_events)
    num_jets = int(jets.sum())
    flavour = rng.choice(3, num_jets, p=[0.57, 0.11, 0.32])
    jet_pt = 20 + rng.exponential(50, num_jets)
    jet_eta, jet_phi = rng.uniform(-2.4, 2.4, num_jets), rng.uniform(-np.pi, np.pi, num_jets)
    lengths = 1 + rng.poisson(13, num_jets)
    jet = np.repeat(np.arange(num_jets), lengths)
    fraction = rng.exponential(1, len(jet))
    fraction /= np.bincount(jet, fraction)[jet]
    event_of_jet = np.repeat(np.arange(num_events), jets)

    soft = rng.poisson(num_soft, num_events)
    event = np.concatenate([event_of_jet[jet], np.repeat(np.arange(num_events), soft)])
    pt = np.concatenate([fraction * jet_pt[jet], rng.exponential(1.2, soft.sum()) + 0.3])
    radius, angle = rng.exponential(0.09, len(jet)), rng.uniform(0, 2 * np.pi, len(jet))
    eta = np.concatenate([jet_eta[jet] + radius * np.cos(angle), rng.uniform(-4, 4, soft.sum())])
    phi = np.concatenate([jet_phi[jet] + radius * np.sin(angle), rng.uniform(-np.pi, np.pi, soft.sum())])

    count = len(pt)
    kind = rng.choice(5, count, p=[0.01, 0.01, 0.27, 0.55, 0.16])
    neutral = (kind == ParticleClass.PHOTON) | (kind == ParticleClass.NEUTRAL_HADRON)
    charge = np.where(neutral, 0, rng.choice([-1, 1], count))
    error = 0.012 + 0.03 / np.maximum(pt, 0.5)
    heavy = np.concatenate([flavour[jet], np.zeros(soft.sum(), np.int64)])
    decays = rng.uniform(0, 1, count) < np.array([0.01, 0.25, 0.4])[heavy]
    lifetime = np.array([0.3, 0.1, 0.3])[heavy] * rng.exponential(1, count) * rng.choice([-1, 1], count)
    d0 = (decays * lifetime + rng.normal(0, error) * with_errors) * (charge != 0)
    dz = rng.normal(0, 0.1, count) * (charge != 0)

    order = np.argsort(event, kind="stable")
    place = np.empty(count, np.int64)
    place[order] = np.arange(count)
    offsets = lengths_to_offsets(np.bincount(event, minlength=num_events))
    pfo = {
        "pt": pt, "eta": eta, "phi": np.mod(phi + np.pi, 2 * np.pi) - np.pi, "energy": pt * np.cosh(eta),
        "charge": charge, "particle_class": kind, "d0": d0, "dz": dz,
        "d0_error": error * (charge != 0) * with_errors, "dz_error": 2 * error * (charge != 0) * with_errors,
        "hard_scatter_fraction": np.ones(count), "heavy_ancestry": heavy * decays,
    }  # fmt: skip
    jet_columns = {
        "pt": jet_pt, "eta": jet_eta, "phi": jet_phi, "mass": 0.12 * jet_pt, "flavour": flavour,
        "truth_pt": jet_pt, "truth_mass": 0.1 * jet_pt, "num_b_hadrons": flavour == 2, "num_c_hadrons": flavour == 1,
        "parton_flavour": np.choose(flavour, [21, 4, 5]), "hard_scatter_fraction": np.ones(len(flavour)),
    }  # fmt: skip
    events = {
        "id": np.arange(num_events) + 1000,
        "process": rng.integers(0, num_processes, num_events),
        "weight": np.ones(num_events),
        "source": np.zeros(num_events),
        "num_interactions": np.ones(num_events),
    }

    def typed(group: str, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {c.name: np.asarray(values[c.name]).astype(c.dtype) for c in columns(group)}

    return EventBlock(
        event=typed("event", events),
        pfo={name: values[order] for name, values in typed("pfo", pfo).items()},
        jet=typed("jet", jet_columns),
        pfo_offsets=offsets,
        jet_offsets=lengths_to_offsets(jets),
        constituent_offsets=lengths_to_offsets(lengths),
        constituents=(place[: len(jet)] - offsets[event[: len(jet)]]).astype(np.int32),
    )


class ToyAttention(NamedTuple):
    """Jet→PFO edges and their weights, as PanopTag returns them."""

    edge_index: Tensor
    weight: Tensor


class ToyTagger(nn.Module):
    """Not learned: displaced tracks near a jet, weighted by nearness, give its logits and its attention."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, batch, return_attention: bool = False):
        """Logits [J, 3], with attention [E, 2] if asked."""
        jets, pfos = batch["jet"], batch["pfo"]
        edge = attention_edges(jets.pos, pfos.pos, jets.ptr, pfos.ptr)
        delta = jets.pos[edge[0]] - pfos.pos[edge[1]]
        delta[:, 1] = torch.remainder(delta[:, 1] + torch.pi, 2 * torch.pi) - torch.pi
        near = torch.exp(-(delta**2).sum(1) / 0.05)
        size = (pfos.x[:, 10].abs() / pfos.x[:, 12].clamp(min=1e-3)).clamp(max=30)[edge[1]] * near
        mean = torch.zeros(len(jets.x), dtype=size.dtype).index_add_(0, edge[0], size * (size > 3)) / 8
        logits = self.scale * torch.stack([1.5 - mean, 0.1 + 0 * mean, mean - 0.5], dim=1)
        if not return_attention:
            return logits
        weight = size + 1e-3
        total = torch.zeros(len(jets.x), dtype=weight.dtype).index_add_(0, edge[0], weight)
        return logits, ToyAttention(edge, (weight / total[edge[0]])[:, None].repeat(1, 2))
