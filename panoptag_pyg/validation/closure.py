"""Energy-flow closure: what the PFOs of an event add up to, against its visible stable particles."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from panoptag_pyg.simulation.jets import four_momentum
from panoptag_pyg.validation.checks import Check, bound, median_and_width, statistical
from panoptag_pyg.validation.histograms import hotelling_p_value, quadratic
from panoptag_pyg.validation.resimulation import Detection, Resimulated

#: Rings in |η|.
RING_EDGES = np.array([0, 1.5, 2.5, 3.2, 4.9])
#: Median of the ratio of sums that is taken as right: what falls below thresholds is lost, nothing else.
INNER_BOUND, OUTER_BOUND = (0.85, 1.05), (0.75, 1.10)
_MIN_EVENTS = 50


class ClosureMeasurement:
    """Sums of transverse energy and momentum, event by event.

    Attributes:
        true, measured: sum of E/cosh η of visible particles that reach the calorimeters, and of PFOs; one array per
            block, [rings, B].
        imbalance: PFOs' minus particles' transverse momentum (x, y), GeV; one array per block, [2, B].
    """

    def __init__(self) -> None:
        self.true: list[np.ndarray] = []
        self.measured: list[np.ndarray] = []
        self.imbalance: list[np.ndarray] = []

    def add(self, again: Resimulated) -> None:
        """Add a block."""
        for detection in again.detections:
            self._add(detection)

    def _add(self, detection: Detection) -> None:
        pfos, flight = detection.pfos, detection.flight
        particles = detection.particles.select(flight.rows)
        events = particles.num_events
        event = np.repeat(np.arange(events), np.diff(pfos.offsets))
        energy = particles.e / np.cosh(flight.eta)
        self.true.append(_in_rings(flight.outer_eta, energy, particles.event, events))
        eta = pfos.columns["eta"].astype(np.float64)
        self.measured.append(_in_rings(eta, pfos.columns["energy"] / np.cosh(eta), event, events))
        px, py, _, _ = four_momentum(pfos.columns)
        within = np.abs(flight.outer_eta) < RING_EDGES[-1]
        true = [np.bincount(particles.event[within], p[within], events) for p in (particles.px, particles.py)]
        seen = [np.bincount(event, p, events) for p in (px, py)]
        self.imbalance.append(np.stack(seen) - np.stack(true))

    def ratios(self) -> list[np.ndarray]:
        """Measured over true sum of each event, ring by ring; then of all rings together."""
        true, measured = np.concatenate(self.true, axis=1), np.concatenate(self.measured, axis=1)
        true, measured = np.vstack([true, true.sum(axis=0)]), np.vstack([measured, measured.sum(axis=0)])
        return [m[t > 1] / t[t > 1] for t, m in zip(true, measured, strict=True)]

    def checks(self) -> list[Check]:
        """Medians in their bounds, and no direction preferred in the transverse plane."""
        found = []
        names = [*(f"{a:g} < |η| < {b:g}" for a, b in pairwise(RING_EDGES)), "all rings"]
        for number, (name, ratio) in enumerate(zip(names, self.ratios(), strict=True)):
            if len(ratio) < _MIN_EVENTS:
                continue
            median, error, low, high = median_and_width(ratio)
            inner = number < 2 or number == len(names) - 1
            bounds = INNER_BOUND if inner else OUTER_BOUND
            detail = f"median of {len(ratio):,} events, 68 % within {low:.2f} to {high:.2f}"
            found.append(bound("closure", f"sum of E_T of PFOs over particles, {name}", median, error, *bounds, detail))
        imbalance = np.concatenate(self.imbalance, axis=1)
        events = imbalance.shape[1]
        if events >= _MIN_EVENTS:
            mean = imbalance.mean(axis=1)
            chi2, ndf = quadratic(mean, np.cov(imbalance) / events)
            detail = f"mean of PFOs minus particles: {mean[0]:+.2f}, {mean[1]:+.2f} GeV in {events:,} events"
            found.append(
                statistical(
                    "closure", "no direction preferred", detail, chi2, ndf, hotelling_p_value(chi2, ndf, events)
                )
            )
        return found


def _in_rings(eta: np.ndarray, energy: np.ndarray, event: np.ndarray, num_events: int) -> np.ndarray:
    ring = np.searchsorted(RING_EDGES, np.abs(eta), side="right") - 1
    rings = len(RING_EDGES) - 1
    inside = ring < rings
    flat = np.bincount(event[inside] * rings + ring[inside], energy[inside], num_events * rings)
    return flat.reshape(num_events, rings).T
