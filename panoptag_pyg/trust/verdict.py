"""A check's verdict, and a section of checks with its numbers, tables and figures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from panoptag_pyg.evaluation.bootstrap import Measurement
from panoptag_pyg.report_folder import finite

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: It holds; it asks for a look; it is broken, and the model must not be used; it is told without a judgement.
PASS, LOOK, FAIL, TOLD = "pass", "look", "fail", "told"
#: Standard deviations beyond which a deviation is taken for real.
SIGNIFICANT = 4.0
#: The same where it breaks what has to hold (a leak of the label): once in a million by chance.
CERTAIN = 5.0
#: Least p-value of a statistical check that passes.
MIN_P_VALUE = 1e-4


@dataclass(frozen=True)
class Check:
    """One statement about a trained model, and whether it holds.

    Attributes:
        name: what is checked.
        verdict: ``"pass"``, ``"look"``, ``"fail"`` or ``"told"``.
        kind: ``"exact"`` (has to hold for every jet; broken, it fails), ``"statistical"`` (within uncertainties),
            ``"bound"`` (within bounds that we chose), or ``"told"``.
        detail: what was found, for people.
    """

    name: str
    verdict: str
    kind: str
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        return asdict(self)


@dataclass
class Section:
    """Checks that belong together.

    Attributes:
        key: its name in ``check.json``.
        title: its heading.
        words: what is done and what to see, for people.
        checks: verdicts.
        numbers: all that was found, for machines.
        tables: title, header and rows of each table of the page.
        figures: a function that draws each figure, by its file's name.
    """

    key: str
    title: str
    words: str
    checks: list[Check] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)
    tables: list[tuple[str, list[str], list[list[str]]]] = field(default_factory=list)
    figures: dict[str, Callable[[], Figure]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        return {"title": self.title, "checks": [check.to_dict() for check in self.checks], **finite(self.numbers)}


def told(name: str, detail: str) -> Check:
    """What is said without a judgement."""
    return Check(name, TOLD, "told", detail)


def exact(name: str, holds: bool, detail: str) -> Check:
    """What has to hold."""
    return Check(name, PASS if holds else FAIL, "exact", detail)


def statistical(name: str, holds: bool, detail: str) -> Check:
    """What should hold within uncertainties."""
    return Check(name, PASS if holds else LOOK, "statistical", detail)


def bound(name: str, holds: bool, detail: str) -> Check:
    """What should lie in bounds that somebody has chosen."""
    return Check(name, PASS if holds else LOOK, "bound", detail)


def half_width(measurement: Measurement) -> float:
    """Half of the 68.3 % interval; NaN without one."""
    if measurement.low is None or measurement.high is None:
        return math.nan
    return (measurement.high - measurement.low) / 2


def deviation(value: float, error: float) -> float:
    """How many standard deviations a value is away from 0; 0 if it is 0, whatever its error."""
    if value == 0:
        return 0.0
    return value / error if error > 0 else math.copysign(math.inf, value)
