"""Figures of a check: changes under symmetries, reliability, stability, train beside test, maps, working points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from panoptag_pyg.evaluation.bootstrap import Measurement
from panoptag_pyg.evaluation.predictions import Predictions
from panoptag_pyg.evaluation.rejection import discriminant
from panoptag_pyg.evaluation.reliability import Reliability
from panoptag_pyg.evaluation.style import CURVE_COLOURS, FLAVOUR_COLOURS, MODEL_COLOUR, figure_style, process_label
from panoptag_pyg.trust.verdict import half_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from panoptag_pyg.trust.invariance import Comparison
    from panoptag_pyg.trust.working_points import EfficiencyMap

_B_SCORE = r"$\log\,(p_b / p_\mathrm{light})$"


def change_figure(found: Mapping[str, Comparison]) -> Figure:
    """How far log p_b − log p_light of each jet moves."""
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(7.5, 4.8))
        axes = figure.subplots()
        moved = np.concatenate([c.change for c in found.values()]) if found else np.zeros(1)
        largest = max(float(np.percentile(np.abs(moved), 99.5)) if len(moved) else 0.0, 1e-6)
        bins = np.linspace(-largest, largest, 61)
        for colour, (name, comparison) in zip(CURVE_COLOURS, found.items(), strict=False):
            counts = np.histogram(np.clip(comparison.change, -largest, largest), bins)[0]
            axes.stairs(
                counts / max(len(comparison.change), 1), bins, color=colour, label=name, linewidth=1.6, baseline=None
            )
        axes.set(xlabel=f"change of {_B_SCORE}", ylabel="share of jets per bin", yscale="log")
        axes.set_ylim(top=axes.get_ylim()[1] * 8)
        axes.legend(loc="upper left")
        return figure


def reliability_figure(found: Mapping[str, Sequence[Reliability]], names: Sequence[str]) -> Figure:
    """Observed against predicted share, one panel for each way to read the outputs."""
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(4.2 * len(found), 4.4))
        panels = np.atleast_1d(figure.subplots(1, len(found), sharey=True))
        for axes, (title, classes) in zip(panels, found.items(), strict=True):
            for flavour, (name, curve) in enumerate(zip(names, classes, strict=True)):
                enough = curve.count >= 10
                axes.errorbar(
                    curve.predicted[enough], curve.observed[enough], curve.error[enough], fmt="o-", markersize=4,
                    color=FLAVOUR_COLOURS[flavour], label=f"{name}, ECE {curve.expected_error:.3f}",
                )  # fmt: skip
            axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", linewidth=1)
            axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted probability")
            axes.legend(loc="upper left", title=title, alignment="left")
        panels[0].set_ylabel("observed share")
        return figure


def stability_figure(found: Mapping[str, Mapping[str, Mapping[str, Measurement]]]) -> Figure:
    """Relative changes of efficiency and mistags at cuts that stay, one row for each variation."""
    from matplotlib.figure import Figure

    with figure_style():
        names = list(found)
        figure = Figure(figsize=(11, 1.4 + 0.34 * max(len(names), 1)))
        panels = figure.subplots(1, 2, sharey=True)
        for axes, signal in zip(panels, ("b", "c"), strict=True):
            cut = f"{signal} Rej80"
            for key, colour, shift, label in (
                ("efficiency", FLAVOUR_COLOURS[2 if signal == "b" else 1], -0.14, f"{signal} jets"),
                ("mistags", FLAVOUR_COLOURS[0], 0.14, "light jets"),
            ):
                points = [
                    (row + shift, 100 * m.value, 100 * half_width(m))
                    for row, name in enumerate(names)
                    if cut in found[name] and (m := found[name][cut][key]).value is not None
                ]
                if points:
                    y, x, error = np.array(points).T
                    axes.errorbar(x, y, xerr=error, fmt="o", markersize=4, color=colour, label=label)
            axes.axvline(0, color="0.6", linewidth=1)
            axes.set_xlabel(f"relative change above the {signal} cut of 80 %, in %")
            axes.legend(loc="best")
            axes.minorticks_off()
        panels[0].set_yticks(range(len(names)), names)
        panels[0].set_ylim(len(names) - 0.5, -0.5)
        return figure


def overtraining_figure(train: Predictions, test: Predictions) -> Figure:
    """Both discriminants per flavour: training events as areas, test events as points."""
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(12, 4.8))
        for axes, (signal, index) in zip(figure.subplots(1, 2), (("b", 2), ("c", 1)), strict=True):
            scores = [discriminant(jets.logits, index) for jets in (train, test)]
            low, high = np.percentile(np.concatenate(scores), [0.2, 99.8])
            bins = np.linspace(low, max(high, low + 1e-6), 31)
            centres = (bins[1:] + bins[:-1]) / 2
            for flavour, name in enumerate(test.class_names):
                for jets, values, trained in ((train, scores[0], True), (test, scores[1], False)):
                    chosen = jets.flavour == flavour
                    weight = jets.weight[chosen].astype(np.float64)
                    if not chosen.any() or weight.sum() <= 0:
                        continue
                    clipped = np.clip(values[chosen], bins[0], bins[-1])
                    counts = np.histogram(clipped, bins, weights=weight)[0] / weight.sum()
                    errors = np.sqrt(np.histogram(clipped, bins, weights=weight**2)[0]) / weight.sum()
                    style: dict[str, Any] = {"color": FLAVOUR_COLOURS[flavour]}
                    if trained:
                        axes.stairs(counts, bins, fill=True, alpha=0.2, label=f"{name}, training", **style)
                        axes.stairs(counts, bins, linewidth=1, baseline=None, **style)
                    else:
                        axes.errorbar(centres, counts, errors, fmt="o", markersize=3.5, label=f"{name}, test", **style)
            axes.set(xlabel=rf"$\log\,(p_{signal} / p_\mathrm{{light}})$", ylabel="share of jets per bin", yscale="log")
            axes.set_ylim(top=axes.get_ylim()[1] * 10)
            axes.legend(loc="upper right", ncols=2, fontsize=8.5)
        return figure


def efficiency_figure(maps: Sequence[EfficiencyMap]) -> Figure:
    """Rate in pT and η: one row for each cut, one panel for each flavour, with its uncertainty in every cell."""
    from matplotlib.figure import Figure

    with figure_style():
        names = list(maps[0].cells)
        figure = Figure(figsize=(5.4 * len(names), 4.3 * len(maps)))
        panels = figure.subplots(len(maps), len(names), squeeze=False)
        for row, found in zip(panels, maps, strict=True):
            for axes, name in zip(row, names, strict=True):
                values = found.values(name)
                shown = axes.imshow(values, origin="lower", aspect="auto", cmap="Blues", vmin=0)
                middle = 0.6 * np.nanmax(values) if np.isfinite(values).any() else 0
                for (i, k), value in np.ndenumerate(values):
                    cell = found.cells[name][i][k]
                    text = "–" if np.isnan(value) else f"{value:.2g}\n±{half_width(cell):.1g}"
                    axes.text(
                        k, i, text, ha="center", va="center", fontsize=7, color="white" if value > middle else "black"
                    )
                axes.set_xticks(np.arange(len(found.eta_edges)) - 0.5, [f"{e:.1f}" for e in found.eta_edges])
                axes.set_yticks(np.arange(len(found.pt_edges)) - 0.5, [f"{e:.0f}" for e in found.pt_edges])
                axes.minorticks_off()
                axes.set(
                    xlabel=r"jet $\eta$",
                    ylabel=r"jet $p_T$ [GeV]",
                    title=f"{name} jets, b cut {100 * found.target:g} %",
                )
                figure.colorbar(shown, ax=axes)
        return figure


def transfer_figure(processes: Mapping[str, Mapping[str, Mapping[str, Any]]], reference: str) -> Figure:
    """Signal efficiency and rejection of each process at the cuts of the reference."""
    from matplotlib.figure import Figure

    with figure_style():
        names = list(processes)
        figure = Figure(figsize=(11, 1.8 + 0.5 * len(names)))
        left, right = figure.subplots(1, 2, sharey=True)
        points = list(dict.fromkeys(point for of_process in processes.values() for point in of_process))
        for number, (point, colour) in enumerate(zip(points, (MODEL_COLOUR, *CURVE_COLOURS), strict=False)):
            shift = 0.12 * (number - (len(points) - 1) / 2)
            for axes, key in ((left, "efficiency"), (right, "rejection")):
                drawn = [
                    (row + shift, m.value, m.value - m.low, m.high - m.value)
                    for row, name in enumerate(names)
                    if point in processes[name]
                    and (m := processes[name][point][key]).value is not None
                    and m.low is not None
                    and m.high is not None
                ]
                if drawn:
                    y, x, down, up = np.maximum(np.array(drawn).T, 0) if key == "rejection" else np.array(drawn).T
                    errors = np.maximum([down, up], 0)
                    axes.errorbar(x, y, xerr=errors, fmt="o", markersize=4, color=colour, label=point)
        left.set_yticks(range(len(names)), [process_label(name) for name in names])
        left.set_ylim(len(names) - 0.5, -0.5)
        left.set_xlabel("signal efficiency")
        right.set(xlabel="light-jet rejection", xscale="log")
        for axes in (left, right):
            axes.tick_params(axis="y", which="minor", length=0)
        left.legend(loc="best", title=f"cut on {process_label(reference)}", fontsize=8.5)
        return figure
