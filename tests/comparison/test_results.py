"""Curves as columns of a comparison's JSON."""

from __future__ import annotations

import numpy as np

from panoptag_pyg.comparison.results import curve_columns
from panoptag_pyg.evaluation import EventBootstrap, rejection_curve


def test_columns_hold_the_ratio(rng: np.random.Generator) -> None:
    flavour, events = rng.integers(0, 2, 3000), rng.integers(0, 600, 3000)
    bootstrap = EventBootstrap(events, 50)
    one, other = (
        rejection_curve(
            rng.normal(flavour * width, 1), flavour == 1, flavour == 0, [0.5, 0.8, 1.0], bootstrap=bootstrap
        )
        for width in (1.0, 1.5)
    )
    columns = curve_columns(one, other)
    np.testing.assert_allclose(columns["ratio"], one.arrays()["value"] / other.arrays()["value"], rtol=1e-3)
    assert curve_columns(other, other)["ratio"] == [1, 1, 1]
