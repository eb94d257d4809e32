"""A run's report: the numbers of evaluate and check, whatever the task, whatever is missing; as a page in a browser."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from helpers.chromium import BROWSER, Chromium
from helpers.displaced import ToyTagger, displaced_block
from helpers.events import write_events
from helpers.html_page import HOSTILE, Page

from panoptag_pyg.display.run_page import run_page
from panoptag_pyg.display.run_report import report_run
from panoptag_pyg.errors import CheckpointError
from panoptag_pyg.evaluation import evaluate, predict_jets
from panoptag_pyg.evaluation.answers import fields_of_rows
from panoptag_pyg.evaluation.predictions import PredictionsError
from panoptag_pyg.evaluation.tables import cells, format_measurement
from panoptag_pyg.events import EventDataset
from panoptag_pyg.tasks import build_task
from panoptag_pyg.training import Recipe

EPOCHS = "epoch,step,train_loss,val_loss,val_accuracy,lr\n1,5,0.91,0.83,0.5,0.001\n2,10,0.72,0.64,0.61,0.0005\n"


def events(path, processes=("ttbar", "ZH"), seed=3, fields=()):
    block = displaced_block(np.random.default_rng(seed), 150, num_processes=len(processes))
    return EventDataset(write_events(path, block, processes=processes), fields=fields)


def folder(path, **summary):
    path.mkdir()
    (path / "metrics.csv").write_text(EPOCHS)
    (path / "summary.json").write_text(json.dumps({"status": "finished", "parameters": 1234, **summary}))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    tmp = tmp_path_factory.mktemp("run")
    dataset = events(tmp / "a.h5")
    found = report_run(
        folder(tmp / "run"), ToyTagger(), build_task("flavour"), Recipe(), dataset, events=[0, 7], replicas=30,
        trained_on=["ttbar"], command="panoptag report run/",
    )  # fmt: skip
    return found, dataset


def test_its_numbers_are_those_of_evaluate(made):
    found, dataset = made
    expected = evaluate(predict_jets(ToyTagger(), dataset), replicas=30, trained_on=["ttbar"])
    for process in ("all", "ttbar", "ZH"):
        assert cells(found.figures.of(process)) == cells(expected.of(process))
    words = Page(run_page(found)).words
    for cell in cells(expected.of()):
        assert cell in words
    assert f"80 % of b jets kept: {format_measurement(expected.of().curves['b'].at(0.8))}" in words
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["epochs"][1]["val_loss"] == 0.64


def test_the_page_is_well_formed_and_alone(made):
    page = Page(run_page(made[0]))
    assert page.problems == []
    assert page.addresses == []
    for name in ("figures", "training", "rejection", "calibration", "scores", "efficiency", "events", "recipe"):
        assert name in page.ids
    assert "2 epochs; the dotted line is the epoch of lowest validation loss, 2" in page.words
    assert "1,234" in page.words
    assert "num_heads" in page.words or "[model]" in page.words


def test_maps_hold_the_rates(made):
    found, _ = made
    numbers = next(section for section in found.sections if section.key == "efficiency").numbers["b 70 %"]
    words = Page(run_page(found)).words
    for row in numbers["b"]["value"]:
        for value in row:
            assert value is None or f"{value:.2g}" in words


def test_hostile_names_stay_text(tmp_path):
    dataset = events(tmp_path / "a.h5", processes=HOSTILE)
    everything = " ".join(HOSTILE)
    run = folder(tmp_path / "run", command=everything, data={"training": {"files": list(HOSTILE)}})
    found = report_run(run, ToyTagger(), build_task("flavour"), Recipe(), dataset, events=[0, 1, 2], replicas=20,
                       trained_on=HOSTILE[:2], notes=HOSTILE, command=everything)  # fmt: skip
    page = Page(run_page(found))
    assert page.problems == []
    assert page.addresses == []
    assert page.scripts == 2
    for name in HOSTILE:
        assert page.words.count(name) >= 4


def test_a_run_that_recorded_nothing(tmp_path):
    (tmp_path / "run").mkdir()
    found = report_run(tmp_path / "run" / "best.ckpt", ToyTagger(), build_task("flavour"), Recipe(),
                       events(tmp_path / "a.h5"), replicas=20)  # fmt: skip
    assert len(found.views) == 20
    assert "no metrics.csv" in Page(run_page(found)).words


@pytest.mark.parametrize(("name", "text"), [("metrics.csv", "epoch,val_loss\n1,a\n"), ("summary.json", "{")])
def test_a_damaged_record_is_named(tmp_path, name, text):
    run = folder(tmp_path / "run")
    (run / name).write_text(text)
    with pytest.raises(CheckpointError, match=f"{name} is damaged"):
        report_run(run, ToyTagger(), build_task("flavour"), Recipe(), events(tmp_path / "a.h5"))


def test_unknown_flavours_are_refused(tmp_path):
    block = displaced_block(np.random.default_rng(0), 5)
    block.jet["flavour"][:] = -1
    dataset = EventDataset(write_events(tmp_path / "a.h5", block))
    with pytest.raises(PredictionsError, match="no jet with a known one"):
        report_run(folder(tmp_path / "run"), ToyTagger(), build_task("flavour"), Recipe(), dataset)


def test_other_tasks_have_tables_and_events(tmp_path):
    class Two(ToyTagger):
        def forward(self, batch, return_attention=False):
            logits, attention = super().forward(batch, return_attention=True)
            return (logits[:, :2], attention) if return_attention else logits[:, :2]

    task = build_task("quark_gluon")
    dataset = events(tmp_path / "a.h5", fields=task.needs | fields_of_rows(task))
    recipe = Recipe.model_validate({"task": {"name": "quark_gluon"}})
    found = report_run(folder(tmp_path / "run"), Two(), task, recipe, dataset, events=[0, 1], replicas=20)
    page = Page(run_page(found))
    assert page.problems == []
    assert found.figures is None
    assert "rejection" not in page.ids
    assert "AUC" in page.words
    assert "canvas" in page.ids
    assert json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium, or name one by PANOPTAG_CHROMIUM")
def test_in_a_browser(made, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(run_page(made[0]), encoding="utf-8")
    pictures = Path(os.environ.get("PANOPTAG_SCREENSHOTS") or tmp_path)
    browser = Chromium(tmp_path / "browser")
    try:
        for scheme, width in (("light", 1280), ("dark", 1280), ("light", 360)):
            browser.open(path, width, 900, scheme)
            browser.screenshot(pictures / f"report_{scheme}_{width}.png", whole=True)
            assert browser.run("document.documentElement.scrollWidth") <= width
            charts = browser.run("document.querySelectorAll('[data-chart]').length")
            assert browser.run("document.querySelectorAll('[data-chart] .plot svg .series').length") >= charts
            assert browser.problems == []
            assert [url for url in browser.requests if not url.startswith("file:")] == []
        plot = "[data-chart='epochs-0'] .plot"
        browser.run(f"""document.querySelector("{plot}").focus()""")
        browser.key("ArrowRight")
        browser.key("ArrowRight")
        said = browser.run("""document.querySelector("[data-chart='epochs-0'] [role=status]").textContent""")
        assert said == "epoch 2. training: 0.72; validation: 0.64."
        x, y, wide = browser.run(
            f"""(() => {{ const e = document.querySelector("{plot}"); e.scrollIntoView({{block: "center"}});
            const b = e.getBoundingClientRect(); return [b.x, b.y, b.width]; }})()"""
        )
        browser.move(x + wide - 20, y + 80)
        assert "training: 0.72" in browser.text("[data-chart='epochs-0'] .tip")
        browser.click("[data-chart='epochs-0'] .keys button")
        assert browser.run("""document.querySelectorAll("[data-chart='epochs-0'] .series").length""") == 1
        browser.click("[data-chart='rejection-b'] summary")
        rows = browser.run("""document.querySelectorAll("[data-chart='rejection-b'] tbody tr").length""")
        assert rows == len(made[0].figures.of().curves["b"].points)
        browser.run("document.getElementById('canvas').scrollIntoView()")
        browser.click("#next")
        assert browser.run("document.getElementById('event').selectedIndex") == 1
        assert browser.problems == []
    finally:
        browser.close()
