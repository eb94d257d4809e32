"""Pileup: minimum-bias collisions of a library laid over the hard scatter, before the detector sees either."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.simulation.detector_card import BeamSpot
from panoptag_pyg.simulation.particles import Particles
from panoptag_pyg.simulation.pileup_cache import NUM_COLLISIONS, ensure_library
from panoptag_pyg.simulation.pileup_library import PileupLibrary
from panoptag_pyg.simulation.pileup_profile import PileupProfile

#: Events that go through the detector together where there is pileup, to bound memory: 10 of μ = 200 have 300,000
#: particles. Part of what a seed means, as the detector's random numbers go through them one group after the other.
EVENTS_AT_ONCE = 10
#: Keeps the overlay's random numbers apart from those of other uses of the same seed.
_PILEUP_STREAM = 2


@dataclass(frozen=True)
class Pileup:
    """How much pileup a simulation has and where it comes from; workers receive it.

    Attributes:
        profile: how many collisions.
        library: the file that holds them. Default ``None``: one in the cache folder, made when first needed.
        sha256: of the library's content; ``None`` (default) until :meth:`with_library` has found it.
        mirror: whether a collision may also be mirrored, z to −z; right for equal beams only. Default ``True``.
    """

    profile: PileupProfile
    library: Path | None = None
    sha256: str | None = None
    mirror: bool = True

    @classmethod
    def parse(cls, value: str | float, library: str | Path | None = None) -> Pileup:
        """From what ``--pileup`` takes: a mean, a list of means, or a histogram's file.

        Args:
            value: see :meth:`~panoptag_pyg.simulation.pileup_profile.PileupProfile.parse`.
            library: file of minimum-bias collisions, made if it isn't there. Default: one in the cache folder.

        Raises:
            ConfigError: it is none of these, or a value is out of range.
        """
        return cls(PileupProfile.parse(str(value)), None if library is None else Path(library))

    def with_library(self, settings: Sequence[str], workers: int = 1) -> Pileup | None:
        """The same with its library, which is made if it isn't there; ``None`` if there is no pileup, as μ = 0.

        Args:
            settings: PYTHIA's settings of the simulation.
            workers: processes that may make it. Default 1.

        Raises:
            ConfigError: the library was made for another simulation, or is too small for so many collisions.
            EventFileError: it is something else, or damaged.
            OutputError: it can't be written.
        """
        most = self.profile.max_mean
        if most == 0:
            return None
        library = ensure_library(settings, self.library, workers=workers)
        # Ten standard deviations above: never reached.
        needed = math.ceil(most + 10 * math.sqrt(most) + 10)
        if library.num_collisions < needed:
            raise ConfigError(
                f"{library.path} has {library.num_collisions} collisions, too few for a pileup of {most:g}, as an "
                f"event takes none twice: make one of at least {needed}, better of {NUM_COLLISIONS}"
            )
        return replace(
            self, library=library.path.resolve(), sha256=library.sha256, mirror=_equal_beams(library.settings)
        )

    def attributes(self) -> dict[str, Any]:
        """What a file says about its pileup; without the library's path, which means nothing elsewhere."""
        return {
            "mu": list(self.profile.means),
            "weight": list(self.profile.weights),
            "library_sha256": self.sha256,
            "events_at_once": EVENTS_AT_ONCE,
        }


def _equal_beams(settings: tuple[str, ...]) -> bool:
    unequal = re.compile(r"beams:(id|e|px|py|pz)[ab]$")
    return not any(unequal.match(line.partition("=")[0].strip().lower()) for line in settings)


@dataclass
class Overlaid:
    """Which C collisions are laid over the B events of a block, and how.

    Attributes:
        counts: number of them in each event [B].
        collision: their numbers in the library, no one twice in an event; those of the first event come first [C].
        angle: by which each is turned around the beam, rad [C].
        sign: −1 if it is mirrored, z to −z, else 1 [C].
        x, y, z: position of its vertex in mm, relative to the hard scatter's [C].
    """

    counts: np.ndarray
    collision: np.ndarray
    angle: np.ndarray
    sign: np.ndarray
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray


class PileupOverlay:
    """Draws collisions from a library and adds their particles to those of events.

    The hard scatter stays at the origin, to which impact parameters refer, as an experiment's refer to the primary
    vertex. In the beam spot it has a place of its own, though: with positions v of all collisions drawn from the same
    Gaussian, a pileup vertex is at v − v_hard, so that its spread is √2 times that of the beam spot over many events,
    and the vertices of one event are shifted together.

    Args:
        pileup: how many and from where.
        beam_spot: spread of the vertices.
        seed: of the simulation.

    Raises:
        EventFileError: the library isn't there, is damaged, or another one.
    """

    def __init__(self, pileup: Pileup, beam_spot: BeamSpot, seed: int) -> None:
        self.pileup, self.beam_spot, self.seed = pileup, beam_spot, seed
        if pileup.library is None:
            raise ValueError("this pileup has no library yet; call with_library first")
        self.library = PileupLibrary(pileup.library, pileup.sha256)

    def draw(self, block: int, num_events: int) -> Overlaid:
        """The collisions of a block's first events; those of each depend on the seed, block and event alone."""
        events = [self._draw_event(block, number) for number in range(num_events)]
        columns = [np.concatenate(values, axis=-1) for values in zip(*events, strict=True)]
        x, y, z = columns[3]
        counts = np.array([len(event[0]) for event in events])
        return Overlaid(counts, columns[0], columns[1], columns[2], x, y, z)

    def _draw_event(self, block: int, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Collisions of one event, their angles, signs and places [3, …]."""
        rng = np.random.default_rng([self.seed, block, number, _PILEUP_STREAM])
        size = self.library.num_collisions
        # The bound is a formality: see Pileup.with_library.
        count = min(int(self.pileup.profile.draw(rng, 1)[0]), size)
        spot = np.array([self.beam_spot.sigma_x, self.beam_spot.sigma_y, self.beam_spot.sigma_z])[:, None]
        place = spot * (rng.standard_normal((3, count)) - rng.standard_normal((3, 1)))
        collision = rng.choice(size, count, replace=False, shuffle=False)
        angle = rng.uniform(0, 2 * np.pi, count)
        sign = rng.choice((-1.0, 1.0), count) if self.pileup.mirror else np.ones(count)
        return collision, angle, sign, place

    def overlay(self, particles: Particles, overlaid: Overlaid, first_event: int = 0) -> Particles:
        """Add the pileup's particles to those of some events of a block.

        Those of the hard scatter come first in each event and are as they were. Pileup's have ``interaction`` 1, 2, …
        by collision and no heavy ancestry, whatever hadrons they come from.

        Args:
            particles: of the hard scatter, in B events.
            overlaid: what :meth:`draw` gave for their block.
            first_event: number of their first event within the block. Default 0.
        """
        events = slice(first_event, first_event + particles.num_events)
        counts = overlaid.counts[events]
        begin = int(overlaid.counts[:first_event].sum())
        rows = slice(begin, begin + int(counts.sum()))
        lengths, columns = self.library.gather(overlaid.collision[rows])

        def spread(values: np.ndarray) -> np.ndarray:
            return np.repeat(values, lengths)

        cosine, sine = (spread(function(overlaid.angle[rows])) for function in (np.cos, np.sin))
        sign = spread(overlaid.sign[rows])
        px, py, x, y = (columns[name] for name in ("px", "py", "x", "y"))
        pz, mass = sign * columns["pz"], columns["mass"]
        event = np.repeat(np.arange(particles.num_events), counts)
        number = np.arange(len(event)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
        pileup = Particles(
            num_events=particles.num_events,
            event=spread(event),
            pdg=columns["pdg"],
            charge=columns["charge"],
            px=cosine * px - sine * py,
            py=sine * px + cosine * py,
            pz=pz,
            e=np.sqrt(px * px + py * py + pz * pz + mass * mass),
            mass=mass,
            x=cosine * x - sine * y + spread(overlaid.x[rows]),
            y=sine * x + cosine * y + spread(overlaid.y[rows]),
            z=sign * columns["z"] + spread(overlaid.z[rows]),
            heavy_ancestry=np.zeros(len(mass), dtype=particles.heavy_ancestry.dtype),
            interaction=spread(number).astype(np.int16),
        )
        return Particles.merged(particles, pileup)
