"""Is the simulation right? Checks of event files against their detector card, exact symmetries, and other files.

``validate`` reads files, simulates some of their events again, and gives a report that can be saved as a page.
"""

from panoptag_pyg.validation.checks import Check
from panoptag_pyg.validation.histograms import Comparison, EventHistogram, compare
from panoptag_pyg.validation.report import Validation
from panoptag_pyg.validation.validate import validate

__all__ = ["Check", "Comparison", "EventHistogram", "Validation", "compare", "validate"]
