"""From scores and costs to the result of a comparison, and its files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from panoptag_pyg import __version__
from panoptag_pyg.comparison.figure import comparison_figure
from panoptag_pyg.comparison.results import curve_columns, figures, process_figures
from panoptag_pyg.comparison.tables import markdown_table
from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.evaluation import Predictions, RejectionCurve, Report, evaluate
from panoptag_pyg.evaluation.bootstrap import INTERVAL, LIMIT
from panoptag_pyg.evaluation.report import CURVE_EFFICIENCIES
from panoptag_pyg.evaluation.seeds import mean_curve
from panoptag_pyg.jobs import read_json
from panoptag_pyg.output import atomic_output, write_text

if TYPE_CHECKING:
    from panoptag_pyg.comparison.engine import Row, Settings
    from panoptag_pyg.comparison.sample import Sample

JSON, MARKDOWN, FIGURE = "comparison.json", "comparison.md", "rejection.png"


def make_result(
    rows: Sequence[Row], speed: dict[str, Any], sample: Sample, settings: Settings, left_out: Sequence[str]
) -> dict[str, Any]:
    """What ``comparison.json`` holds.

    Args:
        rows: in the order of the table.
        speed: as measured; empty if it wasn't.
        sample: the events.
        settings: as asked for.
        left_out: sentences about what isn't a row.
    """
    from panoptag_pyg.benchmarks.machine import describe_machine

    reports: dict[str, list[Report]] = {}
    first: Predictions | None = None
    for row in rows:
        if row.problem:
            continue
        try:
            scores = [Predictions.load(part.folder / "scores.h5") for part in row.parts]
            first = first or scores[0]
            _check_jets(scores, first)
            reports[row.entry.name] = [evaluate(one, name=row.entry.name, replicas=settings.replicas) for one in scores]
        except PanopTagError as error:
            row.parts[0].reason = str(error)
    curves = {
        name: {signal: mean_curve([report.of().curves[signal] for report in own]) for signal in own[0].of().curves}
        for name, own in reports.items()
    }
    notes = []
    names = [row.entry.name for row in rows]
    reference = settings.reference or names[0]
    if reports and reference not in reports:
        stand_in = next(name for name in names if name in reports)
        notes.append(f"{reference} failed: ratios are to {stand_in}.")
        reference = stand_in
    whole_failure = speed.get("failed", {}).get("all")
    if whole_failure:
        notes.append(f"Speed could not be measured: {whole_failure}.")
    training = next((_summary(part.model) for row in rows for part in row.parts if part.seed is not None), {})
    counts = {
        f"{part}_events": training.get("data", {}).get(part, {}).get("events", 0) for part in ("training", "validation")
    }
    return {
        "benchmark": "comparison",
        "version": __version__,
        "date": date.today().isoformat(),
        "machine": describe_machine(),
        "device": settings.device,
        "workers": settings.workers,
        "settings": list(settings.overrides),
        "seeds": list(range(settings.seeds)),
        "reference": reference,
        "data": {**sample.summary, **counts},
        "interval": INTERVAL,
        "limit_confidence": LIMIT,
        "bootstrap": {"unit": "event", "replicas": settings.replicas, "seed": 0},
        "efficiencies": [float(x) for x in CURVE_EFFICIENCIES],
        "measured_events": next((row.cost["num_events"] for row in rows if row.cost), settings.num_events),
        "load": {**speed["load"], "threads": speed["threads"], "rounds": speed["rounds"]} if "load" in speed else {},
        "notes": notes,
        "left_out": list(left_out),
        "rows": [_row(row, reports, curves, reference, speed, sample) for row in rows],
    }


def write_result(result: dict[str, Any], folder: Path) -> list[Path]:
    """Write the JSON file, the table and the figure, in place of older ones; the files."""
    # One line per row: the curves would otherwise take thousands.
    rows = ",\n".join(f"  {json.dumps(row, allow_nan=False)}" for row in result["rows"])
    head = json.dumps({**result, "rows": []}, indent=1, allow_nan=False)
    write_text(folder / JSON, head.removesuffix("[]\n}") + f"[\n{rows}\n ]\n}}\n")
    write_text(folder / MARKDOWN, markdown_table(result) + "\n")
    with atomic_output(folder / FIGURE, overwrite=True) as temporary:
        comparison_figure(result).savefig(temporary)
    return [folder / JSON, folder / MARKDOWN, folder / FIGURE]


def _row(
    row: Row,
    reports: dict[str, list[Report]],
    curves: dict[str, dict[str, RejectionCurve]],
    reference: str,
    speed: dict[str, Any],
    sample: Sample,
) -> dict[str, Any]:
    entry = row.entry
    found: dict[str, Any] = {
        "name": entry.name,
        "source": entry.source,
        "status": "failed" if row.problem else "done",
        "reason": row.problem,
        "loaded": entry.run is not None,
        "model": entry.recipe.model.name if entry.recipe else None,
        "recipe": entry.recipe.model_dump() if entry.recipe else None,
        "trainings": [_training(part.model, part.seed) for part in row.parts],
        "notes": _loaded_notes(entry.run, row, sample) if entry.run is not None else [],
    }
    if row.problem:
        return found
    own = reports[entry.name]
    found |= figures([report.of() for report in own])
    found["processes"] = process_figures(own)
    found["parameters"] = row.cost.get("parameters")
    found["flops_per_event"] = row.cost.get("flops_per_event")
    found["flops_missing"] = row.cost.get("flops_missing", "") or row.cost_missing
    found["peak_memory_bytes"] = row.cost.get("peak_memory_bytes")
    found["measured"] = {key: row.cost[key] for key in ("num_events", "num_jets", "num_pfos") if key in row.cost}
    found["speed"] = speed.get("rows", {}).get(entry.name)
    found["speed_missing"] = speed.get("failed", {}).get(entry.name, "")
    found["curves"] = {
        signal: curve_columns(curve, curves[reference][signal]) for signal, curve in curves[entry.name].items()
    }
    for columns in found["curves"].values():
        del columns["efficiency"]  # the same for all: stands once in the file
    return found


def _training(folder: Path, seed: int | None) -> dict[str, Any]:
    """What the run's summary says about its training."""
    summary = _summary(folder)
    kept = {key: summary.get(key) for key in ("status", "epochs", "best_epoch", "best", "seconds", "device")}
    return {"seed": seed, "run": str(folder), **kept}


def _summary(run: Path) -> dict[str, Any]:
    return read_json((run if run.is_dir() else run.parent) / "summary.json")


def _loaded_notes(run: Path, row: Row, sample: Sample) -> list[str]:
    """Where a loaded run comes from, and whether it has seen test events."""
    summary, recipe = _summary(run), row.entry.recipe
    training = summary.get("data", {}).get("training")
    if not isinstance(training, dict) or recipe is None:
        return ["loaded; what it was trained on isn't known."]
    notes = [f"loaded; trained on {training['events']:,} events of {', '.join(training['processes'])}."]
    files = {Path(file).resolve() for file in training["files"]}
    shared = [file for file in sample.test["files"] if Path(file).resolve() in files]
    data, test = recipe.data, sample.test
    same_split = (data.test_fraction, data.split_seed) == (test["fraction"], test["split_seed"])
    same_files = files == {Path(file).resolve() for file in test["files"]}
    if shared and not (same_split and same_files):
        notes.append(f"it was trained on events of {', '.join(shared)}, test events among them: they flatter it.")
    if summary.get("status") == "interrupted":
        notes.append(f"its training was stopped after {summary.get('epochs')} epochs.")
    return notes


def _check_jets(scores: Sequence[Predictions], first: Predictions) -> None:
    """All rows must have scored the same jets.

    Raises:
        PanopTagError: if not.
    """
    for one in scores:
        same = len(one) == len(first) and np.array_equal(one.event_index, first.event_index)
        if not same or not np.array_equal(one.flavour, first.flavour):
            raise PanopTagError(f"it scored {len(one):,} jets, not the {len(first):,} that all are compared on")
