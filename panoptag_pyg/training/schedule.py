"""The learning rate of every step: a linear warm-up, then cosines that start again."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


def learning_rate(
    step: int, *, peak: float, start: float, floor: float, warmup_steps: int, cosine_steps: int, restart: bool = True
) -> float:
    r"""Learning rate of optimiser step ``step`` (the first is 0).

    .. math::
        \eta(t) = \begin{cases}
        \eta_0 + (\eta_1 - \eta_0)\, t / W & t < W \\
        \eta_f + \tfrac12 (\eta_1 - \eta_f) \left(1 + \cos \pi \frac{(t - W) \bmod T}{T}\right) & t \ge W
        \end{cases}

    Source: I. Loshchilov, F. Hutter, *SGDR*, arXiv:1608.03983, eq. 5 (with T_mult = 1), after a warm-up.

    Args:
        step: number of the step.
        peak: η₁, reached when the warm-up ends and at every restart.
        start: η₀, where the warm-up begins.
        floor: η_f, where the cosines end.
        warmup_steps: W; 0 for no warm-up.
        cosine_steps: T, length of one cosine.
        restart: whether another cosine follows; else the rate stays at the floor. Default ``True``.
    """
    if step < warmup_steps:
        return start + (peak - start) * step / warmup_steps
    done = step - warmup_steps
    phase = (done % cosine_steps if restart else min(done, cosine_steps)) / cosine_steps
    return floor + (peak - floor) * (1 + math.cos(math.pi * phase)) / 2


class WarmupCosineRestarts(LRScheduler):
    """:func:`learning_rate` as a scheduler, to be stepped after every optimiser step.

    Its state is a handful of numbers, so a checkpoint that holds it loads with ``weights_only=True``.

    Args:
        optimizer: all its parameter groups get the same rate, times their own ``"lr_factor"`` where they have one.
        peak: rate after the warm-up.
        start: rate at step 0. Default 1e-6.
        floor: rate at the end of each cosine. Default 0.
        warmup_steps: length of the warm-up. Default 0: none.
        cosine_steps: length of one cosine.
        restart: whether another cosine follows. Default ``True``.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        peak: float,
        start: float = 1e-6,
        floor: float = 0.0,
        warmup_steps: int = 0,
        cosine_steps: int,
        restart: bool = True,
    ) -> None:
        self.peak, self.start, self.floor = peak, start, floor
        self.warmup_steps, self.cosine_steps, self.restart = warmup_steps, max(cosine_steps, 1), restart
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        rate = learning_rate(
            self.last_epoch,  # torch's name for "how often was I stepped"
            peak=self.peak,
            start=self.start,
            floor=self.floor,
            warmup_steps=self.warmup_steps,
            cosine_steps=self.cosine_steps,
            restart=self.restart,
        )
        return [rate * group.get("lr_factor", 1.0) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands; its shape belongs to the recipe, so that a resumed run may be made longer."""
        return {"last_epoch": self.last_epoch, "_step_count": self._step_count}
