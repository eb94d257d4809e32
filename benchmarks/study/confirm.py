"""The study's conclusions on events that nobody had looked at: ``benchmarks/results/study_confirmation.json``.

    python -m panoptag_pyg.benchmarks.study.confirm && make tables

What ``panoptag_near`` is was decided from ablations, on the study's test events and on ZH among them: a winner picked
that way is flattered by the picking. So the trainings as they are, none chosen anew, are tested once more: on other
events of the study's processes, simulated afterwards with another seed, and on processes that it doesn't have at all.

It needs the weights of ``make study``, which git doesn't keep. Stopped, it goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from panoptag_pyg.errors import ConfigError, PanopTagError
from panoptag_pyg.evaluation.bootstrap import INTERVAL
from panoptag_pyg.jobs import Job, module_command, read_json, run_jobs
from panoptag_pyg.output import write_json

from ..machine import describe_machine
from .__main__ import tell
from .combine import FIGURES, Record, over_trainings, ratio
from .events import checksum
from .job import FIGURES_FILE
from .plan import Plan, Run
from .record import CONFIRMATION, RESULTS, git_state
from .replicas import REPLICAS
from .runner import MODULES, Place
from .summary import REFERENCE, shortened

SETUP = "realistic"
ENTRIES = (REFERENCE, "panoptag", "panoptag_near", "panoptag_near_flavour")
SEED = 20261124
#: Events of each process; the last three are in no other part of the study.
EVENTS = {
    "ttbar": 5000,
    "single_top": 5000,
    "ttH": 5000,
    "ZH": 8000,
    "tW": 5000,
    "WH": 8000,
    "Zjets": 8000,
    "VBFH": 8000,
}


def fresh_events(folder: Path, events: Mapping[str, int], workers: int) -> dict[str, list[str]]:
    """The events' file of each process; those that aren't there are simulated.

    Raises:
        PanopTagError: if they can't be simulated, or the folder holds other events.
    """
    from panoptag_pyg.simulation import simulate

    found = {}
    for process, number in events.items():
        output = folder / process
        command = (
            f"panoptag simulate --process {process} --setup {SETUP} --events {number} --shards 1 --seed {SEED} "
            f"--output {output}"
        )
        print(command, flush=True)
        # A shard that is there is kept if it answers this very command; a single file would be taken as it is.
        simulate(process, number, output, seed=SEED, setup=SETUP, shards=1, workers=workers, command=command)
        found[process] = [str(output / f"{process}-00000.h5")]
    return found


def trained(plan: Plan, place: Place, entries: Sequence[str]) -> tuple[list[Run], list[Run]]:
    """Runs of some entries whose weights are on this machine, and those whose aren't: git keeps only their records."""
    runs = sorted(plan.runs(entries, [SETUP]), key=lambda run: (entries.index(run.entry.name), run.seed))

    def here(run: Run) -> bool:
        known = read_json(place.of(run) / "state.json").get("training_key") == run.training_key
        return known and read_json(place.of(run) / "run" / "summary.json").get("status") == "finished"

    return [run for run in runs if here(run)], [run for run in runs if not here(run)]


def job_of(run: Run, place: Place, files: dict[str, list[str]], sha256: str, seen: Sequence[str]) -> Job:
    """The test of one training; what it leaves lies in a folder that no other training and no other events have.

    Args:
        run: the training.
        place: of its folder.
        files: the events, by process.
        sha256: of all these files.
        seen: processes that were trained on.
    """
    key = hashlib.sha256(f"{run.training_key} {sha256}".encode()).hexdigest()[:16]
    folder = place.of(run) / f"confirmation-{key}"
    order = {"kind": "test", "run": str(place.of(run) / "run"), "folder": str(folder), "test": files, "seen": seen}
    return Job(run.label, "tested on fresh events", order, folder, module_command(MODULES["test"]))


def combined(plan: Plan, records: Sequence[Record]) -> dict[str, Any]:
    """Every entry over its seeds, and against :data:`REFERENCE`.

    Args:
        plan: says what an entry is called in tables.
        records: ``name``, ``setup``, ``entry``, ``seed`` and ``figures`` of each training.
    """
    titles = {entry.name: entry.title for entry in plan.entries}
    by_entry: dict[str, list[Record]] = {}
    for record in records:
        by_entry.setdefault(record["entry"], []).append(record)
    found: dict[str, Any] = {}
    for name, own in by_entry.items():
        groups = list(own[0]["figures"])
        row: dict[str, Any] = {
            "title": titles[name],
            "group": "taggers",
            "seeds": [record["seed"] for record in own],
            "figures": {g: {figure: over_trainings(own, g, figure) for figure in FIGURES} for g in groups},
        }
        if name != REFERENCE:
            other = by_entry[REFERENCE]
            row["ratio"] = {g: {figure: ratio(own, other, g, figure) for figure in FIGURES} for g in groups}
        found[name] = shortened(row)
    return found


def confirm(
    plan: Plan,
    place: Place,
    folder: Path,
    workers: int = 2,
    entries: Sequence[str] = ENTRIES,
    events: Mapping[str, int] = EVENTS,
) -> dict[str, Any]:
    """What the JSON says.

    Args:
        plan: the study's.
        place: of its trainings.
        folder: of the fresh events.
        workers: trainings tested at a time, one thread each. Default 2.
        entries: of the plan, :data:`REFERENCE` among them.
        events: of each process.

    Raises:
        ConfigError: if no weights of an entry are on this machine.
        PanopTagError: if the events can't be simulated, or a test fails.
        KeyboardInterrupt: on Ctrl-C or SIGTERM; the same call goes on from there.
    """
    runs, lost = trained(plan, place, entries)
    if nowhere := [name for name in entries if not any(run.entry.name == name for run in runs)]:
        only = " ".join(f"--only {name}" for name in nowhere)
        raise ConfigError(
            f"{place.folder / 'runs' / SETUP} has no trained weights of {', '.join(nowhere)}; train them again with "
            f'make study ARGS="--again --setup {SETUP} {only}"'
        )
    for run in lost:
        print(f"{run.label}: its weights aren't on this machine; left out", flush=True)
    files = fresh_events(folder, events, workers)
    sums = {process: checksum([Path(file) for file in own]) for process, own in files.items()}
    seen = [process for process in plan.sample.seen if process in events]
    jobs = [job_of(run, place, files, " ".join(sums.values()), seen) for run in runs]
    run_jobs(jobs, workers, 1, tell)
    if failed := [f"{job.name}: {job.reason}" for job in jobs if job.reason]:
        raise PanopTagError("; ".join(failed))
    records: list[Record] = [
        {"name": run.name, "setup": run.setup, "entry": run.entry.name, "seed": run.seed}
        | {"figures": read_json(job.folder / FIGURES_FILE)}
        for run, job in zip(runs, jobs, strict=True)
    ]
    first = records[0]["figures"]
    return {
        "benchmark": "study_confirmation",
        "date": date.today().isoformat(),
        "machine": describe_machine(),
        "git": git_state(),
        "setup": SETUP,
        "reference": REFERENCE,
        "interval": INTERVAL,
        "replicas": REPLICAS,
        "seed": SEED,
        "seen": seen,
        "unseen": [process for process in events if process not in seen],
        "test": {
            group: {name: found[name] for name in ("events", "jets")}
            | ({"sha256": sums[group]} if group in sums else {})
            for group, found in first.items()
        },
        "left_out": [run.label for run in lost],
        "entries": combined(plan, records),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Test, and write the JSON; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    study = Path(os.environ.get("PANOPTAG_STUDY_FOLDER", "study"))
    parser.add_argument("--folder", type=Path, default=study, help="of the study's trainings; default: as make study")
    parser.add_argument("--workers", type=int, default=2, help="trainings tested at a time; default 2")
    parser.add_argument("--output", type=Path, default=CONFIRMATION, help="the JSON file")
    asked = parser.parse_args(arguments)
    try:
        place = Place(asked.folder, RESULTS)
        write_json(asked.output, confirm(Plan(), place, asked.folder / f"fresh-{SEED}", asked.workers))
    except PanopTagError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on from here.", file=sys.stderr)
        return 130
    print(f"{asked.output} is written; `make tables` puts it into docs/physics.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
