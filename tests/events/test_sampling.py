"""Which events make up which batch."""

from __future__ import annotations

import numpy as np
import pytest

from panoptag_pyg.events.sampling import WINDOW_PFOS, plan_epoch


def flat(plan: list[list[np.ndarray]]) -> list[np.ndarray]:
    return [batch for window in plan for batch in window]


@pytest.mark.parametrize("num_events", [0, 1, 63, 64, 257, 9001])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize("budget", [{"batch_size": 64}, {"batch_size": 5000}, {"max_pfos_per_batch": 997}])
def test_every_event_once_and_equal_batches_on_every_rank(
    rng: np.random.Generator, num_events: int, shuffle: bool, world_size: int, budget: dict
) -> None:
    sizes = rng.poisson(30, num_events)
    plans = [
        plan_epoch(sizes, **budget, shuffle=shuffle, seed=5, epoch=2, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    counts = {len(flat(plan)) for plan in plans}
    assert len(counts) == 1
    events = np.concatenate([np.empty(0, int), *(batch for plan in plans for batch in flat(plan))])
    assert sorted(events.tolist()) == list(range(num_events))
    for plan in plans:
        for batch in flat(plan):
            assert len(batch) <= budget.get("batch_size", num_events)
            if "max_pfos_per_batch" in budget and len(batch) > 1:
                assert sizes[batch].sum() <= 997


def test_without_shuffling_the_order_is_the_dataset_s() -> None:
    batches = flat(plan_epoch(np.full(1000, 3), batch_size=64))
    assert np.concatenate(batches).tolist() == list(range(1000))
    assert [len(batch) for batch in batches] == [64] * 15 + [40]


def test_order_depends_on_seed_and_epoch_only() -> None:
    sizes = np.full(5000, 3)

    def order(**choice: int) -> list[int]:
        return np.concatenate(flat(plan_epoch(sizes, batch_size=64, shuffle=True, **choice))).tolist()

    assert order(seed=1, epoch=3) == order(seed=1, epoch=3)
    assert order(seed=1, epoch=3) != order(seed=1, epoch=4)
    assert order(seed=1, epoch=3) != order(seed=2, epoch=3)


def test_shuffling_mixes_far_events() -> None:
    first = plan_epoch(np.full(100_000, 3), batch_size=64, shuffle=True)[0][0]
    assert np.ptp(first) > 50_000


def test_a_window_is_a_few_contiguous_reads() -> None:
    for window in plan_epoch(np.full(100_000, 3), batch_size=100, shuffle=True):
        events = np.sort(np.concatenate(window))
        assert np.count_nonzero(np.diff(events) > 1) <= 18


def test_events_with_many_pfos_come_in_smaller_windows() -> None:
    sizes = np.full(3000, 10_000)
    plan = plan_epoch(sizes, batch_size=8, shuffle=True)
    for window in plan:
        events = np.sort(np.concatenate(window))
        assert sizes[events].sum() <= WINDOW_PFOS
        assert np.count_nonzero(np.diff(events) > 1) <= 18
    assert sorted(np.concatenate(flat(plan)).tolist()) == list(range(3000))
    # One event beyond all bounds is a window by itself.
    assert [len(window) for window in plan_epoch(np.array([9, 10**8]), batch_size=1)] == [1, 1]


def test_drop_last() -> None:
    batches = flat(plan_epoch(np.full(1000, 3), batch_size=64, drop_last=True))
    assert [len(batch) for batch in batches] == [64] * 15
    for rank in range(3):
        batches = flat(plan_epoch(np.full(1000, 3), batch_size=64, drop_last=True, rank=rank, world_size=3))
        assert [len(batch) for batch in batches] == [64] * 5


def test_budget_is_used_well(rng: np.random.Generator) -> None:
    sizes = rng.integers(100, 500, 4096)
    batches = flat(plan_epoch(sizes, max_pfos_per_batch=20_000))
    filled = np.array([sizes[batch].sum() for batch in batches[:-1]])
    assert filled.min() > 20_000 - 500


def test_an_event_above_the_budget_is_a_batch_by_itself() -> None:
    batches = flat(plan_epoch(np.array([10, 5000, 20, 30, 0, 0]), max_pfos_per_batch=50))
    assert [batch.tolist() for batch in batches] == [[0], [1], [2, 3, 4, 5]]
