"""A row's figures of merit: of one training, or of several that differ in their seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from panoptag_pyg.evaluation import RejectionCurve, Report
from panoptag_pyg.evaluation.report import ALL, WORKING_POINTS, Result
from panoptag_pyg.evaluation.seeds import over_seeds

#: Digits of the curves in the JSON file: finer than any figure can show.
DIGITS = 4


def figures(results: Sequence[Result]) -> dict[str, dict[str, Any]]:
    """``accuracy``, ``auc`` and ``b_rej50`` to ``c_rej80`` over the trainings, each as :func:`over_seeds` gives it.

    Args:
        results: of the same tagger on the same jets, one per seed.
    """
    found = {
        "accuracy": over_seeds([result.accuracy for result in results]),
        "auc": over_seeds([result.auc for result in results]),
    }
    for signal in results[0].curves:
        for x in WORKING_POINTS:
            found[f"{signal}_rej{round(100 * x)}"] = over_seeds([result.curves[signal].at(x) for result in results])
    return found


def curve_columns(curve: RejectionCurve, reference: RejectionCurve) -> dict[str, list[float | None]]:
    """A curve and its ratio to another as JSON-able columns; ``None`` where undefined."""
    columns = curve.arrays()
    columns["ratio"], columns["ratio_low"], columns["ratio_high"] = curve.ratio(reference)
    return {name: [_rounded(value) for value in values] for name, values in columns.items()}


def process_figures(reports: Sequence[Report]) -> dict[str, dict[str, Any]]:
    """:func:`figures` of each process, by its name."""
    names = [process for process in reports[0].processes if process != ALL]
    return {name: figures([report.of(name) for report in reports]) for name in names}


def _rounded(value: float) -> float | None:
    if not math.isfinite(value):
        return None
    return float(f"{value:.{DIGITS}g}")
