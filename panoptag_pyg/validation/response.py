"""Jet response: pT of a jet over that of the matched jet of stable particles."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from panoptag_pyg.validation.checks import Check, bound, median_and_width
from panoptag_pyg.validation.sample import Sample

PT_EDGES = np.array([10, 15, 20, 25, 30, 40, 50, 65, 80, 100, 130, 170, 220, 300, 500])
ETA_EDGES = np.array([0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.2, 4.9])
#: Where the jets' threshold in pT cuts nothing away, GeV, and the median response that is taken as right there.
UNBIASED_PT, BOUND = 40.0, (0.85, 1.10)
_MIN_JETS = 20


@dataclass(frozen=True)
class Response:
    """Response in bins [K], NaN where there are too few jets.

    Attributes:
        centre: mean of the variable.
        median, low, high: median and 68 % interval.
        error: statistical uncertainty of the median, about 1.25 σ/√n.
    """

    centre: np.ndarray
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    error: np.ndarray


def response(variable: np.ndarray, ratio: np.ndarray, edges: np.ndarray) -> Response:
    """Response in bins of a variable.

    Args:
        variable: true pT or |η| [N].
        ratio: measured over true pT [N].
        edges: of the bins [K + 1].
    """
    rows = []
    for low, high in pairwise(edges):
        inside = (variable >= low) & (variable < high)
        if inside.sum() < _MIN_JETS:
            rows.append([np.nan] * 5)
            continue
        median, error, down, up = median_and_width(ratio[inside])
        rows.append([variable[inside].mean(), median, down, up, error])
    return Response(*np.array(rows).T)


def jets_of(sample: Sample) -> np.ndarray:
    """True pT, response and |η| of all matched jets [3, J]."""
    return np.concatenate([*sample.responses, np.zeros((3, 0))], axis=1)


def response_checks(sample: Sample) -> list[Check]:
    """The median response of jets well above threshold, inside and outside of the central barrel."""
    truth, ratio, eta = jets_of(sample)
    found: list[Check] = []
    if sample.pileup:  # which adds to jets what no jet of the hard scatter holds
        return found
    for name, inside in (("|η| < 1.5", eta < 1.5), ("1.5 < |η| < 2.5", (eta >= 1.5) & (eta < 2.5))):
        values = ratio[inside & (truth > UNBIASED_PT)]
        if len(values) < 5 * _MIN_JETS:
            continue
        median, error, low, high = median_and_width(values)
        detail = f"median of {len(values):,} jets above {UNBIASED_PT:g} GeV, 68 % within {low:.2f} to {high:.2f}"
        found.append(bound("closure", f"jets' pT over stable particles', {name}", median, error, *BOUND, detail))
    return found
