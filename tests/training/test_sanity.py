"""Sanity checks of any tagger's training: it can learn by heart, and finds nothing where nothing is."""

import numpy as np
import pytest
from helpers.learnable import write_learnable

from panoptag_pyg.training import Recipe, train

#: Recipe and what is changed in it, for an event tagger and a tagger of single jets.
RECIPES = {
    "tiny": ["model.dim=32", "model.num_heads=8", "task.class_weights=equal"],
    "jetvit": ["model.dim=32", "model.num_layers=2", "task.class_weights=equal", "data.batch_size=16"],
}


def test_a_handful_of_events_can_be_learnt_by_heart(tmp_path):
    """Shuffled labels, so that nothing but memory helps: 10 events, validated on themselves."""
    path = write_learnable(tmp_path / "few.h5", 10, seed=1, shuffle_labels=True)
    recipe = Recipe.from_toml("tiny", [*RECIPES["tiny"], "train.max_epochs=30", "train.lr=0.01", "data.batch_size=5"])
    assert train(recipe, path, tmp_path / "run", validation=path).summary["best"]["val_accuracy"] >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_shuffled_labels_stay_at_chance_and_true_ones_do_not(tmp_path, name):
    recipe = Recipe.from_toml(name, [*RECIPES[name], "train.max_epochs=8", "train.lr=0.005"])
    accuracy = {}
    for shuffled in (False, True):
        train_file = write_learnable(tmp_path / f"train{shuffled}.h5", 1500, seed=2, shuffle_labels=shuffled)
        test_file = write_learnable(tmp_path / f"test{shuffled}.h5", 500, seed=3, shuffle_labels=shuffled)
        summary = train(recipe, train_file, tmp_path / f"run{shuffled}", validation=test_file).summary
        accuracy[shuffled] = summary["best"]["val_accuracy"]
        counts = np.array(summary["data"]["validation"]["jets_per_class"])
    chance = counts.max() / counts.sum()
    error = np.sqrt(chance * (1 - chance) / counts.sum())
    assert accuracy[True] < chance + 4 * error
    assert accuracy[False] > 0.8
