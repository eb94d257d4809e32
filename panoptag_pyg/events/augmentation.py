"""Training events turned, mirrored, thinned out and smeared: other events that the same physics gives as often."""

from __future__ import annotations

import copy
import math
from typing import Annotated, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor
from torch_geometric.data import HeteroData

from panoptag_pyg.config import StrictConfig
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events.batching import ATTENDS
from panoptag_pyg.events.features import JET_FEATURES, MIN_ENERGY, PFO_FEATURES
from panoptag_pyg.events.jets import CONTAINS
from panoptag_pyg.events.schema import columns
from panoptag_pyg.events.thinning import drop_pfos

#: Steps of a whole turn by ``rotate_phi = "cells"``: 20° each, the widest cells of the shipped detector cards and a
#: multiple of all others.
PHI_CELLS = 18

_KNOWN = {
    "pfo": {"x", "pos", "batch", "ptr", "max_length", *(column.name for column in columns("pfo"))},
    "jet": {"x", "pos", "y", "batch", "ptr", "max_length", *(column.name for column in columns("jet"))},
    CONTAINS: {"edge_index", "max_length", *(column.name for column in columns("constituent"))},
    ATTENDS: {"edge_index"},
}
_KNOWN_OF_EVENTS = {"process", "weight", "event_id", *(column.name for column in columns("event"))}


class AugmentationSection(StrictConfig):
    """``[augmentation]``: what is done to training events, anew each time that they are seen; validation's stay."""

    rotate_phi: Annotated[
        bool | Literal["any", "cells"],
        Field(description="turn each event around the beam: 'any' angle (or true), or by whole 'cells' of 20°"),
    ] = False
    reflect_eta: Annotated[bool, Field(description="mirror half of the events, z to −z: η and dz change sign")] = False
    pfo_dropout: Annotated[float, Field(ge=0, lt=1, description="probability of each PFO to be lost")] = 0.0
    smear_energy: Annotated[
        float, Field(ge=0, description="further relative resolution of each PFO's energy and pT together; 0.05 is 5 %")
    ] = 0.0
    smear_impact_parameters: Annotated[
        float, Field(ge=0, description="further Gaussian error of each track's d0 and dz, in units of its own errors")
    ] = 0.0

    @field_validator("rotate_phi")
    @classmethod
    def _named(cls, value: bool | str) -> bool | str:
        return "any" if value is True else value

    @property
    def is_on(self) -> bool:
        """Whether anything is done at all."""
        return any(self.model_dump().values())


class Augmentation:
    """Makes of each batch another that the same physics gives as often, or one that was measured a little worse.

    All random numbers come from torch's own generator on the batch's device: one per event for its angle and one for
    its mirror image, one per PFO to be lost or smeared. Nothing is drawn for what is off. The given batch isn't
    changed.

    Args:
        section: what to do. Default: nothing, and the batch itself is returned.

    Raises:
        ConfigError: when called with a batch that holds something of which nobody says how it turns.
    """

    def __init__(self, section: AugmentationSection | None = None) -> None:
        self.section = section or AugmentationSection()

    @torch.no_grad()
    def __call__(self, batch: HeteroData) -> HeteroData:
        section = self.section
        if not section.is_on:
            return batch
        check_fields(batch)
        pfo = batch["pfo"]
        num_events, device = pfo.ptr.numel() - 1, pfo.x.device
        if section.pfo_dropout:
            batch = drop_pfos(batch, torch.rand(len(pfo.x), device=device) >= section.pfo_dropout)
        if section.smear_energy:
            variance = math.log1p(section.smear_energy**2)
            # The mean of the factor is 1, as that of the detector's own resolution.
            noise = torch.randn(len(batch["pfo"].x), device=device)
            batch = scale_energy(batch, math.sqrt(variance) * noise - variance / 2)
        if section.smear_impact_parameters:
            noise = torch.randn(len(batch["pfo"].x), 2, device=device)
            batch = shift_impact_parameters(batch, section.smear_impact_parameters * noise)
        if section.rotate_phi:
            part = torch.rand(num_events, device=device, dtype=torch.float64)
            if section.rotate_phi == "cells":
                part = (part * PHI_CELLS).floor() / PHI_CELLS
            batch = rotate(batch, (2 * part - 1) * math.pi)
        if section.reflect_eta:
            batch = reflect(batch, torch.rand(num_events, device=device) < 0.5)
        return batch

    def __repr__(self) -> str:
        on = ", ".join(f"{name}={value!r}" for name, value in self.section.model_dump().items() if value)
        return f"Augmentation({on})"


def check_fields(batch: HeteroData) -> None:
    """Refuse a batch that holds what this module doesn't know how to turn.

    Raises:
        ConfigError: naming it.
    """
    stores = [(key, batch[key], _KNOWN.get(key, set())) for key in (*batch.node_types, *batch.edge_types)]
    unknown = [f"batch[{key!r}].{name}" for key, store, known in stores for name in store.keys() if name not in known]  # noqa: SIM118
    unknown += [f"batch.{name}" for name in batch._global_store if name not in _KNOWN_OF_EVENTS]
    width = batch["pfo"].x.size(1)
    if width != len(PFO_FEATURES):
        raise ConfigError(f"[augmentation] knows the {len(PFO_FEATURES)} features of PFOs, the batch has {width}")
    if unknown:
        raise ConfigError(
            f"[augmentation] doesn't know what becomes of {unknown[0]} when an event is turned or loses PFOs; "
            "leave that out of the batch, or switch augmentation off"
        )


def rotate(batch: HeteroData, angle: Tensor) -> HeteroData:
    r"""Turn each event around the beam: φ → φ + α of all PFOs and jets, wrapped into [−π, π].

    Momenta turn with φ. Impact parameters stay: d0 and dz don't depend on where the x axis points.

    Args:
        batch: events.
        angle: α of each event, rad.

    Shapes: angle [B].
    """
    batch = copy.copy(batch)
    for name, column in (("pfo", _column("phi")), ("jet", JET_FEATURES.index("phi"))):
        store = batch[name]
        turn = angle.double()[store.batch]
        store.x, store.pos = store.x.clone(), store.pos.clone()
        store.x[:, column] = store.pos[:, 1] = _wrapped(store.x[:, column], turn)
        if "phi" in store:
            store.phi = _wrapped(store.phi, turn)
    return batch


def reflect(batch: HeteroData, mirrored: Tensor) -> HeteroData:
    r"""Mirror events in the plane across the beam, z → −z: η → −η, dz → −dz; all else stays, d0 too.

    The mirror takes (px, py, pz) to (px, py, −pz) and production vertices likewise. A magnetic field is an axial
    vector: its component along the mirror's normal, B_z, stays as it is. So a particle of the same charge bends the
    same way in the transverse plane, where d0 is measured, and moves along z the opposite way.

    Args:
        batch: events.
        mirrored: which events, bool.

    Shapes: mirrored [B].
    """
    batch = copy.copy(batch)
    for name, flipped in (("pfo", (_column("eta"), _column("dz"))), ("jet", (JET_FEATURES.index("eta"),))):
        store = batch[name]
        sign = torch.where(mirrored[store.batch], -1.0, 1.0).to(store.x.dtype)
        store.x, store.pos = store.x.clone(), store.pos.clone()
        store.pos[:, 0] *= sign
        for column in flipped:
            store.x[:, column] *= sign
        for column_name in ("eta", "dz"):
            if column_name in store:
                store[column_name] = store[column_name] * sign
    return batch


def scale_energy(batch: HeteroData, logarithm: Tensor) -> HeteroData:
    """Multiply energy and pT of each PFO by a common factor, which leaves its direction and its mass over energy.

    Jets keep their recorded kinematics, and a PFO without pT or energy stays without.

    Args:
        batch: events.
        logarithm: ln of the factor of each PFO.

    Shapes: logarithm [P].
    """
    batch = copy.copy(batch)
    store = batch["pfo"]
    logarithm = logarithm.to(store.x.dtype)
    store.x = store.x.clone()
    lowest = torch.tensor(math.log(MIN_ENERGY), dtype=store.x.dtype, device=store.x.device)
    for name in ("log_pt", "log_energy"):
        before = store.x[:, _column(name)]
        # At the floor stands everything that is smaller, 0 above all: of that nothing more is known.
        store.x[:, _column(name)] = torch.where(before > lowest, torch.maximum(before + logarithm, lowest), before)
    for name in ("pt", "energy"):
        if name in store:
            store[name] = store[name] * logarithm.exp()
    return batch


def shift_impact_parameters(batch: HeteroData, number: Tensor) -> HeteroData:
    """Shift d0 and dz of each track by so many of its own errors; what has no track or no error stays.

    Args:
        batch: events.
        number: of σ(d0) and σ(dz) for each PFO.

    Shapes: number [P, 2].
    """
    batch = copy.copy(batch)
    store = batch["pfo"]
    store.x = store.x.clone()
    has_track = store.x[:, _column("charge")] != 0
    for place, name in enumerate(("d0", "dz")):
        shift = store.x[:, _column(f"{name}_error")] * number[:, place].to(store.x.dtype) * has_track
        store.x[:, _column(name)] += shift
        if name in store:
            store[name] = store[name] + shift
    return batch


def _column(name: str) -> int:
    return PFO_FEATURES.index(name)


def _wrapped(phi: Tensor, turn: Tensor) -> Tensor:
    """φ + turn in [−π, π), computed in float64: rounding must not move constituents against their jet."""
    return (torch.remainder(phi.double() + turn + math.pi, 2 * math.pi) - math.pi).to(phi.dtype)
