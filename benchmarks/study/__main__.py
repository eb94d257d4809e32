"""``python -m panoptag_pyg.benchmarks.study``: do what of the study isn't done; see :mod:`.plan` for what there is."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from panoptag_pyg.errors import ConfigError, PanopTagError
from panoptag_pyg.jobs import Job

from .plan import SETUPS, Plan, Run
from .record import RESULTS, finished
from .runner import Place, do, epochs_done, forget, minutes


def main(
    arguments: Sequence[str] | None = None, plan: Plan | None = None, results: Path = RESULTS, name: str = "study"
) -> int:
    """Do as the command line says; the exit code.

    Args:
        arguments: Default: the process's own.
        plan: Default: the study's.
        results: folder of the records, unless the command line says otherwise. Default: the study's.
        name: of the package among the benchmarks. Default: the study's.
    """
    asked = _parser(results, name).parse_args(arguments)
    plan = plan or Plan()
    place = Place(asked.folder, asked.results)
    for recipe in plan.unwritten():
        print(f"{recipe}: there is no {plan.recipes / recipe}.toml; entries with this recipe are left out")
    try:
        runs = plan.runs(asked.only, asked.setup)
        if not runs:
            raise ConfigError(f"no run is called {' or '.join(asked.only)}; --list shows all")
        if asked.list:
            print("\n".join(listing(runs, place)))
            return 0
        if asked.again:
            forget(runs, place)
        problems = do(runs, place, tell, asked.workers, asked.max_minutes, not asked.no_simulation)
    except PanopTagError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on from here.", file=sys.stderr)
        return 130
    for label, problem in problems.items():
        print(f"{label}: {problem}", file=sys.stderr)
    done = sum(bool(finished(place.results, run)) for run in runs)
    print(f"{done} of {len(runs)} runs have their record in {place.results}")
    return 1 if problems else 0


def listing(runs: Sequence[Run], place: Place) -> list[str]:
    """What is done and what is missing, in the order of the queue."""
    records = {run.label: finished(place.results, run) for run in runs}
    known = [record for record in records.values() if record]
    width = max(len(run.label) for run in runs)
    lines, left = [], 0.0
    for run in runs:
        record = records[run.label]
        if record:
            seconds = record["seconds"]
            state = f"done, {(seconds['wall'] + seconds['test_cpu']) / 60:.0f} min"
            accuracy = record["figures"].get("ttbar", {}).get("accuracy")
            state += f", tt̄ accuracy {accuracy['value']:.4f}" if accuracy else ""
        else:
            estimate = minutes(run, known)
            done = epochs_done(run, place)
            if estimate is not None:
                estimate *= 1 - done / run.num_epochs
                left += estimate
            state = f"epoch {done}/{run.num_epochs}" if done else "missing"
            state += f", about {estimate:.0f} min" if estimate is not None else ", ? min"
        lines.append(f"{run.label:<{width}}  {run.num_events:>6,} events × {run.num_epochs:>2} epochs  {state}")
    missing = sum(not record for record in records.values())
    lines.append(
        f"{len(known)} done, {missing} missing: about {left / 60:.1f} h of one core for those with an estimate"
    )
    return lines


def tell(job: Job, event: str, text: str) -> None:
    """One line for the start, each epoch and the end of a run."""
    now = datetime.now().strftime("%H:%M:%S")
    if event == "start":
        print(f"{now} {job.name}: {job.what}", flush=True)
    elif event == "line" and text.startswith(("epoch ", "scoring", "Error")) and " events, " not in text:
        print(f"{now} {job.name}: {text}", flush=True)
    elif event == "end":
        outcome = f"failed: {text}" if text else "done"
        print(f"{now} {job.name}: {outcome} after {(time.monotonic() - job.started) / 60:.1f} min", flush=True)


def _parser(results: Path, name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m panoptag_pyg.benchmarks.{name}",
        description="Simulate, train and test what of the plan has no record yet; stopped, it goes on where it was.",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(os.environ.get("PANOPTAG_STUDY_FOLDER", "study")),
        help="of events, runs and scores; default: $PANOPTAG_STUDY_FOLDER, or study",
    )
    parser.add_argument("--results", type=Path, default=results, help="folder of the records")
    parser.add_argument("--only", action="append", default=[], metavar="GLOB", help="runs or entries; may be repeated")
    parser.add_argument("--setup", action="append", default=[], choices=SETUPS, help="of the simulation; default: both")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time, one thread each; default 2")
    parser.add_argument("--max-minutes", type=float, metavar="M", help="start no further run after M minutes")
    parser.add_argument("--no-simulation", action="store_true", help="leave runs out whose events aren't there")
    parser.add_argument("--list", action="store_true", help="show what is done and what is missing, and do nothing")
    parser.add_argument("--again", action="store_true", help="forget the records and trainings of these runs first")
    return parser


if __name__ == "__main__":
    sys.exit(main())
