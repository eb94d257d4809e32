"""Which events make up which batch: contiguous reads, any order, the same number of batches on every rank."""

from __future__ import annotations

import numpy as np

#: Events in a run that is read in one go, and events that are shuffled among each other at a time.
RUN_EVENTS = 256
WINDOW_EVENTS = 4096
#: PFOs of a window at most, on average: some 100 MB of columns. Events with much pileup come in smaller windows.
WINDOW_PFOS = 2_500_000


def plan_epoch(
    sizes: np.ndarray,
    *,
    batch_size: int | None = None,
    max_pfos_per_batch: int | None = None,
    shuffle: bool = False,
    seed: int = 0,
    epoch: int = 0,
    rank: int = 0,
    world_size: int = 1,
    drop_last: bool = False,
) -> list[list[np.ndarray]]:
    """Plan one rank's batches of one epoch.

    Shuffling permutes runs of :data:`RUN_EVENTS` neighbouring events and then the events inside windows of about
    :data:`WINDOW_EVENTS`, so a window is read as some 16 contiguous pieces; of events with so many PFOs that a window
    would hold more than :data:`WINDOW_PFOS`, windows and runs have fewer. Ranks get disjoint shares of the runs,
    equal to within one event. Every event is in exactly one batch of one rank (but for ``drop_last``), and all ranks
    have the same number of batches; with fewer events than ranks some batches are empty.

    Args:
        sizes: PFOs of each event, [N].
        batch_size: events per batch.
        max_pfos_per_batch: PFOs per batch at most, in place of ``batch_size``; an event above it is a batch by itself.
        shuffle: new order each epoch. Default ``False``: dataset order.
        seed: of the order. Default 0.
        epoch: the order depends on it. Default 0.
        rank: this process. Default 0.
        world_size: number of processes. Default 1.
        drop_last: leave out batches of fewer than ``batch_size`` events. Default ``False``.

    Returns:
        windows of batches; each batch is an array of event numbers. A window's events are worth reading together.
    """
    window = window_events(sizes)
    run = max(1, min(RUN_EVENTS, window // (WINDOW_EVENTS // RUN_EVENTS)))
    shares = _shares(len(sizes), run if shuffle else None, np.random.default_rng((seed, epoch)), world_size)
    plans = []
    for share_rank, share in enumerate(shares):
        rng = np.random.default_rng((seed, epoch, share_rank + 1))
        plans.append(_cut(share, sizes, window, batch_size, max_pfos_per_batch, rng if shuffle else None, drop_last))
        if world_size == 1:
            return plans[0]
    num_batches = [sum(len(window) for window in plan) for plan in plans]
    if drop_last:
        return _drop_batches(plans[rank], num_batches[rank] - min(num_batches))
    return _add_batches(plans[rank], max(num_batches) - num_batches[rank])


def window_events(sizes: np.ndarray) -> int:
    """How many events of these sizes are shuffled among each other, and are in memory, at a time."""
    mean = max(float(sizes.mean()), 1.0) if len(sizes) else 1.0
    return max(1, min(WINDOW_EVENTS, int(WINDOW_PFOS / mean)))


def _shares(num_events: int, run: int | None, rng: np.random.Generator, world_size: int) -> list[np.ndarray]:
    order = np.arange(num_events)
    if run is not None:
        runs = np.split(order, np.arange(run, num_events, run))
        order = np.concatenate([runs[i] for i in rng.permutation(len(runs))]) if num_events else order
    return np.array_split(order, world_size)


def _cut(
    order: np.ndarray,
    sizes: np.ndarray,
    window_size: int,
    batch_size: int | None,
    max_pfos: int | None,
    rng: np.random.Generator | None,
    drop_last: bool,
) -> list[list[np.ndarray]]:
    # Windows hold whole batches, so that no batch needs events of two windows.
    step = batch_size * max(1, window_size // batch_size) if batch_size else window_size
    windows = []
    for start in range(0, len(order), step):
        window = order[start : start + step]
        if rng is not None:
            window = rng.permutation(window)
        if batch_size:
            batches = np.split(window, np.arange(batch_size, len(window), batch_size))
            if drop_last and len(batches[-1]) < batch_size:
                batches.pop()
        else:
            assert max_pfos is not None
            batches = np.split(window, budget_cuts(sizes[window], max_pfos))
        windows.append(batches)
    return windows


def budget_cuts(sizes: np.ndarray, budget: int) -> list[int]:
    """Where to cut so that each piece sums to at most ``budget``, taking as many in a row as fit."""
    total = np.concatenate(([0], np.cumsum(sizes)))
    cuts: list[int] = []
    start = 0
    while True:
        stop = int(np.searchsorted(total, total[start] + budget, side="right")) - 1
        start = max(stop, start + 1)
        if start >= len(sizes):
            return cuts
        cuts.append(start)


def _drop_batches(plan: list[list[np.ndarray]], surplus: int) -> list[list[np.ndarray]]:
    while surplus:
        plan[-1].pop()
        surplus -= 1
        if not plan[-1]:
            plan.pop()
    return plan


def _add_batches(plan: list[list[np.ndarray]], missing: int) -> list[list[np.ndarray]]:
    """Halve the last batches until there are ``missing`` more; nothing is lost, nothing comes twice."""
    if missing and not plan:
        plan = [[]]
    for _ in range(missing):
        if not plan[-1]:
            plan[-1].append(np.empty(0, dtype=np.int64))
            continue
        largest = max(range(len(plan[-1])), key=lambda i: len(plan[-1][i]))
        batch = plan[-1].pop(largest)
        half = (len(batch) + 1) // 2
        plan[-1][largest:largest] = [batch[:half], batch[half:]]
    return plan
