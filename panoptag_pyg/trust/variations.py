"""Events turned, mirrored, measured worse or at another energy scale: what is done to a batch before it is tagged."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch_geometric.data import HeteroData

from panoptag_pyg.events.augmentation import reflect, rotate
from panoptag_pyg.events.features import JET_FEATURES, MIN_ENERGY, PFO_FEATURES


def column(name: str) -> int:
    """Where a feature of the PFOs stands."""
    return PFO_FEATURES.index(name)


class Rotation:
    """Every event turned by a random angle.

    Args:
        seed: of the angles.
        step: turn by whole multiples of this many degrees. Default: any angle.
    """

    def __init__(self, seed: int, step: float | None = None) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.step = step

    def __call__(self, batch: HeteroData) -> HeteroData:
        part = torch.rand(len(batch["pfo"].ptr) - 1, generator=self.generator, dtype=torch.float64)
        if self.step is not None:
            cells = round(360 / self.step)
            # never by nothing: 1 to cells − 1
            part = (1 + (part * (cells - 1)).floor()) / cells
        return rotate(batch, (2 * math.pi * part).to(batch["pfo"].x.device))


def mirror(batch: HeteroData) -> HeteroData:
    """Every event mirrored in η."""
    everything = torch.ones(len(batch["pfo"].ptr) - 1, dtype=torch.bool, device=batch["pfo"].x.device)
    return reflect(batch, everything)


class EnergyScale:
    """All energies multiplied by one factor: pT and energy of PFOs, pT and mass of jets.

    Args:
        factor: 1.01 for +1 %.
    """

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, batch: HeteroData) -> HeteroData:
        batch = copy.copy(batch)
        pfo, jet = batch["pfo"], batch["jet"]
        pfo.x, jet.x = pfo.x.clone(), jet.x.clone()
        for name in ("log_pt", "log_energy"):
            values = pfo.x[:, column(name)]
            # At the floor stands what is smaller, 0 above all.
            above = values > math.log(MIN_ENERGY) + 1e-6
            pfo.x[:, column(name)] = torch.where(above, values + math.log(self.factor), values)
        for name in ("pt", "mass"):
            jet.x[:, JET_FEATURES.index(name)] *= self.factor
        return batch


class WorseResolution:
    """An impact parameter measured worse: its resolution grows by a share f of itself.

    Noise of √((1 + f)² − 1) σ is added, with each track's own σ; the σ that the tagger reads stays, as where a
    simulation takes its tracker for better than it is.

    Args:
        name: ``"d0"`` or ``"dz"``.
        share: f.
        seed: of the noise.
    """

    def __init__(self, name: str, share: float, seed: int) -> None:
        self.name = name
        self.width = math.sqrt((1 + share) ** 2 - 1)
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, batch: HeteroData) -> HeteroData:
        batch = copy.copy(batch)
        pfo = batch["pfo"]
        pfo.x = pfo.x.clone()
        noise = torch.randn(len(pfo.x), generator=self.generator).to(pfo.x)
        error = pfo.x[:, column(f"{self.name}_error")] * (pfo.x[:, column("charge")] != 0)
        pfo.x[:, column(self.name)] += self.width * noise * error
        return batch


class BetterResolution:
    """An impact parameter measured better, where the truth allows: tracks that descend from no b or c hadron.

    Their true value is 0 but for K0S, Λ and material, so the measured one shrinks by f; tracks of heavy hadrons, whose
    true value isn't known, stay. The σ that the tagger reads stays too.

    Args:
        name: ``"d0"`` or ``"dz"``.
        share: f.
        max_pull: beyond so many σ a track is from such a decay, not from the resolution, and stays. Default 4.
    """

    def __init__(self, name: str, share: float, max_pull: float = 4.0) -> None:
        self.name = name
        self.share = share
        self.max_pull = max_pull

    def __call__(self, batch: HeteroData) -> HeteroData:
        batch = copy.copy(batch)
        pfo = batch["pfo"]
        pfo.x = pfo.x.clone()
        value, error = pfo.x[:, column(self.name)], pfo.x[:, column(f"{self.name}_error")]
        prompt = (pfo.heavy_ancestry == 0) & (error > 0) & (value.abs() < self.max_pull * error)
        pfo.x[:, column(self.name)] = torch.where(prompt, value * (1 - self.share), value)
        return batch


class ErrorScale:
    """The uncertainties that the tagger reads, multiplied by a factor; the values stay.

    Args:
        name: ``"d0"`` or ``"dz"``.
        factor: 1.1 for 10 % larger ones.
    """

    def __init__(self, name: str, factor: float) -> None:
        self.name = name
        self.factor = factor

    def __call__(self, batch: HeteroData) -> HeteroData:
        batch = copy.copy(batch)
        pfo = batch["pfo"]
        pfo.x = pfo.x.clone()
        pfo.x[:, column(f"{self.name}_error")] *= self.factor
        return batch


def has_errors(batch: Any) -> bool:
    """Whether any track of a batch has an uncertainty of d0."""
    return bool((batch["pfo"].x[:, column("d0_error")] > 0).any())
