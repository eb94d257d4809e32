"""Hard events made by hand: u ubar or gluons to a pair of muons or b quarks, and some that PYTHIA fails on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from panoptag_pyg.simulation.les_houches import HardEvent, HardProcess


def muon_pair(energy: float = 200.0, cosine: float = 0.3, weight: float = 1.0, outgoing: int = 13) -> HardEvent:
    """Quarks of ``energy`` GeV each annihilate to a pair of leptons (or quarks), massless ones."""
    sine = np.sqrt(1 - cosine**2)
    is_quark = outgoing < 10
    return HardEvent(
        weight=weight,
        scale=91.0,
        alpha_qed=1 / 128,
        alpha_qcd=0.118,
        process_id=1,
        pdg=np.array([2, -2, outgoing, -outgoing]),
        status=np.array([-1, -1, 1, 1]),
        mothers=np.array([[0, 0], [0, 0], [1, 2], [1, 2]]),
        colours=np.array([[501, 0], [0, 501], [502 * is_quark, 0], [0, 502 * is_quark]]),
        momentum=energy
        * np.array([[0, 0, 1, 1], [0, 0, -1, 1], [sine, 0, cosine, 1], [-sine, 0, -cosine, 1]], dtype=np.float64),
        mass=np.zeros(4),
        lifetime=np.zeros(4),
        spin=np.full(4, 9.0),
    )


def broken(event: HardEvent, how: str) -> HardEvent:
    """The same event with something that PYTHIA can't shower: ``"colour"``, ``"momentum"`` or ``"pdg"``."""
    if how == "colour":
        event.colours[1, 1] = 507
    elif how == "momentum":
        event.momentum[2, 0] *= 0.3
    else:
        event.pdg[2:] = 9900099, -9900099
    return event


@dataclass
class HardEventList:
    """Hard events in memory, as a source: event i of the list is event ``i % 100`` of block ``i // 100``."""

    events: Sequence[HardEvent]
    beams: tuple[tuple[int, float], tuple[int, float]] = ((2212, 6500.0), (2212, 6500.0))
    strategy: int = 3
    processes: Sequence[HardProcess] = field(default_factory=lambda: [HardProcess(1, 1.0, 0.0)])
    origin: str = "list of events"

    def event(self, block: int, number: int) -> HardEvent | None:
        index = 100 * block + number
        return self.events[index] if number < 100 and index < len(self.events) else None


class EndlessMuonPairs:
    """A matrix element's stand-in: any number of events in a block, one in ``every`` of them broken."""

    beams = ((2212, 6500.0), (2212, 6500.0))
    strategy = 3
    processes = (HardProcess(1, 1.0, 0.0),)
    origin = "endless pairs"

    def __init__(self, every: int = 10**9) -> None:
        self.every = every
        self.asked: list[tuple[int, int]] = []

    def event(self, block: int, number: int) -> HardEvent | None:
        self.asked.append((block, number))
        rng = np.random.default_rng([block, number])
        event = muon_pair(float(rng.uniform(100, 400)), float(rng.uniform(-0.9, 0.9)))
        return broken(event, "colour") if number % self.every == self.every - 1 else event


INIT = "  2212 2212 6.5000000E+03 6.5000000E+03 0 0 247000 247000 {strategy} 1\n  1.25E+01 2.5E-02 1.0E+00 1\n"


def event_text(event: HardEvent, extra: str = "") -> str:
    """An ``<event>`` with all digits."""
    head = (event.weight, event.scale, event.alpha_qed, event.alpha_qcd)
    lines = [f" {len(event)} {event.process_id} " + " ".join(f"{value:.17e}" for value in head)]
    for i in range(len(event)):
        whole = (event.pdg[i], event.status[i], *event.mothers[i], *event.colours[i])
        real = (*event.momentum[i], event.mass[i], event.lifetime[i], event.spin[i])
        lines.append(" ".join(f"{value:d}" for value in whole) + " " + " ".join(f"{value:.17e}" for value in real))
    return "<event>\n" + "\n".join(lines) + "\n" + extra + "</event>\n"


def file_text(
    events: Sequence[HardEvent | str],
    strategy: int = 3,
    version: str = "1.0",
    header: str = "",
    init: str | None = None,
) -> str:
    """A Les Houches file of these events (texts are taken as they are)."""
    init = INIT.format(strategy=strategy) if init is None else init
    body = "".join(event if isinstance(event, str) else event_text(event) for event in events)
    return f'<LesHouchesEvents version="{version}">\n{header}<init>\n{init}</init>\n{body}</LesHouchesEvents>\n'
