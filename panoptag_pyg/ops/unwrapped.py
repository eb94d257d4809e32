"""Neighbours across φ = ±π as points of their own, so that plain differences of φ are wrapped ones.

How many such points there are depends on the data, so this is an operation of torch's own, into which
``torch.compile`` doesn't look.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def unwrapped_neighbours(pos: Tensor, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""A table of neighbours in which :math:`\phi_j - \phi_i` lies in [−π, π] for every neighbour j of i.

    A neighbour across φ = ±π is replaced by a copy of it with φ ± 2π, which stands behind all points; in the nearest
    neighbours of an event these are a few per cent.

    Args:
        pos: (η, φ) of the points.
        table: neighbours of each point.

    Shapes:
        pos [P, 2], table [P, k] → source [P + G] (which point each row is), positions [P + G, 2] (φ of the points
        wrapped), table [P + G, k] (copies have themselves for neighbours). No gradients.
    """
    return _unwrapped_neighbours(pos.detach(), table)


@torch.library.custom_op("panoptag_pyg::unwrapped_neighbours", mutates_args=())
def _unwrapped_neighbours(pos: Tensor, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    num_points = len(pos)
    eta, phi = pos.unbind(1)
    phi = torch.remainder(phi + math.pi, 2 * math.pi) - math.pi
    turns = -torch.round((phi[table] - phi[:, None]) / (2 * math.pi)).long()
    across = turns != 0
    copies, place = torch.unique(3 * table[across] + turns[across] + 1, return_inverse=True)
    source = torch.cat([torch.arange(num_points, device=pos.device), copies // 3])
    shift = torch.cat([torch.zeros_like(phi), (copies % 3 - 1).to(phi.dtype) * 2 * math.pi])
    changed = table.clone()
    changed[across] = num_points + place.to(table.dtype)
    of_copies = torch.arange(num_points, len(source), device=pos.device, dtype=table.dtype)
    changed = torch.cat([changed, of_copies[:, None].expand(-1, table.size(1))])
    return source, torch.stack([eta[source], phi[source] + shift], dim=1), changed


@_unwrapped_neighbours.register_fake
def _(pos: Tensor, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    rows = torch.library.get_ctx().new_dynamic_size()
    source = table.new_empty(rows, dtype=torch.long)
    return source, pos.new_empty(rows, 2), table.new_empty(rows, table.size(1))
