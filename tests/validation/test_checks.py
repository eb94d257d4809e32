"""Verdicts and the deviates behind them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from panoptag_pyg.validation import checks
from panoptag_pyg.validation.checks import bound, exact, mean_deviation, normal_check, statistical, width_deviation


def test_chi_square_of_scipy():
    check = statistical("s", "n", "d", 30.0, 12)
    assert check.p_value == pytest.approx(stats.chi2.sf(30.0, 12))
    assert check.passed
    assert not statistical("s", "n", "d", 60.0, 12).passed


def test_exact_and_bound():
    assert exact("s", "n", 0, 1000, "tracks").detail == "all 1,000 tracks"
    broken = exact("s", "n", 3, 1000, "tracks")
    assert not broken.passed
    assert "3 of 1,000 tracks" in broken.detail
    assert bound("s", "n", 0.9, 0, 0.85, 1.1).passed
    assert not bound("s", "n", 0.8, 0.01, 0.85, 1.1).passed
    assert bound("s", "n", 0.8, 0.02, 0.85, 1.1).passed  # within four standard deviations


@pytest.mark.parametrize("n", [10, 11, 97])
def test_deviates_of_normal_numbers_are_normal(rng, n):
    draws = rng.standard_normal((2000, n))
    count, total, squares = np.full(2000, float(n)), draws.sum(1), (draws**2).sum(1)
    for deviate in (mean_deviation(count, total), width_deviation(count, total, squares)):
        assert stats.kstest(deviate, "norm").pvalue > 1e-7


def test_widths_that_are_off_stay_finite():
    count = np.array([500.0, 500.0, 3.0])
    deviates = width_deviation(count, np.zeros(3), np.array([5000.0, 1.0, 3.0]))
    assert deviates[0] > 20
    assert deviates[1] < -20
    assert np.isnan(deviates[2])  # too few
    assert normal_check("s", "n", deviates, "d").ndf == 2
    assert normal_check("s", "n", np.array([np.nan]), "d") is None


def test_summary_counts_false_alarms():
    found = [statistical("s", "n", "d", 3.0, 4), statistical("s", "n", "d", 100.0, 4), exact("s", "n", 0, 1, "x")]
    told = checks.summary(found)
    assert (told["checks"], told["statistical"], told["exact"], told["look"]) == (3, 2, 1, 1)
    assert told["false_alarms"] == pytest.approx(2 * checks.MIN_P_VALUE)
    assert told["smallest_global"] == pytest.approx(2 * told["smallest_p_value"])
    assert checks.summary([])["smallest_global"] is None
