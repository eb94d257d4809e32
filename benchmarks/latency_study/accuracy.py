"""Accuracy against cost: what each tagger of the study reached, beside what it costs per event.

    python -m panoptag_pyg.benchmarks.latency_study.accuracy

counts the FLOPs of every model in the study's plan and writes ``benchmarks/results/latency_costs.json``; a run of
``python -m panoptag_pyg.benchmarks.latency`` measures the time that they take. What they reached is in the study's
records, ``benchmarks/results/study``; an entry without a record is left out, and shows up as soon as there is one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.evaluation.style import CURVE_COLOURS, MODEL_COLOUR, figure_style
from panoptag_pyg.jobs import read_json
from panoptag_pyg.output import write_json

from ..machine import describe_machine
from ..report import number
from ..sampling import sample_file
from ..study.combine import gather, over_trainings
from ..study.measure import SEEN
from ..study.plan import Plan
from ..study.record import RESULTS
from .harness import BATCH, SINGLE
from .lineup import STUDY, study_models
from .result import per_event
from .tables import markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COSTS = RESULTS.parent / "latency_costs.json"
#: Events over which FLOPs are averaged.
COUNTED = 64
FIGURES = {
    "accuracy": "accuracy",
    "b_rej80": "light-jet rejection,\nb efficiency 80 %",
    "c_rej50": "light-jet rejection,\nc efficiency 50 %",
}
COLOURS = {
    "panoptag": MODEL_COLOUR,
    "part": CURVE_COLOURS[0],
    "particlenet": CURVE_COLOURS[1],
    "panoptag_plus": CURVE_COLOURS[2],
    "panoptag_near": "black",
    "panoptag_near_flavour": CURVE_COLOURS[3],
}


def count_costs(plan: Plan, num_events: int = COUNTED) -> dict[str, Any]:
    """Parameters and FLOPs per tt̄ event of every model in the plan, by :func:`~.lineup.cost_key`.

    Args:
        plan: the entries.
        num_events: first events of the sample, over which FLOPs are averaged.
    """
    from panoptag_pyg.events.batching import block_to_batch
    from panoptag_pyg.events.fields import Fields
    from panoptag_pyg.models.cost import tagger_cost

    from .cells import read_source
    from .subjects import built

    block = read_source([sample_file()], num_events)
    found: dict[str, Any] = {}
    for name, key, options, most in study_models(plan):
        if key not in found:
            batch = block_to_batch(block.leading(most), fields=Fields(constituents=True))
            cost = tagger_cost(built(options, batch, 0), batch)
            flops = float(f"{cost.flops_per_event:.5g}")
            found[key] = {"entry": name, "parameters": cost.parameters, "flops": flops}
    return found


def points(
    plan: Plan, results: Path, costs: Mapping[str, Any], latency: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Entries trained on all events that have a record and a cost, in the plan's order.

    Args:
        plan: the entries.
        results: folder of the study's records.
        costs: from :func:`count_costs`.
        latency: a run's JSON, for measured times. Default: none.

    Returns:
        ``entry``, ``title``, ``recipe``, ``group``, ``setup``, ``parameters``, ``gflop``, ``single`` and ``batch`` (ms
        per event, or ``None``), ``figures``.
    """
    records = gather(plan, results)
    entries = {entry.name: entry for entry in plan.entries}
    times = measured_times(latency) if latency else {}
    found = []
    for name, key, *_ in study_models(plan):
        entry = entries[name]
        # Fewer events change what is reached, not what it costs: no place beside those trained on all.
        if entry.shards is not None or key not in costs:
            continue
        for setup in entry.setups:
            if (setup, name) not in records:
                continue
            reached = {figure: over_trainings(records[setup, name], SEEN, figure) for figure in FIGURES}
            found.append(
                {
                    "entry": name,
                    "title": entry.title,
                    "recipe": entry.recipe,
                    "group": entry.group,
                    "setup": setup,
                    "parameters": costs[key]["parameters"],
                    "gflop": costs[key]["flops"] / 1e9,
                    **times.get(key, {SINGLE: None, BATCH: None}),
                    "figures": reached,
                }
            )
    return found


def measured_times(latency: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """Milliseconds per tt̄ event of the study's models on one thread: cost key → mode → median."""
    threads = next(iter(latency["times"]), None)
    found: dict[str, dict[str, float | None]] = {}
    for name, told in latency["subjects"].items():
        if not name.startswith(STUDY) or threads is None:
            continue
        row: dict[str, float | None] = {}
        for mode in (SINGLE, BATCH):
            cells = latency["times"][threads].get(mode, {})
            times = next((cell[name] for cell in cells.values() if name in cell), None)
            row[mode] = None if times is None else float(np.median(per_event(times)))
        found[told["cost_key"]] = row
    return found


def accuracy_table(found: Sequence[Mapping[str, Any]], setup: str) -> str:
    """Rows: taggers of a setup, from cheap to dear; their numbers are those in the figure."""
    lines = [
        [
            str(place),
            p["title"],
            p["recipe"],
            f"{p['parameters']:,}",
            number(p["gflop"]),
            *(number(p[mode]) or "–" for mode in (SINGLE, BATCH)),
            *(_reached(p["figures"][figure], figure) for figure in FIGURES),
        ]
        for place, p in enumerate(_by_cost(found, setup), start=1)
    ]
    heads = ["", "tagger", "recipe", "parameters", "GFLOP per event", "ms, one at a time", "ms, in batches"]
    return markdown([*heads, "accuracy", "b rejection at 80 %", "c rejection at 50 %"], lines, 3)


def _by_cost(found: Sequence[Mapping[str, Any]], setup: str) -> list[Mapping[str, Any]]:
    return sorted((p for p in found if p["setup"] == setup), key=lambda p: p["gflop"])


def _reached(value: Mapping[str, Any], figure: str) -> str:
    if "value" not in value:
        return f"> {number(value['limit'])}" if "limit" in value else "–"
    if figure == "accuracy":
        return f"{value['value']:.4f}"
    return f"{number(value['value'])} ({number(value['low'])}–{number(value['high'])})"


def accuracy_figure(found: Sequence[Mapping[str, Any]], setup: str) -> Figure | None:
    """What was reached against FLOPs per event, and, where measured, against milliseconds per event."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    rows = _by_cost(found, setup)
    if not rows:
        return None
    costs = [("gflop", "GFLOP per event")]
    if any(p[BATCH] is not None for p in rows):
        costs.append((BATCH, "ms per event, one thread, in the quickest batches"))
    with figure_style():
        figure = Figure(figsize=(4.6 * len(FIGURES), 4.2 * len(costs)))
        axes = figure.subplots(len(costs), len(FIGURES), squeeze=False)
        for line, (cost, words) in zip(axes, costs, strict=True):
            for panel, (name, label) in zip(line, FIGURES.items(), strict=True):
                for place, p in enumerate(rows, start=1):
                    value = p["figures"][name]
                    if p[cost] is None or "value" not in value:
                        continue
                    colour = COLOURS.get(p["entry"], COLOURS.get(p["recipe"], "black"))
                    low, high = (abs(value["value"] - value.get(end, value["value"])) for end in ("low", "high"))
                    plain = p["group"] == "taggers"
                    panel.errorbar(
                        p[cost], value["value"], yerr=[[low], [high]], color=colour, marker="o",
                        mfc=colour if plain else "none", ms=7 if plain else 5, lw=1,
                    )  # fmt: skip
                    # Names of changed taggers are long and lie on each other; the table below has them.
                    note = panel.annotate(
                        p["title"] if plain else place, (p[cost], value["value"]), xytext=(5, 3),
                        textcoords="offset points", fontsize=8 if plain else 6, color=colour,
                    )  # fmt: skip
                    note.set_in_layout(False)
                panel.set_xscale("log")
                panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                panel.xaxis.set_major_formatter("{x:g}")
                panel.xaxis.set_minor_formatter(NullFormatter())
                panel.tick_params(axis="x", labelsize=8)
                panel.set_xlabel(words, fontsize=10)
                panel.set_ylabel(label, fontsize=10)
                if name != "accuracy":
                    panel.set_yscale("log")
                known = [p[cost] for p in rows if p[cost] is not None]
                panel.set_xlim(min(known) / 1.2, max(known) * 4)  # room for names
        return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Count, and write the JSON; the exit code."""
    made = argparse.ArgumentParser(
        prog="python -m panoptag_pyg.benchmarks.latency_study.accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("-o", "--output", type=Path, default=COSTS, help="JSON file")
    asked = made.parse_args(arguments)
    try:
        costs = count_costs(Plan())
        write_json(asked.output, {"benchmark": "latency costs", "machine": describe_machine(), "costs": costs})
    except PanopTagError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    print(f"Written: {asked.output}, {len(costs)} models")
    return 0


def read_costs(path: Path = COSTS) -> dict[str, Any]:
    """The counted costs, by cost key; none if there is no file."""
    return read_json(path).get("costs", {})


if __name__ == "__main__":
    sys.exit(main())
