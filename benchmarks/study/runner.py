"""Do what of the plan isn't done: simulate, train, test, write records; some runs at a time, in the plan's order."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.jobs import Job, Listener, module_command, read_json, run_jobs
from panoptag_pyg.training.callbacks import read_metrics

from .events import incomplete, simulate_missing, test_files, training_files
from .plan import Run
from .record import asked_of, finished, record_path

#: The module that does a run of each kind.
MODULES = {
    "train": "panoptag_pyg.benchmarks.study.job",
    "test": "panoptag_pyg.benchmarks.study.job",
    "pretrain": "panoptag_pyg.benchmarks.pretraining.job",
}


@dataclass(frozen=True)
class Place:
    """Where the study's files are.

    Attributes:
        folder: events, run folders, scores: large, and not kept in git.
        results: records: small, and kept.
    """

    folder: Path
    results: Path

    def of(self, run: Run) -> Path:
        """Folder of a run's own files."""
        return self.folder / "runs" / run.setup / run.name


def do(
    runs: Sequence[Run],
    place: Place,
    listener: Listener,
    workers: int = 2,
    max_minutes: float | None = None,
    simulate: bool = True,
) -> dict[str, str]:
    """Do all runs that have no record yet.

    Args:
        runs: in their order.
        place: where files are.
        listener: told what happens.
        workers: runs at a time, each with one thread; also processes of the simulation. Default 2.
        max_minutes: start no further run after so long. Default: no limit.
        simulate: make events that are missing; else runs that lack some are left out. Default ``True``.

    Returns:
        for each run that was left out or failed, why.

    Raises:
        KeyboardInterrupt: on Ctrl-C or SIGTERM; the same call goes on from there.
    """
    start = time.monotonic()
    wanted, problems = [], {}
    for run in runs:
        if finished(place.results, run):
            continue
        try:
            run.recipe()
            wanted.append(run)
        except ConfigError as error:  # of a piece that this version doesn't have
            problems[run.label] = str(error)
        except OSError as error:
            problems[run.label] = f"{run.entry.recipe}.toml can't be read ({error.strerror})"
    if simulate:
        simulate_missing(place.folder, wanted, workers)
    for run in list(wanted):
        if lacking := incomplete(place.folder, run):
            problems[run.label] = f"events of {', '.join(lacking)} are missing in {place.folder / 'data' / run.setup}"
            wanted.remove(run)
    go_on: Callable[[], bool] = lambda: max_minutes is None or time.monotonic() - start < 60 * max_minutes  # noqa: E731
    # Those that begin with another's weights come when that one is done.
    for wave in ([run for run in wanted if run.before is None], [run for run in wanted if run.before is not None]):
        jobs = {}
        for run in wave:
            if run.before is not None and not (finished(place.results, run.before) and _weights(run.before, place)):
                name = run.before.name
                problems[run.label] = f"begins with the weights of {name}, which aren't there; --only {name} --again"
            else:
                jobs[run.label] = _job(run, place)
        run_jobs(list(jobs.values()), workers, 1, listener, go_on)
        problems |= {label: job.reason for label, job in jobs.items() if job.reason}
    return problems


def forget(runs: Sequence[Run], place: Place) -> None:
    """Remove records, trainings and scores of some runs; events stay: the same command would make the same."""
    for run in runs:
        record_path(place.results, run).unlink(missing_ok=True)
        rmtree(place.of(run), ignore_errors=True)


def epochs_done(run: Run, place: Place) -> int:
    """Epochs of a run that has begun and isn't finished."""
    if read_json(place.of(run) / "state.json").get("training_key") != run.training_key:
        return 0
    return len(read_metrics(place.of(run) / "run" / "metrics.csv"))


def minutes(run: Run, records: Sequence[dict[str, Any]]) -> float | None:
    """How long a run will take, judged by the nearest of the finished ones; ``None`` if none is near.

    Args:
        run: the run.
        records: finished ones: of the same entry, or else of the same recipe.
    """
    entries = {entry.name: entry for entry in run.plan.entries}
    for near in (
        [record for record in records if record["entry"] == run.entry.name],
        [r for r in records if r["entry"] in entries and entries[r["entry"]].recipe == run.entry.recipe],
    ):
        rates = [
            record["seconds"]["wall"] / (record["data"]["training"]["events"] * len(record["epochs"]))
            for record in near
        ]
        if rates:
            test = sum(record["seconds"]["test_cpu"] for record in near) / len(near)
            return (sum(rates) / len(rates) * run.num_events * run.num_epochs + test) / 60
    return None


def _weights(run: Run, place: Place) -> bool:
    """Whether a finished run's weights are on this machine: only its record is kept in git."""
    return (place.of(run) / "run" / "best.ckpt").is_file()


def _job(run: Run, place: Place) -> Job:
    train, validation = training_files(place.folder, run)
    order = {
        "kind": run.kind,
        "asked": asked_of(run),
        "recipe": run.recipe().to_json(),
        "folder": str(place.of(run)),
        "train": [str(file) for file in train],
        "validation": [str(file) for file in validation],
        "test": {process: [str(file) for file in files] for process, files in test_files(place.folder, run).items()},
        "seen": list(run.plan.sample.seen),
        "record": str(record_path(place.results, run)),
        "start_from": None if run.before is None else str(place.of(run.before) / "run"),
    }
    return Job(
        run.label,
        f"{run.num_epochs} epochs of {run.num_events:,} events",
        order,
        place.of(run),
        module_command(MODULES[run.kind]),
    )
