"""Neighbours in plain torch: tiles of distances, each row's k smallest taken from packed keys.

A key holds a float32 distance and, in the mantissa bits that float32 leaves free in a float64, the column: all
keys of a row differ, so the result is deterministic, ties go to the lower index, and one ``topk`` on integers
(quicker than on floats, which looks for NaN at each comparison) gives the neighbours directly.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptag_pyg.ops.metrics import Distance, find_metric, measure

#: Distances per tile on the CPU: 2 MiB of float64 keys, about one core's L2 cache.
TILE = 1 << 18
#: Distances per batched tile on a GPU.
DEVICE_TILE = 1 << 25
#: Up to this many coordinates, one pass per coordinate is quicker than a matrix product, and exact.
MAX_DIFFERENCES = 4
COLUMN_BITS = (1 << 29) - 1
#: The point itself, where it isn't wanted, is further away than anything; next come distances that aren't finite.
SELF = torch.finfo(torch.float32).max
FAR = 3.3e38
#: Metrics whose distances this file computes its own way; any other is measured by its definition.
FAST = ("euclidean", "wrapped_phi", "cosine")


def neighbour_table(x: Tensor, k: int, ptr: Tensor, metric: str | Distance, loop: bool) -> Tensor:
    """See :func:`panoptag_pyg.ops.neighbour_table`."""
    return _table(x, x, k, ptr, ptr, metric, "first" if loop else "last")


def cross_neighbour_table(x: Tensor, y: Tensor, k: int, x_ptr: Tensor, y_ptr: Tensor, metric: str | Distance) -> Tensor:
    """See :func:`panoptag_pyg.ops.cross_neighbour_table`."""
    return _table(x, y, k, x_ptr, y_ptr, metric, None)


def radius_edges(
    x: Tensor,
    y: Tensor,
    r: float,
    x_ptr: Tensor,
    y_ptr: Tensor,
    max_num_neighbors: int,
    metric: str | Distance,
    ignore_self: bool,
) -> Tensor:
    """See :func:`panoptag_pyg.ops.radius`."""
    found = find_metric(metric)
    limit = r * r if found.squared else r
    edges = [torch.empty(2, 0, dtype=torch.long, device=x.device)]
    itself = "last" if ignore_self else None
    for tile in _tiles(x.contiguous(), y.contiguous(), x_ptr.tolist(), y_ptr.tolist(), metric):
        distance, n = tile.distance, tile.distance.size(1)
        near = distance < limit
        if ignore_self:
            near.diagonal(tile.diagonal).fill_(False)
        degree = near.sum(1).clamp_(max=max_num_neighbors)
        widest = int(degree.max()) if n else 0
        if widest == 0:
            continue
        columns = _nearest(distance, min(widest, n), itself, tile.diagonal, metric)
        real = torch.arange(widest, device=x.device) < degree[:, None]
        centre = torch.arange(len(distance), device=x.device)[:, None].expand_as(columns)
        edges.append(torch.stack([centre[real] + tile.first_row, columns[real] + tile.first_column]))
    return torch.cat(edges, dim=1)


class _Tile(NamedTuple):
    distance: Tensor  # [R, N]: some rows of one event, all its candidates
    first_row: int
    first_column: int
    diagonal: int  # where the first row meets itself, if rows and candidates are one set


def _tiles(x: Tensor, y: Tensor, x_bounds: list[int], y_bounds: list[int], metric: str | Distance) -> Iterator[_Tile]:
    events = zip(itertools.pairwise(x_bounds), itertools.pairwise(y_bounds), strict=True)
    for (x_start, x_stop), (y_start, y_stop) in events:
        if y_start == y_stop or x_start == x_stop:
            continue
        columns = _prepared(x[x_start:x_stop], x[x_start:x_stop], metric)
        same = x is y
        rows = columns if same else _prepared(y[y_start:y_stop], x[x_start:x_stop], metric)
        step = max(1, TILE // len(columns))
        for first in range(0, len(rows), step):
            distance = _distances(rows[first : first + step], columns, metric)
            yield _Tile(distance, y_start + first, x_start, first)


def _table(
    x: Tensor, y: Tensor, k: int, x_ptr: Tensor, y_ptr: Tensor, metric: str | Distance, itself: str | None
) -> Tensor:
    table = torch.full((len(y), k), -1, dtype=torch.long, device=x.device)
    same = x is y
    x = x.contiguous()
    y = x if same else y.contiguous()
    x_bounds = x_ptr.tolist()
    y_bounds = x_bounds if same else y_ptr.tolist()
    if x.device.type != "cpu" and metric in FAST:
        _fill_on_device(table, x, y, x_bounds, y_bounds, metric, itself)
    else:
        for tile in _tiles(x, y, x_bounds, y_bounds, metric):
            degree = _degree(k, tile.distance.size(1), itself)
            nearest = _nearest(tile.distance, degree, itself, tile.diagonal, metric).add_(tile.first_column)
            _write(table[tile.first_row : tile.first_row + len(nearest)], nearest)
    return table


def _degree(k: int, num_candidates: int, itself: str | None) -> int:
    """Neighbours that a point can have, the point itself if it is alone."""
    if itself == "last" and num_candidates > 1:
        num_candidates -= 1
    return min(k, num_candidates)


def _write(table: Tensor, nearest: Tensor) -> None:
    degree = nearest.size(1)
    table[:, :degree] = nearest
    if degree < table.size(1):
        table[:, degree:] = table[:, :1]


def _fill_on_device(
    table: Tensor,
    x: Tensor,
    y: Tensor,
    x_bounds: list[int],
    y_bounds: list[int],
    metric: str | Distance,
    itself: str | None,
) -> None:
    """Several events at once, each padded to the longest of its tile: few launches for many small events."""
    columns = [stop - start for start, stop in itertools.pairwise(x_bounds)]
    rows = [stop - start for start, stop in itertools.pairwise(y_bounds)]
    event = 0
    while event < len(rows):
        last, widest, longest = event, 0, 0
        while last < len(rows):
            wider, longer = max(widest, columns[last]), max(longest, rows[last])
            if last > event and wider * longer * (last + 1 - event) > DEVICE_TILE:
                break
            widest, longest, last = wider, longer, last + 1
        if widest and longest:
            x_tile = _padded(x, x_bounds[event:last], columns[event:last], widest)
            y_tile = x_tile if x is y else _padded(y, y_bounds[event:last], rows[event:last], longest)
            _fill_padded(table, x_tile, y_tile, metric, itself)
        event = last


class _Padded(NamedTuple):
    points: Tensor  # [T, N, D]
    row: Tensor  # [T, N]: each slot's row in the flat tensor, 0 where padded
    real: Tensor  # [T, N]
    length: Tensor  # [T, 1]
    start: Tensor  # [T, 1]


def _padded(x: Tensor, starts: list[int], lengths: list[int], longest: int) -> _Padded:
    start = torch.tensor(starts, device=x.device)[:, None]
    length = torch.tensor(lengths, device=x.device)[:, None]
    slot = torch.arange(longest, device=x.device)
    real = slot < length
    row = torch.where(real, start + slot, 0)
    return _Padded(torch.where(real[..., None], x[row], 0.0), row, real, length, start)


def _fill_padded(table: Tensor, x: _Padded, y: _Padded, metric: str | Distance, itself: str | None) -> None:
    columns, rows = x.points, y.points
    if metric == "cosine":
        columns, rows = F.normalize(columns, dim=-1), F.normalize(rows, dim=-1)
    elif metric == "euclidean" and columns.size(-1) > MAX_DIFFERENCES:
        mean = _finite(columns.sum(1, keepdim=True) / x.length.clamp(min=1)[..., None])
        columns, rows = columns - mean, rows - mean
    distance = _distances(rows, columns, metric)
    distance.masked_fill_(~x.real[:, None, :], SELF if distance.dtype == torch.float32 else math.inf)
    k = table.size(1)
    widest = columns.size(1)
    nearest = _nearest(distance, min(k, widest), itself, 0, metric) + x.start[..., None]
    degree = x.length - 1 if itself == "last" else x.length
    if itself is not None:
        degree = degree.clamp(min=1)
    slot = torch.arange(k, device=table.device)
    repeated = torch.where(slot < degree, slot, 0)[:, None, :].clamp(max=nearest.size(-1) - 1)
    nearest = nearest.gather(2, repeated.expand(-1, nearest.size(1), -1))
    if itself is None:
        nearest = torch.where(x.length[..., None] > 0, nearest, -1)
    elif itself == "last":
        nearest = torch.where(x.length[..., None] > 1, nearest, x.start[..., None])
    table[y.row[y.real]] = nearest[y.real]


def _finite(mean: Tensor) -> Tensor:
    """One point that isn't finite must not spoil the others' distances."""
    return torch.nan_to_num(mean, nan=0.0, posinf=0.0, neginf=0.0)


def _prepared(points: Tensor, around: Tensor, metric: str | Distance) -> Tensor:
    if metric == "cosine":
        return F.normalize(points, dim=-1)
    if metric == "euclidean" and points.size(1) > MAX_DIFFERENCES:
        # |a|² + |b|² − 2ab loses digits when points lie far from the origin.
        return points - _finite(around.mean(0))
    return points


def _distances(rows: Tensor, columns: Tensor, metric: str | Distance) -> Tensor:
    """[…, R, D], […, N, D] → […, R, N], squared where the metric is: differences in few dimensions, else a product."""
    if metric not in FAST:
        return measure(find_metric(metric), rows, columns)
    if metric == "cosine":
        return (rows @ columns.transpose(-1, -2)).neg_().add_(1.0).clamp_(min=0.0)
    dim = rows.size(-1)
    if dim > MAX_DIFFERENCES:
        row_norm = rows.square().sum(-1, keepdim=True)
        column_norm = columns.square().sum(-1).unsqueeze(-2)
        product = (rows * -2.0) @ columns.transpose(-1, -2)
        return product.add_(column_norm).add_(row_norm).clamp_(min=0.0)
    total = rows.new_zeros(*rows.shape[:-1], columns.size(-2)) if dim == 0 else None
    for c in range(dim):
        delta = rows[..., :, None, c] - columns[..., None, :, c]
        if metric == "wrapped_phi" and c == 1:
            delta.sub_(torch.round(delta * (0.5 / math.pi)), alpha=2 * math.pi)
        total = delta.square_() if total is None else total.addcmul_(delta, delta)
    assert total is not None
    return total


def _nearest(distance: Tensor, degree: int, itself: str | None, diagonal: int, metric: str | Distance) -> Tensor:
    """Columns of the ``degree`` smallest entries of each row, ascending, ties by the lower column, NaN last.

    ``itself`` says where the point itself goes: ``"first"``, ``"last"``, or ``None`` for where its distance puts it.
    """
    if distance.dtype != torch.float32:
        return _sorted(distance, degree, itself, diagonal)
    if metric not in FAST:
        return _nearest_of_any_sign(distance, degree, itself, diagonal)
    distance = torch.nan_to_num_(distance, nan=FAR, posinf=FAR)
    if itself == "first":
        # It keeps its place before other zeros by a tiny offset of those.
        distance.add_(torch.finfo(torch.float32).tiny)
    if itself is not None:
        distance.diagonal(diagonal, -2, -1).fill_(0.0 if itself == "first" else SELF)
    n = distance.size(-1)
    keys = distance.double().view(torch.long)
    keys |= torch.arange(n, device=keys.device)
    groups = n // 4
    if keys.device.type == "cpu" and keys.dim() == 2 and groups > 2 * degree:
        # The k smallest lie in the k groups with the smallest minima; float minima are vectorised, int aren't.
        head = keys[:, : 4 * groups].view(-1, 4, groups)
        minima = head.view(torch.float64).amin(1).view(torch.long)
        best = minima.topk(degree, largest=False, sorted=False).indices
        candidates = head.gather(2, best[:, None, :].expand(-1, 4, -1)).flatten(1)
        keys = torch.cat([candidates, keys[:, 4 * groups :]], dim=1)
    return keys.topk(degree, largest=False).values.bitwise_and_(COLUMN_BITS)


def _sorted(distance: Tensor, degree: int, itself: str | None, diagonal: int) -> Tensor:
    num_rows, n = distance.shape[-2:]
    order = torch.where(distance.isnan(), math.inf, distance).sort(dim=-1, stable=True).indices
    if itself is not None and n > 1:
        own = torch.arange(diagonal, diagonal + num_rows, device=distance.device)[:, None].expand_as(order[..., :1])
        others = order[order != own].view(*order.shape[:-1], n - 1)
        order = torch.cat([own, others], dim=-1) if itself == "first" else others
    return order[..., :degree].contiguous()


def _nearest_of_any_sign(distance: Tensor, degree: int, itself: str | None, diagonal: int) -> Tensor:
    """As above, by whole numbers that order as floats do, the negative ones too, with the column below."""
    distance = torch.nan_to_num(distance, nan=math.inf, posinf=math.inf, neginf=-math.inf) + 0.0  # no -0.0
    bits = distance.contiguous().view(torch.int32).long()
    keys = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits) << 32
    keys |= torch.arange(distance.size(-1), device=keys.device)
    if itself is not None:
        own = torch.arange(diagonal, diagonal + len(keys), device=keys.device)
        keys.diagonal(diagonal).copy_(own + ((-0x80000000 if itself == "first" else 0x7FFFFFFF) << 32))
    return keys.topk(degree, largest=False).values & 0xFFFFFFFF
