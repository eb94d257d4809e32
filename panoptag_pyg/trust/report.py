"""The result of a check: a page, ``check.json``, figures and the calibration, whole or not at all."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panoptag_pyg import __version__
from panoptag_pyg.evaluation.calibrate import Calibration
from panoptag_pyg.report_folder import finite, write_report
from panoptag_pyg.trust.verdict import FAIL, LOOK, PASS, Check, Section

if TYPE_CHECKING:
    from rich.table import Table

#: What a report's folder holds besides page and figures.
NUMBERS, CALIBRATION = "check.json", "calibration.json"


@dataclass
class TrustReport:
    """All that was found of a run.

    Attributes:
        run: what was checked.
        model: name of its model.
        sections: the checks.
        calibration: the one that is offered; ``None`` where none could be fitted.
        samples: what the test and training events are, for people and machines.
        notes: what a reader should know.
        settings: of the check, to repeat it.
        command: command line, if any.
    """

    run: str
    model: str
    sections: list[Section]
    calibration: Calibration | None
    samples: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    command: str | None = None

    @property
    def checks(self) -> list[Check]:
        """Every check, in the order of the page."""
        return [check for section in self.sections for check in section.checks]

    @property
    def failed(self) -> list[Check]:
        """Exact checks that don't hold."""
        return [check for check in self.checks if check.verdict == FAIL]

    @property
    def counts(self) -> dict[str, int]:
        """How many checks have each verdict."""
        return {verdict: sum(c.verdict == verdict for c in self.checks) for verdict in (PASS, LOOK, FAIL)}

    def verdict(self) -> str:
        """One line for all."""
        counts = self.counts
        if counts[FAIL]:
            return f"{counts[FAIL]} exact checks fail: don't use this model before you know why"
        return f"{counts[PASS]} checks pass" + (f", {counts[LOOK]} ask for a look" if counts[LOOK] else "")

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values."""
        return finite(
            {
                "software": f"panoptag-pyg {__version__}",
                "run": self.run,
                "model": self.model,
                "command": self.command,
                "settings": self.settings,
                "samples": self.samples,
                "notes": self.notes,
                "verdicts": self.counts,
                "calibration": None if self.calibration is None else self.calibration.to_dict(),
                "sections": {section.key: section.to_dict() for section in self.sections},
            }
        )

    def table(self) -> Table:
        """One line for each check, as a rich table."""
        from panoptag_pyg.trust.page import rich_table

        return rich_table(self)

    def save(self, folder: str | os.PathLike[str], overwrite: bool = False, figures: bool = True) -> Path:
        """Write the page, ``check.json``, ``calibration.json`` and the figures.

        Args:
            folder: to make.
            overwrite: replace an older report there. Default ``False``.
            figures: draw too. Default ``True``.

        Returns:
            The page's path.

        Raises:
            OutputError: the folder stands there, or can't be written.
        """
        from panoptag_pyg.trust.page import html_page

        chosen = (item for section in self.sections for item in section.figures.items()) if figures else ()
        numbers = {NUMBERS: self.to_dict()}
        if self.calibration is not None:
            numbers[CALIBRATION] = self.calibration.to_dict()
        drawn = ((name, draw()) for name, draw in chosen)
        return write_report(folder, numbers, drawn, lambda images: html_page(self, images), overwrite)
