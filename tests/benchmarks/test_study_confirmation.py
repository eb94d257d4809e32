"""The study's trainings on fresh events: which are tested, on what, against what, and what the committed run says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.studying import SAMPLE, made_up_record, random_scores, run_jobs_here, tiny_plan, write_study

from panoptag_pyg.benchmarks.study import confirm, job, runner
from panoptag_pyg.benchmarks.study.combine import FIGURES, ratio
from panoptag_pyg.benchmarks.study.events import files_of
from panoptag_pyg.benchmarks.study.measure import SEEN
from panoptag_pyg.benchmarks.study.plan import Entry, Plan, Sample
from panoptag_pyg.benchmarks.study.record import CONFIRMATION, RESULTS
from panoptag_pyg.benchmarks.study.tables import confirmation_table, process_name
from panoptag_pyg.errors import ConfigError, PanopTagError
from panoptag_pyg.evaluation import Predictions, predict_jets
from panoptag_pyg.evaluation.metrics import accuracies
from panoptag_pyg.events import EventDataset
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

    run_jobs_here(monkeypatch, runner)
    runs = [run for run in plan.runs() if run.name != "near-seed0"]
    assert not runner.do(runs, place, lambda *_: None)
    return plan, place


@pytest.fixture
def simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What is asked of the simulation, which copies events of ttH, or else of ZH."""
    asked: list[tuple] = []

    def simulate(process, number, output, *, seed, setup, shards, workers, command):
        asked.append((process, number, seed, setup, shards))
        output.mkdir(parents=True, exist_ok=True)
        like = ("ttH", (3,)) if process == "ttH" else ("ZH", (0,))
        shutil.copy(files_of(tmp_path, "realistic", *like)[0], output / f"{process}-00000.h5")

    monkeypatch.setattr("panoptag_pyg.simulation.simulate", simulate)
    return asked


EVENTS = {"ttbar": 40, "ttH": 40, "WH": 40}


def test_trainings_are_tested_on_fresh_events(study, simulated, tmp_path: Path, capsys) -> None:
    plan, place = study
    fresh = tmp_path / "fresh"
    found = confirm.confirm(plan, place, fresh, 2, ("part", "near"), EVENTS)
    assert simulated == [(name, 40, confirm.SEED, "realistic", 1) for name in EVENTS]
    assert found["left_out"] == ["realistic/near-seed0"]
    assert "near-seed0: its weights aren't on this machine" in capsys.readouterr().out
    assert (found["seen"], found["unseen"]) == (["ttbar", "ttH"], ["WH"])
    assert {name: row["seeds"] for name, row in found["entries"].items()} == {"part": [0], "near": [1]}
    assert found["test"]["WH"]["events"] == 40
    assert found["test"]["ttbar"]["sha256"] == found["test"]["WH"]["sha256"] != found["test"]["ttH"]["sha256"]

    model, recipe = load_tagger(tmp_path / "runs" / "realistic" / "part-seed0" / "run")
    jets = predict_jets(model, EventDataset([fresh / "WH" / "WH-00000.h5"])).require_truth()
    accuracy = float(accuracies(jets.logits, jets.flavour, np.ones((1, len(jets))))[0])
    assert recipe.model.name == "panoptag"
    assert found["entries"]["part"]["figures"]["WH"]["accuracy"]["value"] == pytest.approx(accuracy, abs=1e-4)
    lines = confirmation_table(found).splitlines()
    assert [line.split("|")[2].strip() for line in lines[2:]] == ["all three seen", "WH (unseen)"]


def test_it_goes_on_where_it_was_but_takes_nothing_of_another_training(
    study, simulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, place = study
    run_jobs_here(monkeypatch, confirm)
    scored: list[str] = []
    score = job.score
    monkeypatch.setattr(job, "score", lambda order, run, *rest: [scored.append(str(run)), score(order, run, *rest)][1])
    ask = lambda events: confirm.confirm(plan, place, tmp_path / "fresh", 1, ("part", "near"), events)  # noqa: E731
    first = ask(EVENTS)
    assert len(scored) == 2
    assert ask(EVENTS)["entries"] == first["entries"]
    assert len(scored) == 2, "what is done stays"
    ask({"ttbar": 40, "ttH": 40})
    assert len(scored) == 4, "other events are other scores"
    state = place.folder / "runs" / "realistic" / "part-seed0" / "state.json"
    recipe = plan.recipes / "quick.toml"
    recipe.write_text(recipe.read_text().replace("lr = 3e-3", "lr = 1e-3"))
    run = next(run for run in plan.runs() if run.entry.name == "part")
    state.write_text(json.dumps({**json.loads(state.read_text()), "training_key": run.training_key}))
    ask(EVENTS)
    assert len(scored) == 5, "another training has other scores"
    assert scored[-1] == str(state.parent / "run")


def test_a_test_that_fails_is_told_in_a_sentence(study, simulated, tmp_path: Path, monkeypatch) -> None:
    plan, place = study
    (tmp_path / "runs" / "realistic" / "near-seed1" / "run" / "best.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(PanopTagError, match=r"^realistic/near-seed1: .*best\.ckpt") as problem:
        confirm.confirm(plan, place, tmp_path / "fresh", 2, ("part", "near"), EVENTS)
    assert "Traceback" not in str(problem.value)


def test_taggers_that_are_not_here_are_asked_for(tmp_path: Path, simulated) -> None:
    plan = tiny_plan(tmp_path / "recipes", *ENTRIES)
    command = 'make study ARGS="--again --setup realistic --only part --only near"'
    with pytest.raises(ConfigError, match=f"no trained weights of part, near; train them again with {command}"):
        confirm.confirm(plan, runner.Place(tmp_path, tmp_path), tmp_path / "fresh", 1, ("part", "near"))
    assert not simulated


def test_without_weights_the_command_says_so_and_writes_nothing(tmp_path: Path, capsys) -> None:
    output = tmp_path / "confirmation.json"
    assert confirm.main(["--folder", str(tmp_path), "--output", str(output)]) == 2
    assert capsys.readouterr().err.startswith(f"Error: {tmp_path / 'runs' / 'realistic'} has no trained weights of ")
    assert not output.exists()


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
    found = json.loads(CONFIRMATION.read_text(encoding="utf-8"))
    assert found["seed"] == confirm.SEED != Sample().seed
    assert {name: found["test"][name]["events"] for name in confirm.EVENTS} == confirm.EVENTS
    assert set(found["unseen"]) - set(Sample().processes) == {"WH", "Zjets", "VBFH"}
    assert list(found["entries"]) == list(confirm.ENTRIES)
    studied = {
        sha256
        for path in (RESULTS / found["setup"]).glob("*.json")
        for sha256 in (one["sha256"] for one in json.loads(path.read_text())["data"]["test"].values())
    }
    assert studied
    assert not studied & {part["sha256"] for part in found["test"].values() if "sha256" in part}
    names = [process_name(found, name) for name in found["unseen"]]
    assert len(set(names)) == len(names)
