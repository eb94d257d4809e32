"""Figures of an evaluation: rejection curves with a ratio panel, the same per process, and the scores themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from panoptag_pyg.evaluation.metrics import calibration
from panoptag_pyg.evaluation.predictions import Predictions
from panoptag_pyg.evaluation.rejection import RejectionCurve, discriminant
from panoptag_pyg.evaluation.report import ALL, Report
from panoptag_pyg.evaluation.style import (
    CURVE_COLOURS,
    FLAVOUR_COLOURS,
    MODEL_COLOUR,
    figure_style,
    process_label,
)
from panoptag_pyg.events.schema import FLAVOUR_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: A curve is drawn solid only where at least this many background jets pass.
SOLID_COUNT = 10
#: Index of the yardstick that ratio panels divide by: track counting with n = 2, if it is there.
YARDSTICK = "track counting n=2"


def report_figures(report: Report) -> dict[str, Figure]:
    """All figures of a report, by the name of their file."""
    return {
        "rejection": rejection_figure(report),
        "processes": process_figure(report),
        "scores": score_figure(report),
    }


def rejection_figure(report: Report, process: str = ALL) -> Figure:
    """Light-jet rejection against b and c efficiency, with the ratio to the yardstick below.

    Bands are the event bootstrap's 68 % intervals; dotted: fewer than 10 light jets pass.

    Args:
        report: what :func:`~panoptag_pyg.evaluation.evaluate` gave.
        process: its name. Default: all together.

    Source: the form is that of arXiv:2601.16417, figure 3.
    """
    with figure_style():
        figure, panels = efficiency_panels()
        yardstick = _yardstick(report)
        for signal, (upper, lower) in panels.items():
            base = report.of(process, yardstick).curves[signal] if yardstick else None
            for number, tagger in enumerate(report.taggers):
                colour = MODEL_COLOUR if number == 0 else CURVE_COLOURS[(number - 1) % len(CURVE_COLOURS)]
                curve = report.of(process, tagger).curves[signal]
                style: dict[str, Any] = {"color": colour, "zorder": 3 if number == 0 else 2}
                style |= {"linewidth": 2.2} if number == 0 else {"linestyle": "-"}
                draw_curve(upper, curve.arrays(), label=tagger, **style)
                if base is not None and tagger != yardstick:
                    _draw_ratio(lower, curve, base, **style)
            finish_panels(upper, lower, signal, f"ratio to\n{yardstick}" if yardstick else "")
            upper.legend(loc="upper right")
            model = report.of(process)
            caption(upper, [process_label(process), f"{model.num_events:,} events, {sum(model.num_jets):,} jets"])
        return figure


def process_figure(report: Report) -> Figure:
    """The model's rejection on each process, dashed where it was not trained on it; below, its gain over the yardstick.

    Form of arXiv:2601.16417, figure 4.
    """
    with figure_style():
        figure, panels = efficiency_panels()
        yardstick = _yardstick(report)
        for signal, (upper, lower) in panels.items():
            for number, process in enumerate(p for p in report.processes if p != ALL):
                result = report.of(process)
                label = process_label(process) + {True: " (seen)", False: " (unseen)", None: ""}[result.seen]
                style: dict[str, Any] = {
                    "color": (MODEL_COLOUR, *CURVE_COLOURS)[number % (1 + len(CURVE_COLOURS))],
                    "linestyle": "--" if result.seen is False else "-",
                }
                draw_curve(upper, result.curves[signal].arrays(), label=label, **style)
                if yardstick:
                    _draw_ratio(lower, result.curves[signal], report.of(process, yardstick).curves[signal], **style)
            finish_panels(upper, lower, signal, f"ratio to\n{yardstick}" if yardstick else "")
            if upper.has_data():
                upper.legend(loc="upper right")
            caption(upper, [report.taggers[0], "by process"])
        return figure


def score_figure(report: Report) -> Figure:
    """The confusion matrix, the distributions of both discriminants per flavour, and the calibration."""
    from matplotlib.figure import Figure

    jets = report.predictions
    with figure_style():
        figure = Figure(figsize=(12, 9.6))
        (confusion, forecast), distributions = figure.subplots(2, 2)
        _confusion(confusion, report.of(ALL).confusion)
        for signal, axes in zip((2, 1), distributions, strict=True):
            bins, shares = score_histograms(jets, signal)
            for flavour, counts in shares.items():
                style = {"color": FLAVOUR_COLOURS[flavour], "label": f"{FLAVOUR_NAMES[flavour]} jets", "baseline": None}
                axes.stairs(counts, bins, linewidth=1.6, **style)
            axes.set_yscale("log")
            axes.set_xlabel(rf"$\log\,(p_{FLAVOUR_NAMES[signal]} / p_\mathrm{{light}})$")
            axes.set_ylabel("share of jets per bin")
            axes.set_ylim(top=axes.get_ylim()[1] * 4)
            if axes.has_data():
                axes.legend(loc="upper right", ncols=3)
        probabilities = jets.probabilities
        for flavour, name in enumerate(FLAVOUR_NAMES):
            predicted, observed, count = calibration(probabilities[:, flavour], jets.flavour == flavour, jets.weight)
            enough = count >= SOLID_COUNT
            error = np.sqrt(np.clip(observed * (1 - observed), 0, None) / np.maximum(count, 1))
            forecast.errorbar(
                predicted[enough], observed[enough], error[enough], fmt="o-", markersize=4,
                color=FLAVOUR_COLOURS[flavour], label=name,
            )  # fmt: skip
        forecast.plot([0, 1], [0, 1], color="0.6", linestyle=":", linewidth=1)
        forecast.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted probability", ylabel="observed share")
        forecast.legend(loc="upper left", title="calibration", alignment="left")
        return figure


def score_histograms(jets: Predictions, signal: int, bins: int = 50) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Share of each flavour's jets in bins of log p_signal − log p_light; what lies beyond is in the outer bins.

    Args:
        jets: with scores and known flavours.
        signal: its class.
        bins: how many. Default 50.

    Returns:
        the edges [bins + 1], and for each flavour that there are jets of the shares [bins].
    """
    scores = discriminant(jets.logits, signal)
    low, high = np.percentile(scores, [0.1, 99.9]) if len(scores) else (0, 1)
    edges = np.linspace(low, max(high, low + 1e-6), bins + 1)
    shares = {}
    for flavour in range(len(FLAVOUR_NAMES)):
        chosen = jets.flavour == flavour
        total = jets.weight[chosen].sum()
        if chosen.any() and total > 0:
            clipped = np.clip(scores[chosen], edges[0], edges[-1])
            shares[flavour] = np.histogram(clipped, edges, weights=jets.weight[chosen] / total)[0]
    return edges, shares


def efficiency_panels(width: float = 12.0) -> tuple[Figure, dict[str, tuple[Axes, Axes]]]:
    """An empty figure, and per signal the panel of the rejection and that of its ratio below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 6.4))
    axes = figure.subplots(2, 2, sharex=True, gridspec_kw={"height_ratios": [3, 1], "hspace": 0.04})
    return figure, {"b": (axes[0, 0], axes[1, 0]), "c": (axes[0, 1], axes[1, 1])}


def _yardstick(report: Report) -> str | None:
    others = report.taggers[1:]
    return YARDSTICK if YARDSTICK in others else next(iter(others), None)


def draw_curve(axes: Axes, columns: dict[str, np.ndarray], label: str, band: bool = True, **style: Any) -> None:
    """Draw a rejection curve.

    Args:
        axes: where.
        columns: as :meth:`~panoptag_pyg.evaluation.RejectionCurve.arrays` gives them.
        label: for the legend.
        band: with its interval. Default ``True``.
        style: of the line.
    """
    x, value, passed = columns["efficiency"], columns["value"], columns["background_passed"]
    firm = passed >= SOLID_COUNT
    # the dotted part begins at the solid part's last point
    faint = (passed >= 1) & ~(firm & np.roll(firm, 1))
    axes.plot(x, np.where(firm, value, np.nan), label=label, **style)
    axes.plot(x, np.where(faint, value, np.nan), **{**style, "linestyle": ":", "linewidth": 1.2})
    if band:
        shade = {"color": style["color"], "alpha": 0.18, "linewidth": 0}
        axes.fill_between(x, columns["low"], columns["high"], where=firm, **shade)


def draw_ratio(
    axes: Axes,
    x: np.ndarray,
    ratio: tuple[np.ndarray, np.ndarray, np.ndarray],
    passed: np.ndarray,
    band: bool = True,
    **style: Any,
) -> None:
    """Draw a ratio of rejections where enough background passes.

    Args:
        axes: where.
        x: signal efficiencies.
        ratio: with its lower and upper end.
        passed: background jets that pass.
        band: with its interval. Default ``True``.
        style: of the line.
    """
    firm = passed >= SOLID_COUNT
    axes.plot(x, np.where(firm, ratio[0], np.nan), **style)
    if band:
        axes.fill_between(x, *ratio[1:], where=firm, color=style["color"], alpha=0.18, linewidth=0)


def _draw_ratio(axes: Axes, curve: RejectionCurve, base: RejectionCurve, **style: Any) -> None:
    columns = curve.arrays()
    passed = np.fmin(columns["background_passed"], base.arrays()["background_passed"])
    draw_ratio(axes, columns["efficiency"], curve.ratio(base), passed, **style)


def finish_panels(upper: Axes, lower: Axes, signal: str, ratio: str) -> None:
    """Scales, limits and labels, once all is drawn."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    upper.set_yscale("log")
    upper.set_xlim(0.3, 1.0)
    bottom, top = upper.get_ylim()
    upper.set_ylim(max(bottom, 0.8), max(top, 10) * 3)
    upper.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}"))
    upper.set_ylabel("light-jet rejection")
    lower.set_xlabel(f"${signal}$-jet efficiency")
    if ratio:
        lower.set_yscale("log")
        low, high = lower.get_ylim()
        low, high = max(min(low, 0.8), 0.05), min(max(high, 1.5), 100)
        lower.set_ylim(low, high)
        lower.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 30 else (1.0,)))
        lower.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        lower.yaxis.set_minor_formatter(NullFormatter())
        lower.axhline(1, color="0.5", linewidth=1, linestyle="--", zorder=1)
        lower.set_ylabel(ratio, fontsize=10)
    for axes in (upper, lower):
        axes.grid(True, which="major", color="0.9", linewidth=0.6, zorder=0)
        axes.set_axisbelow(True)
        axes.xaxis.label.set_horizontalalignment("right")


def caption(axes: Axes, lines: list[str]) -> None:
    """What the curves belong to, in the lower left corner."""
    axes.text(0.03, 0.05, "\n".join(lines), transform=axes.transAxes, va="bottom", ha="left", linespacing=1.4)


def _confusion(axes: Axes, matrix: np.ndarray | None) -> None:
    if matrix is None:
        axes.set_axis_off()
        return
    axes.imshow(matrix, vmin=0, vmax=1, cmap="Blues", aspect="equal")
    for (row, column), share in np.ndenumerate(matrix):
        text = "no jets" if np.isnan(share) else f"{100 * share:.1f} %"
        axes.text(column, row, text, ha="center", va="center", color="white" if share > 0.55 else "black")
    ticks = range(len(FLAVOUR_NAMES))
    axes.set_xticks(ticks, FLAVOUR_NAMES)
    axes.set_yticks(ticks, FLAVOUR_NAMES)
    axes.tick_params(which="both", length=0)
    axes.minorticks_off()
    axes.set(xlabel="predicted", ylabel="true")
