"""The study's plan, its runner on made-up events, its records, and that the page says what the records say."""

from __future__ import annotations

import json
import os
import signal
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import studying
from helpers.studying import SAMPLE, run_jobs_here, start_study, tiny_plan, write_study

from panoptag_pyg.benchmarks.study import events, job, runner
from panoptag_pyg.benchmarks.study.__main__ import main
from panoptag_pyg.benchmarks.study.plan import ENTRIES, RECIPES, Entry, Plan, Sample
from panoptag_pyg.benchmarks.study.record import finished, record_path
from panoptag_pyg.evaluation import Predictions, evaluate
from panoptag_pyg.events import EventDataset
from panoptag_pyg.events.manifest import Manifest
from panoptag_pyg.training.callbacks import read_metrics

ROOT = Path(__file__).parents[2]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every job runs in this process, one after the other."""
    run_jobs_here(monkeypatch, runner)


@pytest.fixture
def study(tmp_path: Path, rng: np.random.Generator) -> tuple[Plan, runner.Place]:
    """Made-up events, the tiny plan, and where its files go."""
    write_study(tmp_path, rng)
    return tiny_plan(tmp_path / "recipes"), runner.Place(tmp_path, tmp_path / "results")


def silent(*_: object) -> None:
    """A listener that says nothing."""


# -- the plan -------------------------------------------------------------------------------------------------


def test_names_and_keys_are_unique() -> None:
    runs = Plan().runs()
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)
    assert len({run.label for run in runs}) == len({run.key for run in runs}) == len(runs)


@pytest.mark.parametrize("entry", [entry.name for entry in ENTRIES])
def test_recipes_fit(entry: str) -> None:
    for run in Plan().runs([entry])[:1]:
        recipe = run.recipe()
        assert recipe.train.max_epochs == run.num_epochs
        assert recipe.train.seed == run.seed
        assert recipe.train.threads == 1


def test_what_is_asked_of_the_study() -> None:
    """42,000 events of three processes, at least 15,000 for the test of each of five; three seeds, both setups."""
    sample = Sample()
    assert sample.training_events(len(sample.train)) == 42_000
    for process in sample.processes:
        assert len(sample.tested(process)) * sample.shard_events == 16_000
        assert not set(sample.test) & {*sample.train, *sample.validation}
    runs = {(run.entry.name, run.setup, run.seed) for run in Plan().runs()}
    for tagger in ("panoptag", "part", "particlenet"):
        assert {(tagger, setup, seed) for setup in ("paper", "realistic") for seed in (0, 1, 2)} <= runs
    assert {"no_local", "no_global", "own_jet_only", "phi_not_wrapped"} <= {entry.name for entry in ENTRIES}
    first = [run.entry.name for run in Plan().runs()[:6]]
    assert sorted(first) == sorted(2 * ["panoptag", "part", "particlenet"])


def test_fewer_events_get_a_third_of_the_steps_at_least(tmp_path: Path) -> None:
    plan = Plan((Entry("few", "", "quick", shards=1), Entry("all", "", "quick")), Sample(), tmp_path)
    (tmp_path / "quick.toml").write_text(studying.RECIPE.replace("max_epochs = 2", "max_epochs = 8"))
    few, whole = plan.runs(["few"])[0], plan.runs(["all"])[0]
    assert 3 * few.num_events * few.num_epochs >= whole.num_events * whole.num_epochs
    assert few.num_epochs == 19
    share = [run.recipe().train.warmup_epochs / run.num_epochs for run in (few, whole)]
    assert share[0] == pytest.approx(share[1])


def test_a_key_says_what_was_asked_and_no_more(tmp_path: Path) -> None:
    def key(text: str = studying.RECIPE, **changes: object) -> str:
        (tmp_path / "quick.toml").write_text(text)
        return Plan((Entry("a", "A", "quick", setups=("paper",), **changes),), SAMPLE, tmp_path).runs()[0].key  # type: ignore[arg-type]

    first = key()
    assert key("# a comment\n" + studying.RECIPE) == first
    assert key(group="ablations", rank=7) == first
    others = [key(studying.RECIPE.replace("dim = 8", "dim = 16")), key(settings=("train.lr=1e-4",)), key(shards=1)]
    others.append(key(seeds=(1,)))
    elsewhere = replace(Plan((Entry("a", "A", "quick", setups=("paper",)),), SAMPLE, tmp_path), for_all=())
    key()
    assert elsewhere.runs()[0].key == first
    assert len({first, *others}) == 5


def test_every_change_has_something_to_be_compared_with() -> None:
    taggers = {entry.name: entry for entry in ENTRIES if entry.group in ("taggers", "events")}
    for entry in ENTRIES:
        if entry.group in ("ablations", "pieces"):
            known = {tagger.recipe for tagger in taggers.values()}
            assert entry.against in taggers or (not entry.against and entry.recipe in known), entry.name
            assert entry.shards == (taggers[entry.against].shards if entry.against else None), "on the same events"
            if entry.against:  # its recipe is that tagger's but for the task
                first, second = (tomllib.loads((RECIPES / f"{name}.toml").read_text()) for name in
                                 (entry.recipe, taggers[entry.against].recipe))  # fmt: skip
                assert {**first, "task": None} == {**second, "task": None}


def test_only_some(tmp_path: Path) -> None:
    plan = tiny_plan(
        tmp_path, Entry("a", "A", "quick", seeds=(0, 1)), Entry("ab", "AB", "quick"), Entry("c", "C", "none")
    )
    assert {run.name for run in plan.runs()} == {"a-seed0", "a-seed1", "ab-seed0"}
    assert plan.unwritten() == ["none"]
    assert [run.label for run in plan.runs(["a"], ["paper"])] == ["paper/a-seed0", "paper/a-seed1"]
    assert {run.name for run in plan.runs(["a*-seed0"])} == {"a-seed0", "ab-seed0"}


# -- the runner -----------------------------------------------------------------------------------------------


def test_a_study_is_done_and_stays_done(here, study, capsys) -> None:
    plan, place = study
    command = ["--folder", str(place.folder), "--results", str(place.results)]
    assert main(command, plan) == 0
    first, second = (finished(place.results, run) for run in plan.runs())
    assert first["recipe"]["train"]["max_epochs"] == len(first["epochs"]) == 2
    assert first["seconds"]["cpu"] > 0
    assert first["figures"]["seen"]["events"] == first["figures"]["all"]["events"] - SAMPLE.shard_events
    assert record_path(place.results, plan.runs()[0]).stat().st_size < 80_000
    files = events.files_of(place.folder, "paper", "ZH", SAMPLE.test_unseen)
    assert first["data"]["test"]["ZH"]["sha256"] == Manifest.of(files).sha256
    # Of several tasks it is the flavour that is tested.
    scores = Predictions.load(place.of(plan.runs()[1]) / "scores" / "ttbar.h5")
    assert scores.logits.shape == (
        EventDataset(events.files_of(place.folder, "paper", "ttbar", (3,))).num_jets().sum(),
        3,
    )
    report = evaluate(scores)
    assert second["figures"]["ttbar"]["accuracy"]["value"] == pytest.approx(report.of().accuracy.value)
    assert second["figures"]["ttbar"]["b"]["points"]["0.8"]["value"] == pytest.approx(
        report.of().curves["b"].at(0.8).value, rel=1e-4
    )
    # A clone with the records alone has nothing to do.
    capsys.readouterr()
    assert main(["--folder", "/nowhere", *command[2:]], plan) == 0
    assert "2 of 2 runs have their record" in capsys.readouterr().out
    assert main([*command, "--list"], plan) == 0
    assert "2 done, 0 missing" in capsys.readouterr().out


def test_an_interrupted_run_goes_on(here, study, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, place = study
    run = plan.runs()[0]

    def press(self, trainer, module, batch, index) -> None:
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(job.Clock, "on_train_batch_start", press)
    with pytest.raises(KeyboardInterrupt):
        runner.do([run], place, silent)
    assert not record_path(place.results, run).exists()
    before = read_metrics(place.of(run) / "run" / "metrics.csv")
    assert runner.epochs_done(run, place) == len(before) == 1
    monkeypatch.undo()
    monkeypatch.setattr(runner, "run_jobs", lambda jobs, *_: [job.train_and_score(one.order) for one in jobs])
    assert runner.do([run], place, silent) == {}
    after = read_metrics(place.of(run) / "run" / "metrics.csv")
    assert len(after) == 2
    assert after[0] == before[0]
    assert finished(place.results, run)["epochs"][0]["seconds"] == pytest.approx(before[0]["seconds"], rel=1e-5)


def test_another_question_is_answered_anew(here, study) -> None:
    plan, place = study
    run = plan.runs(["first"])[0]
    assert runner.do([run], place, silent) == {}
    changed = tiny_plan(
        place.folder / "recipes", Entry("first", "First", "quick", settings=("train.lr=1e-4",), setups=("paper",))
    )
    other = changed.runs()[0]
    assert not finished(place.results, other)
    assert runner.do([other], place, silent) == {}
    assert finished(place.results, other)["recipe"]["train"]["lr"] == 1e-4
    runner.forget([other], place)
    assert not finished(place.results, other)
    assert not place.of(other).exists()


def test_other_test_events_are_scored_anew(here, study) -> None:
    plan, place = study
    run = plan.runs(["first"])[0]
    assert runner.do([run], place, silent) == {}
    before = finished(place.results, run)
    epochs = read_metrics(place.of(run) / "run" / "metrics.csv")
    changed = replace(plan, sample=replace(SAMPLE, test=(2,))).runs(["first"])[0]
    assert changed.training_key == run.training_key
    assert runner.do([changed], place, silent) == {}
    after = finished(place.results, changed)
    assert after["data"]["test"]["ttbar"] != before["data"]["test"]["ttbar"]
    assert after["figures"]["ttbar"]["jets"] != before["figures"]["ttbar"]["jets"]
    assert after["figures"]["ZH"] == before["figures"]["ZH"]
    assert read_metrics(place.of(run) / "run" / "metrics.csv") == epochs


def test_what_can_not_be_done_is_told_and_stops_nothing(here, study) -> None:
    _, place = study
    entries = (
        Entry("other_events", "", "quick", setups=("realistic",)),
        Entry("unknown_key", "", "quick", settings=("model.wings=2",), setups=("paper",)),
        Entry("fine", "", "quick", setups=("paper",), rank=1),
    )
    runs = tiny_plan(place.folder / "recipes", *entries).runs()
    problems = runner.do(runs, place, silent, simulate=False)
    assert "events of ttbar, ttH, ZH are missing" in problems["realistic/other_events-seed0"]
    assert "wings" in problems["paper/unknown_key-seed0"]
    assert finished(place.results, runs[-1])
    assert len(problems) == 2


def test_missing_events_are_simulated(study, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, place = study
    asked = []
    monkeypatch.setattr(
        "panoptag_pyg.simulation.simulate", lambda *args, **options: asked.append((*args, options["setup"]))
    )
    runs = plan.runs()
    events.simulate_missing(place.folder, runs, 1)
    assert asked == []
    events.files_of(place.folder, "paper", "ttH", [1])[0].unlink()
    events.simulate_missing(place.folder, runs, 1)
    assert asked == [("ttH", 160, place.folder / "data" / "paper" / "ttH", "paper")]


def test_no_run_starts_after_the_time(study) -> None:
    plan, place = study
    assert runner.do(plan.runs(), place, silent, max_minutes=0) == {}
    assert not place.results.exists()


@pytest.mark.slow
def test_a_killed_study_goes_on(study) -> None:
    """The runner is killed in the middle of its first run; the same command ends both."""
    _, place = study
    process = start_study(place.folder, "--workers", "1", "--only", "first", epochs=60)
    assert process.stdout is not None
    for line in process.stdout:
        if "epoch 3/" in line:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait(timeout=120)
    process.stdout.close()
    again = start_study(place.folder, "--workers", "2", epochs=60)
    out, _ = again.communicate(timeout=600)
    assert again.returncode == 0, out
    assert "epoch 60/60" in out
    assert "first-seed0: epoch 1/60" not in out
    assert "2 of 2 runs have their record" in out


# -- the page -------------------------------------------------------------------------------------------------


def test_the_documentation_says_what_the_records_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import study_tables

    from panoptag_pyg.benchmarks.study.summary import SUMMARY, summarise

    summary = summarise(Plan(), study_tables.RESULTS)
    written = json.loads((study_tables.RESULTS / SUMMARY).read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(summary)), "run `make tables`"
    for path, images in study_tables.PAGES.items():
        text = path.read_text(encoding="utf-8")
        assert study_tables.filled(text, summary, images) == text, f"{path.name}: run `make tables`"
