"""What pairs of particles are to each other, in plain ATen: a square for each set, see :class:`PlainOperations`."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptag_pyg.export.plain.layout import layout_of, set_of_rows
from panoptag_pyg.export.plain.registry import plain
from panoptag_pyg.ops.pair_embedding import ACTIVATIONS
from panoptag_pyg.ops.pair_features import FLOOR, particle_quantities
from panoptag_pyg.ops.relations import MIN_DELTA_R


@plain("pair_embedding")
def pair_embedding(
    momentum: Tensor, ptr: Tensor, parameters: list[Tensor], activation: str, last_activation: bool, self_pairs: bool
) -> Tensor:
    """See :func:`panoptag_pyg.ops.pair_embedding`; [S · L · L, H]."""
    layout = layout_of(ptr, momentum.size(0))
    place = torch.arange(layout.width, device=ptr.device)
    particles = layout.pad(particle_quantities(momentum).t())
    x = _features(particles, place, parameters[0].size(1)).to(parameters[0].dtype)
    for i in range(0, len(parameters), 2):
        x = F.linear(x, parameters[i], parameters[i + 1])
        if i + 2 < len(parameters) or last_activation:
            x = ACTIVATIONS[activation](x)
    if not self_pairs:
        x = torch.where((place[:, None] == place)[:, :, None], 0.0, x)
    return x.flatten(0, 2)


def _features(particles: Tensor, place: Tensor, num_features: int) -> Tensor:
    """Those of :func:`panoptag_pyg.ops.pair_features`, operation by operation: [S, L, 7] → [S, L, L, num_features].

    Of a pair, the later particle counts as the first, as where only half of the pairs is computed: then rounding is
    the same.
    """
    px, py, pz, energy, pt, rapidity, phi = particles.unbind(-1)
    sign = torch.where(place[:, None] >= place, 1.0, -1.0).to(particles.dtype)

    def difference(x: Tensor) -> Tensor:
        return (x[:, :, None] - x[:, None]) * sign

    def total(x: Tensor) -> Tensor:
        return x[:, :, None] + x[:, None]

    delta_phi = torch.remainder(difference(phi) + math.pi, 2 * math.pi) - math.pi
    delta = (difference(rapidity) ** 2 + delta_phi**2).sqrt()
    ln_delta = delta.clamp(min=FLOOR).log()
    if num_features == 1:
        return ln_delta[..., None]
    smaller = torch.minimum(pt[:, :, None], pt[:, None])
    features = [
        (smaller * delta).clamp(min=FLOOR).log(),
        (smaller / total(pt).clamp(min=FLOOR)).clamp(min=FLOOR).log(),
        ln_delta,
    ]
    if num_features > 3:
        features.append(_mass2(*(total(p) for p in (px, py, pz, energy))).clamp(min=FLOOR).log())
    if num_features > 4:
        features.append((-_mass2(*(difference(p) for p in (px, py, pz, energy)))).clamp(min=FLOOR).log())
    return torch.stack(features, dim=-1)


def _mass2(px: Tensor, py: Tensor, pz: Tensor, energy: Tensor) -> Tensor:
    return energy.square() - (px.square() + py.square() + pz.square())


@plain("relations")
def relations(
    query_pos: Tensor,
    query_ln_pt: Tensor,
    key_pos: Tensor,
    key_ln_pt: Tensor,
    query_ptr: Tensor,
    key_ptr: Tensor,
    members: Tensor,
) -> Tensor:
    """See :func:`panoptag_pyg.ops.relations`; [S · Q · K, 5]."""
    queries, keys = layout_of(query_ptr, query_ln_pt.size(0)), layout_of(key_ptr, key_ln_pt.size(0))
    delta = keys.pad(key_pos)[:, None] - queries.pad(query_pos)[:, :, None]
    delta_eta, delta_phi = delta[..., 0], _wrapped(delta[..., 1])
    delta_r = (delta_eta.square() + delta_phi.square()).sqrt().clamp(min=MIN_DELTA_R)
    ratio = keys.pad(key_ln_pt)[:, None] - queries.pad(query_ln_pt)[:, :, None]
    columns = [delta_eta, delta_phi, delta_r.log(), ratio]
    flat = [column.flatten() for column in columns]
    jet, pfo = members[0], members[1]
    place_of_pfo = keys.slot - keys.event * keys.width
    pair = queries.slot.index_select(0, jet) * keys.width + place_of_pfo.index_select(0, pfo)
    member = torch.zeros_like(flat[3]).scatter(0, pair, torch.ones_like(pair, dtype=ratio.dtype))
    return torch.stack([*flat, member], dim=1)


@plain("pairs_within")
def pairs_within(delta_r: float, query_pos: Tensor, key_pos: Tensor, query_ptr: Tensor, key_ptr: Tensor) -> Tensor:
    """See :func:`panoptag_pyg.ops.relations.pairs_within`; real pairs, found among all of the call."""
    queries, keys = layout_of(query_ptr, query_pos.size(0)), layout_of(key_ptr, key_pos.size(0))
    delta_eta = key_pos[None, :, 0] - query_pos[:, None, 0]
    delta_phi = _wrapped(key_pos[None, :, 1] - query_pos[:, None, 1])
    near = torch.hypot(delta_eta, delta_phi) < delta_r
    return (near & (queries.event[:, None] == keys.event)).nonzero().t()


@plain("pair_index")
def pair_index(ptr: Tensor, lower: bool, self_pairs: bool) -> Tensor:
    """See :func:`panoptag_pyg.ops.pair_index`; real pairs, found among all of the call."""
    num_rows = ptr[-1].item()
    torch._check(num_rows >= 0)
    row = torch.arange(num_rows, device=ptr.device)
    event = set_of_rows(ptr[1:], num_rows)  # type: ignore[arg-type]
    wanted = event[:, None] == event
    if lower:
        wanted = wanted & (row[:, None] >= row)
    if not self_pairs:
        wanted = wanted & (row[:, None] != row)
    return wanted.nonzero().t()


@plain("transpose_pairs")
def transpose_pairs(x: Tensor, mirrored: Tensor) -> Tensor:
    """See :func:`panoptag_pyg.ops.ragged_pairs.transpose_pairs`."""
    return x.index_select(0, mirrored)


@plain("leading_rows")
def leading_rows(key: Tensor, ptr: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See :func:`panoptag_pyg.ops.ragged_pairs.leading_rows`."""
    layout = layout_of(ptr, key.size(0))
    order = key.argsort(descending=True, stable=True)
    order = order[layout.event[order].argsort(stable=True)]
    place = torch.arange(key.size(0), device=key.device)
    rank = torch.zeros_like(order).scatter(0, order, place) - ptr[layout.event]
    leads = layout.count.clamp(max=count)
    bounds = [torch.cat([ptr.new_zeros(1), number.cumsum(0)]) for number in (leads, layout.count - leads)]
    return (rank < count).nonzero()[:, 0], bounds[0], (rank >= count).nonzero()[:, 0], bounds[1]


def _wrapped(delta_phi: Tensor) -> Tensor:
    return torch.remainder(delta_phi + math.pi, 2 * math.pi) - math.pi
