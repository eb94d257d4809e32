"""A run's figures: time against jets and against PFOs, and the map of crossovers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from panoptag_pyg.evaluation.style import CURVE_COLOURS, MODEL_COLOUR, figure_style

from .crossover import CROSSES
from .harness import BATCH, SINGLE
from .result import TOTAL, line_of, per_event
from .tables import ANSWERED, MODE_WORDS, everywhere, pairs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Result = Mapping[str, Any]
#: Ratios beyond this, either way, have the map's last colour.
LIMIT = 8
#: The line of a subject: what the name begins with → colour; ONNX is dashed, weaver-core's dotted.
COLOURS = {
    "panoptag-small": CURVE_COLOURS[5],
    "panoptag": MODEL_COLOUR,
    "plus": CURVE_COLOURS[2],
    "particlenet-small": CURVE_COLOURS[3],
    "part-small": CURVE_COLOURS[4],
    "weaver-particlenet": CURVE_COLOURS[1],
    "weaver-part": CURVE_COLOURS[0],
    "particlenet": CURVE_COLOURS[1],
    "part": CURVE_COLOURS[0],
}


def figures(result: Result) -> dict[str, Figure]:
    """All figures for which there is something measured, by the stems of their files."""
    with figure_style():
        found = {
            "latency_jets": jets_figure(result),
            "latency_pfos": pfos_figure(result),
            "latency_crossover": crossover_figure(result),
        }
    return {stem: figure for stem, figure in found.items() if figure is not None}


def jets_figure(result: Result) -> Figure | None:
    """Milliseconds per event against jets per event: columns few, some and many PFOs; rows one at a time, batches."""
    from matplotlib.figure import Figure

    threads = next(iter(result["times"]))
    shown = everywhere(result)
    known = [p for p in result["settings"]["pfos"] if any(line_of(result, threads, SINGLE, s, p) for s in shown)]
    if not known:
        return None
    pfos = list(dict.fromkeys((known[0], known[len(known) // 2], known[-1])))
    figure = Figure(figsize=(4.3 * len(pfos) + 3.2, 8.0))
    axes = figure.subplots(2, len(pfos), sharex=True, sharey="row", squeeze=False)
    for row, mode in zip(axes, (SINGLE, BATCH), strict=True):
        for panel, p in zip(row, pfos, strict=True):
            for subject in shown:
                line = line_of(result, threads, mode, subject, p)
                if line is not None:
                    _draw(panel, result, subject, line[0], line[1])
            panel.set_yscale("log")
            panel.set_title(f"{p:,} PFOs", loc="left")
        row[0].set_ylabel(f"ms per event,\n{MODE_WORDS[mode]}")
    for panel in axes[-1]:
        panel.set_xlabel("jets per event")
    _legend(figure, axes[0, 0])
    return figure


def pfos_figure(result: Result) -> Figure | None:
    """Milliseconds per event against PFOs per event, at the number of jets nearest to tt̄'s; above, the pileup."""
    from matplotlib.figure import Figure

    threads = next(iter(result["times"]))
    jets = result["cells"][result["tail"]]["jets"]
    cells = sorted((c["pfos"], name) for name, c in result["cells"].items() if c["jets"] == jets)
    if len(cells) < 2:
        return None
    figure = Figure(figsize=(12.5, 5.2))
    panels = figure.subplots(1, 2, sharey=True)
    for panel, mode in zip(panels, (SINGLE, BATCH), strict=True):
        times = result["times"][threads][mode]
        for subject in everywhere(result):
            found = [(p, per_event(times[c][subject])) for p, c in cells if subject in times.get(c, {})]
            if len(found) > 1:
                _draw(panel, result, subject, [p for p, _ in found], np.stack([t for _, t in found], axis=1))
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlabel("PFOs per event")
        panel.set_title(f"{jets} jets, {MODE_WORDS[mode]}", loc="left")
        _pileup_axis(panel, result)
    panels[0].set_ylabel("ms per event")
    _legend(figure, panels[0])
    return figure


def crossover_figure(result: Result) -> Figure | None:
    """A map for each pair that is told of: time of a pass per jet over that of a pass per event, by jets and PFOs.

    Red: one pass per event is cheaper; blue: one per jet; the line lies where both cost the same.
    """
    from matplotlib.colors import TwoSlopeNorm
    from matplotlib.figure import Figure

    threads = next(iter(result["times"]))
    known = pairs(result)
    shown = [pair for pair in ANSWERED if pair in known]
    if not shown:
        return None
    columns = min(len(shown), 5)
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(3.3 * columns + 1.0, 2 * lines * 3.1))
    axes = figure.subplots(2 * lines, columns, sharex=True, sharey=True, squeeze=False)
    norm, drawn = TwoSlopeNorm(0, -math.log(LIMIT), math.log(LIMIT)), None
    for number, pair in enumerate(shown):
        for m, mode in enumerate((SINGLE, BATCH)):
            panel = axes[m * lines + number // columns, number % columns]
            drawn = _map(panel, result, threads, mode, pair, norm)
            event, jet = (result["subjects"][one]["title"] for one in pair)
            panel.set_title(f"{event}\n{jet}", loc="left", fontsize=8)
    for row, panels in enumerate(axes):
        mode = SINGLE if row < lines else BATCH
        panels[0].set_ylabel(f"jets per event\n{MODE_WORDS[mode]}", fontsize=9)
        for number, panel in enumerate(panels):
            panel.set_visible(number + (row % lines) * columns < len(shown))
    for panel in axes[-1]:
        panel.set_xlabel("PFOs per event")
    assert drawn is not None
    bar = figure.colorbar(drawn, ax=axes, shrink=0.5)
    ticks = (1 / LIMIT, 0.25, 0.5, 1, 2, 4, LIMIT)
    bar.set_ticks([math.log(t) for t in ticks], labels=[f"{t:g}" for t in ticks])
    bar.set_label("time per jet’s passes / time per event’s pass")
    return figure


def _map(panel: Axes, result: Result, threads: str, mode: str, pair: tuple[str, str], norm: Any) -> Any:
    """One pair's map: a field for each size of events, with its ratio; grey where the jets don't fit."""
    pfos, jets = result["settings"]["pfos"], result["settings"]["jets"]
    keys = (*pair, threads, mode, TOTAL)
    rows = {
        r["pfos"]: r
        for r in result["crossovers"]
        if tuple(r[name] for name in ("event", "jet", "threads", "mode", "scope")) == keys
    }
    values = np.full((len(jets), len(pfos)), np.nan)
    for column, p in enumerate(pfos):
        for number, j in enumerate(jets):
            ratio = rows.get(p, {}).get("ratios", {}).get(str(j))
            if ratio is not None:
                values[number, column] = ratio["value"]
                panel.text(column, number, f"{ratio['value']:.2g}", ha="center", va="center", fontsize=9)
    panel.set_facecolor("0.85")
    drawn = panel.imshow(np.log(values), norm=norm, cmap="coolwarm", origin="lower", aspect="auto")
    # Where both cost the same, between the fields' middles as the crossover lies between their jets.
    crossed = [(column, rows[p]["jets"]) for column, p in enumerate(pfos) if _crosses(rows.get(p))]
    found = [(column, np.interp(value, jets, range(len(jets)))) for column, value in crossed]
    if found:
        panel.plot(*zip(*found, strict=True), color="black", marker="o", ms=3, lw=1)
    panel.set_xticks(range(len(pfos)), [f"{p:,}" for p in pfos])
    panel.set_yticks(range(len(jets)), [str(j) for j in jets])
    panel.tick_params(labelsize=8, length=0)
    panel.minorticks_off()
    return drawn


def _crosses(row: Mapping[str, Any] | None) -> bool:
    return row is not None and row["state"] == CROSSES


def _draw(panel: Axes, result: Result, subject: str, x: Sequence[int], times: np.ndarray) -> None:
    """Medians of the rounds, and a band from their lower to their upper quartile."""
    colour = _colour(subject)
    low, middle, high = np.quantile(times, [0.25, 0.5, 0.75], axis=0)
    marker = "s" if result["subjects"][subject]["max_pfos"] else "o"
    title = result["subjects"][subject]["title"]
    panel.plot(x, middle, color=colour, ls=_line(subject), marker=marker, ms=4, label=title)
    panel.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)


def _colour(subject: str) -> str:
    return next((colour for start, colour in COLOURS.items() if subject.startswith(start)), "black")


def _line(subject: str) -> str:
    return "--" if subject.endswith("-onnx") else ":" if subject.startswith("weaver") else "-"


def _pileup_axis(panel: Axes, result: Result) -> None:
    """Above: the mean number of pileup collisions of simulated events with so many PFOs."""
    told = [(c["median_pfos"], c["pileup"]) for c in result["cells"].values() if c["pileup"] is not None]
    low, high = panel.get_xlim()
    inside = sorted((pfos, pileup) for pfos, pileup in told if low < pfos < high)
    top = panel.secondary_xaxis("top")
    top.set_xticks([pfos for pfos, _ in inside], [f"{pileup:g}" for _, pileup in inside])
    top.minorticks_off()
    top.set_xlabel("pileup collisions")


def _legend(figure: Figure, panel: Axes) -> None:
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8)
