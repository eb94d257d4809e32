"""``panoptag pretrain`` and ``panoptag train --from``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.events import write_events
from helpers.learnable import learnable_block, write_learnable
from typer.testing import CliRunner

from panoptag_pyg.cli.main import app

SHORT = ["--set", "train.max_epochs=1", "--set", "train.accelerator=cpu", "--set", "train.threads=1"]
TINY = ["--set", "model.backbone=deepsets", "--set", "model.dim=8", *SHORT]


def panoptag(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.parametrize("name", ["masked_pfos", "event_jet_contrast"])
def test_pre_train_then_train(name: str, tmp_path: Path, rng) -> None:
    block = learnable_block(rng, 40)
    block.jet["flavour"][:] = -1
    data = write_events(tmp_path / "data.h5", block, unknown={"jet/flavour"})
    output = panoptag("pretrain", "tiny.toml", "-d", data, "-o", tmp_path / "pre", "--set", f"task.name={name}", *TINY)
    assert "next: panoptag train RECIPE --from" in " ".join(output.split())
    events = write_learnable(tmp_path / "labelled.h5", 40)
    panoptag("train", "tiny.toml", "-d", events, "-o", tmp_path / "run", "--from", tmp_path / "pre", *TINY)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["start"].startswith(f"From {tmp_path / 'pre'}: taken ")
    assert "backbone" in summary["start"]
    assert ("decoder" in summary["start"].split(";")[0]) == (name != "masked_pfos")
    panoptag("evaluate", tmp_path / "pre", "-d", data, "--no-figures", "--device", "cpu")
    report = json.loads((tmp_path / "pre" / "evaluation" / "metrics.json").read_text())
    assert report["tasks"].keys() == {name}
    (answered,) = report["results"]
    assert answered["figures"].keys() >= {"loss"}
    assert answered["figures"]["loss"]["value"] > 0


def test_tasks_that_need_truth_are_refused(tmp_path: Path) -> None:
    settings = ["--set", "task.name=several", "--set", "task.masked_pfos={}", "--set", "task.flavour={}"]
    for further, task in (([], "flavour"), (settings, "flavour")):
        output = panoptag("pretrain", "tiny.toml", "-d", tmp_path, "-o", tmp_path / "run", *further, code=2)
        assert f"but '{task}' needs some; panoptag train does that" in " ".join(output.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("recipe", ["pretrain_masked", "pretrain_contrast", "pretrain_both"])
def test_shipped_recipes_need_no_truth(recipe: str) -> None:
    from panoptag_pyg.cli.pretrain import check_needs_no_truth
    from panoptag_pyg.training import Recipe

    check_needs_no_truth(Recipe.from_toml(recipe), recipe)
