"""The study's trainings on fresh events: which are tested, on what, against what, and what the committed run says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.studying import SAMPLE, made_up_record, random_scores, tiny_plan, write_study

from panoptag_pyg.benchmarks.study import confirm, job, runner
from panoptag_pyg.benchmarks.study.combine import FIGURES, ratio
from panoptag_pyg.benchmarks.study.events import files_of
from panoptag_pyg.benchmarks.study.measure import SEEN
from panoptag_pyg.benchmarks.study.plan import Entry, Plan, Sample
from panoptag_pyg.benchmarks.study.tables import process_name
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.evaluation import Predictions, predict_jets
from panoptag_pyg.evaluation.metrics import accuracies
from panoptag_pyg.events import EventDataset
from panoptag_pyg.jobs import obey
from panoptag_pyg.training import load_tagger

ENTRIES = (
    Entry("part", "ParT", "quick", setups=("realistic",)),
    Entry("near", "near", "several", seeds=(0, 1), setups=("realistic",)),
)


@pytest.fixture
def study(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> tuple[Plan, runner.Place]:
    """Two taggers trained on made-up events; of the second one training alone is on this machine."""
    write_study(tmp_path, rng, "realistic")
    plan, place = tiny_plan(tmp_path / "recipes", *ENTRIES), runner.Place(tmp_path, tmp_path / "results")

    def run_jobs(jobs, workers, threads, listener, go_on):
        for one in jobs:
            one.folder.mkdir(parents=True, exist_ok=True)
            assert not obey({"train": job.train_and_score}, one.order)

    monkeypatch.setattr(runner, "run_jobs", run_jobs)
    runs = [run for run in plan.runs() if run.name != "near-seed0"]
    assert not runner.do(runs, place, lambda *_: None)
    return plan, place


@pytest.fixture
def simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What is asked of the simulation, which copies events of ZH."""
    asked: list[tuple] = []

    def simulate(process, number, path, *, seed, setup, workers, command):
        asked.append((process, number, seed, setup))
        shutil.copy(files_of(tmp_path, "realistic", "ZH", (0,))[0], path)

    monkeypatch.setattr("panoptag_pyg.simulation.simulate", simulate)
    return asked


def test_trainings_are_tested_on_fresh_events(study, simulated, tmp_path: Path, capsys) -> None:
    plan, place = study
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    shutil.copy(files_of(tmp_path, "realistic", "ttH", (3,))[0], fresh / "ttH.h5")
    events = {"ttbar": 40, "ttH": 40, "WH": 40}
    found = confirm.confirm(plan, place, fresh, 1, ("part", "near"), events)
    assert simulated == [(name, 40, confirm.SEED, "realistic") for name in ("ttbar", "WH")], "what is there stays"
    assert found["left_out"] == ["realistic/near-seed0"]
    assert "near-seed0: its weights aren't on this machine" in capsys.readouterr().out
    assert (found["seen"], found["unseen"]) == (["ttbar", "ttH"], ["WH"])
    assert {name: row["seeds"] for name, row in found["entries"].items()} == {"part": [0], "near": [1]}
    assert found["test"]["WH"]["events"] == 40
    assert found["test"]["ttbar"]["sha256"] == found["test"]["WH"]["sha256"] != found["test"]["ttH"]["sha256"]

    model, recipe = load_tagger(tmp_path / "runs" / "realistic" / "part-seed0" / "run")
    jets = predict_jets(model, EventDataset([fresh / "WH.h5"])).require_truth()
    accuracy = float(accuracies(jets.logits, jets.flavour, np.ones((1, len(jets))))[0])
    assert recipe.model.name == "panoptag"
    assert found["entries"]["part"]["figures"]["WH"]["accuracy"]["value"] == pytest.approx(accuracy, abs=1e-4)
    lines = confirm.confirmation_table(found).splitlines()
    assert [line.split("|")[2].strip() for line in lines[2:]] == ["all three seen", "WH (unseen)"]


def test_a_tagger_that_is_not_here_is_asked_for(tmp_path: Path, simulated) -> None:
    plan = tiny_plan(tmp_path / "recipes", *ENTRIES)
    with pytest.raises(ConfigError, match=r"no training of part .* make study ARGS=\"--again --only part"):
        confirm.confirm(plan, runner.Place(tmp_path, tmp_path), tmp_path / "fresh", 1, ("part", "near"))
    assert not simulated


def test_an_older_training_does_not_count(study) -> None:
    plan, place = study
    state = place.folder / "runs" / "realistic" / "part-seed0" / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "training_key": "another"}))
    here, lost = confirm.trained(plan, place, ("part", "near"))
    assert [run.name for run in here] == ["near-seed1"]
    assert [run.name for run in lost] == ["part-seed0", "near-seed0"]


def test_ratios_are_those_of_the_study(rng: np.random.Generator, tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, *ENTRIES)
    strengths = {"part": 1.5, "near": 2.0}
    drawn: dict[str, dict[str, Predictions]] = {p: random_scores(rng, strengths, 200) for p in SAMPLE.processes}
    records = []
    for run in plan.runs():
        scores = {process: drawn[process][run.entry.name] for process in drawn}
        records.append(json.loads(json.dumps(made_up_record(run, scores, SAMPLE.seen))))
    found = confirm.combined(plan, records)
    own = {name: [record for record in records if record["entry"] == name] for name in strengths}
    assert found["near"]["seeds"] == [0, 1]
    for group in (*SAMPLE.processes, SEEN):
        for figure in FIGURES:
            expected = confirm.shortened(ratio(own["near"], own["part"], group, figure))
            assert found["near"]["ratio"][group][figure] == expected
    assert "ratio" not in found["part"]


def test_the_committed_run_is_of_events_that_the_study_lacks() -> None:
    found = json.loads(confirm.CONFIRMATION.read_text(encoding="utf-8"))
    assert found["seed"] == confirm.SEED != Sample().seed
    assert {name: found["test"][name]["events"] for name in confirm.EVENTS} == confirm.EVENTS
    assert set(found["unseen"]) - set(Sample().processes) == {"WH", "Zjets", "VBFH"}
    assert list(found["entries"]) == list(confirm.ENTRIES)
    studied = {
        sha256
        for path in (confirm.RESULTS / found["setup"]).glob("*.json")
        for sha256 in (one["sha256"] for one in json.loads(path.read_text())["data"]["test"].values())
    }
    assert studied
    assert not studied & {part["sha256"] for part in found["test"].values() if "sha256" in part}
    names = [process_name(found, name) for name in found["unseen"]]
    assert len(set(names)) == len(names)
