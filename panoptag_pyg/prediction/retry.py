"""Whose fault it is that scores are not finite: the event's own, another's in the batch, or the tagger's."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
from torch_geometric.data import HeteroData

from panoptag_pyg.events.batching import block_to_batch
from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.prediction.reading import MISSING, EventStream

#: So many suspects of a batch are tried one by one without asking whether the tagger itself is at fault.
FEW = 4
#: Events, spread over all files, that a tagger is tried on; and how many of them it needs to be judged by.
TRIED, LEAST = 16, 4
#: What is said of a tagger that fails on all of these.
AT_FAULT = (
    "the tagger gives no finite score to any of the events that it was tried on one by one, spread over all files, "
    "though their values are finite: the tagger is at fault, not the events; look at its training"
)

_log = logging.getLogger(__name__)


class Retry:
    """Finds out which events of a batch get no finite scores even by themselves.

    That takes a call of the tagger for each suspect. A tagger that fails on whatever it is given would be called for
    every single event of all files, to no end: it is found out on a few, always the same ones of a stream, so that what
    comes out doesn't depend on how the work is divided.

    Args:
        stream: the events.
        score: of a batch: whether there is anything to score in it, and whether all of that is finite.
    """

    def __init__(self, stream: EventStream, score: Callable[[HeteroData], tuple[bool, bool]]) -> None:
        self.stream, self._score = stream, score
        self._verdict: bool | None = None

    def lost(self, block: EventBlock, suspects: np.ndarray) -> np.ndarray:
        """Which of a block's events get values that are not finite even by themselves, bool [B].

        Args:
            block: the events.
            suspects: which of them got such values together with the others, bool [B].
        """
        if suspects.sum() > FEW and self.tagger_is_at_fault():
            return suspects.copy()
        lost = np.zeros(block.num_events, dtype=bool)
        for event in np.flatnonzero(suspects):
            batch = block_to_batch(block.select([int(event)]), fields=self.stream.fields)
            lost[event] = not self._score(batch)[1]
        return lost

    def tagger_is_at_fault(self) -> bool:
        """Whether the tagger fails on every event that it is tried on; said in the log the first time."""
        if self._verdict is None:
            tried = self._tried()
            self._verdict = len(tried) >= LEAST and not any(tried)
            if self._verdict:
                _log.warning("%s", AT_FAULT)
        return self._verdict

    def _tried(self) -> list[bool]:
        number = self.stream.num_events
        found = []
        for event in np.unique(np.linspace(0, number - 1, min(number, TRIED)).round().astype(np.int64)).tolist():
            for prepared in self.stream.prepared(event, event + 1):
                if prepared.block.event[MISSING].any():
                    continue
                something, fine = self._score(prepared.batches[0])
                if something:
                    found.append(fine)
        return found
