"""The learning curve as tables in Markdown and as a figure, made from its records alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from panoptag_pyg.evaluation.style import CURVE_COLOURS, MODEL_COLOUR, figure_style

from ..study.combine import FIGURES, Record, gather, over_trainings, ratio
from ..study.measure import SEEN
from ..study.plots import point_of
from ..study.tables import TITLES, cell, ratio_cell, table
from .plan import RESULTS, SETUP, CurveEntry, CurvePlan, study_records

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Groups of entries in tables and figure: with which colour.
COLOURS = {"scratch": CURVE_COLOURS[0], "pretrained": MODEL_COLOUR}
NAMES = {"scratch": "from nothing", "pretrained": "pre-trained"}
#: Tested on: those trained on together, and one that never was.
TESTED = {SEEN: "all three seen", "ZH": "ZH (unseen)"}
#: What the figure shows.
SHOWN = {"accuracy": "accuracy", "b_rej80": "b Rej80", "c_rej50": "c Rej50"}
Curve = dict[str, dict[float, list[Record]]]


def curve(plan: CurvePlan, results: Path = RESULTS, whole: Sequence[Record] | None = None) -> Curve:
    """Records by group (``"scratch"``, ``"pretrained"``) and share of the labels.

    Args:
        plan: the plan.
        results: folder of its records.
        whole: records from nothing on all labels. Default: the study's.
    """
    found: Curve = {group: {} for group in COLOURS}
    records = gather(plan, results)
    for entry in plan.entries:
        assert isinstance(entry, CurveEntry)
        if entry.group in found and (SETUP, entry.name) in records:
            found[entry.group][entry.share] = records[SETUP, entry.name]
    if whole := list(study_records() if whole is None else whole):
        found["scratch"].setdefault(1.0, whole)
    return found


def blocks(plan: CurvePlan, results: Path = RESULTS, whole: Sequence[Record] | None = None) -> dict[str, str]:
    """Tables by the name of their place on the page; arguments as of :func:`curve`."""
    found, records = curve(plan, results, whole), gather(plan, results)
    tables = {"status": _status(plan, records, found)}
    if found["pretrained"]:
        tables |= {f"results {name}": results_table(found, name) for name in TESTED}
    if own := [(run, record) for run in plan.runs() for record in records.get((SETUP, run.entry.name), [])[:1]]:
        tables["cost"] = _cost([record for run, record in own if run.seed == run.entry.seeds[0]])
    return tables


def results_table(found: Curve, process: str) -> str:
    """Figures of merit by share of the labels, from nothing and pre-trained, and what the one gains over the other.

    Args:
        found: the records.
        process: tested on; or several together.
    """
    rows = []
    for share in sorted({share for group in found.values() for share in group}):
        pair = {group: found[group].get(share) for group in found}
        events = next(own[0]["data"]["training"]["events"] for own in pair.values() if own)
        first = f"{100 * share:g} %: {events:,}"
        for group, own in pair.items():
            if own:
                seeds = f"{NAMES[group]} ({len(own)})"
                rows.append([first, seeds, *(cell(over_trainings(own, process, figure)) for figure in FIGURES)])
                first = ""
        if all(pair.values()):
            top, bottom = pair["pretrained"], pair["scratch"]
            assert top is not None
            assert bottom is not None
            gains = [ratio_cell(ratio(top, bottom, process, figure, bottom), figure) for figure in FIGURES]
            rows.append([first, "**gain**", *(f"**{text}**" for text in gains)])
    return table(["labelled events", "begun (seeds)", *TITLES], rows, words=2)


def curve_figure(found: Curve) -> Figure:
    """Figures of merit against the number of labelled events; bars are the test events' and the seeds' together.

    Args:
        found: the records.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

    with figure_style():
        figure = Figure(figsize=(4.4 * len(SHOWN), 3.6 * len(TESTED)))
        axes = figure.subplots(len(TESTED), len(SHOWN), sharex=True, squeeze=False)
        ticks = sorted({_events(own) for group in found.values() for own in group.values()})
        for (row, (process, words)), (column, (name, title)) in (
            (first, second) for first in enumerate(TESTED.items()) for second in enumerate(SHOWN.items())
        ):
            panel = axes[row, column]
            for group, by_share in found.items():
                points = [(_events(own), point_of(own, process, name)) for _, own in sorted(by_share.items())]
                kept = [(events, *point) for events, point in points if point is not None]
                if kept:
                    x, y, down, up = np.array(kept).T
                    panel.errorbar(
                        x, y, [down, up], fmt="o-", markersize=4, capsize=2, color=COLOURS[group], label=NAMES[group]
                    )
            panel.set_xscale("log")
            if "Rej" in title:
                panel.set_yscale("log")
                panel.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.3g}"))
                panel.yaxis.set_minor_formatter(NullFormatter())
            panel.set_ylabel(title)
            panel.set_title(words, fontsize=11)
            panel.grid(True, color="0.92", linewidth=0.6)
            panel.set_xticks(ticks)
            panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
            panel.xaxis.set_minor_locator(NullLocator())
            if row == len(TESTED) - 1:
                panel.set_xlabel("labelled training events")
        if axes[0, 0].get_legend_handles_labels()[0]:
            axes[0, 0].legend(loc="best")
        return figure


def _status(plan: CurvePlan, records: dict[tuple[str, str], list[Record]], found: Curve) -> str:
    runs = plan.runs()
    done = {(setup, name, record["seed"]) for (setup, name), own in records.items() for record in own}
    missing = [run.name for run in runs if (run.setup, run.entry.name, run.seed) not in done]
    if missing:
        text = (
            f"**Not complete: {len(runs) - len(missing)} of {len(runs)} runs are done.** What is missing is in no "
            "table or figure below: " + ", ".join(f"`{name}`" for name in missing) + "."
        )
    else:
        text = f"All {len(runs)} runs are done."
    if found["pretrained"]:
        seeds = len(found["scratch"].get(1.0, []))
        text += f" The tagger from nothing on all labels is the study's: {seeds} of its seeds are done."
    return text


def _cost(records: Sequence[Record]) -> str:
    rows: list[list[str]] = []
    for record in records:
        last: dict[str, Any] = record["epochs"][int(record["best_epoch"]) - 1]
        rows.append(
            [
                f"`{record['entry']}`",
                f"{record['parameters']:,}",
                f"{record['data']['training']['events']:,} × {len(record['epochs'])}",
                f"{record['best_epoch']:g}",
                f"{last['val_loss']:.4f}",
                f"{record['seconds']['cpu'] / 60:.1f}",
            ]
        )
    return table(["run", "parameters", "events × epochs", "best epoch", "its validation loss", "CPU min"], rows)


def _events(own: Sequence[Record]) -> int:
    return int(own[0]["data"]["training"]["events"])
