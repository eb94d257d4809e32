"""A study of made-up events that takes seconds: the plan, the events, the runner in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from panoptag_pyg.benchmarks.study import job
from panoptag_pyg.benchmarks.study.events import files_of
from panoptag_pyg.benchmarks.study.plan import Entry, Plan, Run, Sample
from panoptag_pyg.benchmarks.study.record import asked_of, make_record, record_path, write_record
from panoptag_pyg.evaluation import Predictions
from panoptag_pyg.jobs import obey

from .events import random_block, write_events

SAMPLE = Sample(
    shard_events=40, train=(0, 1), validation=(2,), test=(3,), test_unseen=(0,), seen=("ttbar", "ttH"), unseen=("ZH",)
)
RECIPE = """
[model]
name = "panoptag"
backbone = "deepsets"
dim = 8
num_heads = 2
num_decoder_layers = 1
[data]
batch_size = 40
[train]
max_epochs = 2
lr = 3e-3
warmup_epochs = 0.2
"""
SEVERAL = """
[task]
name = "several"
[task.kind]
task = "flavour"
[task.process]
weight = 0.1
signal = ["ttH"]
"""


def tiny_plan(folder: Path, *entries: Entry, epochs: int = 2) -> Plan:
    """A plan whose recipes ``quick`` and ``several`` are written to ``folder``.

    Args:
        folder: for the recipes.
        entries: Default: ``first`` and ``second``, in one setup.
        epochs: of ``quick``. Default 2.
    """
    folder.mkdir(exist_ok=True)
    (folder / "quick.toml").write_text(RECIPE.replace("max_epochs = 2", f"max_epochs = {epochs}"))
    (folder / "several.toml").write_text(RECIPE + SEVERAL)
    one = {"setups": ("paper",)}
    default = (Entry("first", "First", "quick", **one), Entry("second", "Second", "several", rank=1, **one))
    return Plan(entries or default, SAMPLE, folder)


def write_study(folder: Path, rng: np.random.Generator, setup: str = "paper") -> None:
    """All shards of :data:`SAMPLE`."""
    for process in SAMPLE.processes:
        for path in files_of(folder, setup, process, range(SAMPLE.num_shards(process))):
            path.parent.mkdir(parents=True, exist_ok=True)
            events = SAMPLE.shard_events
            block = random_block(rng, rng.integers(3, 12, events), rng.integers(1, 6, events))
            block.event["weight"][:] = 1
            block.event["process"][:] = 0
            write_events(path, block, [process])


def run_jobs_here(monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    """Every job that ``module`` runs is done in this process, one after the other."""
    kinds = {"train": job.train_and_score, "test": job.test_again}

    def run_jobs(jobs, workers, threads, listener, go_on=lambda: True):
        for one in jobs:
            if go_on():
                one.folder.mkdir(parents=True, exist_ok=True)
                if obey(kinds, one.order) == 130:
                    raise KeyboardInterrupt

    monkeypatch.setattr(module, "run_jobs", run_jobs)


def start_study(folder: Path, *arguments: str, epochs: int = 2) -> subprocess.Popen[str]:
    """Run :func:`tiny_plan` of ``folder / "recipes"`` on the events in ``folder``; records go to ``results``."""
    code = (
        "import sys; from pathlib import Path; from helpers.studying import tiny_plan\n"
        "from panoptag_pyg.benchmarks.study.__main__ import main\n"
        "folder = Path(sys.argv[1])\n"
        "command = ['--folder', str(folder), '--results', str(folder / 'results'), *sys.argv[2:]]\n"
        "sys.exit(main(command, tiny_plan(folder / 'recipes', epochs=EPOCHS)))".replace("EPOCHS", str(epochs))
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder), *arguments],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def random_scores(rng: np.random.Generator, strengths: dict[str, float], num_events: int) -> dict[str, Predictions]:
    """Scores of several taggers on the same made-up jets.

    Args:
        rng: draws the jets, then each tagger's noise; part of it is common to all.
        strengths: how well each tagger separates, by name.
        num_events: with one to six jets each.
    """
    jets = rng.integers(1, 7, num_events)
    event = np.repeat(np.arange(num_events), jets)
    flavour = rng.choice(3, len(event), p=[0.6, 0.15, 0.25])
    common = rng.normal(size=(len(event), 3))
    columns = {name: np.zeros(len(event), np.int64) for name in ("event_id", "file", "process")}
    columns["jet_index"] = np.arange(len(event)) - np.repeat(np.cumsum(jets) - jets, jets)
    kinematics = {
        "pt": rng.uniform(20, 200, len(event)),
        "eta": rng.uniform(-2.5, 2.5, len(event)),
        "phi": rng.uniform(-np.pi, np.pi, len(event)),
        "mass": rng.uniform(1, 20, len(event)),
        "weight": np.ones(len(event)),
    }
    return {
        name: Predictions(
            logits=(strength * np.eye(3)[flavour] + common + 0.5 * rng.normal(size=common.shape)).astype(np.float32),
            flavour=flavour,
            event_index=event,
            **columns,
            **{key: values.astype(np.float32) for key, values in kinematics.items()},
            num_events=num_events,
        )
        for name, strength in strengths.items()
    }


def made_up_record(run: Run, scores: dict[str, Predictions], seen: tuple[str, ...]) -> dict[str, Any]:
    """The record that a run with these scores would leave."""
    epochs = [{"epoch": float(n), "step": 10.0 * n, "val_loss": 1 / n} for n in (1, 2)]
    trained = {
        "parameters": 1234,
        "best_epoch": 2,
        "epochs": epochs,
        "seconds": {"cpu": 60.0, "wall": 70.0, "test_cpu": 9.0},
    }
    data = {"training": {"events": run.num_events}}
    return make_record(asked_of(run), {}, trained, data, scores, seen)


def make_up_records(plan: Plan, results: Path, rng: np.random.Generator, num_events: int = 300) -> None:
    """Records of all runs of a plan: every tagger on the same jets, each with its own strength."""
    for setup in {run.setup for run in plan.runs()}:
        runs = [run for run in plan.runs() if run.setup == setup]
        strengths = {run.name: float(rng.uniform(1.5, 2.5)) for run in runs}
        drawn = {process: random_scores(rng, strengths, num_events) for process in plan.sample.processes}
        for run in runs:
            scores = {process: drawn[process][run.name] for process in plan.sample.processes}
            write_record(record_path(results, run), made_up_record(run, scores, plan.sample.seen))
