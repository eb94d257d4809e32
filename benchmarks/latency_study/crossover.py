r"""From how many jets on is one pass per event cheaper than one per jet?

At each number of PFOs both ways have been timed for several numbers of jets; between these their times are taken as
straight lines, as each further jet costs about as much as the last. The crossover is the least number of jets from
which on the pass per event isn't slower, for all numbers of jets above it too:

.. math::
    J^* = \min \{J : t_\text{event}(J') \le t_\text{jets}(J') \text{ for all } J' \ge J\}

Its interval comes from the rounds: they are drawn anew with replacement, the same ones for both ways and all numbers of
jets, as these were measured side by side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from panoptag_pyg.evaluation.bootstrap import INTERVAL

REPLICAS = 400
#: Straight lines are not drawn on further than this times the most jets that were measured.
FAR = 4
#: What is said of a crossover.
ALWAYS, CROSSES, NEVER = "always", "crosses", "never"


@dataclass(frozen=True)
class Crossover:
    """Where one way becomes the cheaper one.

    Attributes:
        state: ``"always"``: from the least number of jets that was measured; ``"crosses"``; ``"never"`` up to the most.
        jets: J*; the least measured number if always; ``None`` if never.
        low, high: ends of the interval; ``None`` where it reaches beyond the most jets.
        measured: least and most jets.
        beyond: if never: where the straight lines through all times meet, beyond the most jets; ``None`` if nowhere.
    """

    state: str
    jets: float | None
    low: float | None
    high: float | None
    measured: tuple[int, int]
    beyond: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: _short(value) for name, value in asdict(self).items()}


def crossing(jets: np.ndarray, event: np.ndarray, single: np.ndarray) -> np.ndarray:
    """J* of each row of times; the least number of jets if always, ∞ if never.

    Args:
        jets: rising.
        event: time of a pass per event.
        single: time of a pass per jet.

    Shapes:
        jets [K], event and single [..., K] → [...].
    """
    jets = np.asarray(jets, dtype=np.float64)
    over = np.asarray(event, dtype=np.float64) - np.asarray(single, dtype=np.float64)
    slower = over > 0
    num = len(jets)
    # The last number of jets at which the pass per event is slower; −1 if there is none.
    last = np.where(slower.any(-1), num - 1 - slower[..., ::-1].argmax(-1), -1)
    left = np.clip(last, 0, num - 1)
    right = np.clip(last + 1, 0, num - 1)
    a = np.take_along_axis(over, left[..., None], -1)[..., 0]
    b = np.take_along_axis(over, right[..., None], -1)[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        between = jets[left] + (jets[right] - jets[left]) * a / (a - b)
    return np.where(last < 0, jets[0], np.where(last == num - 1, np.inf, between))


def crossover(
    jets: Sequence[int], event: np.ndarray, single: np.ndarray, rng: np.random.Generator, replicas: int = REPLICAS
) -> Crossover:
    """J* with its interval.

    Args:
        jets: rising, K of them.
        event, single: times per event [rounds, K], of the same rounds.
        rng: draws rounds anew.
        replicas: how often. Default 400.
    """
    jets_array = np.asarray(jets, dtype=np.float64)
    event, single = np.asarray(event, dtype=np.float64), np.asarray(single, dtype=np.float64)
    medians = np.median(event, 0), np.median(single, 0)
    value = float(crossing(jets_array, *medians))
    drawn = rng.integers(0, len(event), (replicas, len(event)))
    found = crossing(jets_array, np.median(event[drawn], 1), np.median(single[drawn], 1))
    tail = 50 * (1 - INTERVAL)
    # ∞ has its place among the ordered replicas, but can't be interpolated.
    low, high = (float(np.percentile(found, q, method="nearest")) for q in (tail, 100 - tail))
    state = NEVER if math.isinf(value) else ALWAYS if value <= jets[0] else CROSSES
    beyond = _beyond(jets_array, medians[0] - medians[1]) if state == NEVER else None
    return Crossover(
        state,
        None if state == NEVER else value,
        None if math.isinf(low) else low,
        None if math.isinf(high) else high,
        (int(jets[0]), int(jets[-1])),
        beyond,
    )


def _beyond(jets: np.ndarray, over: np.ndarray) -> float | None:
    """Where the straight line through what the pass per event takes more reaches 0."""
    if len(jets) < 2:
        return None
    slope, start = np.polyfit(jets, over, 1)
    meets = -start / slope if slope < 0 else math.inf
    return float(meets) if jets[-1] < meets < FAR * jets[-1] else None


def ratio(
    event: Sequence[float] | np.ndarray, single: Sequence[float] | np.ndarray, rng: np.random.Generator
) -> dict[str, float]:
    """A pass per jet over a pass per event: the median of the rounds' ratios, with its interval from redrawn rounds.

    Above 1 the pass per event is the cheaper one.
    """
    ratios = np.asarray(single, dtype=np.float64) / np.asarray(event, dtype=np.float64)
    drawn = np.median(ratios[rng.integers(0, len(ratios), (REPLICAS, len(ratios)))], axis=1)
    tail = 50 * (1 - INTERVAL)
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return {"value": _short(float(np.median(ratios))), "low": _short(float(low)), "high": _short(float(high))}


def complete(times: Mapping[str, Sequence[float]]) -> int:
    """Rounds that all have."""
    return min((len(values) for values in times.values()), default=0)


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    return list(value) if isinstance(value, tuple) else value
