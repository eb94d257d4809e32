"""Events and runs to look at: event displays as figures and as interactive pages, and a run's report as one page."""

from panoptag_pyg.display.events import parse_events
from panoptag_pyg.display.figure import draw_event
from panoptag_pyg.display.page import event_page
from panoptag_pyg.display.view import DisplayError, EventView, view_event, view_events

__all__ = ["DisplayError", "EventView", "draw_event", "event_page", "parse_events", "view_event", "view_events"]
