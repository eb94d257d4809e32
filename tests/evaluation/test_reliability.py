"""Reliability against scikit-learn's curve and loops; its test against right and wrong probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.calibration import calibration_curve

from panoptag_pyg.evaluation.reliability import reliability


def test_equals_sklearn_and_the_loop(rng):
    p = rng.beta(0.7, 1.2, 3000)
    y = rng.random(3000) < p**1.3
    found = reliability(p, y)
    observed, predicted = calibration_curve(y, p, n_bins=10)
    assert np.allclose(found.observed[found.count > 0], observed)
    assert np.allclose(found.predicted[found.count > 0], predicted)
    bins = np.clip((p * 10).astype(int), 0, 9)
    error = sum(np.mean(bins == b) * abs(y[bins == b].mean() - p[bins == b].mean()) for b in range(10))
    assert found.expected_error == pytest.approx(error)
    assert found.count.sum() == 3000
    b = 3
    inside = bins == b
    spread = np.sqrt(np.sum((y[inside] - p[inside]) ** 2)) / inside.sum()
    assert found.error[b] == pytest.approx(spread)


def test_right_probabilities_pass_and_wrong_ones_do_not(rng):
    p = rng.beta(0.7, 1.2, 20_000)
    y = rng.random(20_000) < p
    right, wrong = reliability(p, y), reliability(np.sqrt(p), y)
    assert right.p_value > 1e-7
    assert right.expected_error < 3 * right.by_chance
    assert wrong.p_value < 1e-20
    assert wrong.expected_error > 5 * wrong.by_chance


def test_p_values_are_uniform_where_jets_of_an_event_agree(rng):
    """Jets of an event share one random number: errors that count jets as independent would be too small by 1.7."""
    p_values = []
    for _ in range(150):
        p = np.repeat(rng.uniform(0.1, 0.9, 500), 3)
        event = np.repeat(np.arange(500), 3)
        y = np.repeat(rng.random(500), 3) < p
        p_values.append(reliability(p, y, event=event).p_value)
    assert kstest(p_values, "uniform").pvalue > 1e-6


def test_copies_are_weights(rng):
    p = rng.uniform(0, 1, 400)
    y, weight = rng.random(400) < p, rng.integers(1, 4, 400)
    weighted = reliability(p, y, weight)
    copied = reliability(np.repeat(p, weight), np.repeat(y, weight), event=np.repeat(np.arange(400), weight))
    assert np.allclose(weighted.observed, copied.observed)
    assert np.allclose(weighted.error, copied.error)
    assert weighted.expected_error == pytest.approx(copied.expected_error)


def test_hardly_any_jets():
    assert reliability(np.empty(0), np.empty(0, bool)).p_value == 1
    one = reliability(np.array([1.0]), np.array([True]))
    assert (one.ndf, one.expected_error) == (0, 0)
    assert one.to_dict()["observed"][0] is None
