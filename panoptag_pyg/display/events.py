"""Which events to show, as people write them: ``0:20``, ``3,7,9``, ``:5,40``."""

from __future__ import annotations

import re

from panoptag_pyg.display.view import DisplayError, no_such_event
from panoptag_pyg.events import EventDataset

#: Events that a page shows unless it is told which, and the most it holds: each takes about 40 kB.
DEFAULT_EVENTS, MOST_EVENTS = 20, 500
_PART = re.compile(r"\s*(?:(\d+)|(\d*)\s*:\s*(\d*))\s*", re.ASCII)


def parse_events(text: str | None, dataset: EventDataset) -> list[int]:
    """Numbers of events, each once, in the order in which they are written.

    Args:
        text: numbers and ranges (the end left out, as in Python) with commas between. ``None``: the first 20 events,
            or all where there are fewer.
        dataset: the events.

    Raises:
        DisplayError: for anything else, for events that aren't there, or for more than 500.
    """
    if text is None:
        return list(range(min(DEFAULT_EVENTS, len(dataset))))
    numbers: dict[int, None] = {}
    for part in text.split(","):
        found = _PART.fullmatch(part)
        if found is None:
            raise DisplayError(f"--events {text} is not understood at '{part}'; write 0:20, or 3,7,9, or both")
        number, start, stop = found.groups()
        first = int(number or start or 0)
        last = int(number) if number else int(stop or len(dataset)) - 1
        if not number and stop and last < first:
            raise DisplayError(f"--events {text}: the range '{part.strip()}' holds no event; write its start first")
        for event in (first, last):
            if not 0 <= event < len(dataset):
                raise no_such_event(f"--events {text}: {event}", dataset)
        if last - first >= MOST_EVENTS or len(numbers) + last - first >= MOST_EVENTS:
            raise DisplayError(f"--events {text}: a page holds at most {MOST_EVENTS} events; choose fewer")
        numbers |= dict.fromkeys(range(first, last + 1))
    return list(numbers)
