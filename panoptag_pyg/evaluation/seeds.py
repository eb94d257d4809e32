"""One figure of several trainings that differ in their seed: mean, interval, spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from statistics import fmean, stdev
from typing import Any

import numpy as np

from panoptag_pyg.evaluation.bootstrap import Measurement
from panoptag_pyg.evaluation.rejection import Rejection, RejectionCurve


def over_seeds(measured: Sequence[Measurement]) -> dict[str, Any]:
    """One figure of several trainings, JSON-able: their mean, its interval, and their ``spread``.

    The trainings are tested on the same events, whose fluctuation their mean shares: the interval is the mean of
    theirs, not narrower by √n. ``spread`` is the standard deviation over the trainings, of two or more. Of rejections
    the accepted shares are averaged, so a training that accepts no background counts; without a value in any training
    there is none, and the weakest limit stands.

    Args:
        measured: the figure in each training.
    """
    if len(measured) == 1:
        return measured[0].to_dict()
    values = [m.value for m in measured if m.value is not None]
    if not values or any(m.value is None and not _limited(m) for m in measured):
        first = next(m for m in measured if m.value is None)
        limits = [m.limit for m in measured if isinstance(m, Rejection) and m.limit is not None]
        changed = {"limit": min(limits)} if limits else {}
        return replace(first, **changed).to_dict()  # type: ignore[arg-type]
    if isinstance(measured[0], Rejection):
        value = len(measured) / sum(1 / m.value for m in measured if m.value)
    else:
        value = fmean(values)
    low, high = (_mean_end(measured, end, value) for end in ("low", "high"))
    found = replace(measured[0], value=value, low=low, high=high, missing="").to_dict()
    if isinstance(measured[0], Rejection):
        rejections = [m for m in measured if isinstance(m, Rejection)]
        found.pop("limit", None)
        limits = [m.limit for m in rejections if m.limit is not None]
        if limits:
            found["limit"] = min(limits)
        for name in ("efficiency", "threshold"):
            found.pop(name, None)
        found["background_passed"] = round(fmean(m.background_passed or 0 for m in rejections))
    if len(values) > 1:
        found["spread"] = stdev(values)
    return found


def mean_curve(curves: Sequence[RejectionCurve]) -> RejectionCurve:
    """The rejection whose accepted share of background is the mean of the trainings', replica by replica.

    Args:
        curves: of the same tagger on the same jets, one per seed.
    """
    if len(curves) == 1:
        return curves[0]
    points = [measurement(over_seeds(column)) for column in zip(*(curve.points for curve in curves), strict=True)]
    rates = np.mean([curve.false_positive_rate for curve in curves], axis=0)
    return RejectionCurve(tuple(point for point in points if isinstance(point, Rejection)), rates)


def measurement(values: dict[str, Any]) -> Measurement:
    """The :class:`Measurement` or :class:`Rejection` that :func:`over_seeds` turned into a dictionary."""
    kind = Rejection if "target" in values else Measurement
    known = {field.name for field in fields(kind)}
    return kind(**{"value": None, **{name: value for name, value in values.items() if name in known}})


def _limited(measured: Measurement) -> bool:
    """Whether a missing value means that no background passes, so that the accepted share is 0."""
    return isinstance(measured, Rejection) and measured.background_passed == 0


def _mean_end(measured: Sequence[Measurement], end: str, value: float) -> float | None:
    """Mean relative distance of an end of the interval from its value, at ``value``."""
    ratios = []
    for one in measured:
        bound = getattr(one, end)
        if one.value is None:
            continue
        if bound is None:
            return None
        ratios.append(bound / one.value if one.value else 1.0)
    return value * fmean(ratios) if ratios else None
