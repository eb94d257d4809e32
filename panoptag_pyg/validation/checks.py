"""Checks and their verdicts: χ² with p-values, exact conditions, and bounds where no distribution is known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

#: Least p-value of a statistical check that passes.
MIN_P_VALUE = 1e-4
#: Effective entries that a bin or cell needs, so that its sum may be taken as normal.
MIN_ENTRIES = 10
PASS, LOOK = "pass", "look"


@dataclass(frozen=True)
class Check:
    """One statement about the events, and whether it holds.

    Attributes:
        section: what kind of thing is checked.
        name: what is checked.
        detail: what was found, for people.
        verdict: ``"pass"`` or ``"look"``.
        kind: ``"statistical"`` (has a p-value), ``"exact"`` (no entry may break it) or ``"bound"`` (a value in bounds).
        chi2, ndf, p_value: of a statistical check.
        process: whose events; ``""`` for all.
    """

    section: str
    name: str
    detail: str
    verdict: str
    kind: str
    chi2: float | None = None
    ndf: int | None = None
    p_value: float | None = None
    process: str = ""

    @property
    def passed(self) -> bool:
        """Whether there is nothing to look at."""
        return self.verdict == PASS

    def of(self, process: str) -> Check:
        """The same check, said to be of ``process``."""
        return replace(self, process=process)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        return asdict(self)


def median_and_width(values: np.ndarray) -> tuple[float, float, float, float]:
    """Median, its uncertainty (1.25 σ/√n, with σ half of the 68 % interval), and the interval's ends."""
    low, median, high = np.percentile(values, [16, 50, 84])
    return float(median), float(1.25 * (high - low) / 2 / np.sqrt(len(values))), float(low), float(high)


def statistical(section: str, name: str, detail: str, chi2: float, ndf: int, p_value: float | None = None) -> Check:
    """A check by χ².

    Args:
        section, name, detail: as of :class:`Check`.
        chi2: of the comparison.
        ndf: degrees of freedom.
        p_value: probability of a larger χ². Default: that of the χ² distribution.
    """
    p = float(stats.chi2.sf(chi2, ndf)) if p_value is None else float(p_value)
    verdict = PASS if p > MIN_P_VALUE else LOOK
    return Check(section, name, detail, verdict, "statistical", float(chi2), int(ndf), p)


def exact(section: str, name: str, wrong: int, total: int, what: str) -> Check:
    """A condition that every entry must fulfil.

    Args:
        section, name: as of :class:`Check`.
        wrong: how many break it.
        total: how many were looked at.
        what: what they are, such as ``"tracks"``.
    """
    detail = f"all {total:,} {what}" if wrong == 0 else f"{wrong:,} of {total:,} {what} break it"
    return Check(section, name, detail, PASS if wrong == 0 else LOOK, "exact")


def bound(section: str, name: str, value: float, error: float, low: float, high: float, detail: str = "") -> Check:
    """A value that must lie in [low, high], where its distribution isn't known beforehand.

    Args:
        section, name, detail: as of :class:`Check`.
        value: what was found.
        error: its uncertainty; four of them are allowed beyond the bounds.
        low, high: the bounds.
    """
    verdict = PASS if low - 4 * error <= value <= high + 4 * error else LOOK
    text = f"{value:.3f}" + (f" ± {error:.3f}" if error else "") + f", expected {low:g} to {high:g}"
    return Check(section, name, f"{text}; {detail}" if detail else text, verdict, "bound")


def normal_check(section: str, name: str, deviations: np.ndarray, detail: str) -> Check | None:
    """A check of D independent deviations that should be standard normal; ``None`` without any.

    Args:
        section, name, detail: as of :class:`Check`.
        deviations: [D].
    """
    finite = deviations[np.isfinite(deviations)]
    if len(finite) == 0:
        return None
    return statistical(section, name, detail, float((finite**2).sum()), len(finite))


def mean_deviation(count: np.ndarray, total: np.ndarray) -> np.ndarray:
    """√n times the mean of n standard normal numbers in each of C cells, NaN for cells with too few. [C] → [C]."""
    enough = count >= MIN_ENTRIES
    return np.where(enough, total / np.sqrt(np.where(enough, count, 1)), np.nan)


def width_deviation(count: np.ndarray, total: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """How far the sample variance of n standard normal numbers in each of C cells is from 1, as a normal deviate.

    (n − 1)·s² has a χ² distribution with n − 1 degrees of freedom; its quantile is turned into a normal one, which
    is exact for any n.

    Args:
        count: n, NaN comes out for cells with too few [C].
        total: sum of the numbers [C].
        squares: sum of their squares [C].
    """
    enough = count >= MIN_ENTRIES
    n = np.where(enough, count, MIN_ENTRIES)
    spread = np.maximum(squares - total**2 / n, 0)
    above, below = stats.chi2.logsf(spread, n - 1), stats.chi2.logcdf(spread, n - 1)
    with np.errstate(invalid="ignore"):
        deviate = np.where(above < below, -stats.norm.ppf(np.exp(np.maximum(above, -700))),
                           stats.norm.ppf(np.exp(np.maximum(below, -700))))  # fmt: skip
    return np.where(enough, deviate, np.nan)


def summary(checks: Iterable[Check]) -> dict[str, Any]:
    """How many checks there are, how many ask for a look, and how often chance alone would.

    ``false_alarms`` is the number of statistical checks times the least p-value (Bonferroni's bound on the probability
    that at least one of a right simulation's checks asks for a look); ``smallest_global`` is the smallest p-value
    corrected for the number of checks in the same way.
    """
    checks = list(checks)
    p_values = [check.p_value for check in checks if check.p_value is not None]
    return {
        "checks": len(checks),
        "statistical": len(p_values),
        "exact": sum(check.kind == "exact" for check in checks),
        "bounds": sum(check.kind == "bound" for check in checks),
        "look": sum(not check.passed for check in checks),
        "min_p_value": MIN_P_VALUE,
        "false_alarms": len(p_values) * MIN_P_VALUE,
        "smallest_p_value": min(p_values, default=None),
        "smallest_global": min(1.0, min(p_values) * len(p_values)) if p_values else None,
    }
