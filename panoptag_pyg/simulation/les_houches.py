"""Hard events from outside PYTHIA: what one holds, and what hands them out, a file or a matrix element.

Source: *A standard format for Les Houches Event Files*, hep-ph/0609017, and *Generic user process interface for event
generators*, hep-ph/0109068.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass
class HardEvent:
    """One hard process with n particles: the ``<event>`` of a Les Houches file.

    Attributes:
        weight: its weight (XWGTUP); may be negative.
        scale: scale in GeV where showers start (SCALUP); −1 if it isn't known.
        alpha_qed, alpha_qcd: couplings (AQEDUP, AQCDUP); −1 if not known.
        process_id: which of the source's processes it is (IDPRUP).
        pdg: PDG numbers [n].
        status: −1 incoming, 2 a resonance that keeps its mass, 1 outgoing [n].
        mothers: first and last mother, counted from 1, 0 for none [n, 2].
        colours: lines of colour and anticolour, such as 501, 0 for none [n, 2].
        momentum: px, py, pz, E in GeV [n, 4].
        mass: in GeV [n].
        lifetime: proper lifetime times c in mm [n].
        spin: cosine between spin and momentum, 9 if not known [n].
    """

    weight: float
    scale: float
    alpha_qed: float
    alpha_qcd: float
    process_id: int
    pdg: np.ndarray
    status: np.ndarray
    mothers: np.ndarray
    colours: np.ndarray
    momentum: np.ndarray
    mass: np.ndarray
    lifetime: np.ndarray
    spin: np.ndarray

    def __len__(self) -> int:
        return len(self.pdg)


@dataclass(frozen=True)
class HardProcess:
    """One process of a source of hard events.

    Attributes:
        id: its number (LPRUP).
        cross_section: in pb (XSECUP).
        error: of the cross section, in pb (XERRUP).
        largest_weight: largest weight among its events (XMAXUP).
    """

    id: int
    cross_section: float
    error: float
    largest_weight: float = 1.0


class HardEvents(Protocol):
    """A source of hard events: any event can be had at any time, and is always the same.

    Attributes:
        origin: what to call it in an error, such as the file's path.
        beams: PDG number and energy in GeV of the beams along +z and −z.
        strategy: how weights are meant, ±1 to ±4 (IDWTUP). PYTHIA neither accepts nor rejects by them: every event is
            showered and keeps its weight.
        processes: what the events are.
    """

    origin: str
    beams: tuple[tuple[int, float], tuple[int, float]]
    strategy: int
    processes: Sequence[HardProcess]

    def event(self, block: int, number: int) -> HardEvent | None:
        """The ``number``-th event of a block, counted from 0; ``None`` where there is none.

        A file has up to 100 in a block. A matrix element has as many as are asked for: PYTHIA may fail to shower one,
        and then takes the next.
        """
        ...


#: Momenta add up to this share of the incoming energy; files with few digits are not to be blamed.
_CONSERVATION = 1e-3


def fault(event: HardEvent) -> str:
    """Why PYTHIA may have failed on a hard event; ``""`` if it looks well."""
    incoming, outgoing = event.status == -1, event.status == 1
    difference = event.momentum[incoming].sum(0) - event.momentum[outgoing].sum(0)
    if np.abs(difference).max() > _CONSERVATION * max(event.momentum[incoming, 3].sum(), 1.0):
        return "what comes out has another momentum than what goes in"
    # Each line begins at one end and ends at another: a colour going out is one anticoloured coming in.
    ends = [*event.colours[outgoing].T, *event.colours[incoming].T[::-1]]
    colour, anticolour = np.concatenate(ends[::2]), np.concatenate(ends[1::2])
    if sorted(colour[colour > 0].tolist()) != sorted(anticolour[anticolour > 0].tolist()):
        return "its colour lines don't connect"
    return ""
