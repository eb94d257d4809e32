"""``panoptag check``: what it prints and writes, its exit codes, and one sentence for what it can't check."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.learnable import write_learnable
from typer.testing import CliRunner

from panoptag_pyg.cli.main import app
from panoptag_pyg.evaluation import Predictions
from panoptag_pyg.evaluation.calibrate import Calibration
from panoptag_pyg.training import Recipe, train

SECTIONS = {"invariance", "calibration", "stability", "overtraining", "efficiency", "transfer"}


def run_verb(verb, *arguments):
    return CliRunner().invoke(app, [verb, *map(str, arguments), "--device", "cpu"], env={"COLUMNS": "160"})


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run of deep sets on 150 events."""
    folder = tmp_path_factory.mktemp("trained")
    path = write_learnable(folder / "events.h5", 150)
    changes = ["model.backbone=deepsets", "train.max_epochs=3", "train.lr=0.01"]
    return train(Recipe.from_toml("tiny.toml", [*changes, "data.validation_fraction=0.3"]), path, folder / "run").folder


@pytest.fixture(scope="module")
def report(run):
    """A whole check, training on shuffled labels included, without anything but the run given."""
    options = ("--shuffled-events", 80, "--shuffled-epochs", 1, "--replicas", 50)
    return run_verb("check", run, *options)


def test_writes_and_prints(report, run):
    assert report.exit_code == 0, report.output
    for words in ("Shuffled labels", "order of the PFOs", "T = ", "energy scale", "slightly flattering", "checks pass"):
        assert words in report.stdout
    assert f"Written: {run}/check/index.html" in report.stdout
    found = json.loads((run / "check" / "check.json").read_text())
    assert set(found["sections"]) == SECTIONS | {"shuffled"}
    assert all(section["checks"] for section in found["sections"].values())
    assert found["verdicts"]["fail"] == 0
    assert found["samples"]["test"]["events"] == 45
    figures = {path.stem for path in (run / "check" / "figures").iterdir()}
    assert figures == {"symmetries", "reliability", "stability", "overtraining", "efficiency", "transfer"}
    page = (run / "check" / "index.html").read_text()
    assert page.count("data:image/png;base64") == 6
    assert "http" not in page.replace("https://arxiv", "")
    again = run_verb("check", run)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr


def test_the_calibration_is_used_by_predict_and_evaluate(report, run, tmp_path):
    file = run / "check" / "calibration.json"
    calibration = Calibration.load(file)
    assert calibration.to_dict() == json.loads((run / "check" / "check.json").read_text())["calibration"]
    data = ("--data", run.parent / "events.h5")
    assert run_verb("predict", run, *data, "-o", tmp_path / "raw.h5").exit_code == 0
    result = run_verb("predict", run, *data, "-o", tmp_path / "calibrated.h5", "--calibration", file)
    assert result.exit_code == 0, result.output
    raw, calibrated = (Predictions.load(tmp_path / f"{name}.h5") for name in ("raw", "calibrated"))
    assert np.allclose(calibrated.logits, calibration.apply(raw.logits), atol=1e-5)
    assert (raw.calibration, json.loads(calibrated.calibration)) == ("", calibration.to_dict())
    result = run_verb("evaluate", run, *data, "-o", tmp_path / "e", "--calibration", file, "--no-figures")
    assert result.exit_code == 0, result.output
    assert f"calibrated: {calibration}" in " ".join(result.stdout.split())
    wrong = run_verb("predict", run, *data, "-o", tmp_path / "w.h5", "--calibration", run / "summary.json")
    assert wrong.exit_code == 2
    assert "not a calibration" in wrong.stderr


def test_a_broken_model_is_exit_code_1(run, tmp_path, monkeypatch):
    from panoptag_pyg.trust.subject import FlavourOf

    forward = FlavourOf.forward
    monkeypatch.setattr(FlavourOf, "forward", lambda self, batch: forward(self, batch) * len(batch["jet"].x))
    options = ("--quick", "--events", 40, "--replicas", 50, "--no-figures", "-o", tmp_path / "report")
    result = run_verb("check", run, *options, "--train", run.parent / "events.h5")
    assert result.exit_code == 1, result.output
    assert "don't use this model" in result.stdout
    found = json.loads((tmp_path / "report" / "check.json").read_text())
    assert found["verdicts"]["fail"] >= 1
    assert set(found["sections"]) == SECTIONS
    assert "left out" in found["notes"][-1]


def test_bad_input_is_one_sentence(run, tmp_path):
    block = write_learnable(tmp_path / "events.h5", 9)
    (tmp_path / "empty").mkdir()
    for arguments, words in (
        ((tmp_path / "none",), "no such run folder"),
        ((tmp_path / "empty",), "no best.ckpt"),
        ((run, "--data", tmp_path / "gone.h5"), "no such file"),
        ((run, "--data", block, "--resolution", "1.5"), "between 0 and 1"),
    ):
        result = run_verb("check", *arguments, "-o", tmp_path / "report")
        assert result.exit_code == 2, result.output
        assert words in result.stderr
        assert len([line for line in result.stderr.splitlines() if line.startswith("Error")]) == 1
        assert not (tmp_path / "report").exists()
