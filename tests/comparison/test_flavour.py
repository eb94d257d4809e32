"""A tagger trained for several tasks is compared by its flavours alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.comparing import QUICK, JobsHere, write_recipe
from helpers.learnable import write_learnable

from panoptag_pyg.comparison import Settings, compare, find_entries
from panoptag_pyg.comparison.flavour import asks_for_flavour, flavour_of
from panoptag_pyg.evaluation import Predictions, predict_answers
from panoptag_pyg.evaluation.answers import fields_of_rows
from panoptag_pyg.events import EventDataset
from panoptag_pyg.training import Recipe, load_tagger, load_task
from panoptag_pyg.training.checkpoint import build_model

SEVERAL = """
[task]
name = "several"
[task.tag]
task = "flavour"
gamma = 2.0
weight = 0.7
[task.kind]
task = "label"
column = "pfo/particle_class"
classes = [0, 1, 2, 3, 4]
weight = 0.1
"""


def test_which_recipes_ask_for_flavour(tmp_path: Path) -> None:
    def recipe(task: str) -> Recipe:
        file = tmp_path / "recipe.toml"
        file.write_text(QUICK + task)
        return Recipe.from_toml(file)

    assert asks_for_flavour(recipe(""))
    assert asks_for_flavour(recipe(SEVERAL))
    assert not asks_for_flavour(recipe('[task]\nname = "several"\n[task.jet_pt]\n'))
    assert not asks_for_flavour(recipe('[task]\nname = "jet_pt"\n'))
    model, alone = flavour_of(build_model(recipe(SEVERAL)), recipe(SEVERAL))
    assert alone.task.name == "flavour"
    assert alone.task.options["gamma"] == 2.0
    assert "weight" not in alone.task.options
    assert [name for name, _ in model.named_parameters() if "kind" in name] == []
    plain = build_model(recipe(""))
    assert flavour_of(plain, recipe(""))[0] is plain


def test_a_row_for_several_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its scores are those that evaluation of all tasks gives; auxiliary heads don't count as cost."""
    events = write_learnable(tmp_path / "events.h5", 60)
    several, plain = tmp_path / "several.toml", write_recipe(tmp_path / "plain.toml")
    several.write_text(QUICK + SEVERAL)
    jobs = JobsHere(monkeypatch)
    settings = Settings(data=[str(events)], output=tmp_path / "table", speed=True, rounds=1, replicas=20, num_events=4)
    result = compare(find_entries([str(several), str(plain)]), settings, lambda *_: None)
    assert [row.get("reason") for row in result["rows"]] == ["", ""]
    assert jobs.done == ["train several", "train plain", "cost several", "cost plain", "speed all"]
    rows = {row["name"]: row for row in result["rows"]}
    assert [row["status"] for row in rows.values()] == ["done", "done"]
    assert rows["several"]["parameters"] == rows["plain"]["parameters"]
    assert rows["several"]["flops_per_event"] == rows["plain"]["flops_per_event"]
    assert rows["several"]["b_rej50"]

    scores = Predictions.load(tmp_path / "table" / "parts" / "several" / "seed0" / "scores.h5")
    assert json.loads(scores.recipe)["task"]["name"] == "several"
    model, _ = load_tagger(tmp_path / "table" / "runs" / "several" / "seed0")
    task = load_task(tmp_path / "table" / "runs" / "several" / "seed0")
    answers = predict_answers(model, task, EventDataset(events, fields=task.needs | fields_of_rows(task)))
    table, columns = answers.of("tag")
    rows_of_all = zip(table.rows["event_id"], table.rows["jet_index"], columns["logits"], strict=True)
    wanted = {(event, jet): logits for event, jet, logits in rows_of_all}
    expected = [wanted[key] for key in zip(scores.event_id, scores.jet_index, strict=True)]
    np.testing.assert_allclose(scores.logits, expected, rtol=1e-4, atol=1e-5)
