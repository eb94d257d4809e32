"""Exact symmetries: no direction around the beam is preferred, and neither of its two ends."""

from __future__ import annotations

from panoptag_pyg.validation.checks import Check, statistical
from panoptag_pyg.validation.histograms import EventHistogram, flatness, mirror_symmetry
from panoptag_pyg.validation.sample import Sample


def symmetry_checks(sample: Sample) -> list[Check]:
    """Uniformity in φ and symmetry in η of tracks, neutral PFOs and jets, with the events' own fluctuations."""
    found = []
    for histograms, test, name in (
        (sample.phi, flatness, "uniform in φ"),
        (sample.eta, mirror_symmetry, "symmetric in η"),
    ):
        for what, histogram in histograms.items():
            chi2, ndf, p_value = test(histogram)
            if ndf:
                detail = f"{_entries(histogram)} in {sample.num_events:,} events"
                found.append(statistical("symmetries", f"{what} {name}", detail, chi2, ndf, p_value))
    return found


def _entries(histogram: EventHistogram) -> str:
    return f"{round(histogram.total.sum()):,}"
