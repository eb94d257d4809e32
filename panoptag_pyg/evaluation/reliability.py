"""Whether predicted probabilities come true: reliability curves, expected calibration error, and a test of both."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import chi2

#: Fewest effective jets, and expected jets on either side, of a bin that the test uses.
MIN_JETS = 10
MIN_EXPECTED = 5


@dataclass(frozen=True)
class Reliability:
    """Predicted against observed share of one class, in bins of the predicted probability.

    Attributes:
        predicted: mean predicted probability of each bin [B]; NaN where empty.
        observed: share of the class among the bin's jets [B].
        error: uncertainty of observed − predicted, from the spread between events [B].
        count: effective jets of each bin [B].
        share: share of all jets [B].
        expected_error: expected calibration error: mean of abs(observed − predicted) over the jets.
        by_chance: what that would be of right probabilities, by fluctuations alone.
        chi2, ndf, p_value: of observed = predicted in all bins together, with the covariance between events.
    """

    predicted: np.ndarray
    observed: np.ndarray
    error: np.ndarray
    count: np.ndarray
    share: np.ndarray
    expected_error: float
    by_chance: float
    chi2: float
    ndf: int
    p_value: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, ``None`` for what is no number."""
        return {
            key: [None if np.isnan(v) else float(v) for v in value] if isinstance(value, np.ndarray) else value
            for key, value in asdict(self).items()
        }


def reliability(
    probability: np.ndarray,
    is_class: np.ndarray,
    weight: np.ndarray | None = None,
    event: np.ndarray | None = None,
    bins: int = 10,
) -> Reliability:
    r"""Predicted against observed share of a class, in equal bins of the predicted probability.

    .. math::
        \mathrm{ECE} = \sum_b \frac{W_b}{W} |o_b - \bar p_b|

    The covariance of the differences :math:`o_b - \bar p_b` is that between events,
    :math:`\sum_e r_{eb} r_{eb'} / (W_b W_{b'})` with r the event's summed :math:`w (y - p)` in the bin: jets of one
    event are correlated.

    Args:
        probability: predicted for the class.
        is_class: whether the jet is of the class.
        weight: weight of each jet. Default: 1.
        event: event of each jet. Default: every jet by itself.
        bins: how many. Default 10.

    Shapes:
        inputs [J].

    Source: expected calibration error: C. Guo et al., arXiv:1706.04599, eq. 3.
    """
    p, y = np.asarray(probability, np.float64), np.asarray(is_class, np.float64)
    weight = np.ones(len(p)) if weight is None else np.asarray(weight, np.float64)
    event = np.arange(len(p)) if event is None else np.unique(event, return_inverse=True)[1]
    index = np.clip((p * bins).astype(int), 0, bins - 1)
    total = np.bincount(index, weight, bins)
    squares = np.bincount(index, weight**2, bins)
    with np.errstate(all="ignore"):
        predicted = np.bincount(index, weight * p, bins) / total
        observed = np.bincount(index, weight * y, bins) / total
        count = np.where(squares > 0, total**2 / squares, 0.0)
    num_events = int(event.max()) + 1 if len(event) else 0
    residual = np.bincount(event * bins + index, weight * (y - p), num_events * bins).reshape(num_events, bins)
    covariance = residual.T @ residual
    with np.errstate(all="ignore"):
        error = np.sqrt(np.diag(covariance)) / np.abs(total)
        share = total / weight.sum()
    difference = np.where(count > 0, observed - predicted, 0.0)
    expected = np.where(count > 0, predicted * count, 0.0)
    used = (count >= MIN_JETS) & (expected >= MIN_EXPECTED) & (count - expected >= MIN_EXPECTED)
    value, ndf = 0.0, int(used.sum())
    if ndf:
        of_used = covariance[np.ix_(used, used)] / np.outer(total[used], total[used])
        value = float(difference[used] @ np.linalg.pinv(of_used) @ difference[used])
    return Reliability(
        predicted=predicted,
        observed=observed,
        error=error,
        count=count,
        share=share,
        expected_error=float(np.nansum(share * np.abs(difference))),
        by_chance=float(np.nansum(np.where(count > 0, share * error, 0.0)) * np.sqrt(2 / np.pi)),
        chi2=value,
        ndf=ndf,
        p_value=float(chi2.sf(value, ndf)) if ndf else 1.0,
    )
