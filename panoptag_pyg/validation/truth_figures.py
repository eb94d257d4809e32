"""Figures of the detector against its card, from events simulated again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from panoptag_pyg.evaluation.style import CURVE_COLOURS, MODEL_COLOUR, process_label
from panoptag_pyg.validation import card_values
from panoptag_pyg.validation.calorimeters import ENERGY_EDGES, NAMES, CalorimeterMeasurement
from panoptag_pyg.validation.card_values import SPECIES
from panoptag_pyg.validation.closure import RING_EDGES
from panoptag_pyg.validation.lifetimes import TIME_EDGES
from panoptag_pyg.validation.measurements import Measurements, Remade
from panoptag_pyg.validation.resonances import PEAKS
from panoptag_pyg.validation.tracks import ETA_EDGES, PT_EDGES, PULL_EDGES, Moments, TrackMeasurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SPECIES_TITLES = {"hadron": "charged hadrons", "electron": "electrons", "muon": "muons"}
_COLOURS = (MODEL_COLOUR, *CURVE_COLOURS)
#: Cells with fewer entries are not drawn.
_MIN_DRAWN = 12
#: Peaks of fewer decays are not drawn.
_MIN_DECAYS = 30
#: The last pT bin is open; it is drawn up to here.
_MAX_PT = 300.0


def truth_figures(remade: Remade, colours: Mapping[str, str]) -> Iterator[tuple[str, Figure]]:
    """Every figure that needs the truth, with its name.

    Args:
        remade: what simulating again gave; with at least one process.
        colours: of the processes.
    """
    total = remade.total
    if total is None:
        return
    yield "efficiency", efficiency_figure(total.tracks)
    yield "momentum", momentum_figure(total.tracks)
    if total.tracks.smeared:
        yield "impact_resolution", impact_resolution_figure(total.tracks)
    yield "calorimeters", calorimeter_figure(total.calorimeters)
    yield "closure", closure_figure(remade.parts, colours)
    if any(
        len(part.resonances.masses(peak.name)[0]) >= _MIN_DECAYS for part in remade.parts.values() for peak in PEAKS
    ):
        yield "masses", mass_figure(remade.parts, colours)
    yield "lifetimes", lifetime_figure(total)


def _subplots(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple[Figure, np.ndarray]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def log_y(axes: Axes) -> None:
    """A logarithmic y axis, if anything drawn so far is above 0."""
    if np.isfinite(axes.dataLim.minposy):
        axes.set_yscale("log")


def _pt_centres() -> np.ndarray:
    return np.sqrt(PT_EDGES[:-1] * np.minimum(PT_EDGES[1:], _MAX_PT))


def efficiency_figure(tracks: TrackMeasurement) -> Figure:
    """Tracks over charged particles against true pT in bins of |η|; lines: the card."""
    figure, grid = _subplots(1, 3, 13.5, 4.6, sharey=True)
    for number, (axes, species) in enumerate(zip(grid[0], SPECIES, strict=True)):
        card = getattr(tracks.card.tracking.efficiency, species)
        low = 0.0
        pt = np.geomspace(0.1001, _MAX_PT, 500)
        for row, high in enumerate(card.abs_eta_up_to):
            colour = _COLOURS[row % len(_COLOURS)]
            middle = np.full(len(pt), (low + high) / 2)
            axes.plot(pt, card_values.table_value(card, middle, pt), color=colour, linewidth=1)
            inside = (ETA_EDGES[:-1] >= low) & (ETA_EDGES[1:] <= high)
            count, found = (getattr(tracks, name)[number][inside].sum(axis=0) for name in ("particles", "found"))
            enough = count >= _MIN_DRAWN
            share = np.where(enough, found / np.where(enough, count, 1), np.nan)
            below, above = (
                stats.beta.ppf(0.16, found, count - found + 1),
                stats.beta.ppf(0.84, found + 1, count - found),
            )
            error = np.clip([share - np.nan_to_num(below), np.nan_to_num(above, nan=1.0) - share], 0, 1)
            axes.errorbar(_pt_centres(), share, error, fmt="o", markersize=4, color=colour, label=_between(low, high))
            low = high
        axes.set(xscale="log", xlabel="true $p_T$ [GeV]", xlim=(0.1, _MAX_PT), ylim=(0.35, 1.1))
        axes.set_title(_SPECIES_TITLES[species], loc="left")
        axes.legend(loc="lower right", title="lines: card")
    grid[0, 0].set_ylabel("tracking efficiency")
    return figure


def _between(low: float, high: float) -> str:
    return rf"$|\eta| \leq {high:g}$" if low == 0 else rf"${low:g} < |\eta| \leq {high:g}$"


def _relative_width(log_ratio: Moments, cell: Any) -> tuple[np.ndarray, np.ndarray]:
    """σ/μ of log-normal ratios in cells and its uncertainty, NaN where there are too few."""
    merged = Moments(log_ratio.count[cell].sum(axis=-2).shape)
    for name in ("count", "total", "squares"):
        setattr(merged, name, getattr(log_ratio, name)[cell].sum(axis=-2))
    enough = merged.count >= _MIN_DRAWN
    width = np.where(enough, np.sqrt(np.expm1(np.minimum(merged.width**2, 50))), np.nan)
    return width, width / np.sqrt(2 * np.maximum(merged.count - 1, 1))


def momentum_figure(tracks: TrackMeasurement) -> Figure:
    """σ(pT)/pT of the tracker against true pT in bins of |η| with the card's curves, and the deviates' distribution."""
    figure, grid = _subplots(2, 2, 11, 8.4)
    for number, (axes, species) in enumerate(zip(grid.flat, SPECIES, strict=False)):
        card = getattr(tracks.card.tracking.resolution, species)
        pt = np.geomspace(0.1, _MAX_PT, 200)
        low = 0.0
        for row, high in enumerate(card.abs_eta_up_to):
            colour = _COLOURS[row % len(_COLOURS)]
            curve = card_values.resolution_value(card, np.full(len(pt), (low + high) / 2), pt)
            axes.plot(pt, np.minimum(curve, tracks.card.tracking.max_relative_error), color=colour, linewidth=1)
            inside = np.flatnonzero((ETA_EDGES[:-1] >= low) & (ETA_EDGES[1:] <= high))
            width, error = _relative_width(tracks.log_ratio, (number, inside))
            axes.errorbar(_pt_centres(), width, error, fmt="o", markersize=4, color=colour, label=_between(low, high))
            low = high
        log_y(axes)
        axes.set(xscale="log", xlabel="true $p_T$ [GeV]", xlim=(0.1, _MAX_PT))
        axes.set_ylim(top=axes.get_ylim()[1] * 5)
        axes.set_title(_SPECIES_TITLES[species], loc="left")
        axes.legend(loc="upper left", title="lines: card", alignment="left")
        axes.set_ylabel(r"$\sigma(p_T)/p_T$")
    _pull_panel(grid[1, 1], {"all tracks": tracks.pull_histograms[0]}, r"$(\ln(p_T/p_T^{true}) + v/2)\,/\sqrt{v}$")
    return figure


def _pull_panel(axes: Axes, histograms: Mapping[str, np.ndarray], label: str) -> None:
    centres = (PULL_EDGES[1:] + PULL_EDGES[:-1]) / 2
    width = PULL_EDGES[1] - PULL_EDGES[0]
    for number, (name, counts) in enumerate(histograms.items()):
        total = max(counts.sum(), 1)
        axes.errorbar(
            centres, counts / total / width, np.sqrt(counts) / total / width, fmt="o", markersize=3,
            color=_COLOURS[number % len(_COLOURS)], label=name,
        )  # fmt: skip
    x = np.linspace(-5, 5, 201)
    axes.plot(
        x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color="black", linewidth=1, label="standard normal", zorder=1
    )
    log_y(axes)
    axes.set(xlabel=label, ylim=(2e-6, 30), xlim=(-5, 5))
    axes.set_ylabel("density")
    axes.legend(loc="upper right", fontsize=9)


def impact_resolution_figure(tracks: TrackMeasurement) -> Figure:
    """Width of the residuals of d0 and dz against true pT with the card's steps, and the pulls."""
    figure, grid = _subplots(1, 3, 13.5, 4.6)
    for number, (axes, name, label) in enumerate(zip(grid[0], ("d0", "dz"), ("d_0", "d_z"), strict=False)):
        table = getattr(tracks.card.impact_parameters, name)
        for row, values in enumerate(table.values):
            edges = [*table.pt_above, 1e4]
            axes.stairs(values, edges, baseline=None, color="black", linewidth=1, label="card" if row == 0 else None)
        count, width = tracks.residuals.count[number], tracks.residuals.width[number]
        width = np.where(count >= _MIN_DRAWN, width, np.nan)
        error = width / np.sqrt(2 * np.maximum(count - 1, 1))
        axes.errorbar(_pt_centres(), width, error, fmt="o", markersize=4, color=MODEL_COLOUR, label="measured − true")
        log_y(axes)
        axes.set(xscale="log", xlabel="true $p_T$ [GeV]", xlim=(0.1, _MAX_PT))
        axes.set_ylabel(rf"$\sigma({label})$ [mm]")
        axes.legend(loc="upper right")
    pulls = {"$d_0$": tracks.pull_histograms[1], "$d_z$": tracks.pull_histograms[2]}
    _pull_panel(grid[0, 2], pulls, r"(measured − true) / $\sigma$")
    return figure


def calorimeter_figure(calorimeters: CalorimeterMeasurement) -> Figure:
    """σ(E)/E of neutral PFOs in towers without tracks against the true energy with the card's curves."""
    figure, grid = _subplots(1, 3, 13.5, 4.6)
    energy = np.geomspace(1, ENERGY_EDGES[-1], 200)
    centres = np.sqrt(ENERGY_EDGES[1:] * ENERGY_EDGES[:-1])
    for axes, (name, title) in zip(grid[0], NAMES.items(), strict=False):
        low = 0.0
        for row, high in enumerate(calorimeters.regions[name]):
            colour = _COLOURS[row % len(_COLOURS)]
            middle = np.full(len(energy), (low + high) / 2)
            curve = card_values.energy_error(getattr(calorimeters.card, name), middle, energy) / energy
            axes.plot(energy, curve, color=colour, linewidth=1)
            width, error = _relative_width(calorimeters.log_ratio[name], np.array([row]))
            axes.errorbar(centres, width, error, fmt="o", markersize=4, color=colour, label=_between(low, high))
            low = high
        log_y(axes)
        axes.set(xscale="log", xlabel="true energy in the tower [GeV]", xlim=(1, ENERGY_EDGES[-1]))
        axes.set_ylim(0.8 * axes.get_ylim()[0], 1.2)
        axes.set_ylabel(r"$\sigma(E)/E$")
        axes.set_title(title, loc="left")
        axes.legend(loc="upper right", title="lines: card")
    _pull_panel(
        grid[0, 2], {NAMES[name]: calorimeters.pull_histograms[name] for name in NAMES},
        r"$(\ln(E/E^{true}) + v/2)\,/\sqrt{v}$",
    )  # fmt: skip
    return figure


def closure_figure(parts: Mapping[str, Measurements], colours: Mapping[str, str]) -> Figure:
    """PFOs' summed transverse energy over that of visible particles, event by event."""
    figure, grid = _subplots(2, 3, 12.5, 7.4)
    grid[1, 2].set_axis_off()
    names = [rf"${a:g} < |\eta| < {b:g}$" for a, b in pairwise(RING_EDGES)]
    edges = np.linspace(0.5, 1.5, 51)
    for number, (axes, name) in enumerate(zip(grid.flat, [*names, "all rings"], strict=False)):
        for process, part in parts.items():
            ratio = part.closure.ratios()[number]
            if len(ratio):
                counts = np.histogram(np.clip(ratio, edges[0], edges[-1]), edges)[0] / len(ratio)
                label = f"{process_label(process)}: {np.median(ratio):.3f}"
                axes.stairs(counts, edges, color=colours.get(process), linewidth=1.3, baseline=None, label=label)
        axes.axvline(1, color="0.5", linewidth=0.8, linestyle="--", zorder=1)
        axes.set_title(name, loc="left", fontsize=11)
        axes.set_xlabel(r"$\Sigma E_T$ PFOs / particles", fontsize=11)
        axes.set_ylim(0, axes.get_ylim()[1] * (1.1 + 0.06 * len(parts)))
        axes.set_xlim(0.5, 1.5)
        axes.legend(loc="upper right", fontsize=8, title="median", title_fontsize=9)
    for axes in grid[:, 0]:
        axes.set_ylabel("share of events")
    return figure


def mass_figure(parts: Mapping[str, Measurements], colours: Mapping[str, str]) -> Figure:
    """Invariant mass of the jets matched to the quarks of W, Z, t and H; dotted: the decaying particles."""
    figure, grid = _subplots(2, 2, 11, 8.2)
    for axes, peak in zip(grid.flat, PEAKS, strict=True):
        edges = np.linspace(0.2 * peak.pole, 1.8 * peak.pole, 41)
        for process, part in parts.items():
            jets, _ = part.resonances.masses(peak.name)
            if len(jets) < _MIN_DECAYS:
                continue
            low, high = np.percentile(jets, [16, 84])
            label = f"{process_label(process)}: {np.median(jets):.1f} ± {(high - low) / 2:.1f} GeV"
            counts = np.histogram(jets, edges)[0] / len(jets)
            axes.stairs(counts, edges, color=colours.get(process), linewidth=1.3, baseline=None, label=label)
        axes.axvline(peak.pole, color="black", linestyle=":", linewidth=1)
        axes.set_title(peak.label, loc="left")
        axes.set_xlabel("mass of the jets [GeV]")
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(0, axes.get_ylim()[1] * (1.15 + 0.08 * len(parts)))
        axes.set_ylabel("share of decays per bin")
        if axes.patches:
            axes.legend(loc="upper left", fontsize=9, title="median ± half of 68 %", alignment="left", title_fontsize=9)
        else:
            axes.text(0.5, 0.5, "not in these processes", transform=axes.transAxes, ha="center", color="0.5")
            axes.set_yticks([])
    return figure


def lifetime_figure(total: Measurements) -> Figure:
    """Proper lifetimes of b hadrons against the exponential law, and decay lengths against βγcτ."""
    figure, grid = _subplots(1, 2, 10.5, 4.4)
    times = np.concatenate([*total.lifetimes.times, np.zeros(0)])
    width = TIME_EDGES[1] - TIME_EDGES[0]
    counts = np.histogram(times, TIME_EDGES)[0]
    scale = max(len(times), 1) * width
    centres = (TIME_EDGES[1:] + TIME_EDGES[:-1]) / 2
    grid[0, 0].errorbar(
        centres, counts / scale, np.sqrt(counts) / scale, fmt="o", markersize=4, color=MODEL_COLOUR,
        label=f"{len(times):,} b hadrons",
    )  # fmt: skip
    grid[0, 0].plot(TIME_EDGES, np.exp(-TIME_EDGES), color="black", linewidth=1, label="exponential law", zorder=1)
    log_y(grid[0, 0])
    grid[0, 0].set(xlabel=r"proper lifetime / known mean", xlim=(0, TIME_EDGES[-1]))
    grid[0, 0].set_ylabel("density")
    grid[0, 0].legend(loc="upper right")
    length, expected = np.concatenate([*total.lifetimes.lengths, np.zeros((2, 0))], axis=1)[:, :2000]
    grid[0, 1].plot(expected, length, "o", markersize=2, color=CURVE_COLOURS[0], alpha=0.5, label="b hadrons")
    limits = [1e-2, max(1e2, float(expected.max(initial=1)) * 1.5)]
    grid[0, 1].plot(limits, limits, color="black", linewidth=1, label="equal")
    grid[0, 1].set(xscale="log", yscale="log", xlim=limits, ylim=limits)
    grid[0, 1].set_xlabel(r"$\beta\gamma c\tau$ [mm]")
    grid[0, 1].set_ylabel("decay length [mm]")
    grid[0, 1].legend(loc="upper left")
    return figure
