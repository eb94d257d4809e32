"""Histograms with event-level covariances against loops, resampling, and p-values that are what they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from panoptag_pyg.validation.checks import MIN_ENTRIES
from panoptag_pyg.validation.histograms import (
    EventHistogram,
    compare,
    flatness,
    hotelling_p_value,
    merge_matrix,
    mirror_symmetry,
    quadratic,
)

EDGES = np.linspace(-3, 3, 13)


def clustered(rng, num_events, shift=0.0):
    """Entries in clusters, so that those of one event are far from independent: values, angles, events, weights."""
    event = np.repeat(np.arange(num_events), rng.poisson(3, num_events))
    size = rng.poisson(6, len(event))
    centre, angle = rng.normal(shift, 1, len(event)), rng.uniform(-np.pi, np.pi, len(event))
    values = np.repeat(centre, size) + rng.normal(0, 0.2, size.sum())
    phi = np.repeat(angle, size) + rng.normal(0, 0.2, size.sum())
    weight = np.where(rng.random(num_events) < 0.1, -1.0, 1.0) * rng.gamma(5, 0.2, num_events)
    return values, (phi + np.pi) % (2 * np.pi) - np.pi, np.repeat(event, size), weight


def filled(values, event, weight, edges=EDGES):
    histogram = EventHistogram(edges)
    histogram.fill(values, event, weight)
    return histogram


def test_sums_are_those_of_a_loop(rng):
    values, _, event, weight = clustered(rng, 23)
    content = np.zeros((23, len(EDGES) - 1))
    for value, number in zip(values, event, strict=True):
        content[number, min(max(int(np.floor((value + 3) / 0.5)), 0), 11)] += weight[number]
    histogram = filled(values, event, weight)
    np.testing.assert_allclose(histogram.total, content.sum(0), atol=1e-9)
    np.testing.assert_allclose(histogram.products, sum(np.outer(row, row) for row in content), atol=1e-9)
    mean = sum(weight[e] * v for v, e in zip(values, event, strict=True)) / sum(weight[e] for e in event)
    assert histogram.mean()[0] == pytest.approx(mean)


def test_filling_in_pieces_adding_and_scaling(rng):
    values, _, event, weight = clustered(rng, 40)
    whole = filled(values, event, weight)
    first = event < 17
    pieces = filled(values[first], event[first], weight[:17]) + filled(values[~first], event[~first] - 17, weight[17:])
    for name in ("total", "products", "value_products"):
        np.testing.assert_allclose(getattr(pieces, name), getattr(whole, name), atol=1e-9)
    assert pieces.num_events == whole.num_events == 40
    np.testing.assert_allclose(whole.scaled(3.0).shares()[1], whole.shares()[1], atol=1e-12)
    assert whole.scaled(3.0).mean() == pytest.approx(whole.mean())


def test_uncertainties_are_those_of_resampled_events(rng):
    values, _, event, weight = clustered(rng, 400)
    shares, covariance = filled(values, event, weight).shares()
    _, error = filled(values, event, weight).mean()
    drawn, means = [], []
    for _ in range(300):
        times = rng.poisson(1, 400)
        again = filled(values, event, weight * times)
        drawn.append(again.shares()[0])
        means.append(again.mean()[0])
    spread = np.std(drawn, axis=0)
    big = shares > 0.02
    # 300 replicas know a spread to 4 %; the bound is five of these and the bootstrap's own non-linearity
    np.testing.assert_allclose(np.sqrt(np.diag(covariance))[big], spread[big], rtol=0.3)
    assert error == pytest.approx(np.std(means), rel=0.3)
    # Poisson errors would be far too small: that is what this is for.
    assert np.sqrt(np.diag(covariance)).max() > 1.5 * np.sqrt(shares / len(values)).max()


@pytest.mark.parametrize("test", ["compare", "flatness", "mirror"])
def test_p_values_of_equal_distributions_are_uniform(rng, test):
    found = []
    for _ in range(120):
        values, phi, event, weight = clustered(rng, 400)
        if test == "compare":
            other, _, other_event, other_weight = clustered(rng, 300)
            result = compare(filled(values, event, weight), filled(other, other_event, other_weight))
            found += [result.p_value]
        elif test == "flatness":
            found.append(flatness(filled(phi, event, weight, np.linspace(-np.pi, np.pi, 10)))[2])
        else:
            found.append(mirror_symmetry(filled(values, event, weight))[2])
    assert np.isfinite(found).all()
    # 120 numbers: a wrong χ² (Poisson errors) puts nearly all of them below 0.01
    assert stats.kstest(found, "uniform").pvalue > 1e-7
    assert min(found) > 1e-8


def test_different_distributions_are_seen(rng):
    one, phi, event, weight = clustered(rng, 2000)
    other, _, other_event, other_weight = clustered(rng, 2000, shift=0.7)
    result = compare(filled(one, event, weight), filled(other, other_event, other_weight))
    assert result.p_value < 1e-6
    assert result.ks_p_value < 1e-3
    assert mirror_symmetry(filled(other, other_event, other_weight))[2] < 1e-6
    lost = (phi > 0) & (phi < 1) & (rng.random(len(phi)) < 0.7)
    assert flatness(filled(phi[~lost], event[~lost], weight, np.linspace(-np.pi, np.pi, 10)))[2] < 1e-6


def test_ks_distance_is_that_of_the_binned_samples(rng):
    one, other = rng.normal(0, 1, 500), rng.normal(0.1, 1, 700)
    edges = np.linspace(-4, 4, 401)
    result = compare(
        filled(one, np.arange(500), np.ones(500), edges), filled(other, np.arange(700), np.ones(700), edges)
    )
    exact = stats.ks_2samp(one, other)
    assert result.ks == pytest.approx(exact.statistic, abs=0.02)
    assert result.ks_p_value == pytest.approx(exact.pvalue, abs=0.15)


@pytest.mark.parametrize("num_events", [0, 1, 2, 5])
def test_few_events_give_no_verdict(rng, num_events):
    values, phi, event, weight = clustered(rng, num_events)
    histogram = filled(values, event, weight)
    assert np.isnan(compare(histogram, histogram).p_value)
    assert flatness(filled(phi, event, weight))[1] == 0
    assert np.isfinite(histogram.shares()[0]).all()
    assert np.isfinite(histogram.effective).all()


def test_bins_are_merged_until_they_hold_enough(rng):
    one, other = rng.poisson(4, 40).astype(float), rng.poisson(6, 40).astype(float)
    matrix = merge_matrix([one, other], 100)
    np.testing.assert_array_equal(matrix.sum(axis=0), 1)  # every bin is in one group
    assert min((matrix @ one).min(), (matrix @ other).min()) >= MIN_ENTRIES
    assert len(merge_matrix([one, other], 3)) <= 3
    assert merge_matrix([np.zeros(5), one[:5]], 3).shape == (0, 5)


def test_quadratic_form_leaves_out_what_does_not_vary():
    covariance = np.diag([4.0, 0.0, 1.0])
    assert quadratic(np.array([2.0, 0.0, 3.0]), covariance) == (pytest.approx(10.0), 2)
    full = np.array([[2.0, 0.5], [0.5, 1.0]])
    difference = np.array([1.0, -2.0])
    assert quadratic(difference, full)[0] == pytest.approx(difference @ np.linalg.solve(full, difference))
    assert quadratic(np.zeros(2), np.zeros((2, 2))) == (0.0, 0)


def test_hotelling_is_the_t_test_for_one_number(rng):
    values = rng.normal(0.2, 1, 30)
    t = stats.ttest_1samp(values, 0)
    assert hotelling_p_value(t.statistic**2, 1, 30) == pytest.approx(t.pvalue)
