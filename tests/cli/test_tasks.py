"""Train, evaluate and predict with tasks other than flavour tagging, as a user does; and what is refused."""

from __future__ import annotations

import json

import h5py
import pytest
from helpers.answerable import write_answerable
from typer.testing import CliRunner

from panoptag_pyg.cli.main import app

SIZES = ["model.dim=16", "train.max_epochs=3", "train.lr=0.01", "train.warmup_epochs=0", "data.batch_size=16"]


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "130"})


def trained(folder, data, *settings):
    options = [part for setting in (*SIZES, *settings) for part in ("--set", setting)]
    return run("train", "tiny.toml", "--data", data, "-o", folder, *options)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("answerable")
    return write_answerable(folder / "train.h5", 300, 1), write_answerable(folder / "test.h5", 120, 2)


def test_several_tasks_from_recipe_to_answers(files, tmp_path):
    settings = ["flavour.weight=1.0", "jet_pt.weight=0.5", "pfo_pileup.gamma=0.0", "pfo_jet.weight=0.2"]
    settings += ['process.signal=["ZH"]', "quark.task=quark_gluon", "quark.quarks=[1,2]"]
    result = trained(tmp_path / "run", files[0], "task.name=several", *(f"task.{setting}" for setting in settings))
    assert result.exit_code == 0, result.output
    assert "jet_pt error" in result.stdout.replace("_", " ").replace("jet pt", "jet_pt")
    result = run("evaluate", tmp_path / "run", "--data", files[1], "--replicas", 20, "--device", "cpu")
    assert result.exit_code == 0, result.output
    for words in ("quark (quark_gluon)", "pull width", "signal Rej50", "nearest efficiency", "b Rej50"):
        assert words in result.stdout
    metrics = json.loads((tmp_path / "run" / "evaluation" / "metrics.json").read_text())
    figures = {r["task"]: r["figures"] for r in metrics["results"] if r["process"] == "all"}
    # All of it is easy: dz shows pileup, the number of jets the process, eta the response.
    assert figures["pfo_pileup"]["AUC"]["value"] > 0.75
    assert figures["process"]["AUC"]["value"] > 0.7
    assert abs(figures["jet_pt"]["bias"]["value"]) < abs(figures["jet_pt"]["measured resolution"]["value"])
    assert figures["jet_pt"]["resolution"]["value"] < 0.7 * figures["jet_pt"]["measured resolution"]["value"]
    result = run("predict", tmp_path / "run", "--data", files[1], "-o", tmp_path / "answers.h5")
    assert result.exit_code == 0, result.output
    with h5py.File(tmp_path / "answers.h5") as file:
        assert set(file["answers"]) == {"flavour", "jet_pt", "pfo_pileup", "pfo_jet", "process", "quark"}
        assert file["answers/process/probabilities"].shape == (120, 2)
        assert file["answers/pfo_jet/jet"].shape == file["pfo/pt"].shape
    again = run("evaluate", tmp_path / "run", "--data", files[1])
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr


def test_a_single_task_and_resuming(files, tmp_path):
    result = trained(tmp_path / "run", files[0], "task.name=jet_mass", "task.loss=quantile")
    assert result.exit_code == 0, result.output
    options = [part for setting in SIZES for part in ("--set", setting)]
    task = ["--set", "task.name=jet_mass", "--set", "task.loss=quantile", "--set", "train.max_epochs=4"]
    more = run("train", "tiny.toml", "--data", files[0], "-o", tmp_path / "run", *options, *task, "--resume")
    assert more.exit_code == 0, more.output
    without = write_answerable(tmp_path / "data.h5", 10, unknown=["jet/truth_mass"])
    result = run("predict", tmp_path / "run", "--data", without, "-o", tmp_path / "answers.h5")
    assert result.exit_code == 0, result.output
    result = run("evaluate", tmp_path / "run", "--data", without)
    assert result.exit_code == 2
    assert "jet/truth_mass" in result.stderr
    assert "lacks that column" in result.stderr
    assert not (tmp_path / "run" / "evaluation").exists()


@pytest.mark.parametrize(
    ("settings", "unknown", "words"),
    [
        (["task.name=quark_gluon"], ["jet/parton_flavour"], ["jet/parton_flavour", "lacks that column"]),
        (["task.name=pfo_ancestry"], ["pfo/heavy_ancestry"], ["pfo/heavy_ancestry", "simulate the events again"]),
        (["task.name=process", 'task.signal=["ttH"]'], [], ["asks for 'ttH'", "ZH, ttbar"]),
        (["task.name=process"], [], ["either classes", "or signal"]),
        (["task.name=quarkgluon"], [], ["unknown task 'quarkgluon'", "did you mean 'quark_gluon'"]),
        (["task.name=several"], [], ["a table for each"]),
        (["task.name=several", "task.flavour.gama=1.0"], [], ["flavour.gama", "did you mean 'gamma'"]),
        (["task.name=jet_pt", "task.loss=gauss"], [], ["'task.loss' should be", "'gauss'"]),
        (["task.name=process", 'task.classes=["ZH","ttbar"]', "model.num_classes=3"], [], ["has 2 classes"]),
    ],
)
def test_refusals_are_one_sentence_and_leave_nothing(tmp_path, settings, unknown, words):
    path = write_answerable(tmp_path / "x.h5", 12, unknown=unknown)
    result = trained(tmp_path / "run", path, *settings)
    assert result.exit_code == 2, result.output
    for word in words:
        assert word in result.stderr
    assert result.stderr.strip().count("\n") == 0
    assert not (tmp_path / "run").exists()


def test_pfo_tasks_need_an_event_encoder(files, tmp_path):
    (tmp_path / "mine.toml").write_text('[model]\nname = "single_jet"\ndim = 8\n[task]\nname = "pfo_jet"\n')
    result = run("train", tmp_path / "mine.toml", "--data", files[0], "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert "sees one jet at a time" in result.stderr
