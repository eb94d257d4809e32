"""The rounds of the latency study under a clock that moves only when a made-up subject works."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from helpers.events import random_block

from panoptag_pyg.benchmarks.latency_study.cells import Cell
from panoptag_pyg.benchmarks.latency_study.harness import (
    BATCH,
    SINGLE,
    TAIL_VISITS,
    Harness,
    Timer,
    best_batch,
    percentiles,
    same_work,
)
from panoptag_pyg.benchmarks.latency_study.result import crossovers, times_of
from panoptag_pyg.benchmarks.latency_study.subjects import EVENT, JET, Subject
from panoptag_pyg.events import EventBlock


class FakeClock:
    """Seconds that pass when somebody works."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def subject(
    clock: FakeClock, name: str, level: str, seconds: Callable[[EventBlock], float], preparing: float = 0.001
) -> Subject:
    """Takes ``preparing`` seconds per event to prepare, and ``seconds`` of a block to score."""

    def prepare(block: EventBlock) -> EventBlock:
        clock.seconds += preparing * block.num_events
        return block

    def score(block: EventBlock) -> None:
        clock.seconds += seconds(block)

    return Subject(name, name, level, prepare, score)


def cells(rng: np.random.Generator, pfos: int = 60, jets: tuple[int, ...] = (2, 5, 10)) -> list[Cell]:
    return [Cell(f"{j}x{pfos}", random_block(rng, [pfos] * 4, [j] * 4), j, pfos) for j in jets]


def test_times_ratios_and_the_crossover(rng: np.random.Generator) -> None:
    clock = FakeClock()
    event = subject(clock, "event", EVENT, lambda b: 0.006 * b.num_events)
    jet = subject(clock, "jet", JET, lambda b: 0.001 * b.num_jets, preparing=0.003)
    harness = Harness([event, jet], cells(rng), (1,), Timer(clock=clock), tail="5x60")
    harness.search()
    for _ in range(2):
        harness.round(lambda: None)
    times = times_of(harness.found)["1"]
    assert times[SINGLE]["10x60"]["jet"]["prepare"] == [3.0, 3.0]  # ms per event
    assert times[SINGLE]["10x60"]["jet"]["network"] == [10.0, 10.0]
    assert times[BATCH]["2x60"]["event"]["network"] == [6.0, 6.0]
    assert times[SINGLE]["5x60"]["event"]["calls"]["median"] == pytest.approx(7.0)
    # Per visit, as many calls as fit into 25 ms: three of 7 ms; in the tail's cell further visits of six.
    assert times[SINGLE]["2x60"]["event"]["calls"]["calls"] == 2 * 3
    assert times[SINGLE]["5x60"]["event"]["calls"]["calls"] == 2 * (3 + 6 * (TAIL_VISITS - 1))
    value = {
        "subjects": {"event": event.describe(), "jet": jet.describe()},
        "cells": {cell.name: cell.describe() for cell in harness.cells},
        "settings": {"pfos": [60]},
        "times": times_of(harness.found),
    }
    found = {(row["mode"], row["scope"]): row for row in crossovers(value)}
    # 7 ms = 3 ms + J · 1 ms; the networks alone: 6 ms = J · 1 ms.
    assert found[SINGLE, "total"]["jets"] == pytest.approx(4)
    assert found[SINGLE, "network"]["jets"] == pytest.approx(6)
    assert found[BATCH, "total"]["ratios"]["10"]["value"] == pytest.approx(13 / 7, rel=1e-3)


def test_the_quickest_batch_is_found(rng: np.random.Generator) -> None:
    clock = FakeClock()
    (cell,) = cells(rng, jets=(3,))
    # A call costs 8 ms, and from 8 events on the caches are too small: 2 ms per event, 4 ms beyond.
    one = subject(clock, "one", EVENT, lambda b: 0.008 + (0.002 if b.num_events <= 8 else 0.004) * b.num_events, 0.0)
    assert best_batch(one, cell, Timer(clock=clock)) == 8
    steady = subject(clock, "steady", EVENT, lambda b: 0.01 * b.num_events, 0.0)
    assert best_batch(steady, cell, Timer(clock=clock)) == 1
    asked: list[int] = []

    def seconds(block: EventBlock) -> float:
        asked.append(block.num_events)
        return 0.2

    assert best_batch(subject(clock, "slow", EVENT, seconds, 0.1), cell, Timer(clock=clock)) == 1
    assert max(asked) == 1, "a call that takes long already isn't tried with more events"


def test_batches_are_searched_once_for_the_same_work(rng: np.random.Generator) -> None:
    near, far = cells(rng, 60, (2, 5)), cells(rng, 200, (2, 5))
    cut, whole = Subject("cut", "", EVENT, max_pfos=50), Subject("whole", "", EVENT)
    jets = Subject("jets", "", JET)
    assert same_work(cut, near[0], far[1])
    assert same_work(whole, near[0], near[1])
    assert not same_work(whole, near[0], far[0])
    assert same_work(jets, near[0], far[0])
    assert not same_work(jets, near[0], near[1])
    simulated = Cell("pileup 0", near[0].block, pileup=0.0)
    assert not same_work(jets, simulated, near[0])


def test_who_fails_is_left_out_and_the_others_go_on(rng: np.random.Generator) -> None:
    clock = FakeClock()

    def breaks(block: EventBlock) -> float:
        if block.num_jets // block.num_events == 5:
            raise RuntimeError("five are too many\nand more")
        return 0.001

    good = subject(clock, "good", EVENT, lambda b: 0.001 * b.num_events)
    bad = subject(clock, "bad", JET, breaks)
    harness = Harness([good, bad], cells(rng), (1, 2), Timer(clock=clock))
    harness.search()
    harness.round(lambda: None)
    assert harness.found.failed == {("5x60", "bad"): "RuntimeError: five are too many"}
    assert set(times_of(harness.found)) == {"1", "2"}
    assert set(times_of(harness.found)["2"][SINGLE]["5x60"]) == {"good"}
    assert set(times_of(harness.found)["2"][SINGLE]["2x60"]) == {"good", "bad"}


def test_who_takes_seconds_per_event_is_left_out(rng: np.random.Generator) -> None:
    clock = FakeClock()
    slow = subject(clock, "slow", EVENT, lambda b: 5.0 * b.num_events)
    harness = Harness([slow], cells(rng, jets=(2,)), (1,), Timer(clock=clock))
    harness.search()
    assert "takes 5.0 s per event" in harness.found.failed["2x60", "slow"]
    spent = clock.seconds
    harness.round(lambda: None)
    assert clock.seconds == spent


def test_a_round_that_is_stopped_does_not_count(rng: np.random.Generator) -> None:
    clock = FakeClock()
    calls = 0

    def stopped(block: EventBlock) -> float:
        nonlocal calls
        calls += 1
        if calls > limit:
            raise KeyboardInterrupt
        return 0.001

    limit = 10**6
    harness = Harness([subject(clock, "one", EVENT, stopped)], cells(rng), (1,), Timer(clock=clock))
    harness.search()
    harness.round(lambda: None)
    limit = calls + 5
    before = {key: list(samples.network) for key, samples in harness.found.samples.items()}
    with pytest.raises(KeyboardInterrupt):
        harness.round(lambda: None)
    assert harness.found.rounds == 1
    assert {key: list(samples.network) for key, samples in harness.found.samples.items()} == before


def test_threads_are_set_for_everybody(rng: np.random.Generator) -> None:
    told: list[tuple[int, int]] = []
    clock = FakeClock()
    one = subject(clock, "one", EVENT, lambda b: 0.001)
    one.set_threads = lambda threads: told.append((threads, torch.get_num_threads()))
    harness = Harness([one], cells(rng, jets=(2,)), (1, 2), Timer(clock=clock))
    harness.search()
    assert told == [(1, 1), (2, 2)]


def test_percentiles_need_calls(rng: np.random.Generator) -> None:
    assert percentiles([]) == {"calls": 0, "median": None, "p95": None, "p99": None}
    few = percentiles(list(range(30)))
    assert (few["median"], few["p95"], few["p99"]) == (14.5, 28, None)
    shuffled = rng.permutation(1000).astype(float)
    many = percentiles(shuffled.tolist())
    assert (many["median"], many["p95"], many["p99"]) == (499.5, 950, 990)
