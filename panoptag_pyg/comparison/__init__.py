"""Taggers side by side: trained or loaded, on the same split and seeds, to one table, one figure and JSON."""

from panoptag_pyg.comparison.engine import Settings, compare
from panoptag_pyg.comparison.entries import Entry, find_entries
from panoptag_pyg.comparison.figure import comparison_figure
from panoptag_pyg.comparison.tables import markdown_table, rich_table

__all__ = ["Entry", "Settings", "compare", "comparison_figure", "find_entries", "markdown_table", "rich_table"]
