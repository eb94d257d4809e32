"""k nearest neighbours: in (η, φ), and in the 256 features that an EdgeConv layer has made."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from panoptag_pyg import ops

from ..compare import Contestant, compare, not_installed
from ..counts import knn_work
from ..peers.dense import padded_knn, padding
from ..rows import Row
from ..settings import SIZES, Settings
from .common import backends

#: Points per event of the comparisons in two dimensions, and events of each: as many points in all, about.
POINTS = {40: 800, 80: 400, 128: 256, 200: 160}


def leading_positions(settings: Settings, points: int, num_events: int) -> tuple[Tensor, Tensor]:
    """(η, φ) of the leading PFOs of events that have as many, [events · points, 2], and ``ptr``."""
    block = settings.block(num_events, points)
    full = np.diff(block.pfo_offsets) == points
    kept = np.repeat(full, np.diff(block.pfo_offsets))
    if not full.any():  # none is so large: take them as they are
        full, kept = np.ones_like(full), np.ones_like(kept)
    pos = np.stack([block.pfo["eta"], block.pfo["phi"]], axis=1)[kept]
    ptr = np.concatenate(([0], np.cumsum(np.diff(block.pfo_offsets)[full])))
    return torch.from_numpy(pos).to(settings.device), torch.from_numpy(ptr).to(settings.device)


def features(settings: Settings, max_pfos: int | None, dim: int) -> tuple[Tensor, Tensor]:
    """Embeddings [P, dim] as the second EdgeConv layer gets them: a random two-layer network of the real features."""
    from panoptag_pyg.events.features import pfo_features

    block = settings.block(settings.num_events, max_pfos)
    x = torch.from_numpy(pfo_features(block.pfo))
    x = (x - x.mean(0)) / x.std(0).clamp(min=1e-3)
    generator = torch.Generator().manual_seed(settings.seed)
    for width in (dim, dim):
        weight = torch.randn(x.size(1), width, generator=generator) / x.size(1) ** 0.5
        x = torch.nn.functional.gelu(x @ weight)
    return x.to(settings.device), torch.from_numpy(block.pfo_offsets).to(settings.device)


def knn_2d(settings: Settings, size: str, points: int) -> list[Row]:
    """In (η, φ), the point itself included, as torch-cluster's ``knn`` gives it."""
    k = min(SIZES[size]["k"], points)
    pos, ptr = leading_positions(settings, points, POINTS.get(points, 256))
    what = f"2-D kNN, {points} points per event, k = {k}"
    return _rows(settings, f"knn-2d-{points}", what, pos, ptr, k, size, {"torch-cluster": 1.2})


def knn_features(settings: Settings, size: str, max_pfos: int | None, name: str, words: str) -> list[Row]:
    """In the feature space of the second EdgeConv layer."""
    dim, k = SIZES[size]["dim"], SIZES[size]["k"]
    x, ptr = features(settings, max_pfos, dim)
    targets = {"torch-cluster": 8.0} if size == "paper" else {}
    return _rows(settings, name, f"{dim}-D kNN, {words}, k = {k}", x, ptr, k, size, targets)


def _rows(
    settings: Settings, name: str, what: str, x: Tensor, ptr: Tensor, k: int, size: str, targets: dict[str, float]
) -> list[Row]:
    x = x.to(settings.dtype)
    batch = ops.batch_from_ptr(ptr, len(x))
    check = distance_check(x, ptr, k)
    row_of, real = padding(ptr)
    padded = x[row_of]

    def from_padded(index: Tensor) -> Tensor:
        return (index + ptr[:-1, None, None])[real]

    def ours(backend: str) -> Callable[[], Tensor]:
        return lambda: ops.neighbour_table(x, k, ptr, loop=True, backend=backend)

    info: dict[str, Any] = {"dtype": x.dtype, "k": k, "dim": x.size(1), "metric": "euclidean"}
    own = [
        Contestant(label, ours(backend), lambda run=ours(backend): check(run()))  # type: ignore[misc]
        for backend, label in backends("neighbour_table", settings.device, ("torch-cluster",), **info)
    ]

    def cluster() -> Tensor:
        from torch_cluster import knn

        return knn(x, x, k, batch, batch)

    def dense() -> Tensor:
        return padded_knn(padded, real, k)

    peers = [
        Contestant(
            "torch-cluster",
            cluster,
            lambda: check(_as_table(cluster(), len(x), k)),
            not_installed("torch_cluster", "pip install 'panoptag-pyg[kernels]'"),
        ),
        Contestant("padded cdist + topk", dense, lambda: check(from_padded(dense()))),
    ]
    if x.device.type == "cpu":
        points, bounds = x.double().numpy(), ptr.tolist()

        def tree() -> np.ndarray:
            from scipy.spatial import cKDTree

            return np.concatenate(
                [cKDTree(points[a:b]).query(points[a:b], k=min(k, b - a))[1].reshape(b - a, -1) + a
                 for a, b in itertools.pairwise(bounds) if b > a]
            )  # fmt: skip

        if x.size(1) == 2 and int(ptr.diff().min()) >= k:
            peers.append(Contestant("scipy cKDTree", tree, lambda: check(torch.from_numpy(tree()))))
    return compare(settings, name, what, own, peers, knn_work(ptr.diff(), x.size(1), k, x.dtype), targets, size=size)


def distance_check(x: Tensor, ptr: Tensor, k: int) -> Callable[[Tensor], float]:
    """Compares distances, not indices: among equal distances each implementation has an order of its own.

    The distances to the neighbours found, in float64, against those of the float64 brute force; 1e-4 of the typical
    distance is allowed, about what float32 resolves through |a|² + |b|² − 2ab.
    """
    few = min(ptr.numel() - 1, 8)
    stop = int(ptr[few])
    points, bounds = x[:stop].double(), ptr[: few + 1]
    table = ops.neighbour_table(points, k, bounds, loop=True, backend="reference")

    def distances(index: Tensor) -> Tensor:
        return (points[index] - points[:, None]).norm(dim=2).sort(dim=1).values

    expected = distances(table)
    allowed = 1e-4 * float(expected.mean())
    event = ops.batch_from_ptr(bounds, stop)

    def check(found: Tensor) -> float:
        found = found[:stop].to(points.device)
        if found.shape != table.shape or bool((event[found] != event[:, None]).any()):
            return float("inf")
        return float((distances(found) - expected).abs().max()) / allowed

    return check


def _as_table(edge_index: Tensor, num_points: int, k: int) -> Tensor:
    """torch-cluster's edges [2, E] as a table [P, k]; events with fewer points repeat their nearest."""
    centre, neighbour = edge_index
    degree = torch.bincount(centre, minlength=num_points)
    slot = torch.arange(k, device=centre.device)
    return neighbour[torch.where(slot < degree[:, None], slot, 0) + (degree.cumsum(0) - degree)[:, None]]
