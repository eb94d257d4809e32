"""Side by side with other events: every histogram of the one against the same of the other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from panoptag_pyg.validation.checks import Check, statistical
from panoptag_pyg.validation.histograms import Comparison, EventHistogram, compare
from panoptag_pyg.validation.quantities import QUANTITIES, Quantity
from panoptag_pyg.validation.sample import Sample


@dataclass(frozen=True)
class Pair:
    """One quantity of a process and of the reference.

    Attributes:
        process: whose events.
        quantity: what.
        comparison: of the shapes.
        mean, mean_error: of the process.
        reference_mean, reference_error: of the reference.
    """

    process: str
    quantity: Quantity
    comparison: Comparison
    mean: float
    mean_error: float
    reference_mean: float
    reference_error: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values; ``None`` for what there isn't."""
        values = {"process": self.process, "quantity": self.quantity.name}
        numbers = {
            "chi2": self.comparison.chi2,
            "ndf": self.comparison.ndf,
            "p_value": self.comparison.p_value,
            "ks": self.comparison.ks,
            "ks_p_value": self.comparison.ks_p_value,
            "mean": self.mean,
            "mean_error": self.mean_error,
            "reference_mean": self.reference_mean,
            "reference_error": self.reference_error,
        }
        return {**values, **{key: None if math.isnan(value) else value for key, value in numbers.items()}}

    def check(self) -> Check | None:
        """The comparison as a check, ``None`` where there were too few events."""
        shape = self.comparison
        if shape.ndf == 0 or math.isnan(shape.p_value):
            return None
        detail = (
            f"means {self.mean:.4g} ± {self.mean_error:.2g} and "
            f"{self.reference_mean:.4g} ± {self.reference_error:.2g}; KS {shape.ks:.4f}, p {shape.ks_p_value:.2g}"
        )
        name = f"{self.quantity.title}: {plain(self.quantity.label)}"
        return statistical("reference", name, detail, shape.chi2, shape.ndf, shape.p_value).of(self.process)


def plain(label: str) -> str:
    """An axis label without the marks of mathematics."""
    for mark, text in (
        ("$", ""),
        (r"\eta", "η"),
        (r"\phi", "φ"),
        (r"\sigma", "σ"),
        ("_T", "T"),
        ("_0", "0"),
        ("_z", "z"),
    ):
        label = label.replace(mark, text)
    return label


def reference_of(samples: Mapping[str, Sample], process: str) -> Sample:
    """The reference's events of the same process; if it has none, all of its events."""
    if process in samples:
        return samples[process]
    parts = list(samples.values())
    total = Sample("+".join(samples))
    total.histograms = {name: _sum(part.histograms[name] for part in parts) for name in total.histograms}
    total.num_events = sum(part.num_events for part in parts)
    total.pileup = any(part.pileup for part in parts)
    return total


def _sum(parts: Iterable[EventHistogram]) -> EventHistogram:
    first, *others = parts
    return sum(others, start=first)


def compared(samples: Mapping[str, Sample], references: Mapping[str, Sample]) -> list[str]:
    """Names of the processes that are compared: those that the reference has too; if it has none of them, all."""
    return [process for process in samples if process in references] or list(samples)


def pairs(samples: Mapping[str, Sample], references: Mapping[str, Sample]) -> list[Pair]:
    """Compare every quantity of every process with the reference's, if both have entries.

    Processes that both have are compared; if there are none, every process is compared with all of the reference.

    Args:
        samples: by process.
        references: of the second file, by process.
    """
    found = []
    for process in compared(samples, references):
        sample, reference = samples[process], reference_of(references, process)
        for quantity in QUANTITIES:
            one, other = sample.histograms[quantity.name], reference.histograms[quantity.name]
            if quantity.pileup and not (sample.pileup or reference.pileup):
                continue
            if not one.total.any() or not other.total.any():
                continue
            found.append(Pair(process, quantity, compare(one, other), *one.mean(), *other.mean()))
    return found
