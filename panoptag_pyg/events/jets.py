"""The single-jet view: a batch of events as a batch of jets, each the ragged set of its constituents."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events.features import PFO_FEATURES

#: The edge type that joins each jet with its constituents.
CONTAINS = ("jet", "contains", "pfo")

_ETA, _PHI = PFO_FEATURES.index("eta"), PFO_FEATURES.index("phi")
_LOG_PT, _LOG_ENERGY = PFO_FEATURES.index("log_pt"), PFO_FEATURES.index("log_energy")


@dataclass
class JetView:
    """J jets with N constituents in all, in the order of the batch's jets.

    Attributes:
        x: raw features of the constituents [N, 14], columns as in
            :data:`~panoptag_pyg.events.features.CONSTITUENT_FEATURES`.
        pos: (Δη, Δφ) of each to its jet's axis [N, 2].
        momentum: (E, px, py, pz) of each in GeV [N, 4].
        ptr: first constituent of each jet [J + 1].
        jet: jet of each constituent [N].
        pfo: row of each constituent among the batch's PFOs [N].
        max_length: constituents of the largest jet, where the batch knows it.
    """

    x: Tensor
    pos: Tensor
    momentum: Tensor
    ptr: Tensor
    jet: Tensor
    pfo: Tensor
    max_length: int | None


def jet_view(batch: HeteroData) -> JetView:
    """See a batch of events as its jets; a PFO that two jets share is there twice.

    Args:
        batch: events with constituents, as ``EventDataset(..., fields=["constituents"])`` gives them.

    Raises:
        ConfigError: if the batch has no constituents.
    """
    if CONTAINS not in batch.edge_types:
        raise ConfigError(
            "the batch has no constituents of jets; read the events with EventDataset(..., fields=['constituents'])"
        )
    edges = batch[CONTAINS]
    jet, pfo = edges.edge_index[0], edges.edge_index[1]
    axis = batch["jet"].pos
    num_jets = axis.size(0)
    ptr = torch.searchsorted(jet, torch.arange(num_jets + 1, device=jet.device))
    x = batch["pfo"].x[pfo]
    delta = x[:, [_ETA, _PHI]] - axis[jet]
    delta_phi = torch.remainder(delta[:, 1] + math.pi, 2 * math.pi) - math.pi
    pos = torch.stack([delta[:, 0], delta_phi], dim=1)
    features = torch.cat([pos, x[:, 2:]], dim=1)
    return JetView(features, pos, momentum(x), ptr, jet, pfo, edges.get("max_length"))


def pfo_momentum(batch: HeteroData) -> Tensor:
    """(E, px, py, pz) of each PFO of a batch in GeV [P, 4]; see :func:`momentum`."""
    return momentum(batch["pfo"].x)


def momentum(x: Tensor) -> Tensor:
    r"""Four-momenta from raw PFO features.

    .. math::
        p = (E,\ p_T \cos\phi,\ p_T \sin\phi,\ p_T \sinh\eta), \qquad E = \max(e^{\ln E}, |\vec p\,|)

    The energy is never below the momentum: rounding would otherwise make masses imaginary. Computed in float64 and
    rounded once, so that every machine and runtime gets the same float32 numbers, whatever its exp and cos round to:
    the invariant mass of two light particles is a difference of such numbers, and magnifies what they differ by.

    Args:
        x: raw features, columns as in :data:`~panoptag_pyg.events.features.PFO_FEATURES`.

    Shapes:
        x [N, 14] → [N, 4], GeV, in x's type.
    """
    wide = torch.float32 if x.device.type == "mps" else torch.float64  # Apple's GPUs have no other
    log_pt, log_energy, eta, phi = (x[:, column].to(wide) for column in (_LOG_PT, _LOG_ENERGY, _ETA, _PHI))
    pt, forward, backward = log_pt.exp(), eta.exp(), (-eta).exp()
    pz, least = pt * (forward - backward) / 2, pt * (forward + backward) / 2
    energy = torch.maximum(log_energy.exp(), least)
    return torch.stack([energy, pt * phi.cos(), pt * phi.sin(), pz], dim=1).to(x.dtype)
