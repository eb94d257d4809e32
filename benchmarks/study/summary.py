"""All numbers of the study's tables, from its records alone, JSON-able: ``benchmarks/results/study/summary.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from panoptag_pyg.evaluation.bootstrap import INTERVAL
from panoptag_pyg.output import write_text

from .combine import FIGURES, Record, gap, gather, over_trainings, proximity_share, ratio
from .measure import ALL, SEEN
from .plan import SETUPS, Entry, Plan
from .replicas import REPLICAS

SUMMARY = "summary.json"
#: Ratios are to this tagger; of a changed one to the unchanged.
REFERENCE = "part"
#: Where the gap to unseen processes begins.
HOME = "ttbar"
#: Groups of entries beside the taggers themselves.
CHANGED = ("ablations", "pieces", "single jets")
#: Distance within which a mistagged jet is near a b or c jet, and the b efficiency of the working point.
NEAR, WORKING_POINT = 1.0, "0.9"
DIGITS = 5


def summarise(plan: Plan, results: Path) -> dict[str, Any]:
    """What ``summary.json`` holds.

    Args:
        plan: entries without a record are left out.
        results: folder of the records.
    """
    return summarise_records(plan, gather(plan, results))


def summarise_records(plan: Plan, records: dict[tuple[str, str], list[Record]]) -> dict[str, Any]:
    """:func:`summarise`, from records by setup and entry."""
    setups = [setup for setup in SETUPS if any(where == setup for where, _ in records)]
    return {
        "study": "panoptag study",
        "interval": INTERVAL,
        "replicas": REPLICAS,
        "reference": REFERENCE,
        "seen": list(plan.sample.seen),
        "unseen": list(plan.sample.unseen),
        "missing": [run.label for run in plan.runs() if not _has(records, run)],
        "setups": {setup: _setup(plan, setup, records) for setup in setups},
    }


def write_summary(summary: dict[str, Any], results: Path) -> Path:
    """Write it whole or not at all: one line per entry."""
    path = results / SUMMARY
    text = json.dumps({**summary, "setups": {}}, indent=1, ensure_ascii=False, allow_nan=False)
    setups = []
    for name, values in summary["setups"].items():
        rows = ",\n".join(
            f"   {json.dumps(entry)}: {json.dumps(row, ensure_ascii=False, allow_nan=False)}"
            for entry, row in values["entries"].items()
        )
        events = json.dumps(values["test"], ensure_ascii=False)
        setups.append(f'  {json.dumps(name)}: {{\n  "test": {events},\n  "entries": {{\n{rows}\n  }}}}')
    body = ",\n".join(setups)
    write_text(path, text.removesuffix("{}\n}") + f"{{\n{body}\n }}\n}}\n")
    return path


def _has(records: dict[tuple[str, str], list[Record]], run: Any) -> bool:
    return any(record["name"] == run.name for record in records.get((run.setup, run.entry.name), ()))


def _setup(plan: Plan, setup: str, records: dict[tuple[str, str], list[Record]]) -> dict[str, Any]:
    entries = {
        entry.name: _entry(plan, entry, setup, records) for entry in plan.entries if (setup, entry.name) in records
    }
    first = next(found[0] for (where, _), found in records.items() if where == setup)
    test = {group: {name: found[name] for name in ("events", "jets")} for group, found in first["figures"].items()}
    return {"test": test, "entries": entries}


def _entry(plan: Plan, entry: Entry, setup: str, records: dict[tuple[str, str], list[Record]]) -> dict[str, Any]:
    own = records[setup, entry.name]
    groups = [*plan.sample.processes, SEEN, ALL]
    found: dict[str, Any] = {
        "title": entry.title,
        "group": entry.group,
        "recipe": entry.recipe,
        "settings": list(entry.settings),
        "seeds": [record["seed"] for record in own],
        "parameters": own[0]["parameters"],
        "training_events": own[0]["data"]["training"]["events"],
        "epochs": len(own[0]["epochs"]),
        "best_epochs": [int(record["best_epoch"]) for record in own],
        "training_cpu_minutes": round(fmean(record["seconds"]["cpu"] for record in own) / 60, 1),
        "figures": {g: {figure: over_trainings(own, g, figure) for figure in FIGURES} for g in groups},
        "gap": {
            unseen: {figure: gap(own, HOME, unseen, figure) for figure in FIGURES} for unseen in plan.sample.unseen
        },
        "near": {g: proximity_share(own, g, NEAR, WORKING_POINT) for g in (*plan.sample.processes, SEEN)},
    }
    # A changed tagger is compared with the unchanged one, all others with the reference.
    same = (e.name for e in plan.entries if e.group == "taggers" and e.recipe == entry.recipe)
    unchanged = entry.against or next(same, "")
    against = unchanged if entry.group in CHANGED else REFERENCE
    other = records.get((setup, against), [])
    if other and against != entry.name and entry.group != "events":
        lent = records.get((setup, unchanged), [])
        found["against"] = against
        found["ratio"] = {g: {figure: ratio(own, other, g, figure, lent) for figure in FIGURES} for g in groups}
    return shortened(found)


def shortened(value: Any) -> Any:
    """Floats with a few digits: finer than any table shows."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {name: shortened(entry) for name, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [shortened(entry) for entry in value]
    return value
