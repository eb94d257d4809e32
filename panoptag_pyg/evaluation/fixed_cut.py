"""Efficiency and rejection at a threshold that is given, as an experiment applies one that it has calibrated."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from panoptag_pyg.evaluation.bootstrap import (
    LIMIT,
    EventBootstrap,
    Measurement,
    binomial_interval,
    effective_count,
    interval,
)
from panoptag_pyg.evaluation.rejection import FEW, Rejection, rejection_of_rate


@dataclass(frozen=True)
class PassRate(Measurement):
    """Share of some jets that pass a cut.

    Attributes:
        total: how many jets there are.
        passed: how many of them pass.
        replicas: the share in each bootstrap replica [R]; NaN where undefined.
    """

    total: int = 0
    passed: int = 0
    replicas: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False, compare=False)

    def to_dict(self) -> dict:
        """The fields as JSON-able values, without the replicas and those that say nothing."""
        names = ("value", "low", "high", "missing", "total", "passed")
        return {name: getattr(self, name) for name in names if getattr(self, name) not in (None, "")}


def pass_rate(
    passes: np.ndarray,
    members: np.ndarray,
    weight: np.ndarray,
    bootstrap: EventBootstrap,
    name: str = "jets",
) -> PassRate:
    """Weighted share of the jets ``members`` that pass, with the interval of redrawn events.

    Where fewer than 10 (effective) jets pass or fail, the interval is widened to the Clopper–Pearson interval.

    Args:
        passes: mask of jets that pass [J].
        members: mask of the jets that are asked about [J].
        weight: of each jet [J].
        bootstrap: of all J jets.
        name: what to call the jets if there are none.
    """
    jets = np.flatnonzero(members)
    own = np.asarray(weight, np.float64)[jets]
    passed = np.asarray(passes)[jets]
    total = own.sum()
    if not len(jets) or total <= 0:
        reason = f"no {name}" if not len(jets) else f"the weights of all {name} sum to {total:.3g}"
        return PassRate(None, missing=reason, total=len(jets), replicas=np.full(bootstrap.replicas, np.nan))
    value = float(own[passed].sum() / total)
    event = bootstrap.events(jets)
    tops, bottoms = (np.bincount(event, w, bootstrap.num_events) for w in (own * passed, own))
    with np.errstate(all="ignore"):
        replicas = (bootstrap.counts @ tops) / (bootstrap.counts @ bottoms)
    low, high = (float(bound) for bound in interval(replicas))
    sides = [effective_count(own[side], event[side]) for side in (passed, ~passed)]
    if min(sides) < FEW and 0 <= value <= 1:
        worth = effective_count(own, np.arange(len(own)))
        binomial = binomial_interval(value * worth, worth)
        low, high = float(np.fmin(low, binomial[0])), float(np.fmax(high, binomial[1]))
    return PassRate(
        value, low if np.isfinite(low) else None, high if np.isfinite(high) else None,
        total=len(jets), passed=int(passed.sum()), replicas=replicas,
    )  # fmt: skip


def rejection_at_cut(
    scores: np.ndarray,
    threshold: float,
    is_background: np.ndarray,
    weight: np.ndarray,
    bootstrap: EventBootstrap,
    name: str = "background",
) -> Rejection:
    """Background rejection where jets with ``scores >= threshold`` are accepted; limits as of ``rejection_curve``.

    Args:
        scores: larger for signal [J].
        threshold: smallest accepted score.
        is_background: mask of the background jets [J].
        weight: of each jet [J].
        bootstrap: of all J jets.
        name: what to call the background if there is none.
    """
    rate = pass_rate(scores >= threshold, is_background, weight, bootstrap, f"{name} jets")
    if rate.value is None:
        return Rejection(None, missing=rate.missing, threshold=threshold, background=rate.total)
    jets = np.flatnonzero(is_background)
    passing = jets[scores[jets] >= threshold]
    own = np.asarray(weight, np.float64)
    low, high = interval(rate.replicas)
    top = float(np.nanquantile(rate.replicas, LIMIT)) if np.isfinite(rate.replicas).any() else 0.0
    return rejection_of_rate(
        rate.value,
        (float(low), float(high), top),
        own[passing],
        bootstrap.events(passing),
        effective_count(own[jets], np.arange(len(jets))),
        threshold=threshold,
        background=rate.total,
        background_passed=rate.passed,
    )


def change(before: PassRate, after: PassRate) -> Measurement:
    """Relative change of the share, ``after / before − 1``, with the interval of the replicas that both share."""
    if not before.value or after.value is None:
        return Measurement(None, missing=before.missing or after.missing or "none passes before")
    with np.errstate(all="ignore"):
        low, high = interval(after.replicas / before.replicas - 1)
    return Measurement(after.value / before.value - 1, float(low), float(high))
