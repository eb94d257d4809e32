"""Generated events through a detector, as if a file had been simulated again; and detectors that are wrong."""

from __future__ import annotations

from functools import cache

import numpy as np

from panoptag_pyg.events import EventBlock
from panoptag_pyg.simulation.cards import ProcessCard
from panoptag_pyg.simulation.detector_card import DetectorCard
from panoptag_pyg.simulation.particles import GeneratedEvents, Particles, stable_particles
from panoptag_pyg.simulation.pipeline import SimulatedBlock, cluster_pfos
from panoptag_pyg.simulation.pythia import Pythia
from panoptag_pyg.simulation.truth import heavy_ancestry, weakly_decaying
from panoptag_pyg.validation.resimulation import RecordingDetector, Resimulated

SETTINGS = (*ProcessCard.load("ttbar").settings, *DetectorCard.load("atlas").setup("realistic").pythia)


@cache
def generated(seed: int, num_events: int = 200) -> tuple[GeneratedEvents, Particles]:
    """Records of tt̄ events and their stable particles."""
    events = Pythia(list(SETTINGS), seed).generate(0, num_events)
    return events, stable_particles(events, heavy_ancestry(events, weakly_decaying(events)))


def remade(
    rng: np.random.Generator, detector: RecordingDetector, events: GeneratedEvents, particles: Particles
) -> Resimulated:
    """The events through ``detector``, without the columns of a file."""
    pfos = detector(particles, rng)
    jets = cluster_pfos(pfos, detector.card, detector.card.jets.max_abs_eta)
    simulated = SimulatedBlock(events, particles, pfos, jets, EventBlock.empty())
    return Resimulated(simulated, detector.detections[-1:], detector.max_abs_eta, ())


def altered(**changes: object) -> DetectorCard:
    """The ATLAS card with values changed; keys are paths with ``__`` in between, values functions of the old value."""
    values = DetectorCard.load("atlas").model_dump(mode="json")
    for path, change in changes.items():
        *parents, name = path.split("__")
        place = values
        for parent in parents:
            place = place[int(parent) if isinstance(place, list) else parent]
        place[name] = change(place[name])  # type: ignore[operator]
    return DetectorCard.parse(values, "altered")


def times(factor: float):
    """Multiply a number, or all numbers of a table."""

    def change(old):
        return [change(entry) for entry in old] if isinstance(old, list) else factor * old

    return change


class LossyDetector(RecordingDetector):
    """Loses 30 % of the tracks in a twelfth of the azimuth."""

    def _find_tracks(self, particles, flight, rng):
        tracks = super()._find_tracks(particles, flight, rng)
        phi = flight.phi[tracks.row]
        keep = ~((phi > 0) & (phi < np.pi / 6) & (rng.random(len(phi)) < 0.3))
        for name, values in vars(tracks).items():
            setattr(tracks, name, values[keep])
        self._rows, self._pt = tracks.row, tracks.pt
        return tracks


class BlurredDetector(RecordingDetector):
    """Smears d0 by a factor more than it says."""

    factor = 1.2

    def _impact_parameters(self, flight, tracks, rng):
        d0, dz, d0_error, dz_error = super()._impact_parameters(flight, tracks, rng)
        true = flight.d0[tracks.row]
        return true + self.factor * (d0 - true), dz, d0_error, dz_error
