"""What "near" means: the metrics that neighbours are found by, and how to add one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptag_pyg.errors import ConfigError, suggest

#: Distances [R, N] between the rows of two tensors, [R, D] and [N, D].
Distance: TypeAlias = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Metric:
    """A way to measure distances.

    Attributes:
        name: what it is called.
        distance: its definition, [R, D], [N, D] → [R, N].
        num_coordinates: D where it must have one value, such as 2 for (eta, phi); else ``None``.
        squared: whether ``distance`` returns squares, which order points just as well; radii are squared to match.
    """

    name: str
    distance: Distance
    num_coordinates: int | None = None
    squared: bool = False


_METRICS: dict[str, Metric] = {}
_SHIPPED = ("euclidean", "wrapped_phi", "cosine")


def register_metric(name: str, distance: Distance, num_coordinates: int | None = None, squared: bool = False) -> None:
    """Add a metric, to be used by name wherever one is taken, in recipes too.

    The function is called on tiles, so that it never sees all pairs of a large event at once; it must treat every
    row alone, and gets float32 or float64.

    Args:
        name: the metric's name; an earlier one of that name is replaced.
        distance: [R, D], [N, D] → [R, N]: from each centre to each candidate, smaller is nearer.
        num_coordinates: the only D that it takes. Default: any.
        squared: whether it returns squared distances. Default ``False``.

    Example:
        >>> def manhattan(a, b):
        ...     return torch.cdist(a, b, p=1)
        >>> register_metric("manhattan", manhattan)
        >>> knn_graph(x, k=8, metric="manhattan")

    Raises:
        ConfigError: for the name of a metric that is shipped.
    """
    if name in _SHIPPED:
        raise ConfigError(f"the metric '{name}' is shipped and can't be replaced; choose another name")
    _METRICS[name] = Metric(name, distance, num_coordinates, squared)


def available_metrics() -> list[str]:
    """Names of all metrics."""
    return list(_METRICS)


def find_metric(metric: str | Distance) -> Metric:
    """The metric of a name, or a function as a metric.

    Raises:
        ConfigError: for an unknown name.
    """
    if not isinstance(metric, str):
        return Metric(getattr(metric, "__name__", "callable"), metric)
    if metric not in _METRICS:
        raise ConfigError(f"there is no metric '{metric}'{suggest(metric, list(_METRICS))}")
    return _METRICS[metric]


def measure(metric: Metric, rows: Tensor, columns: Tensor) -> Tensor:
    """Distances by the metric's definition.

    Raises:
        ValueError: if a user's function returns another shape than [R, N].
    """
    distance = metric.distance(rows, columns)
    if distance.shape != (len(rows), len(columns)):
        expected = [len(rows), len(columns)]
        raise ValueError(f"metric '{metric.name}' must return distances {expected}, got {list(distance.shape)}")
    return distance


def _euclidean(a: Tensor, b: Tensor) -> Tensor:
    return (a[:, None, :] - b[None, :, :]).square().sum(-1)


def _wrapped_phi(a: Tensor, b: Tensor) -> Tensor:
    delta = a[:, None, :] - b[None, :, :]
    # Not remainder(Δφ + π, 2π) − π: its rounding would part distances that are equal.
    phi = delta[..., 1] - 2 * math.pi * torch.round(delta[..., 1] / (2 * math.pi))
    return delta[..., 0].square() + phi.square()


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return (1 - F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T).clamp(min=0)


_METRICS.update(
    euclidean=Metric("euclidean", _euclidean, squared=True),
    wrapped_phi=Metric("wrapped_phi", _wrapped_phi, num_coordinates=2, squared=True),
    cosine=Metric("cosine", _cosine),
)
