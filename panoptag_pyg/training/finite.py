"""Stopping at a loss or gradient that is not a number, and naming the events that it came from."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.events import EventDataset
from panoptag_pyg.tasks.base import prepared
from panoptag_pyg.training.position import of_all_ranks

#: Values that a GPU may have under way before the oldest is looked at: two steps' losses and gradients. Waiting for
#: work that old costs nothing, asking for this step's loss would empty the GPU's queue.
UNDER_WAY = 4
#: Events that a sentence names.
NAMED = 10


@dataclass(frozen=True)
class _Seen:
    value: Tensor
    copied: torch.cuda.Event | None
    what: str
    step: int
    epoch: int
    batches: range


class FiniteWatch:
    """Looks at each step's loss and gradient without waiting for the device: at once on a CPU, two steps late on a GPU.

    All ranks must see the same values, so that all stop together.

    Args:
        module: the :class:`~panoptag_pyg.training.module.TaggerModule` that trains.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self._seen: deque[_Seen] = deque()

    def look(self, value: Tensor, what: str, batches: range) -> None:
        """Note a value; stop if it, or one noted before, isn't finite.

        Args:
            value: a scalar, the same on all ranks.
            what: ``"loss"`` or ``"gradient"``.
            batches: of this epoch, on each rank, that it came from.

        Raises:
            PanopTagError: naming the step and the events.
        """
        trainer = self.module.trainer
        copied = None
        if value.is_cuda:
            value = value.to("cpu", non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()
        self._seen.append(_Seen(value, copied, what, trainer.global_step + 1, trainer.current_epoch, batches))
        self.settle(0 if copied is None else UNDER_WAY)

    def settle(self, left: int = 0) -> None:
        """Look at what has been noted, but for the last ``left`` values; with 0, the default, at all of it.

        Raises:
            PanopTagError: as :meth:`look`.
        """
        while len(self._seen) > left:
            seen = self._seen.popleft()
            if seen.copied is not None:
                seen.copied.synchronize()
            if not math.isfinite(seen.value.item()):
                self._seen.clear()
                raise PanopTagError(self._sentence(seen))

    def _sentence(self, seen: _Seen) -> str:
        module = self.module
        events = module.trainer.datamodule.batch_names(seen.epoch, seen.batches)
        found = events.select(slice(0))
        if seen.what == "loss":
            with suppress(Exception):  # an error here would leave the other ranks waiting below
                found = _without_finite_loss(module, events)
        alone = 0 < len(found) < len(events)
        of_ranks = of_all_ranks((alone, _places(found if alone else events)))
        alone = any(sure for sure, _ in of_ranks)
        places = [place for sure, own in of_ranks if sure == alone for place in own]
        whose = "on" if alone else "in the batch of" if len(seen.batches) == 1 else "in the batches of"
        return (
            f"the training {seen.what} became {seen.value.item()} at step {seen.step} (epoch {seen.epoch + 1}) {whose} "
            f"{name_events(places)}; lower train.lr or set train.gradient_clip, and check the events with "
            "panoptag inspect --check"
        )


def name_events(places: Iterable[tuple[str, int, int]], named: int = NAMED) -> str:
    """Events in words: ``a.h5: events 3 (id 103), 17 (id 117); b.h5: event 0 (id 0); and 54 more``.

    Args:
        places: file, number in it and id of each event.
        named: how many to name at most. Default 10.
    """
    places = list(places)
    of_file: dict[str, list[str]] = {}
    for file, number, event_id in places[:named]:
        of_file.setdefault(file, []).append(f"{number} (id {event_id})")
    parts = [f"{file}: event{'s' * (len(names) > 1)} {', '.join(names)}" for file, names in of_file.items()]
    return "; ".join(parts + ([f"and {len(places) - named} more"] if len(places) > named else []))


def _places(events: EventDataset) -> list[tuple[str, int, int]]:
    files = [str(events.files[number].path) for number in events.file_of_events()]
    return list(zip(files, events.number_in_file().tolist(), events.event_keys()[1].tolist(), strict=True))


@torch.no_grad()
def _without_finite_loss(module: Any, events: EventDataset) -> EventDataset:
    """Those of the events whose loss isn't finite by themselves, without dropout."""
    module.model.eval()
    bad = []
    for number in range(len(events)):
        batch = prepared(module.task, events.get_batch([number]).to(module.device), number)
        parts = module.task.loss_parts(module.task.measure(module.model, batch))
        if not all(bool(torch.isfinite(torch.stack(pair)).all()) for _, *pair in parts):
            bad.append(number)
    module.model.train()
    return events.select(np.array(bad, dtype=np.int64))
