"""The learning curve of pre-training: its plan, a tiny one done in seconds, and that the page says what records say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.studying import RECIPE, SAMPLE, write_study

from panoptag_pyg.benchmarks.pretraining import job as pretraining_job
from panoptag_pyg.benchmarks.pretraining.plan import (
    FACTOR,
    MIN_VALIDATION,
    MOST_STRETCH,
    SETUP,
    TAGGER,
    CurvePlan,
    entries,
)
from panoptag_pyg.benchmarks.pretraining.tables import blocks, curve, curve_figure
from panoptag_pyg.benchmarks.study import job, runner
from panoptag_pyg.benchmarks.study.__main__ import main
from panoptag_pyg.benchmarks.study.plan import Plan
from panoptag_pyg.benchmarks.study.record import finished
from panoptag_pyg.jobs import obey, read_json

ROOT = Path(__file__).parents[2]
#: Below these the epochs don't decide: of every run two, of few labels twice as many.
TASK = '[task]\nname = "masked_pfos"\n'


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every job runs in this process, one after the other."""

    def run_jobs(jobs, workers, threads, listener, go_on):
        for one in jobs:
            if go_on():
                one.folder.mkdir(parents=True, exist_ok=True)
                obey({"train": job.train_and_score, "pretrain": pretraining_job.pretrain}, one.order)

    monkeypatch.setattr(runner, "run_jobs", run_jobs)


@pytest.fixture
def tiny(tmp_path: Path) -> CurvePlan:
    """One seed each at a quarter of the labels and at all of them."""
    (tmp_path / f"{TAGGER}.toml").write_text(RECIPE.replace("max_epochs = 2", "max_epochs = 1"))
    (tmp_path / "pretrain_masked.toml").write_text(RECIPE.replace("max_epochs = 2", "max_epochs = 1") + TASK)
    return CurvePlan(entries(seeds={0.25: (0,), 1.0: (0,)}), SAMPLE, tmp_path)


def test_the_plan() -> None:
    runs = CurvePlan().runs()
    by_name = {run.name: run for run in runs}
    assert len(by_name) == len({run.key for run in runs}) == len(runs) == 12
    assert runs[0].kind == "pretrain"
    assert runs[0].before is None
    assert runs[0].num_events == 42_000
    assert {run.entry.share: 0 for run in runs if run.entry.group == "scratch"}.keys() == {0.01, 0.1}
    for share, events, validation in ((0.01, 420, MIN_VALIDATION), (0.1, 4_200, 600)):
        for group in ("scratch", "pretrained"):
            run = by_name[f"{group}_{100 * share:g}-seed0"]
            recipe = run.recipe()
            assert recipe.data.max_events == run.num_events == events
            assert recipe.data.max_validation_events == validation
            # The study's rule: half the steps at least, but no more than so many times the epochs.
            stretch = min(0.5 / share, MOST_STRETCH)
            assert run.num_epochs == stretch * run.base["train"]["max_epochs"]
            assert recipe.train.warmup_epochs / recipe.train.max_epochs == pytest.approx(0.5 / 6, rel=1e-3)
            assert recipe.train.lr_factor_taken == (FACTOR if group == "pretrained" else 1)
            assert (run.before is not None) == (group == "pretrained")
        seeds = [run for run in runs if run.entry.name == f"pretrained_{100 * share:g}"]
        assert len({run.recipe().data.split_seed for run in seeds}) == len(seeds)
    # What is compared at all labels is the same recipe but for the start.
    ours = by_name["pretrained_100-seed0"].recipe().model_dump()
    study = Plan().runs([f"{TAGGER}-seed0"], [SETUP])[0].recipe().model_dump()
    ours["train"]["lr_factor_taken"] = 1.0
    assert ours == study


def test_a_change_of_the_pre_training_is_another_question() -> None:
    def keys(pretraining: str) -> dict[str, str]:
        plan = CurvePlan(tuple(replace(one, epochs=2.0) if one.name == pretraining else one for one in entries()))
        return {run.name: run.key for run in plan.runs()}

    one, other = keys(""), keys("pretrain_masked")
    changed = {name for name in one if one[name] != other[name]}
    assert changed == {name for name in one if name.startswith("pretrain")}


def test_a_tiny_curve_is_done_and_shown(here, tiny, tmp_path, rng: np.random.Generator, capsys, monkeypatch) -> None:
    write_study(tmp_path, rng, SETUP)
    command = ["--folder", str(tmp_path), "--results", str(tmp_path / "results"), "--no-simulation"]
    # Nothing begins with weights that aren't there.
    assert main([*command, "--only", "pretrained_25"], tiny) == 1
    assert "--only pretrain_masked-seed0 --again" in capsys.readouterr().err
    assert main(command, tiny) == 0, capsys.readouterr().err
    results = tmp_path / "results"
    records = {run.name: finished(results, run) for run in tiny.runs()}
    assert all(records.values()), records.keys()
    few, none = records["pretrained_25-seed0"], records["scratch_25-seed0"]
    assert few["data"]["training"]["events"] == none["data"]["training"]["events"] == 40
    assert few["recipe"]["train"]["start_from"] is None  # where it lay is nothing for a record
    state = read_json(tmp_path / "runs" / SETUP / "pretrained_25-seed0" / "run" / "summary.json")
    assert "taken pfo_normalisation, jet_normalisation, backbone" in state["start"]
    assert records["pretrain_masked-seed0"]["figures"] == {}
    assert "val_log_pt_error" in records["pretrain_masked-seed0"]["epochs"][0]

    whole = [none | {"data": few["data"] | {"training": few["data"]["training"] | {"events": 160}}}]
    tables = blocks(tiny, results, whole)
    assert tables["status"].startswith("All 4 runs are done.")
    rows = tables["results seen"].splitlines()
    assert [row.split("|")[2].strip() for row in rows[2:]] == 2 * ["from nothing (1)", "pre-trained (1)", "**gain**"]
    assert rows[2].startswith("| 25 %: 40 |")
    assert rows[5].startswith("| 100 %: 160 |")
    assert "`pretrain_masked`" in tables["cost"]
    curve_figure(curve(tiny, results, whole)).savefig(tmp_path / "figure.png")
    # Once more, and nothing is left to do.
    monkeypatch.setattr(job, "train", None)
    assert main(command, tiny) == 0


def test_without_records_the_page_says_so(tmp_path: Path) -> None:
    tables = blocks(CurvePlan(), tmp_path, [])
    assert tables["status"].startswith("**Not complete: 0 of 12 runs are done.**")
    assert set(tables) == {"status"}


def test_the_page_says_what_the_records_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import pretraining_tables

    text = pretraining_tables.PAGE.read_text(encoding="utf-8")
    tables = blocks(CurvePlan(), pretraining_tables.RESULTS)
    assert pretraining_tables.filled(text, tables) == text, "run `make tables`"
