"""The k nearest neighbours within each event, as a table [P, k] or as PyG's ``edge_index``."""

from __future__ import annotations

import itertools
import math
import os

import torch
from torch import Tensor

from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.ops import neighbours_torch
from panoptag_pyg.ops.ragged import batch_from_ptr, ptr_from_batch
from panoptag_pyg.ops.registry import find, register_backend

METRICS = ("euclidean", "wrapped_phi")


@torch.compiler.disable
@torch.no_grad()
def neighbour_table(
    x: Tensor, k: int, ptr: Tensor, metric: str = "euclidean", loop: bool = False, backend: str = "auto"
) -> Tensor:
    r"""The k nearest neighbours of every point among its own event's points, nearest first.

    .. math::
        d_{ij}^2 = \sum_c (x_{ic} - x_{jc})^2 \quad\text{or, wrapped,}\quad
        (\eta_i - \eta_j)^2 + \big((\phi_i - \phi_j + \pi) \bmod 2\pi - \pi\big)^2

    The table is always full, so a maximum over the k neighbours needs no mask: where an event has fewer
    than k other points, the remaining slots repeat the nearest one, and a point that is alone is its own
    neighbour. :func:`neighbour_mask` tells real slots from repeated ones. Equal distances: the lower index
    comes first. Distances are computed in float32, or float64 for float64 input. The result is the same on
    every run, and never depends on the other events of the batch.

    Args:
        x: coordinates; ``"wrapped_phi"`` takes exactly two, (eta, phi).
        k: number of neighbours, at least 1.
        ptr: first row of each event, and P at the end.
        metric: ``"euclidean"`` (default) or ``"wrapped_phi"``.
        loop: count the point itself as its own nearest neighbour. Default ``False``.
        backend: ``"auto"`` (default), or a name of ``ops.available("knn_graph")``.

    Shapes:
        x [P, D], ptr [B+1] → [P, k], int64 indices into x.

    Raises:
        ValueError: for k < 1 or a wrong shape; with ``PANOPTAG_DEBUG=1`` also for NaN or infinite coordinates
            (else such points get arbitrary neighbours of their own event).
        ConfigError: for an unknown metric or backend.
    """
    if metric not in METRICS:
        raise ConfigError(f"there is no metric '{metric}'{suggest(metric, METRICS)}")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if x.dim() != 2 or (metric == "wrapped_phi" and x.size(1) != 2):
        expected = "[P, 2] (eta, phi)" if metric == "wrapped_phi" else "[P, D]"
        raise ValueError(f"x must have the shape {expected}, got {list(x.shape)}")
    if os.environ.get("PANOPTAG_DEBUG") == "1" and not bool(torch.isfinite(x).all()):
        row = int((~torch.isfinite(x)).any(1).nonzero()[0])
        raise ValueError(f"coordinates must be finite: row {row} is {x[row].tolist()}")
    x = x.detach()
    if x.dtype in (torch.float16, torch.bfloat16):
        x = x.float()
    with torch.autocast(x.device.type, enabled=False):
        return find("neighbour_table", backend, x.device)(x, k, ptr, metric, loop)


def neighbour_mask(ptr: Tensor, k: int, num_points: int, loop: bool = False) -> Tensor:
    """Which slots of :func:`neighbour_table` hold a neighbour of their own, not a repeated one.

    Args:
        ptr: first row of each event, and P at the end.
        k: slots of the table.
        num_points: P.
        loop: whether the table has each point as its own neighbour. Default ``False``.

    Shapes:
        ptr [B+1] → [P, k], bool.
    """
    event = batch_from_ptr(ptr, num_points)
    degree = ptr.diff()[event] - (0 if loop else 1)
    return torch.arange(k, device=ptr.device) < degree[:, None]


def knn_graph(
    x: Tensor,
    k: int,
    batch: Tensor | None = None,
    loop: bool = False,
    metric: str = "euclidean",
    ptr: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """The k-nearest-neighbour graph of every event; edges point from neighbour to centre, as in PyG.

    Args:
        x: coordinates.
        k: number of neighbours; points of events with fewer have fewer edges.
        batch: event of each row, ascending. Default: one event.
        loop: whether a point is its own neighbour. Default ``False``.
        metric: ``"euclidean"`` (default) or ``"wrapped_phi"`` for (eta, phi).
        ptr: may be given instead of ``batch``.
        backend: ``"auto"`` (default), or a name of ``ops.available("knn_graph")``.

    Shapes:
        x [P, D], batch [P] → edge_index [2, E] (row 0: neighbour, row 1: centre).
    """
    if ptr is None:
        ptr = torch.tensor([0, len(x)], device=x.device) if batch is None else ptr_from_batch(batch)
    index = neighbour_table(x, k, ptr, metric, loop, backend)
    mask = neighbour_mask(ptr, k, len(x), loop)
    centre = torch.arange(len(x), device=x.device)[:, None].expand_as(index)
    return torch.stack([index[mask], centre[mask]])


def reference(x: Tensor, k: int, ptr: Tensor, metric: str, loop: bool) -> Tensor:
    """Float64 brute force with a stable sort: the yardstick of the other backends."""
    table = torch.empty(len(x), k, dtype=torch.long, device=x.device)
    bounds = ptr.tolist()
    for start, stop in itertools.pairwise(bounds):
        points = x[start:stop].double()
        delta = points[:, None, :] - points[None, :, :]
        if metric == "wrapped_phi":
            delta[..., 1] = torch.remainder(delta[..., 1] + math.pi, 2 * math.pi) - math.pi
        distance = delta.square().sum(-1)
        distance.fill_diagonal_(-1.0 if loop else math.inf)
        order = distance.argsort(dim=1, stable=True)
        degree = len(points) if loop or len(points) == 1 else len(points) - 1
        slot = torch.arange(k, device=x.device)
        table[start:stop] = order[:, torch.where(slot < degree, slot, 0)] + start if len(points) else 0
    return table


register_backend("neighbour_table", "reference", reference)
register_backend("neighbour_table", "torch", neighbours_torch.neighbour_table, devices=("cpu", "cuda"))
