"""The flavour of jets as one question, whether a tagger was trained for it alone or beside others."""

from __future__ import annotations

from torch import nn

from panoptag_pyg.models import MultiHeadTagger
from panoptag_pyg.training.recipe import Recipe, TaskSection

#: The task that can be compared: all rows have the same classes and figures of merit.
TASK = "flavour"
_OF_SEVERAL = ("task", "weight")


def flavour_part(recipe: Recipe) -> str | None:
    """Name of the flavour among the recipe's several tasks; ``None`` where there are not several, or none is it."""
    if recipe.task.name != "several":
        return None
    return next((name for name, table in recipe.task.options.items() if table["task"] == TASK), None)


def asks_for_flavour(recipe: Recipe) -> bool:
    """Whether a tagger trained by this recipe gives the flavours of jets."""
    return recipe.task.name == TASK or flavour_part(recipe) is not None


def flavour_of(model: nn.Module, recipe: Recipe) -> tuple[nn.Module, Recipe]:
    """The same tagger with its flavour's head alone, and the recipe with that task alone.

    Heads of auxiliary losses help in training and aren't needed to tag: neither their parameters nor their time count.

    Args:
        model: a trained tagger; other heads are taken off it.
        recipe: what trained it.
    """
    part = flavour_part(recipe)
    if part is None:
        return model, recipe
    assert isinstance(model, MultiHeadTagger)
    options = {key: value for key, value in recipe.task.options[part].items() if key not in _OF_SEVERAL}
    return model.only(part), recipe.model_copy(update={"task": TaskSection(name=TASK, **options)})
