"""Events of exactly so many jets and PFOs, put together from simulated ones, whose jets stay as they were.

**Jets**: simulated events are drawn one after the other, each turned about the beam by an angle of its own and mirrored
(z → −z) or not, until there are enough jets; of the last event its leading ones. A jet keeps its axis, mass and
constituents relative to each other. Of some angles the one is taken that keeps the jets furthest apart, as a jet
algorithm would have merged near ones.

**Further PFOs**: those outside jets, first of the same events, then of further ones laid over them, again turned and
mirrored: soft particles of the underlying event, which are what pileup looks like. Where there are too many, some are
left out by chance, whatever their pT. PFOs then stand in the order of their pT, as in a file.

The number of constituents is thus that of jets from which pileup has been taken away, however many PFOs there are;
simulated events with pileup are measured beside them (:mod:`.cells`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events.block import EventBlock, lengths_to_offsets, ragged_arange
from panoptag_pyg.events.features import wrap_phi

#: Angles from which the best is taken for each event whose jets are added.
ANGLES = 12
#: How often an event is begun anew whose jets hold more PFOs than the event should have.
ATTEMPTS = 200
#: PFOs that are asked for should hold this many times the mean number of constituents.
ROOM = 1.2


@dataclass
class _Rows:
    """Rows of the source that an event takes, each turned and mirrored."""

    row: list[np.ndarray] = field(default_factory=list)
    angle: list[np.ndarray] = field(default_factory=list)
    sign: list[np.ndarray] = field(default_factory=list)

    def add(self, row: np.ndarray, angle: float, sign: float) -> None:
        self.row.append(row)
        self.angle.append(np.full(len(row), angle))
        self.sign.append(np.full(len(row), sign))

    def joined(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        empty = np.empty(0)
        row, angle, sign = (np.concatenate([*part, empty]) for part in (self.row, self.angle, self.sign))
        return row.astype(np.int64), angle, sign

    def __len__(self) -> int:
        return sum(len(part) for part in self.row)


def fits(source: EventBlock, num_jets: int, num_pfos: int) -> bool:
    """Whether so many PFOs have room for the constituents of so many of the source's jets, with some to spare."""
    mean = len(source.constituents) / max(source.num_jets, 1)
    return ROOM * mean * num_jets <= num_pfos


def compose(source: EventBlock, num_events: int, num_jets: int, num_pfos: int, rng: np.random.Generator) -> EventBlock:
    """Events of exactly ``num_jets`` jets and ``num_pfos`` PFOs.

    Args:
        source: simulated events.
        num_events: how many to make.
        num_jets: of each; 1 at least.
        num_pfos: of each.
        rng: draws events, angles and PFOs.

    Raises:
        ConfigError: if the source has no jets or nothing beside them, or the jets don't fit into so few PFOs.
    """
    if source.num_jets == 0:
        raise ConfigError("events are put together from jets, but the events given have none; give others")
    if not fits(source, num_jets, num_pfos):
        raise ConfigError(f"{num_pfos} PFOs are too few for {num_jets} jets with all of their constituents")
    composer = _Composer(source, rng)
    events = [composer.event(num_jets, num_pfos) for _ in range(num_events)]
    pfo_row, pfo_angle, pfo_sign = (np.concatenate(parts) for parts in zip(*(e[0] for e in events), strict=True))
    jet_row, jet_angle, jet_sign = (np.concatenate(parts) for parts in zip(*(e[1] for e in events), strict=True))
    first = np.array([e[4] for e in events])
    event = {name: values[first] for name, values in source.event.items()}
    event["id"] = np.arange(num_events, dtype=source.event["id"].dtype)
    return EventBlock(
        event=event,
        pfo=_turned(source.pfo, pfo_row, pfo_angle, pfo_sign),
        jet=_turned(source.jet, jet_row, jet_angle, jet_sign),
        pfo_offsets=np.arange(num_events + 1, dtype=np.int64) * num_pfos,
        jet_offsets=np.arange(num_events + 1, dtype=np.int64) * num_jets,
        constituent_offsets=lengths_to_offsets(np.concatenate([e[3] for e in events])),
        constituents=np.concatenate([e[2] for e in events]).astype(np.int32),
    )


def constituents_only(block: EventBlock) -> EventBlock:
    """The same jets, and of the PFOs only those within jets: all that a tagger of single jets needs of an event."""
    rows = block.constituent_pfo
    inside = np.zeros(block.num_pfos, dtype=bool)
    inside[rows] = True
    kept = np.flatnonzero(inside)
    before = np.cumsum(inside) - inside
    offsets = np.searchsorted(kept, block.pfo_offsets)
    first = offsets[block.jet_event[block.constituent_jet]]
    return EventBlock(
        event=block.event,
        pfo={name: values[kept] for name, values in block.pfo.items()},
        jet=block.jet,
        pfo_offsets=offsets,
        jet_offsets=block.jet_offsets,
        constituent_offsets=block.constituent_offsets,
        constituents=(before[rows] - first).astype(np.int32),
        constituent=block.constituent,
    )


class _Composer:
    """Draws from a source; what is the same for all events is worked out once."""

    def __init__(self, source: EventBlock, rng: np.random.Generator) -> None:
        self.source, self.rng = source, rng
        self.constituent_rows = source.constituent_pfo
        inside = np.zeros(source.num_pfos, dtype=bool)
        inside[self.constituent_rows] = True
        offsets = source.pfo_offsets
        self.outside = [np.flatnonzero(~inside[a:b]) + a for a, b in pairwise(offsets)]
        self.with_jets = np.flatnonzero(np.diff(source.jet_offsets) > 0)
        self.with_others = np.flatnonzero([len(rows) > 0 for rows in self.outside])

    def event(
        self, num_jets: int, num_pfos: int
    ) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...], np.ndarray, np.ndarray, int]:
        """PFOs and jets (row, angle, sign), constituents as indices, their number in each jet, the first event."""
        for _ in range(ATTEMPTS):
            jets, pfos, drawn = self._jets(num_jets)
            if len(pfos) <= num_pfos:
                break
        else:
            raise ConfigError(f"{num_pfos} PFOs are too few for {num_jets} jets with all of their constituents")
        in_jets = len(pfos)
        self._fill(pfos, num_pfos, drawn)
        row, angle, sign = pfos.joined()
        order = np.argsort(-self.source.pfo["pt"][row], kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(num_pfos)
        jet_rows = jets.joined()
        offsets = self.source.constituent_offsets
        lengths = (offsets[1:] - offsets[:-1])[jet_rows[0]]
        return (row[order], angle[order], sign[order]), jet_rows, place[:in_jets], lengths, drawn[0][0]

    def _jets(self, num_jets: int) -> tuple[_Rows, _Rows, list[tuple[int, float, float]]]:
        """Jets, their constituents in the same order, and the events that they are of (number, angle, sign)."""
        source, rng = self.source, self.rng
        jets, pfos, drawn = _Rows(), _Rows(), []
        axes = np.empty((0, 2))
        while len(jets) < num_jets:
            event = int(rng.choice(self.with_jets))
            rows = np.arange(source.jet_offsets[event], source.jet_offsets[event + 1])
            leading = np.argsort(-source.jet["pt"][rows], kind="stable")[: num_jets - len(jets)]
            rows = rows[np.sort(leading)]
            sign = float(rng.choice((-1.0, 1.0)))
            eta, phi = sign * source.jet["eta"][rows], source.jet["phi"][rows]
            angle = _furthest(axes, eta, phi, rng.uniform(-np.pi, np.pi, ANGLES))
            axes = np.concatenate([axes, np.stack([eta, phi + angle], axis=1)])
            offsets = source.constituent_offsets
            jets.add(rows, angle, sign)
            inside = ragged_arange(offsets[rows], offsets[rows + 1] - offsets[rows])
            pfos.add(self.constituent_rows[inside], angle, sign)
            drawn.append((event, angle, sign))
        return jets, pfos, drawn

    def _fill(self, pfos: _Rows, num_pfos: int, drawn: list[tuple[int, float, float]]) -> None:
        """Add PFOs outside jets, of the drawn events and then of others, until there are enough."""
        if len(pfos) < num_pfos and len(self.with_others) == 0:
            raise ConfigError("the events given have no PFOs outside jets to fill up with; give others")
        ahead = list(drawn)
        while (wanted := num_pfos - len(pfos)) > 0:
            if not ahead:
                event = int(self.rng.choice(self.with_others))
                ahead.append((event, float(self.rng.uniform(-np.pi, np.pi)), float(self.rng.choice((-1.0, 1.0)))))
            event, angle, sign = ahead.pop(0)
            rows = self.outside[event]
            if len(rows) > wanted:
                rows = self.rng.choice(rows, wanted, replace=False)
            pfos.add(rows, angle, sign)


def _furthest(axes: np.ndarray, eta: np.ndarray, phi: np.ndarray, angles: np.ndarray) -> float:
    """Of some angles the one by which jets, turned, are furthest from those that are there, by the nearest pair."""
    if len(axes) == 0:
        return float(angles[0])
    delta_eta = eta[None, :, None] - axes[None, None, :, 0]
    delta_phi = wrap_phi(phi[None, :, None] + angles[:, None, None] - axes[None, None, :, 1])
    nearest = np.hypot(delta_eta, delta_phi).min(axis=(1, 2))
    return float(angles[nearest.argmax()])


def _turned(
    columns: dict[str, np.ndarray], rows: np.ndarray, angle: np.ndarray, sign: np.ndarray
) -> dict[str, np.ndarray]:
    """Columns of PFOs or jets turned about the beam and mirrored: φ, η and dz change, nothing else."""
    taken = {name: values[rows] for name, values in columns.items()}
    taken["phi"] = wrap_phi(taken["phi"].astype(np.float64) + angle).astype(taken["phi"].dtype)
    for name in ("eta", "dz"):
        if name in taken:
            taken[name] = (sign * taken[name]).astype(taken[name].dtype)
    return taken
