"""``compare``: train or load each, score the same events, measure what each costs; finished parts are kept."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from panoptag_pyg.comparison.entries import Entry
from panoptag_pyg.comparison.fingerprint import digest, files_digest
from panoptag_pyg.comparison.sample import Sample, find_sample
from panoptag_pyg.comparison.summary import make_result, write_result
from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.jobs import Job, Listener, module_command, read_json, run_jobs
from panoptag_pyg.output import write_json

#: Says that a folder is a comparison's.
MARKER = "comparison-folder.json"
#: What each piece of work runs, in a process of its own.
COMMAND = module_command("panoptag_pyg.comparison.job")


@dataclass
class Settings:
    """What a comparison is told.

    Attributes:
        data: events to train and validate on, and to test on unless ``test`` is given.
        output: folder of all that it makes.
        test: events to test on. Default ``None``: the share ``test_fraction`` of ``data``.
        test_fraction: share of the events held out for the test. Default 0.25.
        overrides: ``section.key=value`` that the recipes were changed by.
        seeds: how many trainings of each recipe, with seeds from 0. Default 1.
        workers: how many train at a time. Default 1.
        threads: CPU threads for the timing, shared among the workers in training. Default ``None``: all cores.
        reference: name of the row that ratios divide by. Default ``None``: the first.
        num_events: test events of the batch on which costs are measured. Default 32.
        speed: measure it. Default ``True``.
        rounds: of the timing. Default ``None``: 3 to 11, as time allows.
        replicas: of the bootstrap. Default 200.
        device: where it is scored and measured; recipes say where they train. Default ``"cpu"``.
    """

    data: Sequence[str]
    output: Path
    test: Sequence[str] | None = None
    test_fraction: float = 0.25
    overrides: Sequence[str] = ()
    seeds: int = 1
    workers: int = 1
    threads: int | None = None
    reference: str | None = None
    num_events: int = 32
    speed: bool = True
    rounds: int | None = None
    replicas: int = 200
    device: str = "cpu"


@dataclass
class Part:
    """One training of a row (or its loaded run) and its scores.

    Attributes:
        entry: the row.
        seed: of the training; ``None`` for a loaded run.
        folder: where its scores and its log are.
        model: the run folder.
        key: changes with whatever decides the result.
        reason: why it failed; empty otherwise.
    """

    entry: Entry
    seed: int | None
    folder: Path
    model: Path
    key: str
    reason: str = ""

    @property
    def state(self) -> dict[str, Any]:
        """What is known of it: ``key``, ``status`` (``"started"``, ``"done"``)."""
        return read_json(self.folder / "state.json")

    @property
    def done(self) -> bool:
        """Whether its scores are there, and answer what is asked now."""
        return self.state == {"key": self.key, "status": "done"} and (self.folder / "scores.h5").is_file()


@dataclass
class Row:
    """One row: its trainings, and its costs as measured."""

    entry: Entry
    parts: list[Part] = field(default_factory=list)
    cost: dict[str, Any] = field(default_factory=dict)
    cost_missing: str = ""

    @property
    def problem(self) -> str:
        """Why it has no figures; empty if it has."""
        return self.entry.problem or next((part.reason for part in self.parts if part.reason), "")


def compare(entries: Sequence[Entry], settings: Settings, listener: Listener) -> dict[str, Any]:
    """Compare taggers of jet flavour, and write ``comparison.json``, ``comparison.md`` and ``rejection.png``.

    Stopped and started again, it goes on where it was; what depends on a recipe or on data that have changed is done
    anew. A tagger that fails is a row with the reason, and doesn't stop the rest.

    Args:
        entries: recipes and finished runs, from :func:`~panoptag_pyg.comparison.find_entries`.
        settings: the rest.
        listener: told what happens.

    Returns:
        what ``comparison.json`` holds.

    Raises:
        ConfigError, EventFileError: before anything is written, if what is asked makes no sense.
        KeyboardInterrupt: on Ctrl-C or SIGTERM; all finished parts and epochs are kept.
    """
    sample = find_sample(settings)
    entries = [_same_split(entry, settings) for entry in entries]
    wanted = [entry for entry in entries if not entry.other_task]
    names = [entry.name for entry in wanted]
    if settings.reference is not None and settings.reference not in names:
        raise ConfigError(f"--reference {settings.reference}: there is no such row{suggest(settings.reference, names)}")
    claim_folder(settings.output)

    rows = [Row(entry) for entry in wanted]
    _train(rows, sample, settings, listener)
    _measure_costs(rows, sample, settings, listener)
    speed = _measure_speed(rows, sample, settings, listener) if settings.speed else {}
    result = make_result(rows, speed, sample, settings, [entry.problem for entry in entries if entry.other_task])
    write_result(result, settings.output)
    return result


def claim_folder(output: Path) -> None:
    """Make the folder, or refuse one that holds anything but a comparison.

    Raises:
        ConfigError: naming it.
    """
    if output.exists() and not output.is_dir():
        raise ConfigError(f"{output} is a file; choose another folder for the comparison")
    if output.is_dir() and any(output.iterdir()) and not (output / MARKER).is_file():
        raise ConfigError(f"{output} holds files that no comparison made; choose another folder")
    write_json(output / MARKER, {"made by": "panoptag compare"})


def _same_split(entry: Entry, settings: Settings) -> Entry:
    """The entry with a recipe that shares events out as all others do."""
    if entry.recipe is None or entry.run is not None:
        return entry
    given = {override.partition("=")[0].strip() for override in settings.overrides}
    shared = type(entry.recipe.data)().model_dump(include={"validation_fraction", "split_seed"})
    changed = {name: value for name, value in shared.items() if f"data.{name}" not in given}
    changed["test_fraction"] = settings.test_fraction if settings.test is None else 0.0
    data = entry.recipe.data.model_copy(update=changed)
    return replace(entry, recipe=entry.recipe.model_copy(update={"data": data}))


def _train(rows: Sequence[Row], sample: Sample, settings: Settings, listener: Listener) -> None:
    """Fill the rows' parts; train and score those that aren't done."""
    jobs: list[tuple[Job, Part]] = []
    for row in rows:
        if row.entry.problem:
            continue
        for seed in range(settings.seeds) if row.entry.run is None else (None,):
            part = _part(row.entry, seed, sample, settings)
            row.parts.append(part)
            if not part.done:
                jobs.append((_training_job(part, sample, settings), part))
    run_jobs([job for job, _ in jobs], settings.workers, max(1, cores(settings) // settings.workers), listener)
    for job, part in jobs:
        part.reason = job.reason
        if not job.reason:
            write_json(part.folder / "state.json", {"key": part.key, "status": "done"})


def _part(entry: Entry, seed: int | None, sample: Sample, settings: Settings) -> Part:
    name = "loaded" if seed is None else f"seed{seed}"
    folder = settings.output / "parts" / entry.name / name
    if entry.run is not None:
        from panoptag_pyg.training.checkpoint import checkpoint_files

        key = digest(files_digest(checkpoint_files(entry.run)), sample.test_key)
        return Part(entry, None, folder, entry.run, key)
    assert entry.recipe is not None
    recipe = entry.recipe.model_copy(update={"train": entry.recipe.train.model_copy(update={"seed": seed})})
    key = digest(recipe.model_dump(), sample.training_key, sample.test_key)
    return Part(replace(entry, recipe=recipe), seed, folder, settings.output / "runs" / entry.name / name, key)


def _training_job(part: Part, sample: Sample, settings: Settings) -> Job:
    entry = part.entry
    same = part.state.get("key") == part.key
    trained = same and read_json(part.model / "summary.json").get("status") == "finished"
    train = entry.run is None and not trained
    order = {
        "kind": "train",
        "recipe": entry.recipe.to_json() if train and entry.recipe is not None else None,
        "resume": same,
        "model": str(part.model),
        "data": [str(file) for file in sample.files],
        "test": sample.test,
        "scores": str(part.folder / "scores.h5"),
        "device": settings.device,
    }
    seed = f", seed {part.seed}" if settings.seeds > 1 else ""
    what = "loading and scoring" if entry.run is not None else f"{'training' if train else 'scoring'}{seed}"
    write_json(part.folder / "state.json", {"key": part.key, "status": "started"})
    return Job(entry.name, what, order, part.folder, COMMAND)


def _measure_costs(rows: Sequence[Row], sample: Sample, settings: Settings, listener: Listener) -> None:
    """Parameters, FLOPs and memory of each row that has figures, each in a process of its own."""
    jobs: list[tuple[Job, Row]] = []
    for row in rows:
        if row.problem or not row.parts:
            continue
        part = row.parts[0]
        path = settings.output / "parts" / row.entry.name / "cost.json"
        key = digest(part.key, settings.num_events, settings.device)
        row.cost = read_json(path)
        if row.cost.get("key") != key:
            row.cost = {}
            order = {
                "kind": "cost",
                "key": key,
                "model": str(part.model),
                "test": sample.test,
                "num_events": settings.num_events,
                "device": settings.device,
                "result": str(path),
            }
            jobs.append((Job(row.entry.name, "counting FLOPs and memory", order, path.parent, COMMAND), row))
    run_jobs([job for job, _ in jobs], settings.workers, max(1, cores(settings) // settings.workers), listener)
    for job, row in jobs:
        row.cost_missing = job.reason
        row.cost = {} if job.reason else read_json(Path(job.order["result"]))


def _measure_speed(rows: Sequence[Row], sample: Sample, settings: Settings, listener: Listener) -> dict[str, Any]:
    """Speed of all rows that have figures, in one process of their own; measured anew unless the machine was quiet."""
    models = {row.entry.name: str(row.parts[0].model) for row in rows if row.parts and not row.problem}
    if not models:
        return {}
    threads = cores(settings)
    keys = {row.entry.name: row.parts[0].key for row in rows if row.entry.name in models}
    key = digest(keys, threads, settings.num_events, settings.rounds, settings.device)
    folder = settings.output / "parts"
    path = folder / "speed.json"
    before = read_json(path)
    if before.get("key") == key and before.get("load", {}).get("quiet"):
        return before
    order = {
        "kind": "speed",
        "key": key,
        "models": models,
        "test": sample.test,
        "num_events": settings.num_events,
        "rounds": settings.rounds,
        "device": settings.device,
        "result": str(path),
    }
    job = Job("all", "measuring speed side by side", order, folder, COMMAND)
    run_jobs([job], 1, threads, listener)
    return {"failed": {"all": job.reason}} if job.reason else read_json(path)


def cores(settings: Settings) -> int:
    """CPU threads of the timing: as asked for, else ``OMP_NUM_THREADS``, else the cores granted to this process."""
    from panoptag_pyg.training.cpu import usable_cores

    asked = os.environ.get("OMP_NUM_THREADS", "")
    return settings.threads or (int(asked) if asked.isdigit() and int(asked) else usable_cores())
