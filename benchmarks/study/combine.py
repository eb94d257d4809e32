"""Numbers of several records: over seeds, as ratios between taggers, from seen to unseen processes.

Two uncertainties are kept apart and then combined. That of the test events comes from the bootstrap; in a ratio of two
taggers on the same events replica i of both has the same redrawn events, so what they share drops out. That of the
training is the spread over seeds, s: the error of a mean of n is t s/√n, with Student's factor t for n − 1 degrees of
freedom (1.3 for three seeds). One training alone borrows the spread of its recipe's other trainings.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.evaluation import Measurement, Rejection
from panoptag_pyg.evaluation.bootstrap import INTERVAL, binomial_interval, interval
from panoptag_pyg.evaluation.rejection import FEW
from panoptag_pyg.evaluation.seeds import measurement, over_seeds

from .plan import Plan
from .record import finished
from .replicas import unpack

Record = dict[str, Any]
#: Figures of merit in the order of tables.
FIGURES = ("accuracy", "auc", "b_rej50", "b_rej80", "c_rej50", "c_rej80")


def rejection_of(figure: str) -> tuple[str, str] | None:
    """Signal and efficiency of a rejection: ``("b", "0.5")`` of ``"b_rej50"``; ``None`` of accuracy and AUC."""
    signal, found, percent = figure.partition("_rej")
    return (signal, f"{int(percent) / 100:g}") if found else None


def gather(plan: Plan, results: Path) -> dict[tuple[str, str], list[Record]]:
    """Records that answer the plan, by setup and entry, in the order of seeds."""
    found: dict[tuple[str, str], list[Record]] = {}
    for run in sorted(plan.runs(), key=lambda run: run.seed):
        if record := finished(results, run):
            found.setdefault((run.setup, run.entry.name), []).append(record)
    return found


def over_trainings(records: Sequence[Record], group: str, figure: str) -> dict[str, Any]:
    """One figure over the seeds: see :func:`~panoptag_pyg.evaluation.seeds.over_seeds`; empty where there is none.

    Args:
        records: of one entry.
        group: process, or ``"seen"``, ``"all"``.
        figure: one of :data:`FIGURES`.
    """
    points = [_point(record, group, figure) for record in records]
    if not all(points):
        return {}
    return over_seeds([_measured(point) for point in points])


def ratio(
    top: Sequence[Record], bottom: Sequence[Record], group: str, figure: str, spread_of: Sequence[Record] = ()
) -> dict[str, Any]:
    """One tagger's rejection over another's; of accuracy and AUC the difference.

    Args:
        top: records of the one.
        bottom: of the other, on the same events.
        group: process, or ``"seen"``, ``"all"``.
        figure: one of :data:`FIGURES`.
        spread_of: records that lend their spread where ``top`` has one seed. Default: none.

    Returns:
        ``value``, ``low``, ``high`` (both uncertainties), ``events`` (ends of the interval from the events alone),
        ``seeds`` (error from the trainings: of a ratio relative; ``None`` if unknown), ``few``: whether fewer than 10
        light jets pass; or ``missing``: why there is none.

    Raises:
        ConfigError: if they were tested on different jets, so that no replica belongs to another.
    """
    _require_same_jets([*top, *bottom], group)
    one, other = (_values(records, group, figure) for records in (top, bottom))
    if one is None or other is None:
        return {"missing": "not measured"}
    rejection = rejection_of(figure) is not None
    seeds = [_seed_error(values, rejection) for values in (one, other)]
    if len(top) == 1 and len(spread_of) > 1 and (lent := _values(spread_of, group, figure)) is not None:
        seeds[0] = _single_error(lent[0], rejection)
    error = None if any(s is None for s in seeds) else float(np.hypot(*seeds))  # type: ignore[arg-type]
    if not rejection:
        value = float(one[0].mean() - other[0].mean())
        low, high = interval(one[1] - other[1])
        return _combined(value, float(low), float(high), error) | {"few": False}
    if not one[0].mean() or not other[0].mean():
        return {"missing": "no light jet passes"}
    value = float(other[0].mean() / one[0].mean())
    with np.errstate(all="ignore"):
        low, high = interval(other[1] / one[1])
    few = min(one[2], other[2]) < FEW
    return _combined(value, float(low), float(high), error, relative=True) | {"few": bool(few)}


def gap(records: Sequence[Record], seen: str, unseen: str, figure: str) -> dict[str, Any]:
    """What changes from a process trained on to one that isn't: rejection ratios, differences of accuracy and AUC.

    Args:
        records: of one entry.
        seen: process trained on.
        unseen: the other.
        figure: one of :data:`FIGURES`.

    Returns:
        as :func:`ratio`; the events of the two processes are independent, and the trainings' error is that of the gap.
    """
    one, other = _values(records, unseen, figure), _values(records, seen, figure)
    if one is None or other is None:
        return {"missing": "not measured"}
    if rejection_of(figure) is None:
        value = float(one[0].mean() - other[0].mean())
        low, high = interval(one[1] - other[1])
        return _combined(value, float(low), float(high), _mean_error(one[0] - other[0])) | {"few": False}
    if not one[0].mean() or not other[0].mean():
        return {"missing": "no light jet passes"}
    value = float(other[0].mean() / one[0].mean())
    with np.errstate(all="ignore"):
        low, high = interval(other[1] / one[1])
        gaps = other[0] / one[0]
    error = _mean_error(gaps / gaps.mean()) if np.isfinite(gaps).all() else None
    few = min(one[2], other[2]) < FEW
    return _combined(value, float(low), float(high), error, relative=True) | {"few": bool(few)}


def mean_columns(records: Sequence[Record], group: str, signal: str) -> dict[str, np.ndarray]:
    """A rejection curve over the seeds, as columns that :func:`~panoptag_pyg.evaluation.figures.draw_curve` takes.

    The accepted shares are averaged; the ends of the interval keep their mean relative distance.
    """
    curves = [record["figures"][group][signal]["curve"] for record in records]
    columns = {name: np.array([curve[name] for curve in curves], float) for name in ("value", "low", "high", "passed")}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no light jet passes in any training: no interval
        share = np.where(columns["passed"] == 0, 0.0, 1 / columns["value"]).mean(axis=0)
        value = 1 / share
        ends = {end: value * np.nanmean(columns[end] / columns["value"], axis=0) for end in ("low", "high")}
    passed = np.nan_to_num(columns["passed"]).mean(axis=0)
    efficiency = np.array(records[0]["efficiencies"])
    return {"efficiency": efficiency, "value": value, **ends, "background_passed": passed}


def curve_ratios(
    top: Sequence[Record], bottom: Sequence[Record], group: str, signal: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ratio of two rejections where replicas are kept: efficiencies, ratio, its ends; only firm ones.

    Shapes:
        [X], [X], [2, X] (distances down and up).
    """
    found = []
    for efficiency in top[0]["figures"][group][signal]["points"]:
        one = ratio(top, bottom, group, f"{signal}_rej{round(100 * float(efficiency))}")
        if "value" in one and not one["few"] and one["high"] is not None:
            found.append((float(efficiency), one["value"], one["value"] - one["low"], one["high"] - one["value"]))
    table = np.array(sorted(found)).reshape(-1, 4)
    return table[:, 0], table[:, 1], table[:, 2:].T


def proximity_share(records: Sequence[Record], group: str, radius: float, tagged: str) -> dict[str, Any]:
    """Share of light jets nearer than ``radius`` to a b or c jet: of all that have one in their event, of mistagged.

    Args:
        records: of one entry.
        group: process, or ``"seen"``, ``"all"``.
        radius: an edge of the histograms.
        tagged: b efficiency of the working point, such as ``"0.8"``.

    Returns:
        ``all`` and ``mistagged``, each ``value``, ``low``, ``high``: Clopper–Pearson's interval of the mean number of
        jets; NaN without any.
    """
    edges = records[0]["proximity_edges"]
    near = edges.index(radius)

    def share(histograms: list[list[int]]) -> dict[str, float]:
        counts = np.mean(histograms, axis=0)
        total = counts.sum()
        if not total:
            return dict.fromkeys(("value", "low", "high"), float("nan"))
        low, high = binomial_interval(counts[:near].sum(), total)
        return {"value": float(counts[:near].sum() / total), "low": low, "high": high}

    histograms = [record["figures"][group]["proximity"] for record in records]
    return {
        "all": share([one["light"] for one in histograms]),
        "mistagged": share([one["mistagged"][tagged] for one in histograms]),
    }


def _require_same_jets(records: Sequence[Record], group: str) -> None:
    """Replica i of two records has the same redrawn events only if their jets are the same."""
    tested = [(record["figures"][group]["events"], record["figures"][group]["jets"]) for record in records]
    for record, jets in zip(records, tested, strict=True):
        if jets != tested[0]:
            names = [f"{one['setup']}/{one['name']}" for one in (records[0], record)]
            raise ConfigError(
                f"{names[0]} and {names[1]} were tested on different jets ({group}: {tested[0][1]} and {jets[1]}); "
                f'run one of them again on the other\'s events: make study ARGS="--again --only {record["name"]}"'
            )


def _point(record: Record, group: str, figure: str) -> dict[str, Any]:
    """Value, interval and replicas of a figure as they stand in a record; empty if they don't."""
    place = rejection_of(figure)
    found = record["figures"][group]
    if place is None:
        return found.get(figure, {})
    return found.get(place[0], {}).get("points", {}).get(place[1], {})


def _measured(point: dict[str, Any]) -> Measurement:
    kept = {name: value for name, value in point.items() if name != "replicas"}
    return measurement(kept)


def _values(records: Sequence[Record], group: str, figure: str) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Per seed the figure (of a rejection the accepted share), replicas of its mean, background jets that pass."""
    points = [_point(record, group, figure) for record in records]
    if not records or not all(points):
        return None
    if rejection_of(figure) is None:
        values = np.array([point["value"] for point in points])
        passed = np.inf
    else:
        found = [_measured(point) for point in points]
        if any(m.value is None and not (isinstance(m, Rejection) and m.background_passed == 0) for m in found):
            return None
        values = np.array([0.0 if m.value is None else 1 / m.value for m in found])
        passed = float(np.mean([point["background_passed"] for point in points]))
    replicas = np.mean([unpack(p["replicas"], v) for p, v in zip(points, values, strict=True)], axis=0)
    return values, replicas, passed


def _seed_error(found: tuple[np.ndarray, np.ndarray, float], relative: bool) -> float | None:
    values = found[0]
    scale = values.mean() if relative else 1.0
    return _mean_error(values / scale) if scale else None


def _mean_error(values: np.ndarray) -> float | None:
    """68 % error of the mean of a few values; ``None`` of a single one."""
    number = len(values)
    return None if number < 2 else spread_error(float(np.std(values, ddof=1)), number)


def spread_error(spread: float, number: int) -> float:
    """68 % error of the mean of some values with this standard deviation."""
    return _student(number) * spread / float(np.sqrt(number))


def _single_error(values: np.ndarray, relative: bool) -> float:
    """68 % error of one more such value."""
    scale = values.mean() if relative else 1.0
    return _student(len(values)) * float(np.std(values, ddof=1)) / (float(scale) or 1.0)


def _student(number: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.5 + INTERVAL / 2, number - 1))


def _combined(value: float, low: float, high: float, seeds: float | None, relative: bool = False) -> dict[str, Any]:
    """A value whose interval from the events is widened by the trainings' error; in its logarithm if ``relative``."""
    found: dict[str, Any] = {"value": value, "events": [low, high], "seeds": seeds}
    extra = seeds or 0.0
    if relative:
        # Where few jets pass, a replica may have none: then the interval has no bound on that side. A value beyond an
        # end of its interval has no distance to that end.
        down = np.hypot(np.log(max(value / low, 1)), extra) if low > 0 else np.inf
        up = np.hypot(np.log(max(high / value, 1)), extra) if high < np.inf else np.inf
        found |= {"low": value * np.exp(-down), "high": value * np.exp(up) if np.isfinite(up) else None}
    else:
        down, up = np.hypot(max(value - low, 0), extra), np.hypot(max(high - value, 0), extra)
        found |= {"low": value - down, "high": value + up}
    return {name: float(v) if isinstance(v, np.floating) else v for name, v in found.items()}
