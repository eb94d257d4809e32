"""Nearest neighbours in plain ATen: all distances of each event at once, and the k smallest of each row."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from panoptag_pyg.export.plain.layout import Layout, layout_of
from panoptag_pyg.export.plain.registry import plain
from panoptag_pyg.ops.metrics import find_metric
from panoptag_pyg.ops.neighbours_torch import FAR, MAX_DIFFERENCES, SELF


@plain("neighbour_table")
def neighbour_table(x: Tensor, k: int, ptr: Tensor, metric: str, loop: bool, backend: str) -> Tensor:
    """See :func:`panoptag_pyg.ops.neighbour_table`."""
    x = _unrounded(x)
    layout = layout_of(ptr, x.size(0))
    points = _prepared(layout.pad(x), layout, metric)
    distance = _distances(points, points, metric)
    place = torch.arange(layout.width, device=x.device)
    itself = place[:, None] == place
    if loop:
        distance = torch.where(itself, -1.0, distance)
    else:
        distance = torch.where(itself, SELF, distance)
    columns = _nearest(distance, layout.real[:, None], k)
    degree = layout.count if loop else layout.count - 1
    return layout.unpad(_full(columns, degree.clamp(min=1)) + ptr[:-1, None, None])


@plain("cross_neighbour_table")
def cross_neighbour_table(
    x: Tensor, y: Tensor, k: int, x_ptr: Tensor, y_ptr: Tensor, metric: str, backend: str
) -> Tensor:
    """See :func:`panoptag_pyg.ops.cross_neighbour_table`."""
    x, y = _unrounded(x), _unrounded(y)
    candidates, centres = layout_of(x_ptr, x.size(0)), layout_of(y_ptr, y.size(0))
    columns = candidates.pad(x)
    rows = centres.pad(y)
    if metric == "euclidean" and x.size(1) > MAX_DIFFERENCES:
        mean = _mean(columns, candidates)
        columns, rows = columns - mean, rows - mean
    nearest = _nearest(_distances(rows, columns, metric), candidates.real[:, None], k)
    table = _full(nearest, candidates.count) + x_ptr[:-1, None, None]
    return centres.unpad(torch.where(candidates.count[:, None, None] > 0, table, -1))


@plain("unwrapped_neighbours")
def unwrapped_neighbours(pos: Tensor, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`panoptag_pyg.ops.unwrapped.unwrapped_neighbours`; the same copies in the same order."""
    num_points, k = pos.size(0), table.size(1)
    eta, phi = pos[:, 0], torch.remainder(pos[:, 1] + math.pi, 2 * math.pi) - math.pi
    turns = -torch.round((phi[table] - phi[:, None]) / (2 * math.pi)).long()
    key = 3 * table + turns + 1  # three places for each point: a turn back, itself, a turn on
    used = torch.zeros(3 * num_points, dtype=torch.int64, device=pos.device)
    used = used.scatter(0, key.flatten(), (turns != 0).long().flatten())
    copies = used.nonzero()[:, 0]
    place = num_points + used.cumsum(0) - 1
    points = torch.arange(num_points, device=pos.device)
    source = torch.cat([points, copies // 3])
    shift = torch.cat([torch.zeros_like(phi), (copies % 3 - 1).to(phi.dtype) * (2 * math.pi)])
    of_copies = num_points + torch.arange(copies.size(0), device=pos.device)
    changed = torch.cat([torch.where(turns != 0, place[key], table), of_copies[:, None].expand(-1, k)])
    return source, torch.stack([eta[source], phi[source] + shift], dim=1), changed


def _unrounded(x: Tensor) -> Tensor:
    """In 16 bits neighbours would be others, and a point as far from itself as what isn't there.

    Autocast leaves nothing but float64 as it is.
    """
    rounded = x.dtype in (torch.float16, torch.bfloat16) or torch.is_autocast_enabled(x.device.type)
    return x.double() if rounded else x


def _prepared(points: Tensor, layout: Layout, metric: str) -> Tensor:
    """As :mod:`panoptag_pyg.ops.neighbours_torch`: |a|² + |b|² − 2ab loses digits far from the origin."""
    if metric == "euclidean" and points.size(2) > MAX_DIFFERENCES:
        return points - _mean(points, layout)
    return points


def _mean(points: Tensor, layout: Layout) -> Tensor:
    mean = points.sum(1, keepdim=True) / layout.count.clamp(min=1).to(points.dtype)[:, None, None]
    return torch.where(mean.abs() < torch.inf, mean, 0.0)


def _distances(rows: Tensor, columns: Tensor, metric: str) -> Tensor:
    """[S, R, D], [S, N, D] → [S, R, N], squared where the metric is; sums in the order of the eager kernels."""
    if metric == "cosine":
        rows, columns = (x / x.square().sum(-1, keepdim=True).sqrt().clamp(min=1e-12) for x in (rows, columns))
        return (1.0 - rows @ columns.transpose(1, 2)).clamp(min=0.0)
    if metric not in ("euclidean", "wrapped_phi"):
        found = find_metric(metric).distance
        return torch.vmap(found)(rows, columns)
    dim = rows.size(2)
    if dim > MAX_DIFFERENCES:
        product = (rows * -2.0) @ columns.transpose(1, 2)
        column_norm = columns.square().sum(-1)[:, None]
        return (product + column_norm + rows.square().sum(-1, keepdim=True)).clamp(min=0.0)
    total = rows.new_zeros(rows.size(0), rows.size(1), columns.size(1))
    for c in range(dim):
        delta = rows[:, :, None, c] - columns[:, None, :, c]
        if metric == "wrapped_phi" and c == 1:
            delta = delta - torch.round(delta * (0.5 / math.pi)) * (2 * math.pi)
        total = total + delta * delta
    return total


def _nearest(distance: Tensor, real: Tensor, k: int) -> Tensor:
    """Columns of the k smallest entries of each row, ascending, ties by the lower column, then those not real.

    ``topk`` leaves open which of equals it takes. A float32 distance leaves 29 bits of a float64's mantissa free: a
    factor 1 + column · 2⁻⁵² makes all keys of a row differ without passing the next distance.
    """
    missing = real.new_zeros(1).expand(*real.shape[:-1], k)  # so that there are k to take
    real = torch.cat([real, missing], dim=-1)
    distance = torch.cat([distance, distance.new_zeros(1).expand(*distance.shape[:-1], k)], dim=-1)
    # A comparison with what isn't a number is false.
    distance = torch.where((distance <= FAR) | (distance == SELF), distance, FAR).double()
    column = torch.arange(distance.size(-1), device=distance.device, dtype=torch.float64)
    key = (distance + 1e-300) * (1.0 + column * 2.0**-52)
    return torch.where(real, key, torch.inf).topk(k, largest=False).indices


def _full(columns: Tensor, degree: Tensor) -> Tensor:
    """The nearest repeated in the slots behind the first ``degree``: [S, R, k], [S] → [S, R, k]."""
    slot = torch.arange(columns.size(2), device=columns.device)
    slot = torch.where(slot < degree[:, None], slot, 0)
    return columns.gather(2, slot[:, None].expand(-1, columns.size(1), -1))
