"""``panoptag train --find-lr``: which learning rate to try first, by a sweep from far too small to far too large."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch_geometric.data import HeteroData

from panoptag_pyg import __version__
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events.augmentation import Augmentation
from panoptag_pyg.output import atomic_output, write_json
from panoptag_pyg.progress import progress
from panoptag_pyg.tasks import build_task
from panoptag_pyg.training.budget import with_budget
from panoptag_pyg.training.checkpoint import build_model, needed_fields
from panoptag_pyg.training.cpu import cpu_threads
from panoptag_pyg.training.data import Paths, TaggerData
from panoptag_pyg.training.engine import fit_normalisation
from panoptag_pyg.training.launch import accelerator_of
from panoptag_pyg.training.pretrained import begin, freeze
from panoptag_pyg.training.process_weights import check_weighted
from panoptag_pyg.training.quiet import quiet_lightning
from panoptag_pyg.training.recipe import Recipe
from panoptag_pyg.training.trial import Trial, check_precision

#: What the folder gets, and all that it may hold before.
JSON, PNG = "find_lr.json", "find_lr.png"
#: Rates of the first and the last step, and how many steps lie between.
FIRST, LAST, NUM_STEPS = 1e-6, 1.0, 200
#: Share of the past in the smoothed loss: a memory of ten steps, a third of a decade of the rate.
MEMORY = 0.9
#: The loss has diverged once it is above its lowest by so many times that, or what was gained by then if it is more.
DIVERGED = 3.0
#: By what the rate of the lowest loss is divided.
MARGIN = 10.0


@dataclass(frozen=True)
class RangeTest:
    """What a sweep of the rate showed.

    Attributes:
        suggestion: the rate to try, a tenth of ``lowest``; ``None`` if the loss didn't fall.
        lowest: rate at which the smoothed loss was lowest.
        steepest: rate up to ``lowest`` at which it fell fastest per decade of the rate.
        diverged: rate at which it had diverged; ``None`` if it didn't.
        rates, losses, smoothed: rate, loss and smoothed loss of each step.
    """

    suggestion: float | None
    lowest: float
    steepest: float
    diverged: float | None
    rates: list[float] = field(repr=False)
    losses: list[float] = field(repr=False)
    smoothed: list[float] = field(repr=False)


def range_test(
    step: Callable[[float], float], first: float = FIRST, last: float = LAST, num_steps: int = NUM_STEPS
) -> RangeTest:
    r"""Raise the rate exponentially, step by step, until the loss diverges.

    With the losses :math:`L_i` the smoothed one is :math:`S_i = \sum_{k \le i} m^{i-k} L_k / \sum_{k \le i} m^{i-k}`
    with m = 0.9. The sweep ends where a loss isn't finite, or :math:`S_i > S_{min} + 3 \max(|S_{min}|, S_1 - S_{min})`.

    Source: L. Smith, *Cyclical Learning Rates*, arXiv:1506.01186, sec. 3.3. The rate suggested is a tenth of that of
    the lowest smoothed loss: where it is lowest, steps are already as much too long as they are useful.

    Args:
        step: makes one step at a given rate and returns the loss before it.
        first: rate of the first step. Default 1e-6.
        last: rate of the last step. Default 1.
        num_steps: steps at most. Default 200.
    """
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    weighted = weight = 0.0
    diverged = None
    for rate in np.geomspace(first, last, num_steps).tolist():
        loss = step(rate)
        if not math.isfinite(loss):
            diverged = rate
            break
        weighted, weight = MEMORY * weighted + loss, MEMORY * weight + 1
        rates.append(rate)
        losses.append(loss)
        smoothed.append(weighted / weight)
        best = min(smoothed)
        if smoothed[-1] > best + DIVERGED * max(abs(best), smoothed[0] - best):
            diverged = rate
            break
    if len(rates) < 2:
        raise ConfigError("the loss isn't finite at the smallest learning rate; look for what is wrong with the events")
    lowest = int(np.argmin(smoothed))
    slope = np.gradient(smoothed, np.log10(rates))
    # The first steps' mean is of few losses, and falls or rises by chance.
    settled = min(round(1 / (1 - MEMORY)), len(rates) - 1)
    fell = lowest > settled and smoothed[lowest] < smoothed[settled]
    # Beyond the lowest loss it may fall again, from wherever it has jumped to.
    steepest = settled + int(np.argmin(slope[settled : lowest + 1])) if fell else lowest
    return RangeTest(
        suggestion=rates[lowest] / MARGIN if fell else None,
        lowest=rates[lowest],
        steepest=rates[steepest],
        diverged=diverged,
        rates=rates,
        losses=losses,
        smoothed=smoothed,
    )


def find_lr(
    recipe: Recipe, data: Paths, output: str | Path, validation: Paths | None = None, num_steps: int = NUM_STEPS
) -> RangeTest:
    """Sweep the learning rate of the run that :func:`~panoptag_pyg.training.train` would make; trains nothing.

    Model, task, optimiser, clipping, precision and batches are the run's, on one device. The folder gets
    ``find_lr.json`` and ``find_lr.png``.

    Args:
        recipe: what to do.
        data: file, files, folder or glob of the training events.
        output: a folder, new or of an earlier sweep.
        validation: validation events, as in :func:`~panoptag_pyg.training.train`; left out of the sweep.
        num_steps: of the sweep. Default 200.

    Raises:
        ConfigError: if the recipe doesn't fit, or ``output`` holds anything else.
        EventFileError: if the events can't be read.
    """
    output = Path(output)
    check_output(output)
    with quiet_lightning(), cpu_threads(recipe.train.threads):
        device = device_of(recipe)
        torch.manual_seed(recipe.train.seed)
        model = build_model(recipe)
        task = build_task(recipe.task.name, **recipe.task.options)
        datamodule = TaggerData(
            recipe.data, data, validation, recipe.train.seed, needed_fields(model, task), task.processes
        )
        check_weighted(recipe.data.process_weights, task)
        task.fit(datamodule.training)
        fit_normalisation(model, datamodule.normalisation_sample())
        freeze(model, task, recipe.train, begin(model, task, recipe).taken)
        recipe = with_budget(recipe, model, task, datamodule, device)
        trial = Trial(model, task, recipe.train, device)
        batches, augment = _endless(datamodule), Augmentation(recipe.augmentation)
        with progress("sweeping the learning rate", num_steps, "steps") as advance:

            def step(rate: float) -> float:
                loss = trial.step(augment(next(batches).to(device)), rate).item()
                advance(1)
                return loss

            result = range_test(step, num_steps=num_steps)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{output}: can't be made ({error.strerror})") from error
    facts = {
        "format": "panoptag-find-lr",
        "version": __version__,
        "rule": "a tenth of the rate at which the smoothed loss was lowest",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "recipe": recipe.model_dump(),
    }
    write_json(output / JSON, {**facts, **asdict(result)})
    draw(result, output / PNG)
    return result


def check_output(output: Path) -> None:
    """Refuse a folder that holds anything but an earlier sweep.

    Raises:
        ConfigError: naming it.
    """
    if output.exists() and not output.is_dir():
        raise ConfigError(f"{output}: is a file; choose another folder for the learning rates")
    if output.is_dir() and {entry.name for entry in output.iterdir()} - {JSON, PNG}:
        raise ConfigError(
            f"{output}: holds more than an earlier --find-lr; choose another folder, for it trains nothing"
        )


def device_of(recipe: Recipe) -> torch.device:
    """The device that the recipe names, the first if there are several.

    Raises:
        ConfigError: if it isn't there, or can't do the recipe's precision.
    """
    try:
        device = Fabric(accelerator=accelerator_of(recipe.train), devices=1).device
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"train.accelerator = {recipe.train.accelerator!r} can't be used here ({reason})") from error
    check_precision(recipe.train, device)
    return device


def draw(result: RangeTest, path: Path) -> None:
    """The losses over the rate, with what is suggested."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(result.rates, result.losses, color="0.75", linewidth=0.8, label="loss of each step")
    axes.plot(result.rates, result.smoothed, color="C0", label="smoothed")
    for rate, words, colour in ((result.lowest, "lowest", "0.4"), (result.suggestion, "suggested", "C3")):
        if rate is not None:
            axes.axvline(rate, color=colour, linestyle="--", linewidth=1, label=f"{words}: {rate:.1e}")
    top = np.quantile(result.losses, 0.9) if result.diverged is None else 2 * max(result.smoothed[:20])
    bottom = min(result.smoothed)
    if top > bottom:
        axes.set_ylim(bottom - 0.1 * (top - bottom), top + 0.2 * (top - bottom))
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    axes.legend(frameon=False)
    with atomic_output(path, overwrite=True) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def _endless(data: TaggerData) -> Iterator[HeteroData]:
    """Batches of one epoch after the other."""
    epoch: Any = 0
    while True:
        yield from data.loader(training=True, epoch=epoch)
        epoch += 1
