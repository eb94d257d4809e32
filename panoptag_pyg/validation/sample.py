"""What a file's columns say, process by process, gathered block by block from files of any size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from panoptag_pyg.events import EventBlock, EventFile
from panoptag_pyg.events.schema import FLAVOUR_NAMES
from panoptag_pyg.validation.consistency import Consistency
from panoptag_pyg.validation.histograms import EventHistogram
from panoptag_pyg.validation.quantities import DISPLACED, QUANTITIES, BlockView

#: Events that are read at a time.
BLOCK_EVENTS = 500
#: Bins in φ: 20° is a whole number of cells of every ring of the shipped detector, so that all bins are alike.
PHI_EDGES = np.linspace(-np.pi, np.pi, 19)
ETA_EDGES = np.linspace(-5, 5, 21)
#: Whose symmetry is checked.
SYMMETRIC = ("tracks", "neutral PFOs", "jets")
#: pT of tracks, GeV, for the errors' means.
ERROR_PT_EDGES = np.geomspace(0.1, 100, 46)
FLAVOUR_EDGES = np.arange(-1.5, 3)
SIGNIFICANCE_EDGES = np.array([-1e12, -DISPLACED, DISPLACED, 1e12])


@dataclass
class Sample:
    """Events of one process.

    Attributes:
        process: its name.
        num_events: events read.
        num_pfos, num_jets: in these.
        negative_weights: events with a weight below 0.
        histograms: by the quantity's name.
        phi, eta: of the objects named in ``SYMMETRIC``.
        flavours: jets by flavour, −1 to 2.
        displaced: significance below −3, between, above 3; by flavour.
        error_sums: tracks, sums of their errors of d0 and of dz, in bins of pT [3, bins].
        responses: pT of the matched jet of stable particles, pT over it, |η|; one array per block, [3, jets].
        pileup: whether any event has more than one interaction.
        consistency: conditions that every entry fulfils, and how many break them.
        attributes: of the first file.
        files: names of the files.
    """

    process: str
    num_events: int = 0
    num_pfos: int = 0
    num_jets: int = 0
    negative_weights: int = 0
    histograms: dict[str, EventHistogram] = field(
        default_factory=lambda: {quantity.name: EventHistogram(quantity.edges) for quantity in QUANTITIES}
    )
    phi: dict[str, EventHistogram] = field(
        default_factory=lambda: {name: EventHistogram(PHI_EDGES) for name in SYMMETRIC}
    )
    eta: dict[str, EventHistogram] = field(
        default_factory=lambda: {name: EventHistogram(ETA_EDGES) for name in SYMMETRIC}
    )
    flavours: EventHistogram = field(default_factory=lambda: EventHistogram(FLAVOUR_EDGES))
    displaced: dict[str, EventHistogram] = field(
        default_factory=lambda: {name: EventHistogram(SIGNIFICANCE_EDGES) for name in FLAVOUR_NAMES}
    )
    error_sums: np.ndarray = field(default_factory=lambda: np.zeros((3, len(ERROR_PT_EDGES) - 1)))
    responses: list[np.ndarray] = field(default_factory=list)
    pileup: bool = False
    consistency: Consistency = field(default_factory=Consistency)
    attributes: dict[str, Any] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    def add(self, block: EventBlock, attributes: dict[str, Any]) -> None:
        """Add events of this process.

        Args:
            block: the events.
            attributes: of their file.
        """
        view = BlockView(block)
        weight = block.event["weight"].astype(np.float64)
        self.num_events += block.num_events
        self.num_pfos += block.num_pfos
        self.num_jets += block.num_jets
        self.negative_weights += int((weight < 0).sum())
        self.pileup |= bool((block.event["num_interactions"] > 1).any())
        for quantity in QUANTITIES:
            self.histograms[quantity.name].fill(*quantity.values(view), weight)
        charged = block.pfo["charge"] != 0
        for name, group, event, rows in (
            ("tracks", block.pfo, view.pfo_event, np.flatnonzero(charged)),
            ("neutral PFOs", block.pfo, view.pfo_event, np.flatnonzero(~charged)),
            ("jets", block.jet, view.jet_event, np.arange(block.num_jets)),
        ):
            phi = group["phi"][rows].astype(np.float64)
            self.phi[name].fill(phi - 2 * np.pi * np.floor(phi / (2 * np.pi) + 0.5), event[rows], weight)
            self.eta[name].fill(group["eta"][rows], event[rows], weight)
        self.flavours.fill(block.jet["flavour"], view.jet_event, weight)
        tracks = view.tracks
        for flavour, name in enumerate(FLAVOUR_NAMES):
            rows = np.flatnonzero(tracks.flavour == flavour)
            self.displaced[name].fill(tracks.displacement[rows], tracks.event[rows], weight)
        self._add_errors(block, charged)
        matched = block.jet["truth_pt"] > 0
        pt, truth, eta = (block.jet[name][matched].astype(np.float64) for name in ("pt", "truth_pt", "eta"))
        self.responses.append(np.stack([truth, pt / truth, np.abs(eta)]))
        self.consistency.add(view, attributes)

    def _add_errors(self, block: EventBlock, charged: np.ndarray) -> None:
        pt = block.pfo["pt"][charged]
        bins = np.searchsorted(ERROR_PT_EDGES, pt, side="right") - 1
        inside = (bins >= 0) & (bins < len(ERROR_PT_EDGES) - 1)
        for row, values in enumerate((np.ones(len(pt)), *(block.pfo[n][charged] for n in ("d0_error", "dz_error")))):
            self.error_sums[row] += np.bincount(bins[inside], values[inside], len(ERROR_PT_EDGES) - 1)

    @property
    def has_flavour(self) -> bool:
        """Whether any jet's flavour is known."""
        return bool(self.flavours.total[1:].any())

    def flavour_shares(self) -> EventHistogram:
        """Jets of known flavour: light, c, b."""
        known = self.flavours
        return EventHistogram(known.edges[1:], known.num_events, known.total[1:], known.products[1:, 1:])


def read_samples(
    paths: Iterable[str | Path], max_events: int, advance: Callable[[int], object] = lambda n: None
) -> dict[str, Sample]:
    """Read files and sort their events by process.

    Args:
        paths: event files.
        max_events: most events of each file.
        advance: called with the number of events read each time. Default: nothing.

    Raises:
        EventFileError: as from :class:`~panoptag_pyg.events.EventFile`.
    """
    samples: dict[str, Sample] = {}
    for path in paths:
        with EventFile(path) as file:
            for start in range(0, min(file.num_events, max_events), BLOCK_EVENTS):
                block = file.read(start, min(start + BLOCK_EVENTS, max_events))
                for process, part in by_process(block, file.processes):
                    sample = samples.setdefault(process, Sample(process, attributes=file.attributes))
                    if str(path) not in sample.files:
                        sample.files.append(str(path))
                    sample.add(part, file.attributes)
                advance(block.num_events)
    return samples


def by_process(block: EventBlock, names: list[str]) -> Iterator[tuple[str, EventBlock]]:
    """The events of each process in a block, with its name."""
    for number in np.unique(block.event["process"]):
        yield names[number], block.select(np.flatnonzero(block.event["process"] == number))
