"""Checkpoints of taggers that were never trained: random weights, and what a run would have written around them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from panoptag_pyg.tasks import build_task
from panoptag_pyg.training import Recipe
from panoptag_pyg.training.checkpoint import ENTRY, MODEL_PREFIX, TASK_PREFIX, build_model
from panoptag_pyg.training.data_card import TrainingCard


def write_checkpoint(path: Path, recipe: Recipe, seed: int, card: TrainingCard | None = None, **further: Any) -> Path:
    """A checkpoint with random weights, buffers of the tagger and the task included.

    Args:
        path: the file; a folder gets ``best.ckpt``.
        recipe: of the tagger and the task.
        seed: of the weights.
        card: the training data card. Default: none, as in old checkpoints.
        **further: entries beside the weights.
    """
    if path.suffix != ".ckpt":
        path = path / "best.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    model, task = build_model(recipe), build_task(recipe.task.name, **recipe.task.options)
    randomise(model, seed)
    randomise(task, seed + 1)
    weights = {MODEL_PREFIX + name: value for name, value in model.state_dict().items()}
    weights |= {TASK_PREFIX + name: value for name, value in task.state_dict().items()}
    entry: dict[str, Any] = {"recipe": recipe.to_json(), "version": "0.0.9", "data": {}, "metrics": {"val_loss": 0.5}}
    if card is not None:
        entry["data_card"] = json.dumps(card.to_dict())
    torch.save({ENTRY: entry, "state_dict": weights, **further}, path)
    return path


def randomise(module: nn.Module, seed: int) -> None:
    """Random numbers for every floating-point weight and buffer; positive, since some are scales."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in (*module.parameters(), *module.buffers()):
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=generator) * 0.2 + 0.05)
