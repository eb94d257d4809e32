"""One block of events from the generator to the columns of a file."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from panoptag_pyg.events import EventBlock
from panoptag_pyg.events.schema import columns
from panoptag_pyg.simulation.detector import Detector, PFOs
from panoptag_pyg.simulation.detector_card import DetectorCard
from panoptag_pyg.simulation.generators import make_generator
from panoptag_pyg.simulation.jets import ClusteredJets, cluster, four_momentum
from panoptag_pyg.simulation.labels import label_jets
from panoptag_pyg.simulation.particles import HARD_SCATTER, GeneratedEvents, Particles, stable_particles
from panoptag_pyg.simulation.partons import parton_flavour
from panoptag_pyg.simulation.pileup import EVENTS_AT_ONCE, Pileup, PileupOverlay
from panoptag_pyg.simulation.subjets import SubjetOptions, add_subjets
from panoptag_pyg.simulation.truth import hard_scatter_share, heavy_ancestry, match_truth_jets, weakly_decaying

#: Events that share one seed; part of what a seed means, so that the same seed gives the same events everywhere.
EVENTS_PER_BLOCK = 100
#: Keeps the detector's random numbers apart from those of other uses of the same seed.
_DETECTOR_STREAM = 1


@dataclass(frozen=True)
class SimulationConfig:
    """All that decides which events come out; workers receive it.

    Attributes:
        settings: PYTHIA's settings, those of the process, the setup and the user, in this order.
        detector: the detector's card.
        impact_parameters: ``"smeared"`` or ``"true"``.
        label: ``"hadron"`` or ``"delphes"``.
        all_eta: keep jets at any η that the detector sees.
        seed: whole number ≥ 0.
        subjets: how subjets are found; ``None`` for none.
        matrix_element: name of the package's own matrix element that gives PYTHIA the hard events; ``None`` for none.
        lhe: file of Les Houches events that PYTHIA showers; ``None`` for none.
        pileup: collisions on top of each event; ``None`` for none.
    """

    settings: tuple[str, ...]
    detector: DetectorCard
    impact_parameters: str
    label: str
    all_eta: bool
    seed: int
    subjets: SubjetOptions | None = None
    matrix_element: str | None = None
    lhe: Path | None = None
    pileup: Pileup | None = None


@dataclass
class SimulatedBlock:
    """A block of events at every stage of its making.

    Attributes:
        events: the generator's records; of the hard scatter alone.
        particles: stable particles of the hard scatter; pileup's, which may be millions, are not kept.
        pfos: what the detector makes of them and of pileup; its ``particle`` is −1 for tracks of pileup too.
        jets: their jets.
        block: the columns of a file.
    """

    events: GeneratedEvents
    particles: Particles
    pfos: PFOs
    jets: ClusteredJets
    block: EventBlock


class BlockSimulator:
    """Simulates blocks of events; PYTHIA is initialised once.

    Args:
        config: what to simulate.

    Attributes:
        seconds: CPU time spent so far in each stage.
    """

    def __init__(self, config: SimulationConfig) -> None:
        self.config = config
        self.generator = make_generator(config)
        self.detector = Detector(config.detector, config.impact_parameters)
        self.overlay: PileupOverlay | None = None
        if config.pileup is not None:
            self.overlay = PileupOverlay(config.pileup, config.detector.beam_spot, config.seed)
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds[name] += time.process_time() - start

    def block(self, number: int, num_events: int = EVENTS_PER_BLOCK) -> EventBlock:
        """The columns of events ``number * EVENTS_PER_BLOCK`` and following; see :meth:`simulate`."""
        return self.simulate(number, num_events).block

    def simulate(self, number: int, num_events: int = EVENTS_PER_BLOCK) -> SimulatedBlock:
        """Events ``number * EVENTS_PER_BLOCK`` and following; the same whatever was simulated before.

        Args:
            number: of the block.
            num_events: how many of its events. Default: all.
        """
        card = self.config.detector
        max_abs_eta = self.detector.max_abs_eta if self.config.all_eta else card.jets.max_abs_eta
        with self._stage("pythia"):
            events = self.generator.generate(number, num_events)
        rng = np.random.default_rng([self.config.seed, number, _DETECTOR_STREAM])
        with self._stage("truth"):
            weak = weakly_decaying(events)
            particles = stable_particles(events, heavy_ancestry(events, weak))
        if self.overlay is None:
            num_interactions = np.ones(events.num_events, dtype=np.int64)
            with self._stage("detector"):
                pfos = self.detector(particles, rng)
        else:
            pfos, num_interactions = self._detect_with_pileup(self.overlay, particles, number, rng)
        with self._stage("jets"):
            jets = cluster_pfos(pfos, card, max_abs_eta)
        with self._stage("truth"):
            truth_pt, truth_mass = match_truth_jets(particles, jets, card, max_abs_eta)
        with self._stage("labels"):
            labels = label_jets(jets, events, weak, card.labels, self.config.label)
            truth = {
                **vars(labels),
                "truth_pt": truth_pt,
                "truth_mass": truth_mass,
                "parton_flavour": parton_flavour(jets, events, card.labels, card.jets.radius),
                "hard_scatter_fraction": hard_scatter_share(
                    jets, pfos.columns["pt"], pfos.columns["hard_scatter_fraction"], pfos.offsets
                ),
            }
        block = _event_block(events, pfos, jets, truth, number * EVENTS_PER_BLOCK, num_interactions)
        if self.config.subjets is not None:
            with self._stage("subjets"):
                block = add_subjets(block, self.config.subjets)
        return SimulatedBlock(events, particles, pfos, jets, block)

    def _detect_with_pileup(
        self, overlay: PileupOverlay, particles: Particles, number: int, rng: np.random.Generator
    ) -> tuple[PFOs, np.ndarray]:
        """PFOs of a block's particles and pileup, and the collisions in each event; a few events at a time."""
        num_events = particles.num_events
        with self._stage("pileup"):
            overlaid = overlay.draw(number, num_events)
        pieces = []
        for start in range(0, num_events, EVENTS_AT_ONCE):
            with self._stage("pileup"):
                hard = particles.events(start, start + EVENTS_AT_ONCE)
                both = overlay.overlay(hard, overlaid, start)
            with self._stage("detector"):
                pfos = self.detector(both, rng)
            pfos.particle = hard_rows(both, pfos.particle, int(np.searchsorted(particles.event, start)))
            pieces.append(pfos)
        return PFOs.joined(pieces), overlaid.counts + 1


def hard_rows(particles: Particles, rows: np.ndarray, first: int) -> np.ndarray:
    """Rows of particles, counted among those of the hard scatter alone, ``first`` of which come before; else −1.

    Shapes:
        ``rows`` [P], −1 for none → [P].
    """
    is_hard = particles.interaction == HARD_SCATTER
    among_hard = np.where(is_hard, np.cumsum(is_hard) - 1 + first, -1)
    return np.where(rows >= 0, among_hard[rows], -1)


def cluster_pfos(pfos: PFOs, card: DetectorCard, max_abs_eta: float) -> ClusteredJets:
    """Jets of the PFOs as they stand in the file, so that the file's own PFOs give them again."""
    return cluster(
        *four_momentum(pfos.columns),
        pfos.offsets,
        algorithm=card.jets.algorithm,
        radius=card.jets.radius,
        min_pt=card.jets.min_pt,
        max_abs_eta=max_abs_eta,
    )


def _event_block(
    events: GeneratedEvents,
    pfos: PFOs,
    jets: ClusteredJets,
    truth: dict[str, np.ndarray],
    first_id: int,
    num_interactions: np.ndarray,
) -> EventBlock:
    num_events = events.num_events
    event = {
        "id": first_id + (np.arange(num_events) if events.number is None else events.number),
        "process": np.zeros(num_events),
        "source": np.zeros(num_events),
        "weight": events.weight,
        "num_interactions": num_interactions,
    }
    jet = {"pt": jets.pt, "eta": jets.eta, "phi": jets.phi, "mass": jets.mass, **truth}
    return EventBlock(
        event={column.name: event[column.name].astype(column.dtype) for column in columns("event")},
        pfo=pfos.columns,
        jet={column.name: jet[column.name].astype(column.dtype) for column in columns("jet")},
        pfo_offsets=pfos.offsets,
        jet_offsets=jets.offsets,
        constituent_offsets=jets.constituent_offsets,
        constituents=jets.constituents,
    )
