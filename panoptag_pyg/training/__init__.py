"""Training: recipes, the Lightning loop, and run folders that explain themselves."""

from panoptag_pyg.training.checkpoint import load_tagger, load_task
from panoptag_pyg.training.engine import Run, TrainingInterrupted, train
from panoptag_pyg.training.recipe import Recipe, shipped_recipes
from panoptag_pyg.training.shipped import shipped_taggers

__all__ = [
    "Recipe",
    "Run",
    "TrainingInterrupted",
    "load_tagger",
    "load_task",
    "shipped_recipes",
    "shipped_taggers",
    "train",
]
