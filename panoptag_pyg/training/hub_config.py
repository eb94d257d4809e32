"""What ``config.json`` of a shared tagger says: recipe, outputs, features with units, data card, versions."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from panoptag_pyg import __version__
from panoptag_pyg.events.features import FEATURE_UNITS, JET_FEATURES, PFO_FEATURES
from panoptag_pyg.tasks import Task
from panoptag_pyg.training.data_card import TrainingCard
from panoptag_pyg.training.provenance import package_versions
from panoptag_pyg.training.recipe import Recipe


def hub_config(
    recipe: Recipe, model: nn.Module, task: Task, checkpoint: dict[str, Any], weights_sha256: str
) -> dict[str, Any]:
    """The configuration of a shared tagger, of plain values.

    Args:
        recipe: as resolved.
        model: the tagger.
        task: its task.
        checkpoint: where both come from.
        weights_sha256: SHA-256 of the file of weights.
    """
    from panoptag_pyg.training.checkpoint import ENTRY, needed_fields
    from panoptag_pyg.training.hub_folder import FORMAT_NAME, FORMAT_VERSION

    entry = checkpoint[ENTRY]
    return {
        "format": FORMAT_NAME,
        "format_version": FORMAT_VERSION,
        "library_name": "panoptag-pyg",
        "panoptag_pyg_version": __version__,
        "trained_with": str(entry.get("version", "")),
        "model_type": recipe.model.name,
        "architectures": [type(model).__name__],
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "task": recipe.task.name,
        "outputs": outputs_of(task),
        "pfo_features": _features(PFO_FEATURES),
        "jet_features": _features(tuple(recipe.data.jet_features or JET_FEATURES)),
        "further_fields": sorted(needed_fields(model)),
        "recipe": recipe.model_dump(mode="json"),
        "metrics": {name: float(value) for name, value in dict(entry.get("metrics", {})).items()},
        "data_card": card.to_dict() if (card := TrainingCard.parse(entry.get("data_card"))).known else None,
        "weights_sha256": weights_sha256,
        "versions": package_versions(),
        "torch_dtype": str(next(model.parameters(), torch.empty(0)).dtype).removeprefix("torch."),
    }


def outputs_of(task: Task) -> list[dict[str, Any]]:
    """What a tagger answers: for each task its name, level, number of outputs, and the names of its classes.

    Args:
        task: the task, or several.
    """
    return [
        {
            "name": name,
            "task": part.name,
            "level": part.level,
            "num_outputs": int(part.num_outputs),
            "classes": list(part.class_names),
        }
        for name, part in task.parts().items()
    ]


def _features(names: tuple[str, ...]) -> list[dict[str, str]]:
    return [{"name": name, "unit": FEATURE_UNITS.get(name, "")} for name in names]
