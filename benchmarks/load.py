"""Whether something else was using the processors while speed was measured."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

#: Others may use this share of one core: the system itself always does something.
OTHERS = 0.10
#: The yardstick's median may be this much slower than its quickest round.
SPREAD = 1.25


class LoadWatch:
    """Says afterwards whether the machine was quiet: by what others used of it, and by a yardstick's rounds.

    The yardstick, one matrix product of always the same size, is to be timed in every round among what is measured;
    it shows the load of a shared host, too, that no counter of ours sees.
    """

    def __init__(self, device: torch.device) -> None:
        self.matrix: Tensor = torch.ones(384, 384, device=device)
        self.start = (time.monotonic(), _busy_seconds(), _own_seconds())

    def yardstick(self) -> Tensor:
        """The call to be timed in every round."""
        return self.matrix @ self.matrix

    def result(self, yardstick: list[float]) -> dict[str, float | bool | None]:
        """``quiet``, and what it was concluded from.

        Args:
            yardstick: seconds per call, round by round.

        Returns:
            ``quiet``, ``others``: cores that other processes used on average (``None``: unknown), ``yardstick_spread``:
            its median over its minimum.
        """
        seconds = time.monotonic() - self.start[0]
        busy, own = _busy_seconds(), _own_seconds() - self.start[2]
        others = None
        if busy is not None and self.start[1] is not None and seconds > 0:
            others = max(busy - self.start[1] - own, 0.0) / seconds
        spread = statistics.median(yardstick) / min(yardstick) if yardstick else 1.0
        return {
            "quiet": (others is None or others < OTHERS) and spread < SPREAD,
            "others": None if others is None else round(others, 3),
            "yardstick_spread": round(spread, 3),
        }


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _busy_seconds() -> float | None:
    """Processor seconds that everybody has used since the start; ``None`` where the system doesn't tell."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        user, nice, system, _, _, interrupts, soft, steal = (int(field) for field in fields)
        return (user + nice + system + interrupts + soft + steal) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None
