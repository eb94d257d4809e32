"""Charts of a run's report, as JSON that the page draws: series of points with bands, errors or steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from panoptag_pyg.evaluation.figures import SOLID_COUNT, score_histograms
from panoptag_pyg.evaluation.predictions import Predictions
from panoptag_pyg.evaluation.report import ALL, SIGNALS, Report
from panoptag_pyg.evaluation.tables import process_title, table_processes
from panoptag_pyg.events.schema import FLAVOUR_NAMES
from panoptag_pyg.training.curves import panel_names

#: Names of colours in base.css: the model's, then those of others.
MODEL = "class-b"
OTHERS = ("class-0", "class-1", "class-2", "class-3", "class-4", "class-5")
_FLAVOURS = tuple(f"class-{name}" for name in FLAVOUR_NAMES)

Chart = dict[str, Any]


def chart(title: str, x: str, y: str, choices: Mapping[str, Sequence[dict[str, Any]]], **options: Any) -> Chart:
    """One chart: for each name that can be chosen its series.

    Args:
        title: of the chart.
        x, y: labels of the axes.
        choices: series by the name of the choice; with one choice there is nothing to choose.
        options: ``log`` for a logarithmic y axis, ``diagonal`` for the line y = x, ``mark`` for a vertical line.
    """
    return {
        "title": title,
        "x": x,
        "y": y,
        "choices": {name: list(found) for name, found in choices.items()},
        **options,
    }


def series(name: str, colour: str, x: Iterable[float], y: Iterable[float], kind: str = "line", **more: Any) -> dict:
    """One series; ``None`` in place of what is no number.

    Args:
        name: for the legend.
        colour: a name in base.css.
        x, y: the points; of ``steps`` x has one more, the edges.
        kind: ``"line"``, ``"points"`` or ``"steps"``.
        more: ``low`` and ``high`` of a band or of error bars; ``dashed``; ``sure``: where the line is drawn solid.
    """
    columns = {key: _numbers(value) if key in ("low", "high") else value for key, value in more.items()}
    return {"name": name, "colour": colour, "kind": kind, "x": _numbers(x), "y": _numbers(y), **columns}


def epoch_charts(rows: Sequence[dict[str, Any]]) -> list[Chart]:
    """A chart for the loss, each metric and the learning rate, epoch by epoch.

    Args:
        rows: as :func:`~panoptag_pyg.training.callbacks.read_metrics` gives them.
    """
    if not rows:
        return []
    epochs = [row["epoch"] for row in rows]
    best = min(rows, key=lambda row: row["val_loss"])["epoch"] if "val_loss" in rows[0] else None
    charts = []
    for name in panel_names(rows):
        found = []
        stages = (("lr", "learning rate", "class-2"),) if name == "lr" else (
            (f"train_{name}", "training", "class-0"), (f"val_{name}", "validation", MODEL))  # fmt: skip
        for key, label, colour in stages:
            values = [row.get(key, float("nan")) for row in rows]
            if any(value == value for value in values):
                found.append(series(label, colour, epochs, values, dots=True))
        if found:
            label = "learning rate" if name == "lr" else name.replace("_", " ")
            charts.append(chart(label, "epoch", label, {"": found}, mark=best, whole=True))
    return charts


def rejection_charts(report: Report) -> list[Chart]:
    """Light-jet rejection against b and c efficiency: every tagger on each process, and the model on all of them."""
    charts = []
    for signal in SIGNALS:
        choices = {}
        for process in table_processes(report):
            found = []
            for number, tagger in enumerate(report.taggers):
                curve = report.of(process, tagger).curves[signal].arrays()
                colour = MODEL if number == 0 else OTHERS[(number - 1) % len(OTHERS)]
                found.append(_rejection(tagger, colour, curve))
            choices[process_title(report.of(process))] = found
        alone = [process for process in table_processes(report) if process != ALL]
        if len(alone) > 1:
            choices["each process, this model"] = [
                _rejection(process_title(result), (MODEL, *OTHERS)[number % (1 + len(OTHERS))],
                           result.curves[signal].arrays(), dashed=result.seen is False)
                for number, result in enumerate(report.of(process) for process in alone)
            ]  # fmt: skip
        charts.append(
            chart(f"{signal} jets", f"{signal}-jet efficiency", "light-jet rejection", choices, log=True, signal=signal)
        )
    return charts


def _rejection(name: str, colour: str, curve: Mapping[str, np.ndarray], **more: Any) -> dict:
    passed = np.nan_to_num(curve["background_passed"])
    value = np.where(passed >= 1, curve["value"], np.nan)
    sure = [bool(firm) for firm in passed >= SOLID_COUNT]
    return series(name, colour, curve["efficiency"], value, low=curve["low"], high=curve["high"], sure=sure, **more)


def reliability_chart(numbers: Mapping[str, Any]) -> Chart | None:
    """Observed against predicted share, for each way to read the outputs; ``None`` where there is none.

    Args:
        numbers: of the calibration section of ``panoptag check``.
    """
    choices = {}
    for reading, found in numbers.items():
        if not isinstance(found, Mapping) or "expected_calibration_error" not in found:
            continue
        lines = []
        for index, (name, curve) in enumerate(found["classes"].items()):
            columns = {key: np.array([np.nan if v is None else v for v in curve[key]], float)
                       for key in ("predicted", "observed", "error", "count")}  # fmt: skip
            enough = columns["count"] >= SOLID_COUNT
            x, y, error = (columns[key][enough] for key in ("predicted", "observed", "error"))
            label = f"{name}, ECE {curve['expected_error']:.3f}"
            lines.append(series(label, _FLAVOURS[index], x, y, low=y - error, high=y + error, dots=True, bars=True))
        choices[f"outputs: {reading}"] = lines
    return chart("reliability", "predicted probability", "observed share", choices, diagonal=True) if choices else None


def score_charts(jets: Predictions) -> list[Chart]:
    """Distributions of both discriminants, a line for each flavour."""
    charts = []
    for signal, index in SIGNALS.items():
        edges, shares = score_histograms(jets, index)
        found = [
            series(
                f"{FLAVOUR_NAMES[flavour]} jets",
                _FLAVOURS[flavour],
                edges,
                np.where(counts > 0, counts, np.nan),
                "steps",
            )
            for flavour, counts in shares.items()
        ]
        label = f"log p({signal}) − log p(light)"
        charts.append(chart(label, label, "share of jets per bin", {"": found}, log=True))
    return charts


def _numbers(values: Iterable[float]) -> list[float | None]:
    """Seven digits, as float32 has them; a page is no archive."""
    return [None if value is None or not np.isfinite(value) else float(f"{value:.7g}") for value in values]
