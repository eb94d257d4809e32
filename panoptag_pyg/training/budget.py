"""``data.max_pfos_per_batch = "auto"``: the largest number of PFOs per batch that fits into memory."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from torch import nn
from torch_geometric.data import HeteroData

from panoptag_pyg import __version__
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import EventDataset
from panoptag_pyg.output import write_text
from panoptag_pyg.tasks import Task
from panoptag_pyg.training.checkpoint import checkpoint_recipe, read_checkpoint
from panoptag_pyg.training.data import TaggerData
from panoptag_pyg.training.memory import available_memory, peak_memory, reset_peak, resident_memory
from panoptag_pyg.training.recipe import Recipe
from panoptag_pyg.training.trial import Trial

AUTO = "auto"
#: Share of the largest budget that fits which is taken on a GPU: fragments, other ranks' buffers, odd batches.
HEADROOM = 0.9
#: Share of the free memory that a step on the CPU may take: other programs want some of it later.
CPU_SHARE = 0.7
#: A budget leaves at least so many optimiser steps per epoch: memory isn't all that matters.
MIN_STEPS = 32
#: How close the search comes.
RESOLUTION = 1.05
#: On the CPU no larger batch is tried once a step takes so many seconds.
LONG_STEP = 5.0


def largest_that_fits(fits: Callable[[int], bool], first: int, limit: int, resolution: float = RESOLUTION) -> int:
    """The largest number found for which ``fits`` holds: by doubling, then by bisection.

    Args:
        fits: whether a number fits; if one does, all below it do.
        first: tried first.
        limit: the largest number wanted.
        resolution: ratio of the smallest number that didn't fit and the largest that did, at most. Default 1.05.

    Returns:
        0 if ``first`` doesn't fit.
    """
    good, size = 0, min(first, limit)
    while fits(size):
        good = size
        if good == limit:
            return limit
        size = min(2 * size, limit)
    bad = size
    while good and bad > good * resolution and bad > good + 1:
        middle = (good + bad) // 2
        if fits(middle):
            good = middle
        else:
            bad = middle
    return good


def largest_by_extrapolation(
    measure: Callable[[int], tuple[float, float]], allowance: float, first: int, limit: int
) -> int:
    """The largest number whose memory stays below ``allowance``, by a line through two that are far below it.

    Sizes double as long as the next is expected to take less than half of ``allowance``, so that nothing too large is
    ever tried. The line's slope is taken to be at least half of the last size's mean: what memory was free already
    doesn't show.

    Args:
        measure: bytes and seconds that a size takes.
        allowance: bytes that may be taken.
        first: the first size; smaller ones aren't considered.
        limit: the largest number wanted.

    Returns:
        0 if not even ``first`` fits.
    """
    size, used, slope = 0, 0.0, 0.0
    following = min(first, limit)
    while True:
        more, seconds = measure(following)
        slope = max((more - used) / (following - size) if size else 0.0, 0.5 * more / following)
        size, used = following, more
        if size >= limit or seconds > LONG_STEP:
            break
        following = min(2 * size, limit)
        if 2 * used > allowance / 2:
            break
    if used > allowance or allowance <= 0:
        return 0
    # Without a slope to go by, what was tried is all that is known to fit.
    return min(int(size + (allowance - used) / slope), limit) if slope > 0 else size


def find_budget(
    recipe: Recipe,
    model: nn.Module,
    task: Task,
    training: EventDataset,
    device: torch.device,
    ranks: int = 1,
    ranks_here: int = 1,
) -> int:
    """PFOs per batch: the most that fit, less some headroom; 0 if none does.

    Tries steps of training on real batches, the largest events first, on a copy of the tagger: its weights and all
    random numbers stay as they are. On a GPU batches grow until memory runs out. On the CPU, where that would take the
    machine down, the memory of a few small ones is measured and extrapolated.

    Args:
        recipe: what to do.
        model: the tagger.
        task: its task.
        training: the training events.
        device: where.
        ranks: processes that share the events. Default 1.
        ranks_here: those that share the CPU's memory. Default 1.
    """
    sizes = training.num_pfos()
    largest = int(sizes.max())
    limit = max(int(sizes.sum()) // (MIN_STEPS * ranks), largest)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        trial = Trial(model, task, recipe.train, device)

        def step(pfos: int) -> None:
            trial.step(batch_of(training, sizes, pfos))

        if device.type == "cuda":

            def fits(pfos: int) -> bool:
                try:
                    step(pfos)
                    torch.cuda.synchronize(device)
                    return True
                except torch.OutOfMemoryError:
                    return False
                finally:
                    trial.optimizer.zero_grad()
                    gc.collect()
                    torch.cuda.empty_cache()

            found = largest_that_fits(fits, largest, limit)
            found = max(int(HEADROOM * found), min(found, largest))
        else:
            allowance = CPU_SHARE * available_memory() / ranks_here
            step(largest)  # what is made once, by the first step, is there to stay
            before = resident_memory()

            def measure(pfos: int) -> tuple[float, float]:
                gc.collect()
                reset_peak()
                start = time.monotonic()
                step(pfos)
                return max(peak_memory() - before, 0), time.monotonic() - start

            found = largest_by_extrapolation(measure, allowance, largest, limit)
    return found


def batch_of(training: EventDataset, sizes: np.ndarray, pfos: int) -> HeteroData:
    """The fewest events with most PFOs that have ``pfos`` or more together; all, if these have fewer.

    Args:
        training: the events.
        sizes: PFOs of each.
        pfos: at least so many.
    """
    order = np.argsort(-sizes, kind="stable")
    number = int(np.searchsorted(np.cumsum(sizes[order]), pfos, side="left")) + 1
    return training.get_batch(np.sort(order[:number]))


def with_budget(
    recipe: Recipe,
    model: nn.Module,
    task: Task,
    data: TaggerData,
    device: torch.device,
    trainer: pl.Trainer | None = None,
) -> Recipe:
    """The recipe with a number in the place of ``"auto"``, which the data module has then too.

    Args:
        recipe: with or without ``"auto"``.
        model: the tagger.
        task: its task.
        data: the events.
        device: where to train.
        trainer: of a distributed run, all ranks of which take the smallest number found. Default: none.

    Raises:
        ConfigError: if the largest event alone doesn't fit.
    """
    if recipe.data.max_pfos_per_batch != AUTO:
        return recipe
    ranks = trainer.world_size if trainer is not None else 1
    here = -(-ranks // trainer.num_nodes) if trainer is not None else 1
    found = find_budget(recipe, model, task, data.training, device, ranks, here)
    if trainer is not None:
        found = int(trainer.strategy.reduce(torch.tensor(found, device=device), reduce_op="min"))
    if found == 0:
        raise ConfigError(
            f"data.max_pfos_per_batch = 'auto': a batch of {int(data.training.num_pfos().max())} PFOs, the largest "
            "event, doesn't fit into memory; set data.max_pfos lower, or make the model smaller"
        )
    recipe = resolved(recipe, found)
    data.section = recipe.data
    return recipe


def resolved(recipe: Recipe, pfos: int) -> Recipe:
    """The recipe with ``pfos`` in the place of ``"auto"``."""
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"max_pfos_per_batch": pfos})})


def known_budget(recipe: Recipe, last: Path) -> Recipe:
    """The recipe with the number that an earlier sitting found, if it asks for ``"auto"`` and there was one.

    Args:
        recipe: as given.
        last: the checkpoint to go on from.

    Raises:
        CheckpointError: if it is damaged.
    """
    if recipe.data.max_pfos_per_batch != AUTO or not last.is_file():
        return recipe
    found = checkpoint_recipe(read_checkpoint(last), last).data.max_pfos_per_batch
    return resolved(recipe, found) if isinstance(found, int) else recipe


class BudgetSearch(Callback):
    """Puts the number found in the place of ``"auto"``, once the ranks can talk to each other.

    Args:
        file: the run's recipe, which is written anew.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        recipe = with_budget(
            pl_module.recipe, pl_module.model, pl_module.task, data, trainer.strategy.root_device, trainer
        )
        if recipe is pl_module.recipe:
            return
        pl_module.recipe = recipe
        if trainer.is_global_zero:
            write_text(self.file, resolved_text(recipe))
            Console(stderr=True, highlight=False).print(
                f"data.max_pfos_per_batch: {recipe.data.max_pfos_per_batch:,} PFOs fit"
            )


def resolved_text(recipe: Recipe) -> str:
    """A run's ``recipe.toml``."""
    return f"# Resolved by panoptag-pyg {__version__}\n{recipe.to_toml()}"
