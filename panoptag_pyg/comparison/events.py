"""The events that all taggers of a comparison are tested and timed on."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn
from torch_geometric.data import HeteroData

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events import EventDataset
from panoptag_pyg.training.checkpoint import needed_fields
from panoptag_pyg.training.data import held_out_events, open_dataset
from panoptag_pyg.training.recipe import Recipe


def measured_dataset(test: dict[str, Any], recipe: Recipe, model: nn.Module) -> EventDataset:
    """The test events as a tagger wants to see them: with its fields and its cut on PFOs, but all jets.

    A recipe's ``max_jets`` is left out here: all rows are measured on the same jets.

    Args:
        test: ``files``; ``fraction`` and ``split_seed`` of the held-out share; all events if the fraction is ``None``.
        recipe: of the tagger.
        model: the tagger.

    Raises:
        EventFileError: if there is no event.
    """
    section = recipe.data.model_copy(update={"max_jets": None})
    dataset = open_dataset(test["files"], section, needed_fields(model))
    if test["fraction"] is not None:
        dataset = dataset.select(held_out_events(len(dataset), test["fraction"], test["split_seed"]))
    if not len(dataset):
        raise EventFileError(f"{', '.join(map(str, test['files']))}: no event is left for the test; give more events")
    return dataset


def measured_batch(test: dict[str, Any], recipe: Recipe, model: nn.Module, num_events: int) -> HeteroData:
    """Some test events, spread evenly over all of them: the same for every tagger.

    Raises:
        EventFileError: if there is no event.
    """
    dataset = measured_dataset(test, recipe, model)
    return dataset.get_batch(np.linspace(0, len(dataset) - 1, min(num_events, len(dataset))).astype(np.int64))
