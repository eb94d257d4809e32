"""From how many jets on: against the closed form for straight lines, and at the ends of what was measured."""

from __future__ import annotations

import math

import numpy as np
import pytest

from panoptag_pyg.benchmarks.latency_study.crossover import (
    ALWAYS,
    CROSSES,
    NEVER,
    crossing,
    crossover,
    ratio,
)

JETS = (2, 5, 10, 20)


def lines(event: tuple[float, float], single: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Times a + b J of both ways."""
    jets = np.array(JETS, dtype=float)
    return event[0] + event[1] * jets, single[0] + single[1] * jets


def test_straight_lines_cross_where_they_cross(rng: np.random.Generator) -> None:
    for _ in range(20):
        jets = rng.uniform(2.01, 19.99)
        b, d = rng.uniform(0, 1), rng.uniform(1.5, 4)
        c = rng.uniform(0, 2)
        event, single = lines((c + (d - b) * jets, b), (c, d))
        assert crossing(np.array(JETS), event, single) == pytest.approx(jets)
        found = crossover(JETS, np.tile(event, (3, 1)), np.tile(single, (3, 1)), rng, 20)
        assert (found.state, found.measured) == (CROSSES, (2, 20))
        assert found.jets == found.low == found.high == pytest.approx(jets)


def test_always_never_and_beyond(rng: np.random.Generator) -> None:
    cheap, dear = lines((1, 0), (1, 1))
    found = crossover(JETS, cheap[None], dear[None], rng, 10)
    assert (found.state, found.jets, found.low, found.high) == (ALWAYS, 2, 2, 2)
    # 31 jets would pay, but only 20 were measured.
    event, single = lines((31, 0), (0, 1))
    found = crossover(JETS, event[None], single[None], rng, 10)
    assert (found.state, found.jets, found.high) == (NEVER, None, None)
    assert found.beyond == pytest.approx(31)
    parallel = crossover(JETS, single[None] + 3, single[None], rng, 10)
    assert (parallel.state, parallel.beyond) == (NEVER, None)
    assert crossover(JETS, event[None], single[None], rng, 10).to_dict()["measured"] == [2, 20]


def test_equal_times_are_not_slower_and_the_last_crossing_counts() -> None:
    same = np.ones(4)
    assert crossing(np.array(JETS), same, same) == 2
    # Cheaper at 2, dearer at 5, cheaper from 10 on: halfway between 5 and 10 both cost 1.
    event = np.array([0.5, 2.0, 0.0, 0.5])
    assert crossing(np.array(JETS), event, same) == pytest.approx(7.5)
    # Cheaper in the middle, dearer at the end: never for good.
    assert math.isinf(crossing(np.array(JETS), np.array([2.0, 0.5, 0.5, 2.0]), same))
    many = crossing(np.array(JETS), np.stack([same, event]), np.stack([same, same]))
    np.testing.assert_allclose(many, [2, 7.5])


def test_the_interval_covers_the_rounds_scatter(rng: np.random.Generator) -> None:
    event, single = lines((8, 0), (0, 1))  # at 8 jets
    noise = rng.normal(0, 0.3, (200, 1))
    found = crossover(JETS, event + noise, np.tile(single, (200, 1)), rng, 300)
    # The median of 200 rounds is known to 0.3 · 1.25 / √200 = 0.027.
    assert abs(found.jets - 8) < 5 * 0.027
    assert found.low <= found.jets <= found.high
    assert 0.2 * 0.053 < found.high - found.low < 3 * 0.053
    # One round in three is slow for both by the same factor: the ratio doesn't notice.
    factor = rng.choice([1.0, 1.0, 3.0], (60, 1))
    value = ratio(np.full(60, 2.0) * factor[:, 0], np.full(60, 5.0) * factor[:, 0], rng)
    assert value == {"value": 2.5, "low": 2.5, "high": 2.5}


def test_an_open_end_is_said_so(rng: np.random.Generator) -> None:
    event, single = lines((18, 0), (0, 1))
    rounds = event + np.array([[-1.0], [0.0], [8.0]])
    found = crossover(JETS, rounds, np.tile(single, (3, 1)), rng, 300)
    assert found.jets == pytest.approx(18)
    assert found.low is not None
    assert found.high is None  # some redrawn rounds never cross
