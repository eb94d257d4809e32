"""The study's figures, made from its records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from panoptag_pyg.evaluation.figures import caption, draw_curve, draw_ratio, efficiency_panels, finish_panels
from panoptag_pyg.evaluation.style import CURVE_COLOURS, MODEL_COLOUR, figure_style, process_label
from panoptag_pyg.output import atomic_output

from .combine import Record, curve_ratios, gather, mean_columns, over_trainings, spread_error
from .measure import SEEN
from .plan import SETUPS, Entry, Plan
from .summary import HOME, REFERENCE, WORKING_POINT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colours of the taggers, the same in every figure.
COLOURS = {
    "panoptag": MODEL_COLOUR,
    "part": CURVE_COLOURS[0],
    "particlenet": CURVE_COLOURS[1],
    "panoptag_plus": CURVE_COLOURS[2],
    "panoptag_near": "black",
    "panoptag_near_flavour": CURVE_COLOURS[3],
}
SETUP_LABELS = {"paper": "setup “paper”", "realistic": "setup “realistic”"}
Records = dict[tuple[str, str], list[Record]]


def write_figures(plan: Plan, results: Path, folder: Path) -> list[Path]:
    """Draw all figures for which there are records, as ``study_*.png``.

    Args:
        plan: the entries.
        results: folder of the records.
        folder: of the figures.
    """
    records = gather(plan, results)
    figures: dict[str, Figure] = {}
    for setup in SETUPS:
        taggers = _taggers(plan, records, setup)
        if not taggers:
            continue
        figures[f"study_rejection_{setup}"] = rejection_figure(taggers, records, setup)
        figures[f"study_processes_{setup}"] = process_figure(taggers, records, setup, (HOME, *plan.sample.unseen))
        figures[f"study_proximity_{setup}"] = proximity_figure(taggers, records, setup)
        if any(entry.group == "events" and (setup, entry.name) in records for entry in plan.entries):
            figures["study_events"] = events_figure(plan, records, setup, (HOME, plan.sample.unseen[0]))
    written = []
    for name, figure in figures.items():
        with atomic_output(folder / f"{name}.png", overwrite=True) as temporary:
            figure.savefig(temporary, dpi=110)
        written.append(folder / f"{name}.png")
    return written


def rejection_figure(taggers: Sequence[Entry], records: Records, setup: str) -> Figure:
    """Rejection against b and c efficiency on the processes trained on; below, the ratio to ParT.

    Source: the form is that of arXiv:2601.16417, figure 3.
    """
    with figure_style():
        figure, panels = efficiency_panels()
        for signal, (upper, lower) in panels.items():
            _curves(upper, lower, taggers, records, setup, SEEN, signal)
            finish_panels(upper, lower, signal, f"ratio to\n{_title(taggers, REFERENCE)}")
            upper.legend(loc="upper right")
        caption(next(iter(panels.values()))[0], [SETUP_LABELS[setup], "all processes trained on"])
        return figure


def process_figure(taggers: Sequence[Entry], records: Records, setup: str, processes: Sequence[str]) -> Figure:
    """The same on each of some processes, the seen one first.

    Source: the form is that of arXiv:2601.16417, figure 4.
    """
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(4.6 * len(processes), 11.5))
        heights = {"height_ratios": [3, 1.2, 3, 1.2], "hspace": 0.05}
        axes = figure.subplots(4, len(processes), sharex=True, sharey="row", gridspec_kw=heights, squeeze=False)
        for column, process in enumerate(processes):
            for row, signal in ((0, "b"), (2, "c")):
                upper, lower = axes[row, column], axes[row + 1, column]
                _curves(upper, lower, taggers, records, setup, process, signal)
                finish_panels(upper, lower, signal, f"ratio to\n{_title(taggers, REFERENCE)}")
                lower.set_xlabel(f"${signal}$-jet efficiency", ha="right")
                if column:
                    upper.set_ylabel("")
                    lower.set_ylabel("")
            seen = "trained on" if process == HOME else "never trained on"
            caption(
                axes[0, column], [f"{process_label(process)}, {seen}", *([SETUP_LABELS[setup]] if not column else [])]
            )
        axes[0, -1].legend(loc="upper right")
        return figure


def proximity_figure(taggers: Sequence[Entry], records: Records, setup: str) -> Figure:
    """Where mistagged light jets are: ΔR to the nearest b or c jet of their event; below, how many are mistagged.

    Source: the form is that of arXiv:2601.16417, figure 6.
    """
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(7.5, 6.4))
        upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1.4], "hspace": 0.04})
        drawn = False
        for entry in taggers:
            own = records[setup, entry.name]
            edges = np.array(own[0]["proximity_edges"])
            counts = [record["figures"][SEEN]["proximity"] for record in own]
            light = np.mean([one["light"] for one in counts], axis=0)
            wrong = np.mean([one["mistagged"][WORKING_POINT] for one in counts], axis=0)
            if not drawn:
                upper.stairs(light / light.sum(), edges, fill=True, color="0.87", label="all light jets")
                drawn = True
            middle, colour = (edges[1:] + edges[:-1]) / 2, _colour(entry)
            upper.stairs(
                wrong / max(wrong.sum(), 1), edges, color=colour, label=f"mistagged by {entry.title}", linewidth=1.6
            )
            error = np.sqrt(wrong)
            upper.errorbar(middle, wrong / max(wrong.sum(), 1), error / max(wrong.sum(), 1), fmt="none", color=colour)
            with np.errstate(all="ignore"):
                lower.errorbar(
                    middle,
                    wrong / light,
                    error / light,
                    np.diff(edges) / 2,
                    fmt=".",
                    color=colour,
                    markersize=3,
                    linewidth=1,
                )
        upper.set_ylabel("share of jets per bin")
        upper.set_ylim(bottom=0)
        upper.legend(loc="upper right")
        lower.set(xlabel=r"$\Delta R$ to the nearest $b$ or $c$ jet", ylabel="mistagged share", yscale="log")
        lower.set_xlim(edges[0], edges[-1])
        efficiency = f"$b$ efficiency {float(WORKING_POINT):.0%}".replace("%", " %")
        upper.text(0.98, 0.5, "\n".join([SETUP_LABELS[setup], efficiency]), transform=upper.transAxes, ha="right")
        return figure


def events_figure(plan: Plan, records: Records, setup: str, processes: Sequence[str]) -> Figure:
    """Figures of merit against the number of training events; bars are the test events' and the seeds' together."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

    shown = {"accuracy": "accuracy", "b_rej80": "b Rej80", "c_rej50": "c Rej50"}
    with figure_style():
        figure = Figure(figsize=(4.4 * len(shown), 3.6 * len(processes)))
        axes = figure.subplots(len(processes), len(shown), sharex=True, squeeze=False)
        for recipe in dict.fromkeys(entry.recipe for entry in plan.entries if entry.group == "events"):
            own = [
                entry
                for entry in plan.entries
                if entry.recipe == recipe
                and (entry.group == "events" or entry.name == recipe)
                and (setup, entry.name) in records
            ]
            found = sorted(((records[setup, e.name], e) for e in own), key=lambda pair: _events(pair[0]))
            if len(found) < 2:
                continue
            for row, process in enumerate(processes):
                for column, name in enumerate(shown):
                    points = [point_of(one, process, name) for one, _ in found]
                    kept = [(_events(one), *p) for (one, _), p in zip(found, points, strict=True) if p is not None]
                    if kept:
                        x, y, down, up = np.array(kept).T
                        axes[row, column].errorbar(
                            x, y, [down, up], fmt="o-", markersize=4, capsize=2,
                            color=COLOURS.get(recipe, "black"), label=found[-1][1].title,
                        )  # fmt: skip
        for row, process in enumerate(processes):
            for column, title in enumerate(shown.values()):
                panel: Axes = axes[row, column]
                panel.set_xscale("log")
                if "Rej" in title:
                    panel.set_yscale("log")
                    panel.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}"))
                    panel.yaxis.set_minor_formatter(NullFormatter())
                panel.set_ylabel(title)
                seen = "trained on" if process == HOME else "never trained on"
                panel.set_title(f"{process_label(process)}, {seen}", fontsize=11)
                panel.grid(True, color="0.92", linewidth=0.6)
                ticks = sorted({_events(one) for (where, _), one in records.items() if where == setup})
                panel.set_xticks(ticks)
                panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
                panel.xaxis.set_minor_locator(NullLocator())
                if row == len(processes) - 1:
                    panel.set_xlabel("training events")
        if axes[0, 0].get_legend_handles_labels()[0]:
            axes[0, 0].legend(loc="best")
        return figure


def _curves(
    upper: Axes, lower: Axes, taggers: Sequence[Entry], records: Records, setup: str, group: str, signal: str
) -> None:
    """Every tagger's curve, and its ratio to the reference: a line, with bars where replicas are kept."""
    base = records.get((setup, REFERENCE))
    for entry in taggers:
        own = records[setup, entry.name]
        if "curve" not in own[0]["figures"][group].get(signal, {}):
            continue
        columns, colour = mean_columns(own, group, signal), _colour(entry)
        draw_curve(upper, columns, label=entry.title, color=colour)
        if base is None or entry.name == REFERENCE:
            continue
        other = mean_columns(base, group, signal)
        with np.errstate(all="ignore"):
            line = columns["value"] / other["value"]
        passed = np.fmin(columns["background_passed"], other["background_passed"])
        draw_ratio(lower, columns["efficiency"], (line, line, line), passed, band=False, color=colour)
        x, value, ends = curve_ratios(own, base, group, signal)
        lower.errorbar(x, value, ends, fmt="o", markersize=3, capsize=2, linewidth=1.2, color=colour)


def _taggers(plan: Plan, records: Records, setup: str) -> list[Entry]:
    return [entry for entry in plan.entries if entry.group == "taggers" and (setup, entry.name) in records]


def _title(taggers: Sequence[Entry], name: str) -> str:
    return next((entry.title for entry in taggers if entry.name == name), name)


def _colour(entry: Entry) -> str:
    return COLOURS.get(entry.name, "black")


def _events(own: Sequence[Record]) -> int:
    return int(own[0]["data"]["training"]["events"])


def point_of(own: Sequence[Record], process: str, figure: str) -> tuple[float, float, float] | None:
    """Value and distances to the ends of the interval, the spread over seeds included."""
    found: dict[str, Any] = over_trainings(own, process, figure)
    if found.get("value") is None or found.get("low") is None or found.get("high") is None:
        return None
    spread = spread_error(found["spread"], len(own)) if "spread" in found else 0.0
    value = found["value"]
    return value, float(np.hypot(value - found["low"], spread)), float(np.hypot(found["high"] - value, spread))
