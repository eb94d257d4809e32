"""The k nearest neighbours of every point within its event, as a table [P, k].

Backends get what has been checked and cast to float32 or float64, with autocast off::

    neighbour_table(x, k, ptr, metric, loop) -> [P, k]
    cross_neighbour_table(x, y, k, x_ptr, y_ptr, metric) -> [Q, k]
    radius_edges(x, y, r, x_ptr, y_ptr, max_num_neighbors, metric, ignore_self) -> [2, E]

``metric`` is a name; functions, and names that aren't shipped, reach only backends that are asked for by name. The
keywords of ``supports`` are ``dtype``, ``k``, ``dim`` and ``metric``.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor

from panoptag_pyg.ops import neighbours_cluster, neighbours_reference, neighbours_torch
from panoptag_pyg.ops.metrics import Distance, find_metric
from panoptag_pyg.ops.registry import Backend, choose, get, register_backend


def neighbour_table(
    x: Tensor, k: int, ptr: Tensor, metric: str | Distance = "euclidean", loop: bool = False, backend: str = "auto"
) -> Tensor:
    r"""The k nearest neighbours of every point among its own event's points, nearest first.

    .. math::
        d_{ij}^2 = \sum_c (x_{ic} - x_{jc})^2 \quad\text{or, wrapped,}\quad
        (\eta_i - \eta_j)^2 + \big((\phi_i - \phi_j + \pi) \bmod 2\pi - \pi\big)^2
        \quad\text{or, cosine,}\quad d_{ij} = 1 - \frac{x_i \cdot x_j}{|x_i|\,|x_j|}

    The table is always full, so a maximum over the k neighbours needs no mask: where an event has fewer
    than k other points, the remaining slots repeat the nearest one, and a point that is alone is its own
    neighbour. :func:`neighbour_mask` tells real slots from repeated ones. Equal distances: the lower index
    comes first. Distances are computed in float32, or float64 for float64 and integer input; one that isn't a
    number is larger than any other. The result is the same on every run, and never depends on the other events
    of the batch.

    Args:
        x: coordinates; ``"wrapped_phi"`` takes exactly two, (eta, phi).
        k: number of neighbours, at least 1.
        ptr: first row of each event, and P at the end.
        metric: ``"euclidean"`` (default), ``"wrapped_phi"``, ``"cosine"``, a name given to
            :func:`register_metric`, or a function [R, D], [N, D] → distances [R, N]; a function breaks the graph
            of ``torch.compile``, a name doesn't.
        loop: count the point itself as its own nearest neighbour. Default ``False``.
        backend: ``"auto"`` (default), or a name of ``ops.available("knn_graph")``.

    Shapes:
        x [P, D], ptr [B+1] → [P, k], int64 indices into x.

    Raises:
        ValueError: for k < 1, a wrong shape, or a ``ptr`` that doesn't fit; with ``PANOPTAG_DEBUG=1`` also for NaN
            or infinite coordinates.
        ConfigError: for an unknown metric or backend.
    """
    check_points(x, metric)
    check_k(k)
    function = _neighbour_table if isinstance(metric, str) else _compute_table
    return function(x.detach(), k, ptr, metric, loop, backend)  # type: ignore[arg-type]


def cross_neighbour_table(
    x: Tensor,
    y: Tensor,
    k: int,
    x_ptr: Tensor,
    y_ptr: Tensor,
    metric: str | Distance = "euclidean",
    backend: str = "auto",
) -> Tensor:
    """For every point of y, its k nearest among its event's points of x, nearest first.

    As :func:`neighbour_table`, for two sets of points: tracks and jets, say. Where an event has fewer than k points
    in x, the remaining slots repeat the nearest one; where it has none, they are -1.

    Args:
        x: coordinates of the candidates.
        y: coordinates of the centres.
        k: number of neighbours, at least 1.
        x_ptr: first row of each event in x, and P at the end.
        y_ptr: first row of each event in y, and Q at the end.
        metric: as for :func:`neighbour_table`. Default ``"euclidean"``.
        backend: ``"auto"`` (default), or a name of ``ops.available("knn")``.

    Shapes:
        x [P, D], y [Q, D], x_ptr [B+1], y_ptr [B+1] → [Q, k], int64 indices into x.

    Raises:
        ValueError: as for :func:`neighbour_table`.
        ConfigError: for an unknown metric or backend.
    """
    check_points(x, metric)
    check_points(y, metric, "y")
    check_k(k)
    function = _cross_neighbour_table if isinstance(metric, str) else _compute_cross_table
    return function(x.detach(), y.detach(), k, x_ptr, y_ptr, metric, backend)  # type: ignore[arg-type]


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
    return torch.arange(k, device=ptr.device) < neighbour_count(ptr, k, num_points, loop)[:, None]


def neighbour_count(ptr: Tensor, k: int, num_points: int, loop: bool = False) -> Tensor:
    """How many slots of :func:`neighbour_table` hold a neighbour of their own: the first ones of each row.

    Args:
        ptr: first row of each event, and P at the end.
        k: slots of the table.
        num_points: P.
        loop: whether the table has each point as its own neighbour. Default ``False``.

    Shapes:
        ptr [B+1] → [P], int64.
    """
    degree = (ptr.diff() - (0 if loop else 1)).clamp(min=0, max=k)
    return torch.repeat_interleave(degree, ptr.diff(), output_size=num_points)


def check_points(x: Tensor, metric: str | Distance, name: str = "x") -> None:
    """Refuse an unknown metric, and a shape that it doesn't take."""
    dim = find_metric(metric).num_coordinates
    if x.dim() != 2 or (dim is not None and x.size(1) != dim):
        expected = f"[P, {'D' if dim is None else dim}]" + (" (eta, phi)" if metric == "wrapped_phi" else "")
        raise ValueError(f"{name} must have the shape {expected}, got {list(x.shape)}")


def check_k(k: int) -> None:
    """Refuse a k that asks for nothing."""
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")


def check_ptr(ptr: Tensor, num_rows: int, name: str = "ptr") -> None:
    """Refuse a ``ptr`` that doesn't cut the rows into events; on a CPU, or in debug mode, where looking is cheap."""
    if ptr.device.type != "cpu" and not _debug():
        return
    bounds = ptr.tolist()
    if not bounds or bounds[0] != 0 or bounds[-1] != num_rows or bool((ptr.diff() < 0).any()):
        raise ValueError(f"{name} must ascend from 0 to the number of rows, {num_rows}, got {_shortened(bounds)}")


def coordinates(x: Tensor, name: str = "x") -> Tensor:
    """In the precision that distances are computed in; in debug mode, refused if they aren't finite."""
    if _debug() and not bool(torch.isfinite(x).all()):
        row = int((~torch.isfinite(x)).any(1).nonzero()[0])
        raise ValueError(f"coordinates must be finite: row {row} of {name} is {x[row].tolist()}")
    if not x.is_floating_point():
        return x.double()
    return x if x.dtype == torch.float64 else x.float()


def _debug() -> bool:
    return os.environ.get("PANOPTAG_DEBUG") == "1"


def _shortened(bounds: list[int]) -> str:
    return str(bounds if len(bounds) <= 8 else [*bounds[:4], "…", *bounds[-3:]]).replace("'", "")


@torch.compiler.disable
@torch.no_grad()
def _compute_table(x: Tensor, k: int, ptr: Tensor, metric: str | Distance, loop: bool, backend: str) -> Tensor:
    check_ptr(ptr, len(x))
    x = coordinates(x)
    with torch.autocast(x.device.type, enabled=False):
        return find_neighbours("neighbour_table", backend, x, k, metric)(x, k, ptr, metric, loop)


@torch.compiler.disable
@torch.no_grad()
def _compute_cross_table(
    x: Tensor, y: Tensor, k: int, x_ptr: Tensor, y_ptr: Tensor, metric: str | Distance, backend: str
) -> Tensor:
    check_pair(x, y, x_ptr, y_ptr)
    x, y = coordinates(x), coordinates(y, "y")
    x, y = x.to(torch.promote_types(x.dtype, y.dtype)), y.to(torch.promote_types(x.dtype, y.dtype))
    with torch.autocast(x.device.type, enabled=False):
        function = find_neighbours("cross_neighbour_table", backend, x, k, metric)
        return function(x, y, k, x_ptr, y_ptr, metric)


def check_pair(x: Tensor, y: Tensor, x_ptr: Tensor, y_ptr: Tensor) -> None:
    """Refuse two sets that don't go together."""
    if x.size(1) != y.size(1):
        raise ValueError(f"x and y must have as many coordinates, got {list(x.shape)} and {list(y.shape)}")
    if x_ptr.numel() != y_ptr.numel():
        events = x_ptr.numel() - 1, y_ptr.numel() - 1
        raise ValueError(f"x and y must come from as many events, got {events[0]} and {events[1]}")
    check_ptr(x_ptr, len(x), "x_ptr")
    check_ptr(y_ptr, len(y), "y_ptr")


def find_neighbours(op: str, backend: str, x: Tensor, k: int, metric: str | Distance) -> Backend:
    """The backend of a call, chosen when it runs, so that sizes are known inside ``torch.compile`` too."""
    info = {"dtype": x.dtype, "k": k, "dim": x.size(1), "metric": metric if isinstance(metric, str) else None}
    # Compiled kernels know the metrics of positions; "auto" finds none but torch's on a device that doesn't exist.
    device = x.device.type if metric in ("euclidean", "wrapped_phi") else "none"
    return get(op, choose(op, backend, device, **info))


# Operations of torch's own, so that torch.compile neither looks inside nor breaks its graph here.
@torch.library.custom_op("panoptag_pyg::neighbour_table", mutates_args=())
def _neighbour_table(x: Tensor, k: int, ptr: Tensor, metric: str, loop: bool, backend: str) -> Tensor:
    return _compute_table(x, k, ptr, metric, loop, backend)


@_neighbour_table.register_fake
def _(x: Tensor, k: int, ptr: Tensor, metric: str, loop: bool, backend: str) -> Tensor:
    return x.new_empty((x.size(0), k), dtype=torch.long)


@torch.library.custom_op("panoptag_pyg::cross_neighbour_table", mutates_args=())
def _cross_neighbour_table(
    x: Tensor, y: Tensor, k: int, x_ptr: Tensor, y_ptr: Tensor, metric: str, backend: str
) -> Tensor:
    return _compute_cross_table(x, y, k, x_ptr, y_ptr, metric, backend)


@_cross_neighbour_table.register_fake
def _(x: Tensor, y: Tensor, k: int, x_ptr: Tensor, y_ptr: Tensor, metric: str, backend: str) -> Tensor:
    return y.new_empty((y.size(0), k), dtype=torch.long)


def _register(op: str) -> None:
    """Each backend is a module that has a function of the operation's name; "auto" takes torch's."""
    register_backend(op, "reference", getattr(neighbours_reference, op))
    register_backend(op, "torch-cluster", getattr(neighbours_cluster, op), unusable=neighbours_cluster.unusable)
    register_backend(op, "torch", getattr(neighbours_torch, op), devices=("cpu", "cuda"))


_register("neighbour_table")
_register("cross_neighbour_table")
_register("radius_edges")
