"""Where in an epoch a run stands, and what is needed to go on from there as if it had never stopped."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from panoptag_pyg.errors import ConfigError


@dataclass(frozen=True)
class Position:
    """How far a run has come.

    Attributes:
        epoch: epochs finished.
        batches: batches of the next one that are done, on each rank; 0 between epochs.
        world_size: processes that trained.
    """

    epoch: int = 0
    batches: int = 0
    world_size: int = 1

    def check(self, world_size: int) -> None:
        """Refuse to finish an epoch with another number of processes: events would be left out, others seen twice.

        Raises:
            ConfigError: if the epoch was begun by another number of processes.
        """
        if self.batches and self.world_size != world_size:
            raise ConfigError(
                f"the run was stopped within epoch {self.epoch + 1}, which {self.world_size} processes had begun; "
                f"go on with {self.world_size}, not {world_size} (train.devices, train.num_nodes)"
            )

    def state(self) -> dict[str, int]:
        """As it stands in checkpoints."""
        return asdict(self)


def saved_position(checkpoint: dict[str, Any]) -> Position:
    """The position in a checkpoint; of one that doesn't say, the end of its epoch."""
    state = checkpoint.get("TaggerData")
    return Position(**state) if state else Position(epoch=int(checkpoint["epoch"]) + 1)


def position(trainer: pl.Trainer, begun: Position) -> Position:
    """Where a trainer stands.

    Args:
        trainer: the trainer.
        begun: where it began.
    """
    loop: Any = trainer.fit_loop
    epoch = loop.epoch_progress.current.processed
    within = loop.epoch_progress.current.ready > epoch
    batches = loop.epoch_loop.batch_progress.current.ready if within else 0
    if batches and epoch == begun.epoch:
        batches += begun.batches
    return Position(epoch, batches, trainer.world_size)


def begin_epoch_anew(checkpoint: dict[str, Any]) -> None:
    """Let Lightning begin the checkpoint's unfinished epoch like any other; the loader leaves out what is done.

    Its own way to go on within an epoch leaves out the hooks of the epoch's start and wants a loader that it can wind.
    """
    fit = checkpoint["loops"]["fit_loop"]
    for counts in fit["epoch_progress"].values():
        counts |= dict.fromkeys(("ready", "started", "completed"), counts["processed"])
    batches = fit["epoch_loop.batch_progress"]
    batches["is_last_batch"] = False
    batches["current"] = dict.fromkeys(batches["current"], 0)
    batches["total"] = dict.fromkeys(batches["total"], batches["total"]["ready"])


def random_state(device: torch.device) -> dict[str, Tensor]:
    """torch's random numbers: some 5 kB for the CPU, 16 bytes for a GPU."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Go on with the random numbers of :func:`random_state`."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def of_all_ranks(value: Any) -> list[Any]:
    """``value`` of every rank, in their order; every rank must ask."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [value]
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values
