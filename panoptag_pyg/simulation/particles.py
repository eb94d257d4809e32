"""The arrays that pass between the generator and the detector: generated records and stable particles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panoptag_pyg.simulation.pdg import charge

NEUTRINOS = (12, 14, 16)
#: ``Particles.interaction`` of the collision of interest; pileup's count from 1.
HARD_SCATTER = 0


@dataclass
class GeneratedEvents:
    """All entries of the generator's event records: B events with N entries in all.

    Attributes:
        offsets: int64 [B + 1], first entry of each event.
        pdg: PDG number [N].
        status: PYTHIA's status [N]; positive for stable particles, 91–99 in absolute value for decay products.
        mother: first mother's index within its event [N]; 0 where there is none.
        px, py, pz, e, mass: momentum, energy and mass in GeV [N].
        x, y, z: production vertex in mm [N].
        tau: proper lifetime (times c) in mm [N].
        weight: weight of each event [B].
        charges: charges in e [N]; ``None`` (default) takes them from ``pdg``.
        number: number of each event within its block [B]; ``None`` (default) counts up from 0.
    """

    offsets: np.ndarray
    pdg: np.ndarray
    status: np.ndarray
    mother: np.ndarray
    px: np.ndarray
    py: np.ndarray
    pz: np.ndarray
    e: np.ndarray
    mass: np.ndarray
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    tau: np.ndarray
    weight: np.ndarray
    charges: np.ndarray | None = None
    number: np.ndarray | None = None

    @property
    def num_events(self) -> int:
        """B."""
        return len(self.offsets) - 1

    def event_of(self, rows: np.ndarray) -> np.ndarray:
        """Event of each of these rows, which must rise."""
        counts = np.diff(np.searchsorted(rows, self.offsets))
        return np.repeat(np.arange(self.num_events), counts)

    def mother_rows(self, rows: np.ndarray) -> np.ndarray:
        """Row of the first mother of each of these rows, which must rise."""
        return self.mother[rows] + self.offsets[self.event_of(rows)]


def is_decay_product(status: np.ndarray) -> np.ndarray:
    """Whether an entry comes from a hadron's, lepton's or other particle's decay after hadronisation. [N] → [N]."""
    status = np.abs(status)
    return (status >= 91) & (status <= 99)


@dataclass
class Particles:
    """Stable particles that reach a detector: N particles of B events, sorted by event.

    Attributes:
        num_events: B.
        event: event of each particle [N].
        pdg, charge: PDG number and charge in e [N].
        px, py, pz, e, mass: momentum, energy and mass in GeV [N].
        x, y, z: production vertex in mm [N].
        heavy_ancestry: 0 none, 1 c hadron, 2 b hadron among its ancestors [N].
        interaction: which collision of the event it comes from [N]: 0 the hard scatter, 1 and above pileup.
    """

    num_events: int
    event: np.ndarray
    pdg: np.ndarray
    charge: np.ndarray
    px: np.ndarray
    py: np.ndarray
    pz: np.ndarray
    e: np.ndarray
    mass: np.ndarray
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    heavy_ancestry: np.ndarray
    interaction: np.ndarray

    def __len__(self) -> int:
        return len(self.event)

    def select(self, keep: np.ndarray) -> Particles:
        """The particles under ``keep`` (a mask or indices); the number of events stays."""
        columns = {name: values[keep] for name, values in vars(self).items() if name != "num_events"}
        return Particles(num_events=self.num_events, **columns)

    def events(self, start: int, stop: int) -> Particles:
        """The particles of the events ``start`` to ``stop − 1``, which then count from 0."""
        rows = slice(*np.searchsorted(self.event, (start, stop)))
        columns = {name: values[rows] for name, values in vars(self).items() if name != "num_events"}
        columns["event"] = columns["event"] - start
        return Particles(num_events=min(stop, self.num_events) - start, **columns)

    @classmethod
    def merged(cls, first: Particles, second: Particles) -> Particles:
        """The particles of both, which are of the same events; in each event those of ``first`` come first."""
        # Two rising runs, which a stable sort joins in one pass.
        order = np.argsort(np.concatenate([first.event, second.event]), kind="stable")
        columns = {
            name: np.concatenate([values, getattr(second, name)])[order]
            for name, values in vars(first).items()
            if name != "num_events"
        }
        return cls(num_events=first.num_events, **columns)


def stable_particles(events: GeneratedEvents, heavy_ancestry: np.ndarray) -> Particles:
    """The stable particles of ``events`` without neutrinos, which no detector sees.

    Args:
        events: generated records.
        heavy_ancestry: ancestry of each entry [N], as from :func:`~panoptag_pyg.simulation.truth.heavy_ancestry`.
    """
    rows = np.flatnonzero(events.status > 0)
    number = np.abs(events.pdg[rows])
    rows = rows[(number != NEUTRINOS[0]) & (number != NEUTRINOS[1]) & (number != NEUTRINOS[2])]
    pdg = events.pdg[rows]
    return Particles(
        num_events=events.num_events,
        event=events.event_of(rows),
        pdg=pdg,
        charge=charge(pdg) if events.charges is None else events.charges[rows],
        heavy_ancestry=heavy_ancestry[rows],
        interaction=np.zeros(len(rows), dtype=np.int16),
        **{name: getattr(events, name)[rows] for name in ("px", "py", "pz", "e", "mass", "x", "y", "z")},
    )
