"""A whole comparison: what it trains, what it keeps, what its rows say. Jobs run in this process; cli/ has the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.comparing import JobsHere, write_recipe
from helpers.learnable import write_learnable

from panoptag_pyg.comparison import Settings, compare, find_entries, markdown_table, rich_table
from panoptag_pyg.comparison.tables import header, notes
from panoptag_pyg.errors import ConfigError, EventFileError
from panoptag_pyg.evaluation import Predictions, evaluate
from panoptag_pyg.events import EventDataset
from panoptag_pyg.training import Recipe, load_tagger, train
from panoptag_pyg.training.data import TaggerData, held_out_events


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_learnable(tmp_path_factory.mktemp("events") / "events.h5", 60)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> JobsHere:
    return JobsHere(monkeypatch)


def silent(job: object, event: str, text: str) -> None:
    pass


def run(names: list[str | Path], events: Path, output: Path, **options: Any) -> dict[str, Any]:
    overrides = options.pop("overrides", [])
    asked: dict[str, Any] = {"speed": False, "replicas": 20, "num_events": 4, **options}
    settings = Settings(data=[str(events)], output=output, overrides=overrides, **asked)
    return compare(find_entries([str(name) for name in names], overrides), settings, silent)


def test_rows_files_and_what_is_kept(events: Path, tmp_path: Path, jobs: JobsHere) -> None:
    quick = write_recipe(tmp_path / "quick.toml")
    slow = write_recipe(tmp_path / "slow.toml", ("lr = 3e-3", "lr = 1e-3"))
    broken = write_recipe(tmp_path / "broken.toml", ("num_heads = 2", "num_heads = 3"))
    result = run([quick, broken, slow], events, tmp_path / "table", speed=True, rounds=1)
    assert jobs.done == ["train quick", "train slow", "cost quick", "cost slow", "speed all"]
    rows = {row["name"]: row for row in result["rows"]}
    assert list(rows) == ["quick", "broken", "slow"]
    assert rows["broken"]["status"] == "failed"
    assert "num_heads must divide dim" in rows["broken"]["reason"]
    assert json.loads((tmp_path / "table" / "comparison.json").read_text()) == result
    assert (tmp_path / "table" / "rejection.png").stat().st_size > 1000

    # The row says what a separate evaluation of the kept run on the held-out events says.
    assert result["data"]["test_events"] == 15
    predictions = Predictions.load(tmp_path / "table" / "parts" / "quick" / "seed0" / "scores.h5")
    report = evaluate(predictions, replicas=20).of()
    assert rows["quick"]["accuracy"] == report.accuracy.to_dict()
    assert rows["quick"]["b_rej50"] == report.curves["b"].at(0.5).to_dict()
    assert rows["quick"]["trainings"][0]["epochs"] == 1
    model, recipe = load_tagger(tmp_path / "table" / "runs" / "quick" / "seed0")
    assert rows["quick"]["parameters"] == sum(p.numel() for p in model.parameters())
    assert recipe.data.test_fraction == 0.25
    assert set(rows["quick"]["speed"]) == {"forward", "training"}
    assert rows["quick"]["speed"]["forward"]["events_per_second"] > 0
    assert rows["slow"]["curves"]["b"]["ratio"][-1] == pytest.approx(1, abs=0.5)
    assert set(rows["quick"]["curves"]["b"]["ratio"]) <= {1.0, None}

    # Again: everything is kept, also where the recipe's file is written anew with the same content. With noise from
    # other programs, speed may be measured again.
    jobs.done.clear()
    write_recipe(tmp_path / "quick.toml")
    again = run([quick, broken, slow], events, tmp_path / "table")
    assert jobs.done == []
    assert again["rows"][0]["accuracy"] == rows["quick"]["accuracy"]
    # One recipe changes: only that is done again.
    write_recipe(tmp_path / "slow.toml", ("lr = 3e-3", "lr = 2e-3"))
    run([quick, broken, slow], events, tmp_path / "table")
    assert jobs.done == ["train slow", "cost slow"]


def test_the_split_is_the_same_for_all(events: Path, tmp_path: Path, jobs: JobsHere) -> None:
    one = write_recipe(tmp_path / "one.toml", ("batch_size = 16", "batch_size = 8\nsplit_seed = 5\nmax_jets = 1"))
    two = write_recipe(tmp_path / "two.toml", ("batch_size = 16", "batch_size = 16\nvalidation_fraction = 0.4"))
    result = run([one, two], events, tmp_path / "table", test_fraction=0.5)
    sections = [
        Recipe.from_toml(tmp_path / "table" / "runs" / name / "seed0" / "recipe.toml") for name in ("one", "two")
    ]
    parts = []
    for section in (recipe.data for recipe in sections):
        data = TaggerData(section, events)
        parts.append([set(part.read_block().event["id"].tolist()) for part in (data.training, data.validation)])
    assert parts[0] == parts[1]
    tested = set(EventDataset(events).select(held_out_events(60, 0.5, 0)).read_block().event["id"].tolist())
    assert len(tested) == 30
    assert not tested & (parts[0][0] | parts[0][1])
    scored = [Predictions.load(tmp_path / "table" / "parts" / name / "seed0" / "scores.h5") for name in ("one", "two")]
    assert set(scored[0].event_id.tolist()) <= tested
    assert np.array_equal(scored[0].event_index, scored[1].event_index)  # max_jets = 1 changes no test jet
    assert result["data"]["test_jets"] == len(scored[0])


def test_interrupted_it_goes_on(events: Path, tmp_path: Path, jobs: JobsHere) -> None:
    names = [write_recipe(tmp_path / f"{name}.toml") for name in ("a", "b")]
    jobs.stop_before = "train b"
    with pytest.raises(KeyboardInterrupt):
        run(list(names), events, tmp_path / "table")
    assert jobs.done == ["train a"]
    assert not (tmp_path / "table" / "comparison.json").exists()
    jobs.stop_before = ""
    jobs.done.clear()
    state = tmp_path / "table" / "parts" / "a" / "seed0" / "state.json"
    assert json.loads(state.read_text())["status"] == "started"  # the interrupt came before it could be noted
    before = (tmp_path / "table" / "runs" / "a" / "seed0" / "best.ckpt").stat().st_mtime_ns
    result = run(list(names), events, tmp_path / "table")
    assert jobs.done == ["train a", "train b", "cost a", "cost b"]
    assert (tmp_path / "table" / "runs" / "a" / "seed0" / "best.ckpt").stat().st_mtime_ns == before  # only scored
    assert [row["status"] for row in result["rows"]] == ["done", "done"]


def test_seeds_give_a_spread(events: Path, tmp_path: Path, jobs: JobsHere) -> None:
    quick = write_recipe(tmp_path / "quick.toml")
    result = run([quick], events, tmp_path / "table", seeds=2)
    assert jobs.done == ["train quick", "train quick", "cost quick"]
    (row,) = result["rows"]
    single = [
        evaluate(
            Predictions.load(tmp_path / "table" / "parts" / "quick" / f"seed{seed}" / "scores.h5"), replicas=20
        ).of()
        for seed in (0, 1)
    ]
    values = [report.auc.value for report in single]
    assert values[0] != values[1]
    assert row["auc"]["value"] == pytest.approx(np.mean(values))
    assert row["auc"]["spread"] == pytest.approx(np.std(values, ddof=1))
    assert "seeds ±" in markdown_table(result)
    assert "mean of 2 trainings with seeds 0 to 1" in markdown_table(result)
    jobs.done.clear()
    run([quick], events, tmp_path / "table", seeds=3)
    assert jobs.done == ["train quick"]  # the first two are there, and the cost doesn't depend on them


def test_one_that_fails_does_not_stop_the_rest(events: Path, tmp_path: Path, jobs: JobsHere) -> None:
    diverging = write_recipe(tmp_path / "diverging.toml", ("lr = 3e-3", "lr = 1e30"))
    result = run([diverging, write_recipe(tmp_path / "quick.toml")], events, tmp_path / "table")
    rows = {row["name"]: row for row in result["rows"]}
    assert rows["diverging"]["status"] == "failed"
    assert "lower train.lr" in rows["diverging"]["reason"]
    assert rows["quick"]["status"] == "done"
    assert result["reference"] == "quick"
    text = markdown_table(result)
    assert "diverging failed: ratios are to quick" in text
    assert "| diverging (failed) | – |" in text
    assert rich_table(result).row_count == 2


def test_a_finished_run_is_loaded(events: Path, tmp_path: Path, jobs: JobsHere) -> None:
    quick = write_recipe(tmp_path / "quick.toml")
    train(Recipe.from_toml(quick), events, tmp_path / "flattered")
    train(Recipe.from_toml(quick, ["data.test_fraction=0.25"]), events, tmp_path / "fair")
    kept = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "fair").rglob("*"))
    result = run([quick, tmp_path / "fair", tmp_path / "flattered"], events, tmp_path / "table")
    rows = {row["name"]: row for row in result["rows"]}
    # The same recipe on the same split with the same seed: the same network.
    assert rows["fair"]["accuracy"] == rows["quick"]["accuracy"]
    assert rows["fair"]["loaded"]
    assert rows["fair"]["notes"] == ["loaded; trained on 41 events of ttbar."]
    assert "they flatter it" in rows["flattered"]["notes"][1]
    assert kept == sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "fair").rglob("*"))
    assert any("they flatter it" in note for note in notes(result))
    assert any("one training each" in note.lower() for note in notes(result))


def test_other_events_to_test_on(events: Path, tmp_path: Path, jobs: JobsHere) -> None:
    other = write_learnable(tmp_path / "other.h5", 25, seed=9)
    result = run([write_recipe(tmp_path / "quick.toml")], events, tmp_path / "table", test=[str(other)])
    assert result["data"]["test_events"] == 25
    assert result["data"]["test_fraction"] is None
    assert result["data"]["training_events"] + result["data"]["validation_events"] == 60
    assert "25 other events" in markdown_table(result)


def test_what_makes_no_sense_is_refused_before_anything_is_written(events: Path, tmp_path: Path) -> None:
    quick = write_recipe(tmp_path / "quick.toml")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    for options, words in (
        ({"test": [str(events)]}, "both in --data and in --test"),
        ({"test_fraction": 1.0}, "should lie between 0 and 1"),
        ({"reference": "quik"}, "did you mean 'quick'"),
        ({"output": tmp_path / "mine"}, "holds files that no comparison made"),
        ({"output": quick}, "is a file"),
    ):
        asked = {"output": tmp_path / "table", **options}
        with pytest.raises((ConfigError, EventFileError), match=words):
            run([quick], events, **asked)
        assert not (tmp_path / "table").exists()
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_every_column_has_a_cell(events: Path, tmp_path: Path, jobs: JobsHere) -> None:
    result = run([write_recipe(tmp_path / "quick.toml")], events, tmp_path / "table")
    lines = [line for line in markdown_table(result).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {len(header()) + 1}
    # Speed is quoted only where the machine was quiet.
    (row,) = result["rows"]
    row["speed"] = {step: {"events_per_second": 1234.5} for step in ("forward", "training")}
    assert "1,230" not in markdown_table(result)
    result["load"] = {"quiet": False, "others": 0.7, "yardstick_spread": 1.4, "threads": 1, "rounds": 3}
    assert "1,230" not in markdown_table(result)
    assert "Speed isn't quoted: while it was measured" in markdown_table(result)
    result["load"]["quiet"] = True
    assert "1,230" in markdown_table(result)
    assert "quickest of 3 alternating rounds" in markdown_table(result)
