"""What two particles are to each other: the pairwise features of the Particle Transformer, from their momenta.

The order of the operations, and where a logarithm is cut off, are weaver-core's: in float32 the invariant mass of
two light particles is mostly rounding, and a checkpoint was trained on that rounding.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.ops.pairs import pair_index

#: Logarithms are of at least this.
FLOOR = 1e-8
#: Names by number of features, in their order: 1 has ln ΔR alone.
PAIR_FEATURES = ("ln_kt", "ln_z", "ln_delta_r", "ln_m2", "ln_ds2")
#: Numbers of features that there can be.
NUM_FEATURES = (1, 3, 4, 5)


def pair_features(momentum: Tensor, ptr: Tensor, num_features: int = 4, self_pairs: bool = True) -> Tensor:
    r"""Features of all unordered pairs of particles of the same set.

    .. math::
        \Delta = \sqrt{(y_i - y_j)^2 + (\phi_i - \phi_j)^2}, \quad
        k_T = \min(p_{T,i}, p_{T,j}) \Delta, \quad
        z = \frac{\min(p_{T,i}, p_{T,j})}{p_{T,i} + p_{T,j}}, \quad
        m^2 = (E_i + E_j)^2 - |\vec p_i + \vec p_j|^2

    and with five features :math:`-(p_i - p_j)^2`; y is the rapidity, Δφ is wrapped. All are logarithms, of 1e-8 where
    the value is smaller. There are no gradients to the momenta: Δ has none for a particle and itself.

    Args:
        momentum: E, px, py, pz (GeV).
        ptr: first particle of each set, and P at the end.
        num_features: 4 (default): ln kT, ln z, ln Δ, ln m²; 3: the first three; 5: one more; 1: ln Δ alone.
        self_pairs: with those of a particle and itself. Default ``True``.

    Shapes:
        momentum [P, 4], ptr [B+1] → [T, num_features], T = Σ n (n + 1) / 2 (n (n − 1) / 2 without self-pairs), in the
        order of ``pair_index(ptr, lower=True)``; float32, or float64 for float64.

    Raises:
        ConfigError: for another number of features.

    Source: Qu, Li, Qian, *Particle Transformer for Jet Tagging*, arXiv:2202.03772, eq. 3.
    """
    check_num_features(num_features)
    query, key = pair_index(ptr, lower=True, self_pairs=self_pairs)
    with torch.no_grad():
        return of_pairs(particle_quantities(momentum), query, key, num_features).t()


def check_num_features(num_features: int) -> None:
    """Refuse a number of features that there is no definition for."""
    if num_features not in NUM_FEATURES:
        raise ConfigError(f"pair features come as {', '.join(map(str, NUM_FEATURES))} numbers, not {num_features}")


def particle_quantities(momentum: Tensor) -> Tensor:
    """px, py, pz, E, pT, rapidity and azimuth of each particle, as rows: [7, P]; float32 or float64."""
    momentum = momentum if momentum.dtype == torch.float64 else momentum.float()
    energy, px, py, pz = momentum.unbind(1)
    pt = torch.sqrt(px.square() + py.square())
    rapidity = 0.5 * torch.log(1 + (2 * pz) / (energy - pz).clamp(min=1e-20))
    return torch.stack([px, py, pz, energy, pt, rapidity, torch.atan2(py, px)])


def of_pairs(particles: Tensor, query: Tensor, key: Tensor, num_features: int) -> Tensor:
    """Features of pairs, as rows: [num_features, T], from :func:`particle_quantities`."""
    momentum_i, momentum_j = particles[:4].index_select(1, query), particles[:4].index_select(1, key)
    (pt_i, y_i, phi_i), (pt_j, y_j, phi_j) = (particles[4:].index_select(1, index).unbind(0) for index in (query, key))
    delta_phi = (phi_i - phi_j + math.pi) % (2 * math.pi) - math.pi
    delta = ((y_i - y_j) ** 2 + delta_phi**2).sqrt()
    ln_delta = delta.clamp(min=FLOOR).log()
    if num_features == 1:
        return ln_delta[None]
    smaller = torch.minimum(pt_i, pt_j)
    features = [
        (smaller * delta).clamp(min=FLOOR).log(),
        (smaller / (pt_i + pt_j).clamp(min=FLOOR)).clamp(min=FLOOR).log(),
        ln_delta,
    ]
    if num_features > 3:
        features.append(_mass2(momentum_i + momentum_j).clamp(min=FLOOR).log())
    if num_features > 4:
        features.append((-_mass2(momentum_i - momentum_j)).clamp(min=FLOOR).log())
    return torch.stack(features)


def _mass2(momentum: Tensor) -> Tensor:
    px, py, pz, energy = momentum.unbind(0)
    return energy.square() - (px.square() + py.square() + pz.square())
