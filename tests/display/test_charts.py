"""Charts carry the numbers of the report, to seven digits, and nothing that isn't a number."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.scores import made_up_scores

from panoptag_pyg.display.charts import epoch_charts, rejection_charts, reliability_chart, score_charts
from panoptag_pyg.evaluation import evaluate
from panoptag_pyg.evaluation.figures import score_histograms
from panoptag_pyg.tasks import build_task
from panoptag_pyg.trust.calibration import calibration_section


@pytest.fixture
def report(rng):
    jets = made_up_scores(rng, 400)
    return evaluate(jets, {"other": rng.normal(size=len(jets))}, "toy", trained_on=["ttbar"], replicas=30)


def numbers(values):
    return np.array([np.nan if value is None else value for value in values], float)


def test_rejection_curves_are_the_reports(report):
    for chart in rejection_charts(report):
        signal = chart["signal"]
        assert list(chart["choices"]) == ["all processes", "ttbar", "ZH (unseen)", "each process, this model"]
        for choice, process in (("all processes", "all"), ("ttbar", "ttbar"), ("ZH (unseen)", "ZH")):
            for line, tagger in zip(chart["choices"][choice], ("toy", "other"), strict=True):
                curve = report.of(process, tagger).curves[signal].arrays()
                passed = np.nan_to_num(curve["background_passed"])
                assert line["name"] == tagger
                assert np.allclose(numbers(line["x"]), curve["efficiency"])
                expected = np.where(passed >= 1, curve["value"], np.nan)
                assert np.allclose(numbers(line["y"]), expected, rtol=1e-6, equal_nan=True)
                for key in ("low", "high"):
                    finite = np.isfinite(curve[key])
                    assert np.allclose(numbers(line[key])[finite], curve[key][finite], rtol=1e-6)
                assert line["sure"] == [bool(firm) for firm in passed >= 10]
        each = chart["choices"]["each process, this model"]
        assert [(line["name"], line["dashed"]) for line in each] == [("ttbar", False), ("ZH (unseen)", True)]
        assert json.dumps(chart, allow_nan=False)


def test_epochs_are_the_rows_and_blanks_are_left_out():
    rows = [
        {"epoch": 1, "step": 5, "train_loss": 0.9, "val_loss": 0.8, "val_accuracy": 0.5, "lr": 1e-3},
        {"epoch": 2, "step": 10, "train_loss": 0.7, "val_loss": float("nan"), "val_accuracy": 0.6, "lr": 1e-4},
    ]
    charts = {chart["title"]: chart for chart in epoch_charts(rows)}
    assert list(charts) == ["loss", "accuracy", "learning rate"]
    training, validation = charts["loss"]["choices"][""]
    assert (training["x"], training["y"]) == ([1, 2], [0.9, 0.7])
    assert validation["y"] == [0.8, None]
    assert [line["name"] for line in charts["accuracy"]["choices"][""]] == ["validation"]
    assert charts["learning rate"]["choices"][""][0]["y"] == [1e-3, 1e-4]
    assert epoch_charts([]) == []


def test_scores_are_shares(report):
    for chart, index in zip(score_charts(report.predictions), (2, 1), strict=True):
        edges, shares = score_histograms(report.predictions, index)
        for line, counts in zip(chart["choices"][""], shares.values(), strict=True):
            assert counts.sum() == pytest.approx(1, rel=1e-3)
            assert np.allclose(numbers(line["x"]), edges, rtol=1e-6)
            assert np.allclose(np.nan_to_num(numbers(line["y"])), counts, rtol=1e-6)


def test_reliability_is_the_sections(rng):
    section, _ = calibration_section(made_up_scores(rng, 600), build_task("flavour"), 0, 30)
    chart = reliability_chart(section.numbers)
    assert "outputs: as it is" in chart["choices"]
    for index, (name, curve) in enumerate(section.numbers["as it is"]["classes"].items()):
        line = chart["choices"]["outputs: as it is"][index]
        enough = numbers(curve["count"]) >= 10
        assert line["name"].startswith(name)
        assert np.allclose(numbers(line["y"]), numbers(curve["observed"])[enough], rtol=1e-6)
        error = (numbers(line["high"]) - numbers(line["low"])) / 2
        assert np.allclose(error, numbers(curve["error"])[enough], rtol=1e-4, atol=1e-7)
    assert reliability_chart({}) is None
