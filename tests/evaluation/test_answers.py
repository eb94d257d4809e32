"""Answers row by row, their file and their report."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import torch
from helpers.answerable import write_answerable
from helpers.tiny import TINY_TAGGERS

from panoptag_pyg.evaluation import Answers, evaluate_answers, predict_answers
from panoptag_pyg.evaluation.answers import fields_of_rows
from panoptag_pyg.evaluation.predictions import PredictionsError
from panoptag_pyg.evaluation.rows import ROW_COLUMNS
from panoptag_pyg.events import EventDataset
from panoptag_pyg.models import build_tagger, with_heads
from panoptag_pyg.output import OutputError
from panoptag_pyg.tasks import Task, build_task

TABLES = {"flavour": {}, "jet_pt": {}, "pfo_jet": {}, "process": {"classes": ["ZH", "ttbar"]}}
TRUTH = ("jet/truth_pt", "jet/flavour")


def answered(path, task=None, batch_size=7):
    task = task or build_task("several", **TABLES)
    torch.manual_seed(0)
    model = with_heads(build_tagger("panoptag", **TINY_TAGGERS["panoptag"]), task.head)
    dataset = EventDataset(path, fields=model.needs | task.needs | fields_of_rows(task), processes=task.processes)
    return predict_answers(model, task, dataset, batch_size, recipe="{}"), dataset, task, model


def test_rows_are_those_of_the_files(tmp_path):
    answers, dataset, task, model = answered(write_answerable(tmp_path / "x.h5", 20))
    block = dataset.read_block()
    assert set(answers.tables) == {"event", "jet", "pfo"}
    for level, table in answers.tables.items():
        assert set(table.rows) == {name for name, *_ in ROW_COLUMNS[level]}
        count = {"event": 20, "jet": block.num_jets, "pfo": block.num_pfos}[level]
        assert len(table) == count
        event = {"event": np.arange(20), "jet": block.jet_event, "pfo": block.pfo_event}[level]
        assert np.array_equal(table.rows["event_index"], event)
        assert np.array_equal(table.rows["event_id"], block.event["id"][event])
        for name in set(table.rows) & {"pt", "eta", "phi", "mass"}:
            np.testing.assert_allclose(table.rows[name], getattr(block, level)[name], rtol=1e-6)
    table, columns = answers.of("flavour")
    assert np.array_equal(columns["label"], block.jet["flavour"])
    assert np.array_equal(answers.of("process")[1]["label"], block.event["process"])
    whole = dataset.get_batch(range(20))
    expected = model(whole)
    np.testing.assert_allclose(columns["logits"], expected["flavour"].detach(), atol=1e-5)
    predicted = task.parts()["jet_pt"].answers(expected["jet_pt"].detach(), whole)["predicted"]
    np.testing.assert_allclose(answers.of("jet_pt")[1]["predicted"], predicted, rtol=1e-4)


def test_file_there_and_back(tmp_path):
    answers, *_ = answered(write_answerable(tmp_path / "x.h5", 9))
    path = answers.save(tmp_path / "answers.h5")
    again = Answers.load(path)
    assert again.tasks == answers.tasks
    assert again.process_names == answers.process_names == ("ZH", "ttbar")
    for level, table in answers.tables.items():
        for name, values in table.rows.items():
            np.testing.assert_array_equal(again.tables[level].rows[name], values)
        for part, columns in table.parts.items():
            assert set(again.tables[level].parts[part]) == set(columns)
            for name, values in columns.items():
                np.testing.assert_array_equal(again.tables[level].parts[part][name], values)
    with h5py.File(path) as file:
        probabilities = file["answers/flavour/probabilities"][:]
        assert json.loads(file["answers/flavour"].attrs["classes"]) == ["light", "c", "b"]
        assert file["answers/jet_pt/predicted"].attrs["unit"] == "GeV"
        assert file["answers/pfo_jet/jet"].attrs["meaning"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    with pytest.raises(OutputError, match="exists"):
        answers.save(path)
    for broken, words in ((tmp_path / "x.h5", "panoptag-events"), (tmp_path / "none.h5", "no such file")):
        with pytest.raises(PredictionsError, match=words):
            Answers.load(broken)


def test_without_truth_answers_are_there_and_labels_unknown(tmp_path):
    answers, *_ = answered(write_answerable(tmp_path / "x.h5", 9, unknown=TRUTH))
    assert set(answers.of("flavour")[1]["label"]) == {-1}
    assert set(answers.of("jet_pt")[1]["truth"]) == {0}
    assert np.isfinite(answers.of("jet_pt")[1]["predicted"]).all()
    with pytest.raises(PredictionsError, match="needs the truth of the task 'flavour'"):
        evaluate_answers(answers)
    # Where a column's default would mean something, its absence still is "unknown".
    task = build_task("pfo_pileup")
    answers, *_ = answered(write_answerable(tmp_path / "y.h5", 9, unknown=["pfo/hard_scatter_fraction"]), task)
    assert set(answers.of("pfo_pileup")[1]["label"]) == {-1}
    assert np.isnan(answers.of("pfo_pileup")[1]["fraction"]).all()


def test_an_answer_that_is_not_finite_names_the_event(tmp_path):
    task = build_task("jet_pt")
    task.centre.fill_(torch.inf)
    with pytest.raises(PredictionsError, match=r"event 0 of .*x\.h5 gets an answer that is not finite"):
        answered(write_answerable(tmp_path / "x.h5", 3), task)


def test_report(tmp_path):
    answers, *_ = answered(write_answerable(tmp_path / "x.h5", 40))
    report = evaluate_answers(answers, ["ttbar"], replicas=20)
    assert [r.process for r in report.results if r.part == "jet_pt"] == ["all", "ZH", "ttbar"]
    assert [r.process for r in report.results if r.part == "process"] == ["all"]
    assert report.of("jet_pt", "ZH").seen is False
    assert set(report.of("flavour").figures) >= {"accuracy", "AUC", "b Rej50", "c Rej80"}
    assert set(report.of("pfo_jet").figures) >= {"efficiency", "nearest purity"}
    files = report.save(tmp_path / "out")
    data = json.loads(files[0].read_text())
    assert data["results"][0]["figures"]["accuracy"]["value"] == report.of("flavour").figures["accuracy"].value
    text = files[1].read_text()
    assert "## jet_pt" in text
    assert "ZH (unseen)" in text
    assert len(report.tables()) == 4
    with pytest.raises(OutputError):
        report.save(tmp_path / "out")


def test_a_constant_truth_is_said_plainly(tmp_path):
    import shutil

    path = write_answerable(tmp_path / "x.h5", 12)
    with h5py.File(shutil.copy(path, tmp_path / "y.h5"), "r+") as file:
        file["pfo/hard_scatter_fraction"][:] = 1
    answers, *_ = answered(tmp_path / "y.h5", build_task("pfo_pileup"))
    report = evaluate_answers(answers, replicas=20)
    assert any("every pfo is hard_scatter: there is nothing to tell apart" in note for note in report.notes)
    assert report.of().figures["AUC"].value is None


def test_a_task_of_ones_own_reports_its_sums(tmp_path):
    class Multiplicity(Task):
        name, level, num_outputs = "multiplicity", "event", 1

        def sums(self, output, batch):
            error = (output[:, 0] - batch["jet"].ptr.diff()).square()
            return {"loss": (error.sum(), torch.tensor(float(len(error))))}

    answers, dataset, _, model = answered(write_answerable(tmp_path / "x.h5", 11), Multiplicity())
    expected = (model(dataset.get_batch(range(11)))[:, 0] - torch.from_numpy(dataset.num_jets())).square().mean()
    report = evaluate_answers(answers)
    assert report.of().figures["loss"].value == pytest.approx(expected.item(), rel=1e-5)
    assert answers.of("multiplicity")[1]["output"].shape == (11, 1)
