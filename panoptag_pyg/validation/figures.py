"""Figures of what the columns say: spectra per process, beside a reference if there is one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from panoptag_pyg.evaluation.style import CURVE_COLOURS, FLAVOUR_COLOURS, MODEL_COLOUR, figure_style, process_label
from panoptag_pyg.events.schema import FLAVOUR_NAMES
from panoptag_pyg.validation.flavours import (
    PAPER_JETS_PER_EVENT,
    PAPER_SHARES,
    Fractions,
    mix_of,
    sample_fractions,
)
from panoptag_pyg.validation.histograms import EventHistogram
from panoptag_pyg.validation.quantities import QUANTITIES, Quantity
from panoptag_pyg.validation.reference import compared, reference_of
from panoptag_pyg.validation.response import ETA_EDGES, PT_EDGES, jets_of, response
from panoptag_pyg.validation.sample import ERROR_PT_EDGES, SYMMETRIC, Sample
from panoptag_pyg.validation.truth_figures import log_y, truth_figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from panoptag_pyg.validation.report import Validation

#: Colours of the processes.
PROCESS_COLOURS = (MODEL_COLOUR, *CURVE_COLOURS)
_REFERENCE: dict[str, Any] = {
    "color": "black",
    "linestyle": "none",
    "marker": "o",
    "markersize": 2.6,
    "elinewidth": 0.8,
    "zorder": 4,
}


def all_figures(validation: Validation) -> Iterator[tuple[str, Figure]]:
    """Every figure of a report with its name, one at a time."""
    with figure_style():
        for name, (group, columns) in {
            "jets": ("jet/kinematics", 3),
            "pfo_count": ("pfo/count", 3),
            "pfo_pt": ("pfo/pt", 3),
            "pfo_energy": ("pfo/energy", 3),
            "pfo_eta": ("pfo/eta", 3),
            "pfo_phi": ("pfo/phi", 3),
            "event": ("event/all", 2),
        }.items():
            yield name, spectra_figure(validation, group, columns)
        if validation.mix is not None:
            yield "flavours", fraction_figure(validation)
            yield "track_impact", impact_figure(validation)
        if any(sample.error_sums[1:].any() for sample in validation.samples.values()):
            yield "impact_errors", error_figure(validation)
        yield "symmetries", symmetry_figure(validation)
        if any(jets_of(sample).shape[1] for sample in validation.samples.values()):
            yield "jet_response", response_figure(validation)
        if validation.remade.total is not None:
            yield from truth_figures(validation.remade, colours(validation.samples))


def colours(names: Any) -> dict[str, str]:
    """A colour for each process."""
    return {name: PROCESS_COLOURS[number % len(PROCESS_COLOURS)] for number, name in enumerate(names)}


def spectra_figure(validation: Validation, group: str, columns: int) -> Figure:
    """All quantities of a group: unit area, processes as lines, the reference as points with ratios below.

    Args:
        validation: what was found.
        group: of the quantities.
        columns: panels beside each other.
    """
    pileup = any(sample.pileup for sample in (*validation.samples.values(), *validation.references.values()))
    chosen = [quantity for quantity in QUANTITIES if quantity.group == group and (pileup or not quantity.pileup)]
    columns = min(columns, len(chosen))
    figure, panels = _panels(len(chosen), columns, bool(validation.references))
    for quantity, (upper, lower) in zip(chosen, panels, strict=False):
        _draw_quantity(validation, quantity, upper, lower)
    _key(figure, panels[len(chosen) :], panels[0][0], _handles(validation))
    return figure


def _panels(count: int, columns: int, ratios: bool) -> tuple[Figure, list[tuple[Axes, Axes | None]]]:
    from matplotlib.figure import Figure

    rows = -(-count // columns)
    if not ratios:
        figure = Figure(figsize=(4.3 * columns, 3.3 * rows))
        return figure, [(axes, None) for axes in figure.subplots(rows, columns, squeeze=False).flat]
    figure = Figure(figsize=(4.3 * columns, 4.3 * rows))
    grid = figure.subplots(2 * rows, columns, squeeze=False, gridspec_kw={"height_ratios": [3, 1.1] * rows})
    pairs = []
    for row in range(rows):
        for column in range(columns):
            upper, lower = grid[2 * row, column], grid[2 * row + 1, column]
            upper.sharex(lower)
            upper.tick_params(labelbottom=False)
            pairs.append((upper, lower))
    return figure, pairs


def _draw_quantity(validation: Validation, quantity: Quantity, upper: Axes, lower: Axes | None) -> None:
    bottom = lower or upper
    shown: list[EventHistogram] = []
    for process, colour in colours(validation.samples).items():
        one = validation.samples[process].histograms[quantity.name]
        if not one.total.any():
            continue
        shown.append(one)
        density, error = one.density()
        upper.stairs(density, one.edges, color=colour, linewidth=1.3, baseline=None)
        _band(upper, one.edges, density, error, colour)
        if lower is None or process not in compared(validation.samples, validation.references):
            continue
        other = reference_of(validation.references, process).histograms[quantity.name]
        base, base_error = other.density()
        filled = base > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(filled, density / base, np.nan)
            ratio_error = ratio * np.hypot(error / density, base_error / base)
        lower.errorbar(_centres(one.edges, quantity.log_x), ratio, np.nan_to_num(ratio_error), **{
            **_REFERENCE, "color": colour, "zorder": 3})  # fmt: skip
    if lower is not None:
        for process in compared(validation.samples, validation.references):
            other = reference_of(validation.references, process).histograms[quantity.name]
            if other.total.any():
                shown.append(other)
                density, error = other.density()
                upper.errorbar(_centres(other.edges, quantity.log_x), density, error, **_REFERENCE)
            if process not in validation.references:
                break  # all processes have the same reference
        lower.axhline(1, color="0.5", linewidth=0.8, linestyle="--")
        lower.set_ylim(0.5, 1.5)
        lower.set_ylabel("ratio", fontsize=9)
    for axes in {upper, bottom}:
        if quantity.log_x:
            logarithmic(axes.set_xscale, axes.xaxis, quantity.edges)
        axes.tick_params(labelsize=9)
    if quantity.group != "jet/kinematics":
        upper.set_title(quantity.title, loc="left", fontsize=11)
    bottom.set_xlabel(quantity.label, fontsize=11)
    upper.set_ylabel("share per unit", fontsize=10)
    _limits(upper, bottom, quantity, shown)


def _limits(upper: Axes, bottom: Axes, quantity: Quantity, shown: Sequence[EventHistogram]) -> None:
    if not shown:
        upper.text(0.5, 0.5, "none", transform=upper.transAxes, ha="center", va="center", color="0.5")
        upper.set_yticks([])
        return
    least = 1e-3 if "/count" in quantity.name else 0
    filled = np.flatnonzero(np.any([histogram.shares()[0] > least for histogram in shown], axis=0))
    first, last = filled[0], filled[-1] + 1
    if quantity.name.endswith(("eta", "phi")) or "/phi/" in quantity.name or "/eta/" in quantity.name:
        bins = len(quantity.edges) - 1
        first, last = min(first, bins - last), max(last, bins - first)
    bottom.set_xlim(quantity.edges[first], quantity.edges[last])
    if quantity.log_y:
        densities = [histogram.density()[0] for histogram in shown]
        positive = np.concatenate([density[density > 0] for density in densities])
        upper.set_yscale("log")
        upper.set_ylim(max(positive.min() * 0.5, positive.max() * 1e-7), positive.max() * 3)
    else:
        upper.set_ylim(0, 1.2 * max(histogram.density()[0].max() for histogram in shown))
        upper.ticklabel_format(axis="y", scilimits=(-3, 3))
        upper.yaxis.get_offset_text().set_fontsize(8)


def logarithmic(set_scale: Any, axis: Any, edges: np.ndarray) -> None:
    """A logarithmic axis; over few decades its numbers are written out."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    set_scale("log")
    if edges[-1] / edges[0] < 300:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _centres(edges: np.ndarray, logarithmic: bool) -> np.ndarray:
    return np.sqrt(edges[1:] * edges[:-1]) if logarithmic else (edges[1:] + edges[:-1]) / 2


def _band(axes: Axes, edges: np.ndarray, value: np.ndarray, error: np.ndarray, colour: str) -> None:
    low, high = np.append(value - error, (value - error)[-1:]), np.append(value + error, (value + error)[-1:])
    axes.fill_between(edges, low, high, step="post", color=colour, alpha=0.2, linewidth=0)


def _handles(validation: Validation) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, label=f"{process_label(name)} ({validation.samples[name].num_events:,} events)")
        for name, colour in colours(validation.samples).items()
    ]
    if validation.references:
        handles.append(Line2D([], [], color="black", linestyle="none", marker="o", markersize=4, label="reference"))
    return handles


def _key(figure: Figure, spare: Sequence[tuple[Axes, Axes | None]], first: Axes, handles: list[Any]) -> None:
    """The legend in a spare panel, or above all."""
    for upper, lower in spare:
        upper.set_axis_off()
        if lower is not None:
            lower.set_axis_off()
    if spare:
        spare[0][0].legend(handles=handles, loc="center", fontsize=11)
    else:
        figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 5), fontsize=11)


def fraction_figure(validation: Validation) -> Figure:
    """Flavours of jets and their number, per process and of the mixture, beside the paper's."""
    from matplotlib.figure import Figure

    rows: list[tuple[str, Fractions | None]] = [
        (process_label(name), sample_fractions(sample)) for name, sample in validation.with_flavour.items()
    ]
    names = mix_of(validation.with_flavour)
    if len(names) > 1:
        rows.append((f"mix of {len(names)}", validation.mix))
    rows.append(("paper's mix", None))
    figure = Figure(figsize=(11, 1.4 + 0.55 * len(rows)))
    shares, counts = figure.subplots(1, 2, gridspec_kw={"width_ratios": [2, 1]}, sharey=True)
    place = np.arange(len(rows))[::-1]
    for position, (_, fractions) in zip(place, rows, strict=True):
        left = 0.0
        for flavour, name in enumerate(FLAVOUR_NAMES):
            share = PAPER_SHARES[name] if fractions is None else fractions.shares[name]
            error = 0.0 if fractions is None else fractions.errors[name]
            faint = 0.55 if fractions is None else 0.9
            shares.barh(position, share, left=left, height=0.7, color=FLAVOUR_COLOURS[flavour], alpha=faint)
            text = f"{name} {share:.0%}" if fractions is None else f"{name} {share:.1%}"
            text += "" if share < 0.2 or fractions is None else f" ± {error:.1%}"
            colour = "black" if fractions is None else "white"
            shares.text(left + share / 2, position, text, ha="center", va="center", color=colour, fontsize=8.5)
            left += share
        mean = PAPER_JETS_PER_EVENT if fractions is None else fractions.jets_per_event
        counts.barh(position, mean, height=0.7, color="0.6" if fractions is None else "#3f90da")
        label = f"about {mean:g}" if fractions is None else f"{mean:.2f} ± {fractions.jets_error:.2f}"
        counts.text(mean + 0.1, position, label, va="center", fontsize=9.5)
    shares.set_yticks(place, [name for name, _ in rows])
    shares.set(xlim=(0, 1), xlabel="share of jets")
    counts.set_xlabel("jets per event")
    counts.set_xlim(0, 1.45 * max([PAPER_JETS_PER_EVENT, *(f.jets_per_event for _, f in rows if f is not None)]))
    for axes in (shares, counts):
        axes.tick_params(axis="y", which="both", length=0)
        axes.minorticks_off()
    return figure


def impact_figure(validation: Validation) -> Figure:
    """Impact parameters of tracks in jets by flavour, all processes together; dashed: the reference."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.6))
    for axes, column in zip(
        figure.subplots(2, 2).flat, ("d0_significance", "dz_significance", "d0", "dz"), strict=True
    ):
        for samples, line in ((validation.samples, "-"), (validation.references, "--")):
            for flavour, name in enumerate(FLAVOUR_NAMES):
                parts = [sample.histograms[f"track/{column}/{name}"] for sample in samples.values()]
                total = sum(parts[1:], start=parts[0]) if parts else None
                if total is None or not total.total.any():
                    continue
                density, _ = total.density()
                extra = ", reference" if line == "--" else ""
                axes.stairs(
                    density, total.edges, color=FLAVOUR_COLOURS[flavour], linestyle=line, baseline=None,
                    label=f"{name} jets{extra}",
                )  # fmt: skip
        quantity = next(q for q in QUANTITIES if q.group == f"track/{column}")
        log_y(axes)
        axes.set_xlabel(quantity.label)
        axes.set_ylabel("share of tracks per unit")
        axes.set_xlim(quantity.edges[0], quantity.edges[-1])
        if column.endswith("significance") and axes.has_data():
            x = np.linspace(-5, 5, 201)
            axes.plot(
                x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color="black", linestyle=":", label="resolution alone"
            )
            low, high = axes.get_ylim()
            axes.set_ylim(max(low, 1e-6), high)
        if axes.has_data():
            axes.set_ylim(top=axes.get_ylim()[1] * 6)
            axes.legend(loc="upper right", fontsize=9)
        else:
            axes.text(0.5, 0.5, "no errors in these files", transform=axes.transAxes, ha="center", color="0.5")
    return figure


def error_figure(validation: Validation) -> Figure:
    """Mean error of d0 and dz against the measured pT, beside the card's table."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2))
    for row, (axes, name) in enumerate(zip(figure.subplots(1, 2), ("d0", "dz"), strict=True), start=1):
        for process, colour in colours(validation.samples).items():
            sums = validation.samples[process].error_sums
            filled = sums[0] > 0
            mean = np.where(filled, sums[row] / np.where(filled, sums[0], 1), np.nan)
            axes.plot(
                _centres(ERROR_PT_EDGES, True), mean, "o", markersize=3.5, color=colour, label=process_label(process)
            )
        card = next(iter(validation.samples.values())).attributes.get("detector_card")
        if isinstance(card, dict):
            table = card["impact_parameters"][name]
            for number, values in enumerate(table["values"]):
                edges = [*table["pt_above"], 1e4]
                label = "card" if number == 0 else None
                axes.stairs(values, edges, baseline=None, color="black", linewidth=1, label=label, zorder=1)
        axes.set(xscale="log", xlabel="measured $p_T$ [GeV]", xlim=(0.1, 100))
        log_y(axes)
        axes.set_ylabel(rf"mean $\sigma({'d_0' if name == 'd0' else 'd_z'})$ [mm]")
        axes.legend(loc="upper right")
    return figure


def symmetry_figure(validation: Validation) -> Figure:
    """Entries in φ over their mean, and the difference of the two ends over their sum."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 6.6))
    grid = figure.subplots(2, 3)
    for column, what in enumerate(SYMMETRIC):
        for process, colour in colours(validation.samples).items():
            sample: Sample = validation.samples[process]
            _flat(grid[0, column], sample.phi[what], colour, process)
            _ends(grid[1, column], sample.eta[what], colour)
        grid[0, column].set(title=what, xlabel=r"$\phi$ [rad]")
        grid[0, column].axhline(1, color="0.5", linewidth=0.8, linestyle="--", zorder=1)
        grid[1, column].axhline(0, color="0.5", linewidth=0.8, linestyle="--", zorder=1)
        grid[1, column].set_xlabel(r"$|\eta|$")
    grid[0, 0].set_ylabel("entries over mean")
    grid[1, 0].set_ylabel("(forward − backward) / sum")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5)
    return figure


def _flat(axes: Axes, histogram: EventHistogram, colour: str, process: str) -> None:
    shares, covariance = histogram.shares()
    bins = histogram.num_bins
    error = np.sqrt(np.maximum(np.diag(covariance), 0)) * bins
    axes.errorbar(
        _centres(histogram.edges, False), shares * bins, error, fmt="o-", markersize=3, linewidth=1, color=colour,
        label=process_label(process),
    )  # fmt: skip


def _ends(axes: Axes, histogram: EventHistogram, colour: str) -> None:
    half = histogram.num_bins // 2
    forward, backward = histogram.total[half:], histogram.total[:half][::-1]
    squares, mirrored = np.diag(histogram.products)[half:], np.diag(histogram.products)[:half][::-1]
    cross = histogram.products[np.arange(half, 2 * half), np.arange(half)[::-1]]
    filled = forward + backward > 0
    total = np.where(filled, forward + backward, 1)
    error = np.sqrt(np.maximum(squares + mirrored - 2 * cross, 0)) / total
    value = np.where(filled, (forward - backward) / total, np.nan)
    axes.errorbar(
        _centres(histogram.edges[half:], False), value, error, fmt="o-", markersize=3, linewidth=1, color=colour
    )


def response_figure(validation: Validation) -> Figure:
    """Median of the jets' response and half of its 68 % interval, against pT and |η|."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7))
    grid = figure.subplots(2, 2, sharex="col", gridspec_kw={"height_ratios": [1.2, 1]})
    for process, colour in colours(validation.samples).items():
        truth, ratio, eta = jets_of(validation.samples[process])
        for column, (variable, edges) in enumerate(((truth, PT_EDGES), (eta[truth > 30], ETA_EDGES))):
            found = response(variable, ratio if column == 0 else ratio[truth > 30], edges)
            style = {"color": colour, "markersize": 3.5, "label": process_label(process)}
            grid[0, column].errorbar(found.centre, found.median, found.error, fmt="o-", **style)
            grid[1, column].plot(found.centre, (found.high - found.low) / 2 / found.median, "o-", **style)
    for column in range(2):
        grid[0, column].axhline(1, color="0.5", linewidth=0.8, linestyle="--", zorder=1)
        grid[1, column].set_ylim(bottom=0)
    grid[0, 0].set_ylabel("median of $p_T / p_T^{true}$")
    grid[1, 0].set_ylabel("half of 68 % interval / median")
    logarithmic(grid[1, 0].set_xscale, grid[1, 0].xaxis, PT_EDGES)
    grid[1, 0].set(xlabel="$p_T^{true}$ [GeV]", xlim=(PT_EDGES[0], PT_EDGES[-1]))
    grid[1, 1].set_xlabel(r"$|\eta|$ (jets above 30 GeV)")
    grid[0, 0].legend(loc="best")
    return figure
