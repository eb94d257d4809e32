"""One finished run as a JSON file that is kept in git: what was asked, what was done, what came out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from panoptag_pyg import __version__
from panoptag_pyg.evaluation import Predictions
from panoptag_pyg.evaluation.bootstrap import INTERVAL
from panoptag_pyg.jobs import read_json
from panoptag_pyg.output import write_text

from ..machine import describe_machine
from .measure import EFFICIENCIES, figures
from .plan import RECORD_VERSION, Run
from .proximity import EDGES
from .replicas import REPLICAS

RESULTS = Path(__file__).parents[1] / "results" / "study"
#: What the trainings do on events that no choice was made by: see :mod:`.confirm`.
CONFIRMATION = RESULTS.with_name("study_confirmation.json")


def record_path(results: Path, run: Run) -> Path:
    """Where a run's record belongs."""
    return results / run.setup / f"{run.name}.json"


def finished(results: Path, run: Run) -> dict[str, Any]:
    """The record of a run, if there is one that answers what the plan asks now; else nothing."""
    record = read_json(record_path(results, run))
    return record if record.get("key") == run.key else {}


def asked_of(run: Run) -> dict[str, Any]:
    """What the plan says of a run, as its record repeats it."""
    return {
        "name": run.name,
        "entry": run.entry.name,
        "title": run.entry.title,
        "group": run.entry.group,
        "setup": run.setup,
        "seed": run.seed,
        "shards": len(run.shards),
        "key": run.key,
        "training_key": run.training_key,
    }


def make_record(
    asked: dict[str, Any],
    recipe: dict[str, Any],
    trained: dict[str, Any],
    data: dict[str, Any],
    scores: Mapping[str, Predictions],
    seen: tuple[str, ...],
) -> dict[str, Any]:
    """The record, JSON-able.

    Args:
        asked: what :func:`asked_of` gives.
        recipe: as resolved.
        trained: ``parameters``, ``epochs`` (rows of ``metrics.csv``), ``best_epoch``, ``seconds``.
        data: counts and checksums of the events.
        scores: of the test events, by process; none of a run that isn't tested.
        seen: processes that were trained on.
    """
    return {
        "record": "panoptag study",
        "version": RECORD_VERSION,
        **asked,
        "date": date.today().isoformat(),
        "software": f"panoptag-pyg {__version__}",
        "git": git_state(),
        "machine": describe_machine(),
        **trained,
        "recipe": recipe,
        "data": data,
        "interval": INTERVAL,
        "bootstrap": {"unit": "event", "replicas": REPLICAS, "kept": "replica / value - 1, float16, base64"},
        "efficiencies": list(EFFICIENCIES),
        "proximity_edges": list(EDGES),
        "figures": figures(scores, seen) if scores else {},
    }


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write it whole or not at all; one line for each set of figures, else it would take thousands."""
    rows = ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(values, allow_nan=False)}" for name, values in record["figures"].items()
    )
    head = {name: value for name, value in record.items() if name not in ("figures", "epochs")}
    lines = [f" {json.dumps(name)}: {json.dumps(value, allow_nan=False)}," for name, value in head.items()]
    epochs = ",\n".join(f"  {json.dumps(row, allow_nan=False)}" for row in record["epochs"])
    write_text(
        path,
        "{\n" + "\n".join(lines) + f'\n "epochs": [\n{epochs}\n ],\n "figures": {{\n{rows}\n }}\n}}\n',
    )


def git_state() -> dict[str, Any]:
    """Commit of the working tree that this code lies in, and whether the code was changed since; empty outside one."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout.strip()

    try:
        # Records of other runs, just written, are no change of the code.
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude,top)benchmarks/results")
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(changed)}
    except (OSError, subprocess.SubprocessError):
        return {}
