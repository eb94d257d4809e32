"""``panoptag pretrain``: from a recipe and events without labels to weights that any task can begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from panoptag_pyg.errors import ConfigError

from .train import (
    Data,
    FindRate,
    From,
    Output,
    Overwrite,
    RecipeName,
    Resume,
    Settings,
    Validation,
    read_recipe,
    run_recipe,
)

if TYPE_CHECKING:
    from panoptag_pyg.training import Recipe


def pretrain(
    recipe: RecipeName,
    data: Data,
    output: Output,
    validation: Validation = None,
    settings: Settings = None,
    start_from: From = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    find_rate: FindRate = False,
) -> None:
    """Pre-train a tagger on events whose truth needn't be known; panoptag train --from goes on with its weights.

    Examples:
        # learn from PFOs that were hidden; then go on with flavours
        panoptag pretrain pretrain_masked.toml --data data/ -o pretrained/ \\
          --set train.max_epochs=1
        panoptag train finetune.toml --from pretrained/ --data data/ -o finetuned/ \\
          --set train.max_epochs=1
    """
    resolved = read_recipe(recipe, settings, start_from)
    check_needs_no_truth(resolved, recipe)
    following = f"panoptag train RECIPE --from {output} --data FILE -o FOLDER"
    run_recipe(resolved, data, output, validation, resume, overwrite, find_rate, following)


def check_needs_no_truth(recipe: Recipe, name: str) -> None:
    """Refuse a recipe with a task that learns from truth.

    Args:
        recipe: what to do.
        name: what an error calls it.

    Raises:
        ConfigError: naming the task and what to do.
    """
    from panoptag_pyg.tasks import build_task

    for part, task in build_task(recipe.task.name, **recipe.task.options).parts().items():
        if not task.draws:
            raise ConfigError(
                f"recipe {name}: panoptag pretrain is for tasks that need no truth, such as masked_pfos and "
                f"event_jet_contrast, but '{part}' needs some; panoptag train does that"
            )
