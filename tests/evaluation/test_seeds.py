"""Figures of several trainings: against what the definitions say, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from panoptag_pyg.evaluation import EventBootstrap, Measurement, Rejection, rejection_curve
from panoptag_pyg.evaluation.seeds import mean_curve, measurement, over_seeds


def test_one_training_is_itself() -> None:
    one = Rejection(20.0, 18.0, 23.0, target=0.5, background_passed=7, limit=11.0)
    assert measurement(over_seeds([one])) == one
    assert "spread" not in over_seeds([Measurement(0.5, 0.4, 0.6)])


def test_means_keep_the_interval_and_add_the_spread() -> None:
    found = over_seeds([Measurement(0.8, 0.78, 0.82), Measurement(0.6, 0.57, 0.63)])
    assert found["value"] == pytest.approx(0.7)
    assert found["low"] == pytest.approx(0.7 * (0.78 / 0.8 + 0.57 / 0.6) / 2)
    assert found["high"] == pytest.approx(0.7 * (0.82 / 0.8 + 0.63 / 0.6) / 2)
    assert found["spread"] == pytest.approx(np.std([0.8, 0.6], ddof=1))


def test_rejections_average_the_accepted_share() -> None:
    two = [Rejection(value, value - 5, value + 5, target=0.5, background_passed=n) for value, n in ((10, 40), (40, 11))]
    found = over_seeds(two)
    assert 1 / found["value"] == pytest.approx((1 / 10 + 1 / 40) / 2)
    assert found["background_passed"] == round((40 + 11) / 2)
    assert found["spread"] == pytest.approx(np.std([10, 40], ddof=1))


def test_a_training_that_accepts_no_background_counts() -> None:
    none = Rejection(None, missing="no background jet passes", target=0.5, background_passed=0, limit=300.0)
    some = Rejection(500.0, 200.0, 900.0, target=0.5, background_passed=2, limit=120.0)
    both = over_seeds([none, some])
    assert both["value"] == pytest.approx(1000.0)
    assert both["limit"] == 120
    assert "spread" not in both
    nothing = over_seeds([none, none])
    assert "value" not in nothing
    assert nothing["limit"] == 300


def test_without_signal_there_is_no_figure() -> None:
    missing = Rejection(None, missing="no c jets", target=0.5)
    assert over_seeds([missing, missing])["missing"] == "no c jets"
    assert measurement(over_seeds([missing, missing])).value is None


def test_the_mean_curve_is_that_of_the_mean_share(rng: np.random.Generator) -> None:
    jets = 3000
    flavour, events = rng.integers(0, 2, jets), rng.integers(0, 600, jets)
    bootstrap = EventBootstrap(events, 50)
    grid = [0.5, 0.8, 1.0]
    curves = [
        rejection_curve(rng.normal(flavour * width, 1), flavour == 1, flavour == 0, grid, bootstrap=bootstrap)
        for width in (1.0, 1.5, 2.0)
    ]
    mean = mean_curve(curves)
    share = np.mean([1 / curve.arrays()["value"] for curve in curves], axis=0)
    np.testing.assert_allclose(1 / mean.arrays()["value"], share, rtol=1e-12)
    np.testing.assert_allclose(mean.false_positive_rate, np.mean([c.false_positive_rate for c in curves], axis=0))
    low, value, high = (mean.arrays()[name] for name in ("low", "value", "high"))
    assert (low[:2] < value[:2]).all()
    assert (value[:2] < high[:2]).all()
    assert mean_curve(curves[:1]) is curves[0]
