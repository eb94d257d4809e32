"""Every shipped recipe trains on the sample events, evaluates and predicts: slow, one test per file.

A recipe whose first comment lines hold ``data: NAME`` or ``data/NAME`` takes the events of ``data/NAME``, all others
``data/sample``.
Two epochs each, so that all together stay within half an hour; ``panoptag compare`` runs those of flavour taggers whole
(docs/comparison.md). What is reduced further stands in :data:`REDUCED`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from typer.testing import CliRunner

from panoptag_pyg.cli.main import app
from panoptag_pyg.events import EventDataset, EventFile, EventFileWriter
from panoptag_pyg.tasks.base import prepared
from panoptag_pyg.training import Recipe, train
from panoptag_pyg.training.callbacks import read_metrics

ROOT = Path(__file__).parents[2]
RECIPES = sorted(path.name for path in (ROOT / "data" / "recipes").glob("*.toml"))
#: Leading events of each file that is tested on, and trained on by the recipes below.
FEW = 24
#: Beyond two epochs: settings for recipes made for a GPU, which then train on the leading events only. Their warm-up
#: would last longer than the test, and their rate is one for many steps.
REDUCED = {
    "paper.toml": ["data.batch_size=12", "train.warmup_epochs=0", "train.restart_epochs=none", "train.lr=5e-4"],
}


class InitialLoss(Callback):
    """The validation loss of the untrained network."""

    value = float("nan")

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        sums: dict[str, torch.Tensor] = {}
        pl_module.model.eval()
        with torch.no_grad():
            for batch in trainer.datamodule.loader(training=False):  # type: ignore[attr-defined]
                for name, pair in pl_module.task.measure(pl_module.model, prepared(pl_module.task, batch, 0)).items():
                    new = torch.stack([value.double() for value in pair])
                    sums[name] = sums[name] + new if name in sums else new
        pl_module.model.train()
        metrics = {f"val_{name}": (pair[0] / pair[1]).item() if pair[1] else 0.0 for name, pair in sums.items()}
        pl_module.task.finish(metrics, "val")
        self.value = metrics["val_loss"]


def folder_of(recipe: str) -> Path:
    """The events that a recipe is made for."""
    head = (ROOT / "data" / "recipes" / recipe).read_text(encoding="utf-8").partition("\n\n")[0]
    found = re.search(r"^#.*\bdata(?:: |/)(\w+)", head, re.MULTILINE)
    return ROOT / "data" / (found[1] if found else "sample")


@pytest.fixture(scope="module")
def leading(tmp_path_factory: pytest.TempPathFactory):
    """The first events of each file of a folder, in a folder of their own."""
    made: dict[Path, Path] = {}

    def cut(folder: Path) -> Path:
        if folder not in made:
            made[folder] = tmp_path_factory.mktemp(folder.name)
            for source in sorted(folder.glob("*.h5")):
                target = made[folder] / source.name
                with EventFile(source) as file, EventFileWriter(target, file.processes, file.attributes) as writer:
                    writer.write(file.read(0, min(FEW, file.num_events)))
        return made[folder]

    return cut


def panoptag(*arguments: object) -> None:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_it_trains_evaluates_and_predicts(name: str, leading, tmp_path: Path) -> None:
    folder = folder_of(name)
    few = leading(folder)
    settings = ["train.max_epochs=2", "train.accelerator=cpu", *REDUCED.get(name, [])]
    initial, run = InitialLoss(), tmp_path / "run"
    recipe = Recipe.from_toml(ROOT / "data" / "recipes" / name, settings)
    data = few if name in REDUCED else folder
    train(recipe, data, run, callbacks=[initial])
    metrics = read_metrics(run / "metrics.csv")
    assert len(metrics) == 2
    if name in REDUCED:  # too few events to validate on
        assert metrics[1]["train_loss"] < metrics[0]["train_loss"]
    else:
        assert min(row["val_loss"] for row in metrics) < initial.value
    panoptag("evaluate", run, "--data", few, "--replicas", "20", "--no-figures", "--device", "cpu")
    assert (run / "evaluation" / "metrics.json").exists()
    panoptag("predict", run, "--data", few, "-o", tmp_path / "scores.h5", "--device", "cpu")
    assert (tmp_path / "scores.h5").exists()


def test_every_recipe_names_events_that_are_there() -> None:
    assert RECIPES
    for name in RECIPES:
        assert len(EventDataset(folder_of(name))) > 0, name
    assert set(REDUCED) <= set(RECIPES)
