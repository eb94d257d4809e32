"""A trained tagger from disk with all that belongs to it."""

from __future__ import annotations

import os
from pathlib import Path

from torch import nn

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.evaluation.calibrate import Calibration
from panoptag_pyg.tasks import Task
from panoptag_pyg.training.recipe import Recipe


def load_parts(
    run: str | os.PathLike[str], calibration: str | os.PathLike[str] | None = None
) -> tuple[nn.Module, Recipe, Task | None, Calibration | None]:
    """The network of a run, its recipe, its task unless that is the flavour of jets, and a calibration.

    Args:
        run: run folder, checkpoint, or folder of config and weights.
        calibration: file of the calibration. Default: none.

    Raises:
        CheckpointError: if the run can't be read.
        CalibrationError, ConfigError: as :func:`load_calibration`.
    """
    from panoptag_pyg.training import load_tagger, load_task

    model, recipe = load_tagger(run)
    found = load_calibration(None if calibration is None else Path(calibration), recipe)
    return model, recipe, None if recipe.task.name == "flavour" else load_task(run), found


def load_calibration(path: Path | None, recipe: Recipe) -> Calibration | None:
    """The calibration to apply; ``None`` without a file.

    Args:
        path: the ``calibration.json`` of ``panoptag check``.
        recipe: the run's.

    Raises:
        CalibrationError: if it can't be read.
        ConfigError: if the run isn't a flavour tagger.
    """
    if path is not None and recipe.task.name != "flavour":
        raise ConfigError(f"--calibration is for the task 'flavour', the run is of '{recipe.task.name}'; leave it out")
    return None if path is None else Calibration.load(path)
