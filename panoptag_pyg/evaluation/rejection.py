"""Rejection of the background at a signal efficiency, with intervals and limits that hold for few jets too."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from panoptag_pyg.evaluation.bootstrap import (
    LIMIT,
    EventBootstrap,
    Measurement,
    binomial_interval,
    binomial_upper,
    effective_count,
    interval,
)

#: Fewer (effective) passing background jets than this: binomial interval and limit instead of the bootstrap alone.
FEW = 10


def discriminant(logits: np.ndarray, signal: int, background: int = 0) -> np.ndarray:
    r"""One number per jet that is large for ``signal``: :math:`\log p_s - \log p_b`, taken from the logits.

    :math:`p_s/(p_s+p_b)` and :math:`p_s/p_b` rise monotonically with it, so all three give the same
    rejections; the difference of logits does not saturate where float32 probabilities round to 0 or 1 and
    whole tails would tie.

    Args:
        logits: raw output of the tagger [J, C].
        signal: class to select (1: c, 2: b).
        background: class to reject. Default 0: light.

    Shapes: returns ``[J]``, float64.
    """
    values = np.asarray(logits, np.float64)
    return values[:, signal] - values[:, background]


@dataclass(frozen=True)
class Rejection(Measurement):
    """Background rejection at one signal efficiency, with everything needed to judge it.

    Attributes:
        target: signal efficiency asked for.
        efficiency: signal efficiency reached, at least ``target``; more where scores tie.
        threshold: smallest accepted value of the discriminant.
        signal: number of signal jets.
        background: number of background jets.
        background_passed: number of background jets accepted. Fewer than 10: don't quote the value without
            the limit.
        limit: 95 % confidence lower limit of the rejection, where hardly any background jet passes.
    """

    target: float = 0.0
    efficiency: float | None = None
    threshold: float | None = None
    signal: int = 0
    background: int = 0
    background_passed: int | None = None
    limit: float | None = None


@dataclass(frozen=True)
class RejectionCurve:
    """Background rejection as a function of signal efficiency.

    Attributes:
        points: one :class:`Rejection` per efficiency.
        false_positive_rate: share of background accepted in each bootstrap replica; NaN where undefined.
            [R, len(points)], [0, len(points)] without a bootstrap.
    """

    points: tuple[Rejection, ...]
    false_positive_rate: np.ndarray = field(repr=False)

    def at(self, efficiency: float) -> Rejection:
        """The point at one of the efficiencies that the curve was computed for.

        Raises:
            KeyError: for another efficiency.
        """
        for point in self.points:
            if abs(point.target - efficiency) < 1e-9:
                return point
        raise KeyError(f"the curve was not computed at efficiency {efficiency}")

    def arrays(self) -> dict[str, np.ndarray]:
        """Columns: ``efficiency``, ``value``, ``low``, ``high`` (NaN: none), ``background_passed``."""

        def column(name: str) -> np.ndarray:
            return np.array([np.nan if getattr(p, name) is None else getattr(p, name) for p in self.points], float)

        names = {"efficiency": "target", "value": "value", "low": "low", "high": "high"}
        return {key: column(name) for key, name in names.items()} | {"background_passed": column("background_passed")}

    def ratio(self, other: RejectionCurve) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """This rejection over another's at the same efficiencies, with the 68.3 % interval of shared
        replicas.

        Shapes: ``(ratio, low, high)``, each ``[len(points)]``; NaN where undefined.
        """
        with np.errstate(all="ignore"):
            ratio = self.arrays()["value"] / other.arrays()["value"]
            replicas = other.false_positive_rate / self.false_positive_rate
        low, high = interval(replicas)
        return ratio, low, high


def rejection_curve(
    scores: np.ndarray,
    is_signal: np.ndarray,
    is_background: np.ndarray,
    efficiencies: np.ndarray | list[float],
    weight: np.ndarray | None = None,
    bootstrap: EventBootstrap | None = None,
    names: tuple[str, str] = ("signal", "background"),
) -> RejectionCurve:
    r"""Background rejection :math:`1/\mathrm{FPR}` at given signal efficiencies (true positive rates).

    The cut is the largest score :math:`t` for which :math:`\mathrm{TPR}(s \ge t) \ge X`; jets with equal
    scores pass or fail together, so the efficiency reached is never below the one asked for.
    The interval is that of the event bootstrap, which redraws signal (moving the cut) and background
    together. Where fewer than 10 (effective) background jets pass it is widened to the Clopper–Pearson
    interval, and a 95 % lower limit (the weaker of Clopper–Pearson's and the bootstrap's) is given; if none
    passes there is no value, the limit alone.

    Args:
        scores: discriminant, larger for signal [J].
        is_signal: mask of signal jets [J].
        is_background: mask of background jets [J]; jets in neither mask play no role.
        efficiencies: signal efficiencies, each in (0, 1].
        weight: weight of each jet. Negative ones are summed with their sign; the cut is then the first, from
            above, at which the summed signal reaches X; a negative background sum gives no value. Default:
            all 1.
        bootstrap: redraws events for the uncertainties. Default: none, then only binomial intervals are
            given.
        names: names of signal and background for the reason of a missing value.

    Raises:
        ValueError: an efficiency outside (0, 1], or a score that is NaN.
    """
    targets = np.asarray(efficiencies, np.float64)
    if np.any(targets <= 0) or np.any(targets > 1):
        raise ValueError(f"signal efficiencies lie in (0, 1], got {list(targets)}")
    scores = np.asarray(scores, np.float64)
    if np.isnan(scores).any():
        raise ValueError(f"the discriminant of jet {int(np.flatnonzero(np.isnan(scores))[0])} is NaN")
    weight = np.ones(len(scores)) if weight is None else np.asarray(weight, np.float64)
    ranking = _Ranking(scores, np.flatnonzero(is_signal), np.flatnonzero(is_background))
    num_signal, num_background = len(ranking.signal), len(ranking.background)

    missing = ""
    for name, jets in zip(names, (ranking.signal, ranking.background), strict=True):
        if not missing and len(jets) == 0:
            missing = f"no {name} jets"
        elif not missing and weight[jets].sum() <= 0:
            missing = f"the weights of all {name} jets sum to {weight[jets].sum():.3g}"
    if missing:
        empty = np.full((bootstrap.replicas if bootstrap else 0, len(targets)), np.nan)
        return RejectionCurve(
            tuple(
                Rejection(None, missing=missing, target=float(x), signal=num_signal, background=num_background)
                for x in targets
            ),
            empty,
        )

    cut, tpr, fpr = ranking.rates(weight[ranking.signal][None], weight[ranking.background][None], targets)
    replicas = np.empty((0, len(targets)))
    if bootstrap is not None:
        pieces = [
            ranking.rates(
                bootstrap.weights(chunk, ranking.signal, weight),
                bootstrap.weights(chunk, ranking.background, weight),
                targets,
            )[2]
            for chunk in bootstrap.chunks(num_signal + num_background)
        ]
        replicas = np.concatenate(pieces)
    low, high = interval(replicas)
    top = np.nanquantile(replicas, LIMIT, axis=0) if len(replicas) else np.zeros(len(targets))

    points = []
    for i, target in enumerate(targets):
        passing = ranking.background[: ranking.passing[cut[0, i]]]
        event = bootstrap.events(passing) if bootstrap is not None else np.arange(len(passing))
        points.append(
            rejection_of_rate(
                float(fpr[0, i]),
                (float(low[i]), float(high[i]), float(top[i])),
                weight[passing],
                event,
                effective_count(weight[ranking.background], np.arange(num_background)),
                target=float(target),
                efficiency=float(tpr[0, i]),
                threshold=float(ranking.thresholds[cut[0, i]]),
                signal=num_signal,
                background=num_background,
                background_passed=len(passing),
            )
        )
    return RejectionCurve(tuple(points), replicas)


def rejection_of_rate(
    fpr: float,
    bounds: tuple[float, float, float],
    passing_weight: np.ndarray,
    event: np.ndarray,
    total: float,
    **facts,
) -> Rejection:
    """A rejection from its false positive rate: value, interval, and a limit where few pass.

    Args:
        fpr: share of the background that passes.
        bounds: ends of the bootstrap's interval on that, and its upper limit.
        passing_weight: weights of the background jets that pass.
        event: their events.
        total: effective number of all background jets.
        facts: the rejection's other fields.
    """
    low, high, top = bounds
    if len(passing_weight) == 0:
        limit = 1 / np.fmax(binomial_upper(0, total), top)
        return Rejection(None, missing="no background jet passes", limit=float(limit), **facts)
    if fpr <= 0:
        reason = f"the weights of the {len(passing_weight)} passing background jets sum to {passing_weight.sum():.3g}"
        return Rejection(None, missing=reason, **facts)
    passed = effective_count(passing_weight, event)
    limit = None
    if passed < FEW or np.isnan(low):
        total = max(passed / fpr, passed)
        binomial = binomial_interval(passed, total)
        low, high = (np.fmin(low, binomial[0]), np.fmax(high, binomial[1]))
    if passed < FEW:
        limit = float(1 / np.fmax(binomial_upper(passed, total), top))
    return Rejection(1 / fpr, 1 / float(high), 1 / float(low) if low > 0 else None, limit=limit, **facts)


class _Ranking:
    """Signal and background jets in falling order of one score, with the cuts between unequal signal scores.

    Attributes:
        signal: indices of the signal jets, best first.
        background: indices of the background jets, best first.
        thresholds: the distinct scores of signal jets, falling; cut c accepts ``score >= thresholds[c]``.
        passing: number of background jets that each cut accepts.
    """

    def __init__(self, scores: np.ndarray, signal: np.ndarray, background: np.ndarray):
        self.signal = signal[np.argsort(-scores[signal], kind="stable")]
        self.background = background[np.argsort(-scores[background], kind="stable")]
        values = scores[self.signal]
        self._last = np.flatnonzero(np.append(values[1:] != values[:-1], True)) if len(values) else np.empty(0, int)
        self.thresholds = values[self._last]
        rising = scores[self.background][::-1]
        self.passing = len(rising) - np.searchsorted(rising, self.thresholds, side="left")

    def rates(
        self, signal_weight: np.ndarray, background_weight: np.ndarray, targets: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cut, true and false positive rate at each target, for n sets of weights at once.

        Shapes: weights ``[n, S]`` and ``[n, B]`` in the order of ``signal`` and ``background``; returns ``[n,
            X]`` each.
        """
        accepted = np.cumsum(signal_weight, axis=1)[:, self._last]
        total = accepted[:, -1:]
        # with negative weights the sum may fall again: the cut is where it first gets there
        reached = np.maximum.accumulate(accepted, axis=1)
        wanted = targets * total * (1 - 1e-12)  # 0.8 * 5 must not ask for 4.0000000000000001
        cut = np.stack([np.searchsorted(row, want) for row, want in zip(reached, wanted, strict=True)])
        cut = np.minimum(cut, len(self._last) - 1)
        tpr = np.take_along_axis(accepted, cut, axis=1)
        summed = np.cumsum(np.pad(background_weight, ((0, 0), (1, 0))), axis=1)
        fpr = np.take_along_axis(summed, self.passing[cut], axis=1)
        with np.errstate(all="ignore"):
            defined = (total > 0) & (summed[:, -1:] > 0)
            return cut, tpr / total, np.where(defined, fpr / summed[:, -1:], np.nan)
