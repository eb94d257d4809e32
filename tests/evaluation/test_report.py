"""A report holds the same numbers as the metrics that it is made of, in every form."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import accuracy_score, roc_auc_score, roc_curve

from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.evaluation import EventBootstrap, Measurement, Predictions, Rejection, evaluate, rejection_curve
from panoptag_pyg.evaluation.tables import format_measurement


def made_up(seed=0, num_events=300, processes=("ttbar", "ZH"), flavours=(0.57, 0.11, 0.32)):
    """Scores of a middling tagger on events of 5 jets."""
    rng = np.random.default_rng(seed)
    jets = 5 * num_events
    flavour = rng.choice(3, jets, p=flavours)
    event = np.repeat(np.arange(num_events), 5)
    zeros = np.zeros(jets, np.float32)
    return Predictions(
        logits=(rng.normal(0, 1, (jets, 3)) + 1.5 * np.eye(3)[flavour]).astype(np.float32),
        flavour=flavour.astype(np.int8),
        process=(event % len(processes)).astype(np.int16),
        event_index=event,
        event_id=event + 7,
        file=np.zeros(jets, np.int32),
        jet_index=np.tile(np.arange(5), num_events),
        pt=zeros + 50, eta=zeros, phi=zeros, mass=zeros, weight=zeros + 1,
        process_names=tuple(processes),
        num_events=num_events,
        source_files=("a.h5",),
        recipe='{"model": {"name": "panoptag"}}',
    )  # fmt: skip


@pytest.fixture(scope="module")
def report():
    jets = made_up()
    noise = np.random.default_rng(1).normal(0, 1, len(jets))
    return evaluate(jets, {"track counting n=2": noise + (jets.flavour == 2)}, trained_on=["ttbar"], replicas=60)


def test_numbers_are_those_of_sklearn(report):
    jets = report.predictions
    for index, process in enumerate(("ttbar", "ZH")):
        mask = jets.process == index
        y, p = jets.flavour[mask], jets.probabilities[mask]
        result = report.of(process)
        assert result.accuracy.value == pytest.approx(accuracy_score(y, p.argmax(axis=1)))
        assert result.auc.value == pytest.approx(roc_auc_score(y, p, average="weighted", multi_class="ovr"))
        for signal, c in (("b", 2), ("c", 1)):
            used = (y == 0) | (y == c)
            fpr, tpr, _ = roc_curve(y[used] == c, p[used, c] / (p[used, c] + p[used, 0]), drop_intermediate=False)
            for x in (0.5, 0.8):
                assert result.curves[signal].at(x).value == pytest.approx(1 / fpr[np.argmax(tpr >= x - 1e-12)])
    assert report.of("ZH").seen is False
    assert report.of("ttbar").seen is True
    assert report.of("all").seen is None
    assert report.of("all").num_events == 300


def test_yardstick_has_rejections_and_no_classes(report):
    result = report.of("all", "track counting n=2")
    assert result.auc.value is None
    jets = report.predictions
    alone = rejection_curve(
        report.references["track counting n=2"], jets.flavour == 2, jets.flavour == 0, [0.5],
        bootstrap=EventBootstrap(jets.event_index, 60),
    )  # fmt: skip
    assert result.curves["b"].at(0.5).value == alone.at(0.5).value


def test_saved_as_json_table_and_figures(report, tmp_path):
    files = report.save(tmp_path / "evaluation")
    assert {file.name for file in files} == {file.name for file in (tmp_path / "evaluation").iterdir()}
    data = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    row = next(r for r in data["results"] if (r["process"], r["tagger"]) == ("ZH", "PanopTag"))
    assert row["b_rej80"]["value"] == report.of("ZH").curves["b"].at(0.8).value
    assert row["b_rej80"]["low"] <= row["b_rej80"]["value"] <= row["b_rej80"]["high"]
    assert row["b_rej80"]["background_passed"] == report.of("ZH").curves["b"].at(0.8).background_passed
    assert row["seen_in_training"] is False
    assert len(row["curves"]["b"]["efficiency"]) == 71
    table = (tmp_path / "evaluation" / "table.md").read_text()
    assert "| ZH (unseen) | **PanopTag** |" in table
    for name in ("rejection.png", "processes.png", "scores.png"):
        assert (tmp_path / "evaluation" / name).read_bytes().startswith(b"\x89PNG")
    with pytest.raises(PanopTagError, match=r"exists.*--overwrite"):
        report.save(tmp_path / "evaluation")
    report.save(tmp_path / "evaluation", overwrite=True, figures=False)


def test_table_fits_an_ordinary_terminal(report):
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(report.table())
    text = console.export_text()
    assert "…" not in text
    for words in ("track counting n=2", "accuracy", "c Rej80"):
        assert words in text


def test_missing_class_is_a_reason_not_a_crash(tmp_path):
    jets = made_up(flavours=(0.6, 0.0, 0.4))
    report = evaluate(jets, replicas=20)
    assert report.of("all").auc.missing == "no c jets"
    assert report.of("all").curves["c"].at(0.5).missing == "no c jets"
    assert report.of("all").curves["b"].at(0.5).value is not None
    assert "no c jets" in report.markdown()
    report.save(tmp_path)


@pytest.mark.parametrize("num_jets", [0, 1])
def test_hardly_any_jets(tmp_path, num_jets):
    report = evaluate(made_up().select(np.arange(num_jets)), replicas=20)
    report.save(tmp_path, figures=num_jets == 0)
    assert ("no jets" in report.markdown()) == (num_jets == 0)


def test_one_process_is_not_repeated():
    report = evaluate(made_up(processes=("ttbar",)), replicas=20)
    assert report.markdown().count("**PanopTag**") == 1
    assert report.of("all").auc == report.of("ttbar").auc


def test_unknown_flavours_and_negative_weights_are_told():
    jets = made_up()
    flavour = np.where(np.arange(len(jets)) < 10, -1, jets.flavour)
    weight = np.where(jets.event_index % 10 == 0, -1.0, 1.0)
    report = evaluate(replace(jets, flavour=flavour, weight=weight), {"other": np.arange(len(jets))}, replicas=20)
    assert len(report.references["other"]) == len(jets) - 10
    assert "10 of 1,500 jets have no known flavour" in report.markdown()
    assert "negative weight" in report.markdown()
    with pytest.raises(PanopTagError, match="needs the true flavour"):
        evaluate(replace(jets, flavour=np.full(len(jets), -1)))


@pytest.mark.parametrize(
    ("measurement", "text"),
    [
        (Measurement(0.86123, 0.8591, 0.8632), "0.8612 ± 0.0021"),
        (Measurement(383.4, 364.7, 403.7), "383 ± 20"),
        (Rejection(1510.0, 1100.0, 2400.0), "1,510 +890 −410"),
        (Measurement(24.31, 23.9, 24.8), "24.3 ± 0.5"),
        (Measurement(None, missing="no c jets"), "–"),
        (Rejection(None, missing="no background jet passes", limit=3379.0), "> 3,300"),
        (Rejection(1510.0, 900.0, 4000.0, limit=829.0), "1,510 +2,490 −610 (> 820)"),
        (Rejection(1510.0, 900.0, None, limit=829.0), "1,510 +∞ −610 (> 820)"),
        (Measurement(1.0, 1.0, 1.0), "1.00 ± 0.00"),
        (Rejection(None, limit=1.0), "> 1.0"),
    ],
)
def test_as_many_digits_as_the_uncertainty_deserves(measurement, text):
    assert format_measurement(measurement) == text


def test_what_the_model_tells_of_itself_stands_under_the_table_and_in_the_json():
    told = {"combiner weight of the constituents": 0.6543, "combiner weight of the jet": 0.3457}
    report = evaluate(made_up(num_events=60), name="jetvit", replicas=20, model_report=told)
    sentence = "jetvit: combiner weight of the constituents 0.654, combiner weight of the jet 0.346."
    assert sentence in report.notes
    assert sentence in report.markdown()
    assert json.loads(json.dumps(report.to_dict()))["model_report"] == told
    assert evaluate(made_up(num_events=60), replicas=20).to_dict()["model_report"] == {}
