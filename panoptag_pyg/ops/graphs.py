"""Graphs of near points as PyG's ``edge_index``; arguments and order of edges are torch-cluster's."""

from __future__ import annotations

import torch
from torch import Tensor

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.ops.event_bounds import count_events, ptr_of, ptrs_of
from panoptag_pyg.ops.metrics import Distance
from panoptag_pyg.ops.neighbours import (
    check_k,
    check_pair,
    check_points,
    coordinates,
    cross_neighbour_table,
    find_neighbours,
    neighbour_mask,
    neighbour_table,
)

FLOWS = ("source_to_target", "target_to_source")
#: Neighbours of a radius search without a limit.
ALL = 2**31 - 1


def knn_graph(
    x: Tensor,
    k: int,
    batch: Tensor | None = None,
    loop: bool = False,
    flow: str = "source_to_target",
    cosine: bool = False,
    num_workers: int = 1,
    batch_size: int | None = None,
    metric: str | Distance = "euclidean",
    ptr: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """The k-nearest-neighbour graph of every event; a drop-in for torch-cluster's and PyG's function of that name.

    Edges come centre by centre, each centre's nearest neighbour first, equal distances by the lower index.

    Args:
        x: coordinates.
        k: number of neighbours; points of events with fewer have fewer edges.
        batch: event of each row, ascending. Default: one event.
        loop: whether a point is its own neighbour, the first of the k. Default ``False``.
        flow: ``"source_to_target"`` (default): row 0 holds neighbours and row 1 centres, so that messages go to
            the centre; ``"target_to_source"``: the other way round.
        cosine: short for ``metric="cosine"``. Default ``False``.
        num_workers: taken for compatibility, and ignored: threads are those of torch.
        batch_size: number of events. Default: that of the last row, + 1.
        metric: as for :func:`neighbour_table`. Default ``"euclidean"``.
        ptr: may be given instead of ``batch``.
        backend: ``"auto"`` (default), or a name of ``ops.available("knn_graph")``.

    Shapes:
        x [P, D] or [P], batch [P] → edge_index [2, E], int64.

    Raises:
        ValueError: for a batch that isn't sorted or doesn't fit, and as for :func:`neighbour_table`.
        ConfigError: for an unknown metric or backend.
    """
    x, metric = _points(x), _metric(metric, cosine)
    check_points(x, metric)
    check_k(k)
    function = _knn_graph_op if isinstance(metric, str) else _compute_knn_graph
    edges = function(x.detach(), k, batch, ptr, batch_size, loop, metric, backend)  # type: ignore[arg-type]
    return _directed(edges, flow)


def knn(
    x: Tensor,
    y: Tensor,
    k: int,
    batch_x: Tensor | None = None,
    batch_y: Tensor | None = None,
    cosine: bool = False,
    num_workers: int = 1,
    batch_size: int | None = None,
    metric: str | Distance = "euclidean",
    ptr_x: Tensor | None = None,
    ptr_y: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """For each point of y, the k nearest points of x in the same event; a drop-in for torch-cluster's function.

    Args:
        x: coordinates of the candidates.
        y: coordinates of the centres.
        k: number of neighbours; centres of events with fewer candidates have fewer edges.
        batch_x: event of each row of x, ascending. Default: one event.
        batch_y: event of each row of y, ascending. Default: one event.
        cosine: short for ``metric="cosine"``. Default ``False``.
        num_workers: taken for compatibility, and ignored: threads are those of torch.
        batch_size: number of events. Default: that of the last row of either, + 1.
        metric: as for :func:`neighbour_table`. Default ``"euclidean"``.
        ptr_x: may be given instead of ``batch_x``.
        ptr_y: may be given instead of ``batch_y``.
        backend: ``"auto"`` (default), or a name of ``ops.available("knn")``.

    Shapes:
        x [P, D] or [P], y [Q, D] or [Q] → [2, E], int64: row 0 holds indices into y, ascending, row 1 into x,
        the nearest first.

    Raises:
        ValueError: for a batch that isn't sorted or doesn't fit, and as for :func:`cross_neighbour_table`.
        ConfigError: for an unknown metric or backend.
    """
    x, y, metric = _points(x), _points(y), _metric(metric, cosine)
    check_points(x, metric)
    check_points(y, metric, "y")
    check_k(k)
    function = _knn_op if isinstance(metric, str) else _compute_knn
    bounds = batch_x, batch_y, ptr_x, ptr_y, batch_size
    return function(x.detach(), y.detach(), k, *bounds, metric, backend)  # type: ignore[arg-type]


def radius_graph(
    x: Tensor,
    r: float,
    batch: Tensor | None = None,
    loop: bool = False,
    max_num_neighbors: int | None = 32,
    flow: str = "source_to_target",
    num_workers: int = 1,
    batch_size: int | None = None,
    metric: str | Distance = "euclidean",
    ptr: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """The graph of all points nearer than r in every event; a drop-in for torch-cluster's and PyG's function.

    Where more than ``max_num_neighbors`` are in reach, the nearest are taken (torch-cluster takes any).

    Args:
        x: coordinates.
        r: the radius; neighbours are nearer than that.
        batch: event of each row, ascending. Default: one event.
        loop: whether a point is its own neighbour. Default ``False``.
        max_num_neighbors: most neighbours of a point; ``None``: all. Default 32, as torch-cluster's.
        flow: as for :func:`knn_graph`.
        num_workers: taken for compatibility, and ignored: threads are those of torch.
        batch_size: number of events. Default: that of the last row, + 1.
        metric: as for :func:`neighbour_table`. Default ``"euclidean"``; ``"wrapped_phi"`` makes r a ΔR.
        ptr: may be given instead of ``batch``.
        backend: ``"auto"`` (default), or a name of ``ops.available("radius_graph")``.

    Shapes:
        x [P, D] or [P], batch [P] → edge_index [2, E], int64, centre by centre, nearest first.

    Raises:
        ValueError: for a negative radius, a batch that isn't sorted or doesn't fit, and as for
            :func:`neighbour_table`.
        ConfigError: for an unknown metric or backend.
    """
    edges = _radius(x, x, r, (batch, batch, ptr, ptr, batch_size), max_num_neighbors, metric, not loop, backend)
    return _directed(edges.flip(0), flow)


def radius(
    x: Tensor,
    y: Tensor,
    r: float,
    batch_x: Tensor | None = None,
    batch_y: Tensor | None = None,
    max_num_neighbors: int | None = 32,
    num_workers: int = 1,
    batch_size: int | None = None,
    metric: str | Distance = "euclidean",
    ptr_x: Tensor | None = None,
    ptr_y: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """For each point of y, all points of x in the same event nearer than r; a drop-in for torch-cluster's function.

    Where more than ``max_num_neighbors`` are in reach, the nearest are taken (torch-cluster takes any).

    Args:
        x: coordinates of the candidates.
        y: coordinates of the centres.
        r: the radius; neighbours are nearer than that.
        batch_x: event of each row of x, ascending. Default: one event.
        batch_y: event of each row of y, ascending. Default: one event.
        max_num_neighbors: most neighbours of a centre; ``None``: all. Default 32, as torch-cluster's.
        num_workers: taken for compatibility, and ignored: threads are those of torch.
        batch_size: number of events. Default: that of the last row of either, + 1.
        metric: as for :func:`neighbour_table`. Default ``"euclidean"``; ``"wrapped_phi"`` makes r a ΔR.
        ptr_x: may be given instead of ``batch_x``.
        ptr_y: may be given instead of ``batch_y``.
        backend: ``"auto"`` (default), or a name of ``ops.available("radius")``.

    Shapes:
        x [P, D] or [P], y [Q, D] or [Q] → [2, E], int64: row 0 holds indices into y, ascending, row 1 into x,
        the nearest first.

    Raises:
        ValueError: for a negative radius, a batch that isn't sorted or doesn't fit, and as for
            :func:`cross_neighbour_table`.
        ConfigError: for an unknown metric or backend.
    """
    bounds = batch_x, batch_y, ptr_x, ptr_y, batch_size
    return _radius(x, y, r, bounds, max_num_neighbors, metric, False, backend)


_Bounds = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, int | None]


def _radius(
    x: Tensor,
    y: Tensor,
    r: float,
    bounds: _Bounds,
    max_num_neighbors: int | None,
    metric: str | Distance,
    ignore_self: bool,
    backend: str,
) -> Tensor:
    x, y = _points(x), _points(y)
    check_points(x, metric)
    check_points(y, metric, "y")
    if not r >= 0:
        raise ValueError(f"the radius can't be negative, got {r}")
    function = _radius_op if isinstance(metric, str) else _compute_radius
    limit = ALL if max_num_neighbors is None else max_num_neighbors
    return function(x.detach(), y.detach(), float(r), *bounds, limit, metric, ignore_self, backend)  # type: ignore[arg-type]


def _points(x: Tensor) -> Tensor:
    return x.view(-1, 1) if x.dim() == 1 else x


def _metric(metric: str | Distance, cosine: bool) -> str | Distance:
    if cosine and metric not in ("euclidean", "cosine"):
        raise ConfigError(f"cosine=True and metric='{metric}' ask for two metrics; give one of them")
    return "cosine" if cosine else metric


def _directed(edge_index: Tensor, flow: str) -> Tensor:
    """From (neighbour, centre)."""
    if flow not in FLOWS:
        raise ValueError(f"flow must be 'source_to_target' or 'target_to_source', got '{flow}'")
    return edge_index if flow == "source_to_target" else edge_index.flip(0)


@torch.compiler.disable
@torch.no_grad()
def _compute_knn_graph(
    x: Tensor,
    k: int,
    batch: Tensor | None,
    ptr: Tensor | None,
    batch_size: int | None,
    loop: bool,
    metric: str | Distance,
    backend: str,
) -> Tensor:
    ptr = ptr_of(x, batch, ptr, count_events(batch_size, batch), "batch")
    table = neighbour_table(x, k, ptr, metric, loop, backend)
    mask = neighbour_mask(ptr, k, len(x), loop)
    centre = torch.arange(len(x), device=x.device)[:, None].expand_as(table)
    return torch.stack([table[mask], centre[mask]])


@torch.compiler.disable
@torch.no_grad()
def _compute_knn(
    x: Tensor,
    y: Tensor,
    k: int,
    batch_x: Tensor | None,
    batch_y: Tensor | None,
    ptr_x: Tensor | None,
    ptr_y: Tensor | None,
    batch_size: int | None,
    metric: str | Distance,
    backend: str,
) -> Tensor:
    ptr_x, ptr_y = ptrs_of(x, y, batch_x, batch_y, ptr_x, ptr_y, batch_size)
    table = cross_neighbour_table(x, y, k, ptr_x, ptr_y, metric, backend)
    degree = torch.repeat_interleave(ptr_x.diff(), ptr_y.diff(), output_size=len(y))
    mask = torch.arange(k, device=x.device) < degree[:, None]
    centre = torch.arange(len(y), device=x.device)[:, None].expand_as(table)
    return torch.stack([centre[mask], table[mask]])


@torch.compiler.disable
@torch.no_grad()
def _compute_radius(
    x: Tensor,
    y: Tensor,
    r: float,
    batch_x: Tensor | None,
    batch_y: Tensor | None,
    ptr_x: Tensor | None,
    ptr_y: Tensor | None,
    batch_size: int | None,
    max_num_neighbors: int,
    metric: str | Distance,
    ignore_self: bool,
    backend: str,
) -> Tensor:
    ptr_x, ptr_y = ptrs_of(x, y, batch_x, batch_y, ptr_x, ptr_y, batch_size)
    check_pair(x, y, ptr_x, ptr_y)
    x, y = coordinates(x), coordinates(y, "y")
    dtype = torch.promote_types(x.dtype, y.dtype)
    with torch.autocast(x.device.type, enabled=False):
        function = find_neighbours("radius_edges", backend, x, max_num_neighbors, metric)
        return function(x.to(dtype), y.to(dtype), r, ptr_x, ptr_y, max_num_neighbors, metric, ignore_self)


def _edges_of_unknown_number(x: Tensor) -> Tensor:
    return x.new_empty((2, torch.library.get_ctx().new_dynamic_size()), dtype=torch.long)


# Operations of torch's own, so that torch.compile neither looks inside nor breaks its graph here.
@torch.library.custom_op("panoptag_pyg::knn_graph", mutates_args=())
def _knn_graph_op(
    x: Tensor,
    k: int,
    batch: Tensor | None,
    ptr: Tensor | None,
    batch_size: int | None,
    loop: bool,
    metric: str,
    backend: str,
) -> Tensor:
    return _compute_knn_graph(x, k, batch, ptr, batch_size, loop, metric, backend)


@torch.library.custom_op("panoptag_pyg::knn", mutates_args=())
def _knn_op(
    x: Tensor,
    y: Tensor,
    k: int,
    batch_x: Tensor | None,
    batch_y: Tensor | None,
    ptr_x: Tensor | None,
    ptr_y: Tensor | None,
    batch_size: int | None,
    metric: str,
    backend: str,
) -> Tensor:
    return _compute_knn(x, y, k, batch_x, batch_y, ptr_x, ptr_y, batch_size, metric, backend)


@torch.library.custom_op("panoptag_pyg::radius", mutates_args=())
def _radius_op(
    x: Tensor,
    y: Tensor,
    r: float,
    batch_x: Tensor | None,
    batch_y: Tensor | None,
    ptr_x: Tensor | None,
    ptr_y: Tensor | None,
    batch_size: int | None,
    max_num_neighbors: int,
    metric: str,
    ignore_self: bool,
    backend: str,
) -> Tensor:
    bounds = batch_x, batch_y, ptr_x, ptr_y, batch_size
    return _compute_radius(x, y, r, *bounds, max_num_neighbors, metric, ignore_self, backend)


for _op in (_knn_graph_op, _knn_op, _radius_op):
    _op.register_fake(lambda x, *_: _edges_of_unknown_number(x))
