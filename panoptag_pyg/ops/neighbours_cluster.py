"""torch-cluster as a backend of the neighbour operations: used only when asked for by name, never needed."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.ops.metrics import Distance
from panoptag_pyg.ops.ragged import batch_from_ptr


@lru_cache(maxsize=1)
def unusable() -> str | None:
    """Why torch-cluster can't be used here, or ``None``."""
    try:
        import torch_cluster  # noqa: F401
    except ImportError:
        return "the package 'torch_cluster' is not installed: pip install 'panoptag-pyg[kernels]'"
    except Exception as error:  # a wheel built for another torch fails with an OSError, not an ImportError
        return f"the package 'torch_cluster' doesn't load with torch {torch.__version__}: {error}"
    return None


def neighbour_table(x: Tensor, k: int, ptr: Tensor, metric: str | Distance, loop: bool) -> Tensor:
    """``torch_cluster.knn``; its order among equal distances is its own."""
    centre, neighbour = _knn(x, x, k if loop else k + 1, ptr, ptr, metric)
    if not loop:
        other = centre != neighbour
        centre, neighbour = centre[other], neighbour[other]
    itself = torch.arange(len(x), device=x.device)
    return _table(centre, neighbour, len(x), k, alone=itself)


def cross_neighbour_table(x: Tensor, y: Tensor, k: int, x_ptr: Tensor, y_ptr: Tensor, metric: str | Distance) -> Tensor:
    """``torch_cluster.knn``; its order among equal distances is its own."""
    centre, neighbour = _knn(x, y, k, x_ptr, y_ptr, metric)
    return _table(centre, neighbour, len(y), k, alone=torch.full((len(y),), -1, device=x.device))


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
    """``torch_cluster.radius``, asked for all neighbours, since it would keep any of them rather than the nearest."""
    from torch_cluster import radius

    _check(metric, x, y)
    longest = int(x_ptr.diff().max()) if len(x) and len(y) else 0
    if longest == 0:
        return torch.empty(2, 0, dtype=torch.long, device=x.device)
    batches = batch_from_ptr(x_ptr, len(x)), batch_from_ptr(y_ptr, len(y))
    centre, neighbour = radius(x, y, r, *batches, max_num_neighbors=longest, batch_size=x_ptr.numel() - 1)
    if ignore_self:
        other = centre != neighbour
        centre, neighbour = centre[other], neighbour[other]
    distance = (x[neighbour] - y[centre]).square().sum(1)
    order = neighbour.argsort()
    for key in (distance, centre):  # ascending by centre, then distance, then index
        order = order[key[order].argsort(stable=True)]
    centre, neighbour = centre[order], neighbour[order]
    degree = torch.bincount(centre, minlength=len(y))
    slot = torch.arange(len(centre), device=x.device) - (degree.cumsum(0) - degree)[centre]
    kept = slot < max_num_neighbors
    return torch.stack([centre[kept], neighbour[kept]])


def _check(metric: str | Distance, *points: Tensor) -> None:
    if metric != "euclidean":
        raise ConfigError(f"backend 'torch-cluster' has no metric '{metric}': use backend='torch'")
    if not all(bool(torch.isfinite(x).all()) for x in points):
        raise ValueError("backend 'torch-cluster' takes finite coordinates only: use backend='torch'")


def _knn(x: Tensor, y: Tensor, k: int, x_ptr: Tensor, y_ptr: Tensor, metric: str | Distance) -> tuple[Tensor, Tensor]:
    from torch_cluster import knn

    _check(metric, x, y)
    batches = batch_from_ptr(x_ptr, len(x)), batch_from_ptr(y_ptr, len(y))
    centre, neighbour = knn(x, y, k, *batches, batch_size=max(x_ptr.numel() - 1, 1))
    return centre, neighbour


def _table(centre: Tensor, neighbour: Tensor, num_rows: int, k: int, alone: Tensor) -> Tensor:
    """Edges, centre by centre, as a table; ``alone`` where there are none."""
    degree = torch.bincount(centre, minlength=num_rows)
    slot = torch.arange(k, device=centre.device)
    index = torch.where(slot < degree[:, None], slot, 0) + (degree.cumsum(0) - degree)[:, None]
    if neighbour.numel() == 0:
        return alone[:, None].expand(-1, k).contiguous()
    table = neighbour[index.clamp(max=neighbour.numel() - 1)]
    return torch.where((degree == 0)[:, None], alone[:, None], table)
