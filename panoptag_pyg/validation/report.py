"""The result of a validation: checks, numbers and figures, for people and for machines."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from panoptag_pyg import __version__, output
from panoptag_pyg.report_folder import finite, write_report
from panoptag_pyg.validation.checks import Check, summary
from panoptag_pyg.validation.flavours import (
    PAPER_JETS_PER_EVENT,
    PAPER_SHARES,
    Fractions,
    explanation,
    mix_fractions,
    mix_of,
    mixed_variants,
    order_checks,
    sample_fractions,
)
from panoptag_pyg.validation.measurements import Remade
from panoptag_pyg.validation.reference import Pair
from panoptag_pyg.validation.resonances import PEAKS
from panoptag_pyg.validation.response import response_checks
from panoptag_pyg.validation.sample import Sample
from panoptag_pyg.validation.symmetries import symmetry_checks

if TYPE_CHECKING:
    from rich.table import Table

#: The numbers in a report's folder; one without them isn't a report and is never replaced.
NUMBERS = "validation.json"


@dataclass
class Validation:
    """All that was found.

    Attributes:
        files: that were checked.
        samples: what their columns say, by process.
        remade: what simulating events again gave.
        reference_files, references: the same of the files to compare with.
        pairs: the comparisons.
        command: command line, if any.
    """

    files: list[str]
    samples: Mapping[str, Sample]
    remade: Remade
    reference_files: list[str] = field(default_factory=list)
    references: Mapping[str, Sample] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)
    command: str | None = None

    @cached_property
    def checks(self) -> list[Check]:
        """Every check, in the order of the page."""
        found = list(self.remade.checks)
        for part in self.remade.parts.values():
            found += part.checks()
        for process, sample in self.samples.items():
            own = [*sample.consistency.checks(), *symmetry_checks(sample), *response_checks(sample)]
            if sample.has_flavour:
                own += order_checks(sample)
            found += [check.of(process) for check in own]
        return found + [check for check in (pair.check() for pair in self.pairs) if check is not None]

    @property
    def passed(self) -> bool:
        """Whether no check asks for a look."""
        return all(check.passed for check in self.checks)

    @property
    def with_flavour(self) -> dict[str, Sample]:
        """Processes whose jets have a known flavour."""
        return {name: sample for name, sample in self.samples.items() if sample.has_flavour}

    @cached_property
    def mix(self) -> Fractions | None:
        """Flavours of the mixture; ``None`` without any known one."""
        return mix_fractions(self.with_flavour) if self.with_flavour else None

    @cached_property
    def variants(self) -> dict[tuple[str, str, float], Fractions]:
        """Flavours of the mixture under other definitions; empty if a process of it couldn't be simulated again."""
        names = mix_of(self.with_flavour) if self.with_flavour else ()
        if not names or not set(names) <= set(self.remade.parts):
            return {}
        return mixed_variants({name: self.remade.parts[name].variants for name in names})

    def explanation(self) -> list[str]:
        """Why the flavours are not the paper's."""
        return explanation(self.mix, mix_of(self.with_flavour), self.variants) if self.mix else []

    def notes(self) -> list[str]:
        """What a reader of the numbers should know."""
        notes = list(self.remade.notes)
        without = [name for name in self.samples if name not in self.with_flavour]
        if without:
            notes.append(f"The flavour of jets is not known in {', '.join(without)}: checks that need it are left out.")
        for name, sample in self.samples.items():
            if sample.num_jets == 0:
                notes.append(f"{name} has no jets: checks that need them are left out.")
            if sample.negative_weights:
                share = sample.negative_weights / sample.num_events
                notes.append(f"{share:.1%} of the {name} events have a negative weight; sums are taken with the sign.")
        if not self.remade.parts:
            notes.append(
                "Without simulating events again the detector itself is not checked, only what the columns say."
            )
        return notes

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values."""
        return finite(
            {
                "format": "panoptag-validation",
                "software": f"panoptag-pyg {__version__}",
                "command": self.command,
                "files": self.files,
                "reference_files": self.reference_files,
                "summary": summary(self.checks),
                "notes": self.notes(),
                "checks": [check.to_dict() for check in self.checks],
                "processes": {name: self._process(sample) for name, sample in self.samples.items()},
                "mix": None if self.mix is None else {"processes": list(mix_of(self.with_flavour)), **vars(self.mix)},
                "paper": {"shares": PAPER_SHARES, "jets_per_event": PAPER_JETS_PER_EVENT},
                "variants": [
                    {"label": rule, "max_abs_eta": eta, "min_pt": pt, **vars(value)}
                    for (rule, eta, pt), value in self.variants.items()
                ],
                "explanation": self.explanation(),
                "simulated_again": self.remade.files,
                "masses": {name: self._masses(name) for name in self.remade.parts},
                "reference": [pair.to_dict() for pair in self.pairs],
            }
        )

    def _process(self, sample: Sample) -> dict[str, Any]:
        count = max(sample.num_events, 1)
        means = {name: histogram.mean() for name, histogram in sample.histograms.items() if histogram.total.any()}
        displaced = {}
        for name, histogram in sample.displaced.items():
            shares, covariance = histogram.shares()
            errors = np.sqrt(np.maximum(np.diag(covariance), 0))
            displaced[name] = {
                "above": shares[2],
                "above_error": errors[2],
                "below": shares[0],
                "below_error": errors[0],
            }
        return {
            "num_events": sample.num_events,
            "pfos_per_event": sample.num_pfos / count,
            "jets_per_event": sample.num_jets / count,
            "flavours": vars(sample_fractions(sample)) if sample.has_flavour else None,
            "displaced_tracks": displaced if sample.has_flavour else None,
            "means": {name: {"mean": mean, "error": error} for name, (mean, error) in means.items()},
        }

    def _masses(self, process: str) -> dict[str, Any]:
        found = {}
        for peak in PEAKS:
            jets, truth = self.remade.parts[process].resonances.masses(peak.name)
            if len(jets):
                low, median, high = np.percentile(jets, [16, 50, 84])
                found[peak.name] = {
                    "decays": self.remade.parts[process].resonances.tried[peak.name],
                    "found": len(jets),
                    "median": median,
                    "half_width": (high - low) / 2,
                    "generated_median": float(np.median(truth)),
                }
        return found

    def table(self) -> Table:
        """Sections, and all checks that ask for a look, as a rich table."""
        from panoptag_pyg.validation.page import rich_table

        return rich_table(self)

    def save(self, folder: str | os.PathLike[str], overwrite: bool = False, figures: bool = True) -> Path:
        """Write the page, the figures and the numbers.

        Args:
            folder: to make.
            overwrite: replace an older report there. Default ``False``.
            figures: draw too. Default ``True``.

        Returns:
            The page's path.

        Raises:
            OutputError: the folder stands there, or can't be written.
        """
        from panoptag_pyg.validation.figures import all_figures
        from panoptag_pyg.validation.page import html_page

        drawn = all_figures(self) if figures else ()
        return write_report(folder, {NUMBERS: self.to_dict()}, drawn, lambda images: html_page(self, images), overwrite)


def check_folder(folder: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Refuse a folder that may not be made or replaced; ask before long work, not after it.

    Raises:
        OutputError: it is a file, holds something, isn't a report, or can't be written.
    """
    return output.check_folder(folder, NUMBERS, overwrite)
