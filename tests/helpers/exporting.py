"""Small taggers and their exports, for the tests of every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from panoptag_pyg.events import EventDataset, EventLoader
from panoptag_pyg.export.interface import Interface, describe
from panoptag_pyg.models import build_tagger
from panoptag_pyg.training import Recipe

from .traced import SMALL

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
#: Logits of an untrained tagger are nearly the same for every jet, and so would be those of a wrong export.
SPREAD = 20.0
#: ParT's inputs are logarithms of small masses: untrained and spread as far, it magnifies their rounding beyond the
#: tolerance, ten times further than trained ones do.
SPREAD_OF = {"part": 2.0}


def sample(fields: Any = ()) -> EventDataset:
    """The simulated events of ``data/sample``."""
    return EventDataset(SAMPLE, fields=fields)


def tagger_and_recipe(name: str = "panoptag", **options: Any) -> tuple[nn.Module, Recipe]:
    """A tagger of few layers whose logits spread, normalised by simulated events, and its recipe."""
    options = {**SMALL.get(name, {}), **options}
    model = build_tagger(name, **options)
    batch = next(iter(EventLoader(sample(model.needs), batch_size=200)))
    model.fit_normalisation(batch)  # type: ignore[operator]
    model = model.eval()
    with torch.no_grad():
        last = [module for module in model.head.modules() if isinstance(module, nn.Linear)][-1]  # type: ignore[union-attr]
        last.weight *= SPREAD_OF.get(name, SPREAD)
    recipe = Recipe.model_validate({"model": {"name": name, **_listed(options)}})
    return model, recipe


def interface_of(model: nn.Module, recipe: Recipe, **options: Any) -> Interface:
    """What an export of it takes and gives."""
    return describe(model, recipe, **options)


def _listed(options: dict[str, Any]) -> dict[str, Any]:
    """As a TOML file would hold them."""
    return {key: _list(value) for key, value in options.items()}


def _list(value: Any) -> Any:
    return [_list(entry) for entry in value] if isinstance(value, tuple) else value
