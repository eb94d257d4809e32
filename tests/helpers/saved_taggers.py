"""Run folders with a small untrained tagger: for tests of what loads one from disk, in other processes too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from panoptag_pyg.events import EventBlock, block_to_batch
from panoptag_pyg.events.fields import Fields
from panoptag_pyg.tasks import build_task
from panoptag_pyg.training import Recipe
from panoptag_pyg.training.checkpoint import ENTRY, build_model, needed_fields

SMALL = {"name": "panoptag", "dim": 8, "num_heads": 2, "k": 3, "num_inducing": 2, "num_local_layers": 1,
         "num_global_layers": 1, "num_decoder_layers": 1}  # fmt: skip


def saved_run(folder: Path, events: EventBlock, task: dict[str, Any] | None = None, **sections: Any) -> Path:
    """A run folder whose ``best.ckpt`` holds a small PanopTag, normalised on ``events``.

    Args:
        folder: to make.
        events: some events.
        task: the recipe's ``[task]``. Default: flavour.
        sections: further sections of the recipe.
    """
    recipe = Recipe.model_validate({"model": SMALL, **({"task": task} if task else {}), **sections})
    torch.manual_seed(5)
    model = build_model(recipe)
    model.fit_normalisation(block_to_batch(events, fields=Fields.parse(needed_fields(model))))
    with torch.no_grad():
        for parameter in model.parameters():  # scores that differ between jets
            parameter.mul_(2)
    built = build_task(recipe.task.name, **recipe.task.options)
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    weights |= {f"task.{name}": value for name, value in built.state_dict().items()}
    folder.mkdir(parents=True)
    torch.save({ENTRY: {"recipe": recipe.to_json()}, "state_dict": weights}, folder / "best.ckpt")
    return folder
