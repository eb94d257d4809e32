"""Float64 brute force with a stable sort: the yardstick of every backend that finds neighbours."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from panoptag_pyg.ops.metrics import Distance, find_metric, measure


def neighbour_table(x: Tensor, k: int, ptr: Tensor, metric: str | Distance, loop: bool) -> Tensor:
    """See :func:`panoptag_pyg.ops.neighbour_table`."""
    table = torch.empty(len(x), k, dtype=torch.long, device=x.device)
    for row, _, order in _orders(x, x, ptr, ptr, metric):
        others = order[order != row]
        found = torch.cat([order.new_tensor([row]), others]) if loop or not len(others) else others
        table[row] = _filled(found, k)
    return table


def cross_neighbour_table(x: Tensor, y: Tensor, k: int, x_ptr: Tensor, y_ptr: Tensor, metric: str | Distance) -> Tensor:
    """See :func:`panoptag_pyg.ops.cross_neighbour_table`."""
    table = torch.full((len(y), k), -1, dtype=torch.long, device=x.device)
    for row, _, order in _orders(x, y, x_ptr, y_ptr, metric):
        if len(order):
            table[row] = _filled(order, k)
    return table


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
    limit = r * r if find_metric(metric).squared else r
    edges = [torch.empty(2, 0, dtype=torch.long, device=x.device)]
    for row, distance, order in _orders(x, y, x_ptr, y_ptr, metric):
        near = order[distance < limit]
        if ignore_self:
            near = near[near != row]
        near = near[:max_num_neighbors]
        edges.append(torch.stack([torch.full_like(near, row), near]))
    return torch.cat(edges, dim=1)


def _filled(found: Tensor, k: int) -> Tensor:
    """The first k, the nearest one repeated where there are fewer."""
    slot = torch.arange(k, device=found.device)
    return found[torch.where(slot < len(found), slot, 0)]


def _orders(
    x: Tensor, y: Tensor, x_ptr: Tensor, y_ptr: Tensor, metric: str | Distance
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """For each row of y: its index, ascending distances to its event's rows of x (NaN last), and their indices."""
    events = zip(itertools.pairwise(x_ptr.tolist()), itertools.pairwise(y_ptr.tolist()), strict=True)
    for (x_start, x_stop), (y_start, y_stop) in events:
        if y_start == y_stop:
            continue
        distance = measure(find_metric(metric), y[y_start:y_stop].double(), x[x_start:x_stop].double())
        distance = torch.where(distance.isnan(), math.inf, distance)
        for row in range(y_start, y_stop):
            ascending, order = distance[row - y_start].sort(stable=True)
            yield row, ascending, order + x_start
