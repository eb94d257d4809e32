"""Is an exported tagger the tagger? Both tag the same events, real and awkward, one at a time and several at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg.events import EventDataset
from panoptag_pyg.events.batching import block_to_batch
from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.events.fields import Fields
from panoptag_pyg.export.awkward_events import awkward_events, neighbours_of
from panoptag_pyg.export.interface import ExportError
from panoptag_pyg.export.near_ties import explained
from panoptag_pyg.models.base import event_ptr
from panoptag_pyg.progress import progress

#: Largest difference of logits that is called the same, in float32.
TOLERANCE = 1e-4
#: Events per call, where there are several.
TOGETHER = 16
#: Events that are read at a time, and whose largest are made into awkward ones.
READ = 256
#: Events above the tolerance that are looked into.
MOST_EXPLAINED = 20


class ParityError(ExportError):
    """An exported tagger whose logits aren't the tagger's."""


@dataclass
class Case:
    """One way of calling the exported tagger.

    Attributes:
        name: what it is.
        events: how many were tagged.
        rows: how many logits there were, of jets or of events.
        logits: largest absolute difference of a logit.
        probabilities: largest absolute difference of a probability.
        worst: the event where that of the logits was.
    """

    name: str
    events: int = 0
    rows: int = 0
    logits: float = 0.0
    probabilities: float = 0.0
    worst: str = ""

    def add(self, name: str, wanted: Tensor, found: Tensor) -> float:
        """Take in the logits of one event; the largest difference."""
        self.events += 1
        self.rows += len(wanted)
        if not wanted.numel():
            return 0.0
        difference = _largest(wanted, found)
        if difference > self.logits or not self.worst:
            self.logits, self.worst = difference, name
        probabilities = _largest(wanted.double().softmax(1), found.double().softmax(1))
        self.probabilities = max(self.probabilities, probabilities)
        return difference


@dataclass
class Parity:
    """How far an exported tagger is from the tagger.

    Attributes:
        cases: the ways in which it was called.
        tolerance: largest difference of logits that passes; infinite for variants that aren't meant to be the same.
        runtime: what ran the exported tagger.
        explained: what events above the tolerance were due to, where that is certain.
        unexplained: names of those where it isn't.
    """

    cases: list[Case]
    tolerance: float
    runtime: str
    explained: dict[str, str] = field(default_factory=dict)
    unexplained: list[str] = field(default_factory=list)

    @property
    def logits(self) -> float:
        """Largest difference of a logit, events with an explanation included."""
        return max((case.logits for case in self.cases), default=0.0)

    @property
    def probabilities(self) -> float:
        """Largest difference of a probability."""
        return max((case.probabilities for case in self.cases), default=0.0)

    @property
    def passed(self) -> bool:
        """Whether every event is within the tolerance or explained."""
        return not self.unexplained

    def require(self, what: str) -> Parity:
        """Itself.

        Args:
            what: what an error calls the exported tagger, such as its file.

        Raises:
            ParityError: if it didn't pass, naming the event.
        """
        if self.passed:
            return self
        worst = max((case for case in self.cases), key=lambda case: case.logits)
        raise ParityError(
            f"{what}: its logits differ from the tagger's by {worst.logits:.3g} in {worst.worst} ({worst.name}), more "
            f"than {self.tolerance:g}, in {len(self.unexplained)} events in all; don't use it, and report this"
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            "passed": self.passed,
            "tolerance": _plain(self.tolerance),
            "runtime": self.runtime,
            "largest_difference_of_logits": _plain(self.logits),
            "largest_difference_of_probabilities": _plain(self.probabilities),
            "cases": [{name: _plain(value) for name, value in asdict(case).items()} for case in self.cases],
            "explained": self.explained,
            "unexplained": self.unexplained,
        }


def check_parity(
    model: nn.Module,
    exported: nn.Module,
    dataset: EventDataset,
    num_events: int = 1000,
    tolerance: float = TOLERANCE,
    together: int = TOGETHER,
) -> Parity:
    """Compare an exported tagger with the tagger, on real events and on awkward ones made of them.

    Every real event is tagged alone and among ``together``; the awkward ones (cut to no, one or few PFOs and jets,
    doubled, four in one; see :func:`~panoptag_pyg.export.awkward_events.awkward_events`) alone, and all small ones at
    once.

    An event beyond the tolerance is looked into: if two neighbours are all but equally far, and the tagger's logits
    become the exported ones when it takes the other, that is its explanation; without one the comparison fails.

    Args:
        model: the tagger, in evaluation mode.
        exported: such as :func:`~panoptag_pyg.export.onnx.load_onnx` gives it.
        dataset: events with the fields that the tagger needs; spread over all of it if it has more than asked for.
        num_events: how many real ones. Default 1,000.
        tolerance: largest difference of a logit. Default 1e-4.
        together: events per call, where there are several. Default 16.

    Raises:
        ParityError: if the shapes differ.
        ExportError: if there are no events.
    """
    if len(dataset) == 0:
        raise ExportError("there are no events to compare on")
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(num_events, len(dataset))).astype(np.int64))
    check = _Comparison(model, exported, dataset.fields, tolerance)
    alone, several = Case("one event per call"), Case(f"{together} events per call")
    first: tuple[EventBlock, list[str]] | None = None
    with progress("comparing", len(chosen)) as advance:
        for start in range(0, len(chosen), READ):
            numbers = chosen[start : start + READ]
            block = dataset.read_block(numbers, dataset.fields.columns)
            names = [_name(dataset, number) for number in numbers]
            check.compare(block, names, alone, 1)
            check.compare(block, names, several, together)
            first = first or (block, names)
            advance(len(numbers))
    assert first is not None
    awkward = awkward_events(*first, neighbours_of(model))
    cases = [alone, several, Case("awkward events, one per call"), Case("small awkward events, all in one call")]
    check.compare(awkward.block, awkward.names, cases[2], 1)
    # Inside a graph all events of a call are as wide as the largest, and distances are the square of that: the two
    # large ones at the end, for which a call is made each, would take gigabytes together with all others.
    small = np.arange(len(awkward.names) - 2)
    check.compare(awkward.block.select(small), awkward.names[:-2], cases[3], len(small))
    runtime = str(getattr(exported, "runtime", type(exported).__name__))
    return Parity(cases, tolerance, runtime, check.explained, check.unexplained)


class _Comparison:
    """What all cases of one comparison share."""

    def __init__(self, model: nn.Module, exported: nn.Module, fields: Fields, tolerance: float) -> None:
        self.model, self.exported = model, exported
        self.fields, self.tolerance = fields, tolerance
        self.explained: dict[str, str] = {}
        self.unexplained: list[str] = []

    @torch.no_grad()
    def compare(self, block: EventBlock, names: Sequence[str], case: Case, together: int) -> None:
        """Tag events with both, ``together`` per call of the exported tagger."""
        for batch, names_here in self._batches(block, names, together):
            wanted, found = self.model(batch), self.exported(batch)
            if found.shape != wanted.shape:
                raise ParityError(
                    f"{names_here[0]} ({case.name}): the exported tagger gives logits of shape {list(found.shape)}, "
                    f"not {list(wanted.shape)}; don't use it, and report this"
                )
            rows = self._rows(batch, len(wanted))
            for event, (first, last) in enumerate(rows):
                difference = case.add(names_here[event], wanted[first:last], found[first:last])
                if difference > self.tolerance or math.isinf(difference):
                    self._look_into(batch, event, names_here[event], found[first:last])

    def _batches(
        self, block: EventBlock, names: Sequence[str], together: int
    ) -> Iterator[tuple[HeteroData, Sequence[str]]]:
        for start in range(0, block.num_events, together):
            stop = min(start + together, block.num_events)
            yield block_to_batch(block.select(np.arange(start, stop)), None, self.fields), names[start:stop]

    def _rows(self, batch: HeteroData, num_rows: int) -> list[tuple[int, int]]:
        """First and last row of logits of each event."""
        if getattr(self.model, "level", "jet") == "event":
            return [(row, row + 1) for row in range(num_rows)]
        ptr = event_ptr(batch["jet"]).tolist()
        return list(itertools.pairwise(ptr))

    def _look_into(self, batch: HeteroData, event: int, name: str, found: Tensor) -> None:
        if name in self.explained or name in self.unexplained:
            return
        reason = None
        if len(self.explained) + len(self.unexplained) < MOST_EXPLAINED:
            alone = batch.to_data_list()[event]
            reason = explained(lambda: self.model(alone), found, self.tolerance)
        if reason is None:
            self.unexplained.append(name)
        else:
            self.explained[name] = str(reason)


def _largest(a: Tensor, b: Tensor) -> float:
    difference = (a.double() - b.double()).abs().max().item()
    # What isn't a number is as far off as anything can be.
    return difference if math.isfinite(difference) else math.inf


def _plain(value: Any) -> Any:
    """JSON has no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _name(dataset: EventDataset, number: int) -> str:
    """The event's number in its file, and that file."""
    view = dataset.select([number])
    return f"event {int(view.number_in_file()[0])} of {dataset.files[int(view.file_of_events()[0])].path}"
