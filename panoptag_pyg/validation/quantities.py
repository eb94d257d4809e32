"""The quantities that can be read off any event file: what each is, of which rows, and in which bins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from panoptag_pyg.events import EventBlock
from panoptag_pyg.events.schema import FLAVOUR_NAMES, ParticleClass

#: Names of the particle classes in the order of their numbers, as on axes.
CLASS_NAMES = ("electrons", "muons", "photons", "charged hadrons", "neutral hadrons")
#: Tracks in jets that go into impact parameters: pT above, GeV; |d0| below, mm (K0S and Λ decay further out).
MIN_TRACK_PT, MAX_TRACK_D0 = 1.0, 2.0
#: A track is displaced if its lifetime-signed significance is above this.
DISPLACED = 3.0
#: What stands for the error of d0, mm, in files without errors: about that of a track of 2 GeV.
TRUE_UNIT = 0.03

Rows = tuple[np.ndarray, np.ndarray]


class BlockView:
    """A block of events, and what several quantities need of it, found once.

    Args:
        block: the events.
    """

    def __init__(self, block: EventBlock) -> None:
        self.block = block
        self.pfo, self.jet, self.num_events = block.pfo, block.jet, block.num_events

    @cached_property
    def pfo_event(self) -> np.ndarray:
        """Event of each PFO [P]."""
        return self.block.pfo_event

    @cached_property
    def jet_event(self) -> np.ndarray:
        """Event of each jet [J]."""
        return self.block.jet_event

    @cached_property
    def tracks(self) -> JetTracks:
        """Tracks of the jets."""
        return JetTracks.of(self.block)


@dataclass(frozen=True)
class Quantity:
    """One histogram.

    Attributes:
        name: ``group/what/of``, unique.
        label: of the axis, with the unit.
        title: of which objects.
        edges: of the bins.
        values: gives the entries of a block and the event of each.
        log_x, log_y: how it is drawn.
        truth: whether it needs the generator's truth.
        pileup: whether it says something only where there is pileup.
    """

    name: str
    label: str
    title: str
    edges: np.ndarray
    values: Callable[[BlockView], Rows]
    log_x: bool = False
    log_y: bool = False
    truth: bool = False
    pileup: bool = False

    @property
    def group(self) -> str:
        """The figure that it belongs to."""
        return self.name.rpartition("/")[0]


def _column(group: str, name: str, chosen: Callable[[BlockView], np.ndarray] | None = None) -> Callable:
    def values(view: BlockView) -> Rows:
        event = view.pfo_event if group == "pfo" else view.jet_event
        column = getattr(view, group)[name]
        if name == "phi":
            column = column - 2 * np.pi * np.floor(column.astype(np.float64) / (2 * np.pi) + 0.5)
        if chosen is None:
            return column, event
        rows = np.flatnonzero(chosen(view))
        return column[rows], event[rows]

    return values


def _of_class(kind: int) -> Callable[[BlockView], np.ndarray]:
    return lambda view: view.pfo["particle_class"] == kind


def _count_edges(most: int) -> np.ndarray:
    """Some 40 equal bins up to ``most``, then wider ones, which events with pileup need."""
    step = max(1, most // 40)
    beyond = np.round(np.geomspace(most, max(100 * most, 1000), 13)[1:])
    return np.concatenate([np.arange(0, most + 1, step), beyond]) - 0.5


def _count(kind: int | None) -> Callable[[BlockView], Rows]:
    def values(view: BlockView) -> Rows:
        if kind is None:
            counts = np.diff(view.block.pfo_offsets)
        else:
            counts = np.bincount(view.pfo_event[view.pfo["particle_class"] == kind], minlength=view.num_events)
        return counts, np.arange(view.num_events)

    return values


def _jet_count(view: BlockView) -> Rows:
    return np.diff(view.block.jet_offsets), np.arange(view.num_events)


def _constituents(view: BlockView) -> Rows:
    return np.diff(view.block.constituent_offsets), view.jet_event


def _net_charge(view: BlockView) -> Rows:
    return np.bincount(view.pfo_event, view.pfo["charge"], view.num_events), np.arange(view.num_events)


def _interactions(view: BlockView) -> Rows:
    return view.block.event["num_interactions"], np.arange(view.num_events)


def _hard_scatter(group: str) -> Callable[[BlockView], Rows]:
    return _column(group, "hard_scatter_fraction", lambda view: getattr(view, group)["hard_scatter_fraction"] >= 0)


def lifetime_sign(d0: np.ndarray, phi: np.ndarray, jet_phi: np.ndarray) -> np.ndarray:
    """+1 for tracks that meet their jet's axis in front of the beam line, −1 behind it, 0 for d0 = 0.

    The point of closest approach is d0·(sin φ, −cos φ); its product with the jet's direction has the sign of
    d0·sin(φ − φ_jet). Shapes: [N] each.
    """
    return np.sign(d0 * np.sin(phi - jet_phi))


@dataclass
class JetTracks:
    """Tracks of jets: charged constituents with pT > 1 GeV and |d0| < 2 mm.

    Attributes:
        event, flavour: of each track's jet [T].
        d0, dz: with the lifetime's sign for d0, mm [T].
        d0_significance, dz_significance: divided by their errors, NaN without one [T].
        displacement: the significance of d0; where there are no errors, d0 in units of ``TRUE_UNIT`` [T].
    """

    event: np.ndarray
    flavour: np.ndarray
    d0: np.ndarray
    dz: np.ndarray
    d0_significance: np.ndarray
    dz_significance: np.ndarray
    displacement: np.ndarray

    @classmethod
    def of(cls, block: EventBlock) -> JetTracks:
        """The tracks of a block's jets."""
        pfo, jet = block.constituent_pfo, block.constituent_jet
        d0 = block.pfo["d0"][pfo].astype(np.float64)
        track = (block.pfo["charge"][pfo] != 0) & (block.pfo["pt"][pfo] > MIN_TRACK_PT) & (np.abs(d0) < MAX_TRACK_D0)
        pfo, jet, d0 = pfo[track], jet[track], d0[track]
        dz = block.pfo["dz"][pfo].astype(np.float64)
        signed = np.abs(d0) * lifetime_sign(
            d0, block.pfo["phi"][pfo].astype(np.float64), block.jet["phi"][jet].astype(np.float64)
        )
        errors = [block.pfo[name][pfo].astype(np.float64) for name in ("d0_error", "dz_error")]
        with np.errstate(divide="ignore", invalid="ignore"):
            significances = [np.where(e > 0, v / e, np.nan) for v, e in zip((signed, dz), errors, strict=True)]
        displacement = np.where(errors[0] > 0, significances[0], signed / TRUE_UNIT)
        return cls(
            block.jet_event[jet],
            block.jet["flavour"][jet],
            signed,
            dz,
            significances[0],
            significances[1],
            displacement,
        )


def _tracks(name: str, flavour: int) -> Callable[[BlockView], Rows]:
    def values(view: BlockView) -> Rows:
        tracks = view.tracks
        column = getattr(tracks, name)
        rows = np.flatnonzero((tracks.flavour == flavour) & np.isfinite(column))
        return column[rows], tracks.event[rows]

    return values


def _quantities() -> tuple[Quantity, ...]:
    logarithmic, shares = np.geomspace, np.linspace(0, 1, 26)
    found = [
        Quantity("pfo/count/all", "PFOs per event", "all", _count_edges(800), _count(None)),
        Quantity("event/all/charge", "net charge of the tracks [e]", "events", np.arange(-30, 32) - 0.5, _net_charge),
        *(
            Quantity(f"event/all/{name}", label, title, edges, values, log_y=True, truth=True, pileup=True)
            for name, label, title, edges, values in (
                ("interactions", "collisions per event", "events", np.arange(0, 252, 5) - 0.5, _interactions),
                ("pfo", "share of energy from the hard scatter", "PFOs", shares, _hard_scatter("pfo")),
                ("jet", "share of $p_T$ from the hard scatter", "jets", shares, _hard_scatter("jet")),
            )
        ),
    ]
    most = {0: 12, 1: 12, 2: 400, 3: 280, 4: 200}
    for kind in ParticleClass:
        title, chosen = CLASS_NAMES[kind], _of_class(kind)
        counts = _count_edges(most[kind])
        found += [
            Quantity(f"pfo/count/{kind.name.lower()}", f"{title} per event", title, counts, _count(kind)),
            *(
                Quantity(f"pfo/{column}/{kind.name.lower()}", label, title, edges, _column("pfo", column, chosen), x, y)
                for column, label, edges, x, y in (
                    ("pt", "$p_T$ [GeV]", logarithmic(0.1, 500, 41), True, True),
                    ("energy", "energy [GeV]", logarithmic(0.1, 3000, 41), True, True),
                    ("eta", r"$\eta$", np.linspace(-5, 5, 41), False, False),
                    ("phi", r"$\phi$ [rad]", np.linspace(-np.pi, np.pi, 19), False, False),
                )
            ),
        ]
    found += [
        Quantity("jet/kinematics/count", "jets per event", "jets", np.arange(0, 17) - 0.5, _jet_count),
        Quantity(
            "jet/kinematics/pt", "$p_T$ [GeV]", "jets", logarithmic(20, 1000, 41), _column("jet", "pt"), True, True
        ),
        Quantity("jet/kinematics/eta", r"$\eta$", "jets", np.linspace(-5, 5, 41), _column("jet", "eta")),
        Quantity("jet/kinematics/phi", r"$\phi$ [rad]", "jets", np.linspace(-np.pi, np.pi, 19), _column("jet", "phi")),
        Quantity(
            "jet/kinematics/mass", "mass [GeV]", "jets", np.linspace(0, 80, 41), _column("jet", "mass"), False, True
        ),
        Quantity("jet/kinematics/constituents", "constituents per jet", "jets", np.arange(0, 62) - 0.5, _constituents),
    ]
    wide, fine = np.linspace(-20, 20, 61), np.linspace(-1, 1, 61)
    for column, label, edges in (
        ("d0_significance", r"signed $d_0/\sigma(d_0)$", wide),
        ("dz_significance", r"$d_z/\sigma(d_z)$", wide),
        ("d0", "signed $d_0$ [mm]", fine),
        ("dz", "$d_z$ [mm]", fine),
    ):
        for flavour, name in enumerate(FLAVOUR_NAMES):
            found.append(
                Quantity(
                    f"track/{column}/{name}",
                    label,
                    f"tracks of {name} jets",
                    edges,
                    _tracks(column, flavour),
                    log_y=True,
                    truth=True,
                )
            )
    return tuple(found)


#: All quantities, in the order of the page.
QUANTITIES = _quantities()
