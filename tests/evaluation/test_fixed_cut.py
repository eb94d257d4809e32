"""Rates at a given cut against counting, Clopper–Pearson and the delta method; changes keep the correlation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta

from panoptag_pyg.evaluation.bootstrap import INTERVAL, EventBootstrap
from panoptag_pyg.evaluation.fixed_cut import change, pass_rate, rejection_at_cut
from panoptag_pyg.evaluation.rejection import rejection_curve


def test_rate_and_its_interval(rng):
    members = rng.random(4000) < 0.6
    passes = rng.random(4000) < 0.3
    weight = rng.exponential(1, 4000)
    event = np.sort(rng.integers(0, 1500, 4000))
    found = pass_rate(passes, members, weight, EventBootstrap(event, 400))
    own, passed = weight[members], passes[members]
    assert found.value == pytest.approx(own[passed].sum() / own.sum())
    assert (found.total, found.passed) == (members.sum(), passed.sum())
    residual = np.bincount(event[members], own * (passed - found.value))
    error = np.sqrt(np.sum(residual**2)) / own.sum()
    assert (found.high - found.low) / 2 == pytest.approx(error, rel=0.25)


@pytest.mark.parametrize("passed", [0, 3, 57, 60])
def test_few_jets_have_the_binomial_interval_at_least(passed):
    passes = np.arange(60) < passed
    found = pass_rate(passes, np.ones(60, bool), np.ones(60), EventBootstrap(np.arange(60)))
    tail = (1 - INTERVAL) / 2
    low = beta.ppf(tail, passed, 61 - passed) if passed else 0.0
    high = beta.ppf(1 - tail, passed + 1, 60 - passed) if passed < 60 else 1.0
    assert found.low <= low + 1e-9
    assert found.high >= high - 1e-9


def test_rejection_is_the_curves_at_its_own_threshold(rng):
    flavour = rng.choice([0, 2], 3000)
    scores = rng.normal(0, 1, 3000) + 1.5 * (flavour == 2)
    weight, bootstrap = rng.exponential(1, 3000), EventBootstrap(np.arange(3000) // 4)
    point = rejection_curve(scores, flavour == 2, flavour == 0, [0.7], weight, bootstrap).at(0.7)
    fixed = rejection_at_cut(scores, point.threshold, flavour == 0, weight, bootstrap)
    assert fixed.value == pytest.approx(point.value)
    assert fixed.background_passed == point.background_passed
    # the cut doesn't move with the signal: less uncertain
    assert fixed.high - fixed.low < point.high - point.low


def test_nothing_passes_or_is_there(rng):
    scores, bootstrap = rng.normal(size=50), EventBootstrap(np.arange(50))
    none = rejection_at_cut(scores, 99.0, np.ones(50, bool), np.ones(50), bootstrap)
    assert none.value is None
    assert none.limit == pytest.approx(1 / (1 - 0.05 ** (1 / 50)))
    assert "no c jets" in rejection_at_cut(scores, 0.0, np.zeros(50, bool), np.ones(50), bootstrap, "c").missing


def test_changes_are_less_uncertain_than_either(rng):
    """One jet in a hundred changes sides: the change is known ten times better than the rates."""
    passes = rng.random(20_000) < 0.2
    after = passes ^ (rng.random(20_000) < 0.001)
    bootstrap = EventBootstrap(np.arange(20_000), 100)
    a, b = (pass_rate(x, np.ones(20_000, bool), np.ones(20_000), bootstrap) for x in (passes, after))
    moved = change(a, b)
    assert moved.value == pytest.approx(b.value / a.value - 1)
    assert moved.high - moved.low < 0.3 * (a.high - a.low) / a.value
