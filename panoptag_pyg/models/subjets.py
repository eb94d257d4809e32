"""Kinematics of a jet's subjets from those of its constituents."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from panoptag_pyg.events.jets import JetView
from panoptag_pyg.ops.segment import segment_sum

#: What is known of a subjet: its direction to the jet's axis, ln pT, ln E, mass (GeV) and number of constituents.
SUBJET_FEATURES = ("delta_eta", "delta_phi", "log_pt", "log_energy", "mass", "num_constituents")

#: pT and E below this (GeV) have the logarithm of this, as those of PFOs.
_MIN_ENERGY = 1e-3


def subjet_features(jets: JetView, subjet: Tensor, axis: Tensor, num_subjets: int) -> tuple[Tensor, Tensor]:
    r"""Features of each jet's first subjets, from the sums of their constituents' four-momenta.

    .. math::
        p_s = \sum_{i \in s} p_i, \qquad
        \eta_s = \mathrm{asinh}(p_z / p_T), \qquad m_s^2 = \max(E^2 - |\vec p\,|^2, 0)

    Args:
        jets: the constituents.
        subjet: number of each constituent's subjet within its jet, −1 for none.
        axis: (η, φ) of the jets.
        num_subjets: M; later subjets are left out.

    Shapes:
        subjet [N], axis [J, 2] → features [J, M, 6], columns as in :data:`SUBJET_FEATURES`, 0 for subjets that a jet
        hasn't; taken bool [J, M].
    """
    num_jets = axis.size(0)
    kept = (subjet >= 0) & (subjet < num_subjets)
    # Those of no subjet add up in one further row, which is dropped.
    row = torch.where(kept, jets.jet * num_subjets + subjet, num_jets * num_subjets)
    parts = torch.cat([jets.momentum, torch.ones_like(jets.momentum[:, :1])], dim=1)
    total = segment_sum(parts, row, num_jets * num_subjets + 1)[:-1].view(num_jets, num_subjets, 5)
    energy, px, py, pz, number = total.unbind(-1)
    pt = torch.hypot(px, py)
    eta = torch.asinh(pz / pt.clamp(min=_MIN_ENERGY))
    delta_phi = torch.remainder(torch.atan2(py, px) - axis[:, 1:] + math.pi, 2 * math.pi) - math.pi
    mass = (energy**2 - pt**2 - pz**2).clamp(min=0).sqrt()
    logs = [value.clamp(min=_MIN_ENERGY).log() for value in (pt, energy)]
    features = torch.stack([eta - axis[:, :1], delta_phi, *logs, mass, number], dim=-1)
    taken = number > 0
    return features * taken.unsqueeze(-1), taken
