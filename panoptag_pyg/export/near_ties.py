"""Neighbours that are as good as equally far: where two implementations may choose differently, shown to be the cause.

Rounding decides which of two points at nearly one distance is the k-th neighbour, and the logits then differ by more
than rounding. :func:`explained` doesn't tolerate that on the strength of a small gap alone: it gives the tagger the
other choice and asks whether its logits become those of the exported one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from panoptag_pyg.ops.metrics import find_metric

#: Two distances this near, relative to the squares that they are made of, may change places.
NEAR = 1e-4
#: Choices that are tried the other way, nearest first, and how many may have gone the other way in one event.
MOST_TRIED, MOST_SWAPPED = 12, 4


@dataclass(frozen=True)
class NearTie:
    """A k-th and a next neighbour that are nearly equally far.

    Attributes:
        row: the point.
        gap: difference of their squared distances over the sum of the squares of the point's coordinates.
        others: the two neighbours.
        search: which search for neighbours; those in equal coordinates count as one.
    """

    row: int
    gap: float
    others: tuple[int, int]
    search: int


@dataclass(frozen=True)
class Explanation:
    """Near ties whose other choice gives the exported logits.

    Attributes:
        ties: which.
        difference: what is left of the largest difference of logits.
    """

    ties: tuple[NearTie, ...]
    difference: float

    def __str__(self) -> str:
        words = [f"neighbours {a} and {b} of row {tie.row}" for tie in self.ties for a, b in [tie.others]]
        gap = max(tie.gap for tie in self.ties)
        return (
            f"{', '.join(words)} are equally far but for {gap:.0e}; chosen the other way, {self.difference:.1e} is left"
        )


def explained(run: Callable[[], Tensor], wanted: Tensor, tolerance: float) -> Explanation | None:
    """Whether near ties among neighbours are why logits differ.

    Args:
        run: gives the eager tagger's logits of the event.
        wanted: the exported tagger's.
        tolerance: largest difference that is left.

    Shapes:
        logits [J, C] both.

    Returns:
        the ties that had to go the other way; ``None`` if none of those tried explains the difference.
    """
    with _Searches() as searches:
        best = _difference(run(), wanted)
    chosen: list[NearTie] = []
    left = sorted(searches.ties, key=lambda tie: tie.gap)[:MOST_TRIED]
    while left and len(chosen) < MOST_SWAPPED:
        tried = []
        for tie in left:
            with _Searches([*chosen, tie]):
                tried.append(_difference(run(), wanted))
        nearest = min(range(len(left)), key=tried.__getitem__)
        if tried[nearest] >= best:
            return None
        best = tried[nearest]
        chosen.append(left.pop(nearest))
        if best <= tolerance:
            return Explanation(tuple(chosen), best)
    return None


def _difference(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).abs().max()) if a.numel() else 0.0


class _Searches(TorchDispatchMode):
    """Watches the searches for neighbours in one event, notes near ties, and makes those given go the other way."""

    def __init__(self, swapped: list[NearTie] | None = None) -> None:
        super().__init__()
        self.swapped = swapped or []
        self.ties: list[NearTie] = []
        self._seen: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.panoptag_pyg.neighbour_table.default:
            return self._table(result, *args[:5])
        return result

    def _table(self, table: Tensor, x: Tensor, k: int, ptr: Tensor, metric: str, loop: bool = False) -> Tensor:
        number = next((n for n, y in enumerate(self._seen) if y.shape == x.shape and torch.equal(x, y)), None)
        first_time = number is None
        if first_time:
            number = len(self._seen)
            self._seen.append(x.detach().clone())
        if first_time and not self.swapped:
            self._note(x.double(), k, ptr, metric, loop, int(number or 0))
        for tie in self.swapped:
            if tie.search == number:
                table = table.clone()
                table[tie.row] = _other_choice(table[tie.row], tie.others)
        return table

    def _note(self, x: Tensor, k: int, ptr: Tensor, metric: str, loop: bool, number: int) -> None:
        if len(x) <= k:
            return
        found = find_metric(metric)
        distance = found.distance(x, x)
        distance = distance if found.squared else distance.square()
        event = torch.repeat_interleave(torch.arange(ptr.numel() - 1), ptr.diff())
        distance[event[:, None] != event] = torch.inf
        if not loop:
            distance.fill_diagonal_(torch.inf)
        nearest, columns = distance.topk(k + 1, largest=False)
        # Where there is no further neighbour the gap is infinite or not a number: no tie.
        gap = (nearest[:, k] - nearest[:, k - 1]) / x.square().sum(1).clamp(min=1e-12)
        for row in (gap < NEAR).nonzero()[:, 0].tolist():
            others = (int(columns[row, k - 1]), int(columns[row, k]))
            self.ties.append(NearTie(row, float(gap[row]), others, number))


def _other_choice(neighbours: Tensor, others: tuple[int, int]) -> Tensor:
    """A point's neighbours with the one of ``others`` that is among them replaced by the one that isn't."""
    here = [other for other in others if bool((neighbours == other).any())]
    if len(here) != 1:
        return neighbours
    missing = others[1] if here[0] == others[0] else others[0]
    return torch.where(neighbours == here[0], missing, neighbours)
