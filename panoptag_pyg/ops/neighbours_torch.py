"""k nearest neighbours in plain torch: tiles of distances, each row's k smallest taken from packed keys.

A key holds a float32 distance and, in the mantissa bits that float32 leaves free in a float64, the column: all
keys of a row differ, so the result is deterministic, ties go to the lower index, and one ``topk`` on integers
(quicker than on floats, which looks for NaN at each comparison) gives the neighbours directly.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Distances per tile on the CPU: 2 MiB of float64 keys, about one core's L2 cache.
TILE = 1 << 18
#: Distances per batched tile on a GPU.
DEVICE_TILE = 1 << 25
COLUMN_BITS = (1 << 29) - 1
FAR = torch.finfo(torch.float32).max


def neighbour_table(x: Tensor, k: int, ptr: Tensor, metric: str, loop: bool) -> Tensor:
    """See :func:`panoptag_pyg.ops.neighbour_table`."""
    table = torch.empty(len(x), k, dtype=torch.long, device=x.device)
    bounds = ptr.tolist()
    fill = _fill_on_device if x.device.type != "cpu" else _fill_event_by_event
    fill(table, x.contiguous(), k, bounds, metric, loop)
    return table


def _fill_event_by_event(table: Tensor, x: Tensor, k: int, bounds: list[int], metric: str, loop: bool) -> None:
    for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
        n = stop - start
        if n == 0:
            continue
        degree = min(k, n if loop or n == 1 else n - 1)
        points = _centred(x[start:stop], metric)
        rows = max(1, TILE // n)
        for first in range(0, n, rows):
            last = min(first + rows, n)
            distance = _squared_distances(points[first:last], points, metric)
            distance.diagonal(first).fill_(-1.0 if loop else FAR)
            nearest = _smallest(distance, degree, -1 if loop else 0)
            tile = table[start + first : start + last]
            tile[:, :degree] = nearest.add_(start)
            if degree < k:
                tile[:, degree:] = tile[:, :1]


def _fill_on_device(table: Tensor, x: Tensor, k: int, bounds: list[int], metric: str, loop: bool) -> None:
    """Several events at once, each padded to the longest of its tile: few launches for many small events."""
    lengths = [stop - start for start, stop in zip(bounds[:-1], bounds[1:], strict=True)]
    event = 0
    while event < len(lengths):
        last, longest = event, 0
        while last < len(lengths):
            grown = max(longest, lengths[last])
            if last > event and grown * grown * (last + 1 - event) > DEVICE_TILE:
                break
            longest, last = grown, last + 1
        if longest:
            _fill_tile(table, x, k, bounds[event:last], lengths[event:last], longest, metric, loop)
        event = last


def _fill_tile(
    table: Tensor,
    x: Tensor,
    k: int,
    starts: list[int],
    lengths: list[int],
    longest: int,
    metric: str,
    loop: bool,
) -> None:
    start = torch.tensor(starts, device=x.device)[:, None]
    length = torch.tensor(lengths, device=x.device)[:, None]
    slot = torch.arange(longest, device=x.device)
    real = slot < length
    row = torch.where(real, start + slot, 0)
    points = x[row]
    if metric == "euclidean":
        mean = (points * real[..., None]).sum(1, keepdim=True) / length.clamp(min=1)[..., None]
        points = points - mean
    distance = _squared_distances(points, points, metric)
    distance.masked_fill_(~real[:, None, :], math.inf)
    distance.diagonal(dim1=1, dim2=2).fill_(-1.0 if loop else FAR)
    nearest = _smallest(distance, min(k, longest), -1 if loop else 0)
    degree = length if loop else (length - 1).clamp(min=1)
    wanted = torch.arange(k, device=x.device)
    wanted = torch.where(wanted < degree, wanted, 0)[:, None, :].expand(-1, longest, -1)
    table[row[real]] = (nearest.gather(2, wanted) + start[..., None])[real]


def _centred(points: Tensor, metric: str) -> Tensor:
    # |a|² + |b|² − 2ab loses digits when points lie far from the origin.
    return points - points.mean(0) if metric == "euclidean" and points.size(1) > 2 else points


def _squared_distances(rows: Tensor, columns: Tensor, metric: str) -> Tensor:
    """[…, R, D], […, N, D] → […, R, N]: differences in one or two dimensions, one matrix product in more."""
    if rows.size(-1) <= 2:
        total = None
        for c in range(rows.size(-1)):
            delta = rows[..., :, None, c] - columns[..., None, :, c]
            if metric == "wrapped_phi" and c == 1:
                # round() is exact for any number of turns, and quicker than remainder().
                delta -= torch.round(delta / (2 * math.pi)).mul_(2 * math.pi)
            total = delta.square_() if total is None else total.addcmul_(delta, delta)
        return rows.new_zeros(*rows.shape[:-1], columns.size(-2)) if total is None else total
    row_norm = rows.square().sum(-1, keepdim=True)
    column_norm = columns.square().sum(-1).unsqueeze(-2)
    product = (rows * -2.0) @ columns.transpose(-1, -2)
    return product.add_(column_norm).add_(row_norm).clamp_(min=0.0)


def _smallest(distance: Tensor, degree: int, self_key: int) -> Tensor:
    """Columns of the ``degree`` smallest entries of each row, ascending, ties by the lower column."""
    if distance.dtype == torch.float64:
        distance = torch.nan_to_num(distance, nan=math.inf)
        return distance.sort(dim=-1, stable=True).indices[..., :degree].contiguous()
    n = distance.size(-1)
    # Keys must be finite (an infinity with mantissa bits set is NaN) and not negative (their bits must ascend);
    # the point itself, at −1 when it counts, keeps its place before the other zeros by a tiny offset of those.
    if self_key == -1:
        distance = torch.where(distance < 0, 0.0, distance + torch.finfo(torch.float32).tiny)
    distance = torch.nan_to_num_(distance, nan=FAR, posinf=FAR)
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
