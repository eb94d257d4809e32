"""W, Z, top and Higgs masses from the jets of their quarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panoptag_pyg.simulation.jets import ClusteredJets
from panoptag_pyg.simulation.matching import pairs_within
from panoptag_pyg.simulation.particles import GeneratedEvents, is_decay_product
from panoptag_pyg.validation.checks import Check, bound, median_and_width
from panoptag_pyg.validation.resimulation import Resimulated

#: Largest distance between a quark and its jet.
MAX_DELTA_R = 0.3
_MIN_FOUND = 30
W, Z, HIGGS, TOP, BOTTOM = 24, 23, 25, 6, 5


@dataclass(frozen=True)
class Peak:
    """A resonance and its decay into quarks.

    Attributes:
        name: as in :data:`PEAKS`.
        label: for figures.
        pole: its mass, GeV, where the figure is centred.
        bound: the median of the jets' mass over the decaying particle's that is taken as right: neutrinos (of b hadrons
            above all) and what radiates out of the jets pull it down, the underlying event up.
    """

    name: str
    label: str
    pole: float
    bound: tuple[float, float] = (0.85, 1.10)


PEAKS = (
    Peak("W", r"$W \to q\bar{q}'$", 80.4),
    Peak("Z", r"$Z \to q\bar{q}$", 91.2),
    Peak("t", r"$t \to b q\bar{q}'$", 172.5),
    Peak("H", r"$H \to b\bar{b}$", 125.0, (0.78, 1.10)),
)


class ResonanceMeasurement:
    """Invariant masses of matched jets, and of the quarks themselves.

    Attributes:
        jets: masses of the jets, GeV, by the peak's name; one array per block.
        truth: masses of the decaying particles for the same.
        tried: decays with all quarks above 20 GeV and |η| < 2.5, by the peak's name.
    """

    def __init__(self) -> None:
        names = [peak.name for peak in PEAKS]
        self.jets: dict[str, list[np.ndarray]] = {name: [] for name in names}
        self.truth: dict[str, list[np.ndarray]] = {name: [] for name in names}
        self.tried = dict.fromkeys(names, 0)

    def add(self, again: Resimulated) -> None:
        """Add a block."""
        events, jets = again.simulated.events, again.simulated.jets
        for name, (resonance, quarks) in hadronic_decays(events).items():
            if len(resonance) == 0:
                continue
            pt = np.hypot(events.px[quarks], events.py[quarks])
            eta = np.arcsinh(events.pz[quarks] / np.maximum(pt, 1e-12))
            visible = ((pt > 20) & (np.abs(eta) < 2.5)).all(axis=1)
            resonance, quarks = resonance[visible], quarks[visible]
            self.tried[name] += len(resonance)
            jet = nearest_jets(events, jets, quarks)
            matched = (jet >= 0).all(axis=1)
            ordered = np.sort(jet, axis=1)
            matched &= (np.diff(ordered, axis=1) > 0).all(axis=1)
            self.jets[name].append(_mass(jets, jet[matched]))
            self.truth[name].append(events.mass[resonance[matched]])

    def masses(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Masses of the jets and of the decaying particles, GeV."""
        return np.concatenate([*self.jets[name], np.zeros(0)]), np.concatenate([*self.truth[name], np.zeros(0)])

    def checks(self) -> list[Check]:
        """The median of each peak with enough entries against the generator's."""
        found = []
        for peak in PEAKS:
            jets, truth = self.masses(peak.name)
            if len(jets) < _MIN_FOUND:
                continue
            median, _, low, high = median_and_width(jets)
            ratio, error, _, _ = median_and_width(jets / truth)
            detail = (
                f"median {median:.1f} GeV, half of the 68 % interval {(high - low) / 2:.1f} GeV; generated "
                f"{np.median(truth):.1f} GeV; {len(jets):,} of {self.tried[peak.name]:,} decays with all jets found"
            )
            found.append(bound("masses", f"{peak.name}: jets over generated", ratio, error, *peak.bound, detail))
        return found


def hadronic_decays(events: GeneratedEvents) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Decays W → qq', Z → qq̄, t → bqq', H → bb̄ in the hard process.

    Returns:
        By the peak's name: rows of the decaying particles [D], and of their quarks [D, 2 or 3].
    """
    number = np.abs(events.pdg)
    quark = np.flatnonzero((number >= 1) & (number <= 5) & ~is_decay_product(events.status))
    parent = events.mother_rows(quark)
    from_boson = np.isin(number[parent], (W, Z, HIGGS))
    quark, parent = quark[from_boson], parent[from_boson]
    order = np.lexsort((quark, parent))
    quark, parent = quark[order], parent[order]
    boson, first, count = np.unique(parent, return_index=True, return_counts=True)
    boson, first = boson[count == 2], first[count == 2]
    pairs = np.stack([quark[first], quark[first + 1]], axis=1) if len(first) else np.zeros((0, 2), np.int64)
    both_b = (number[pairs] == BOTTOM).all(axis=1)
    found = {
        "W": (boson[number[boson] == W], pairs[number[boson] == W]),
        "Z": (boson[number[boson] == Z], pairs[number[boson] == Z]),
        "H": (boson[(number[boson] == HIGGS) & both_b], pairs[(number[boson] == HIGGS) & both_b]),
    }
    found["t"] = _tops(events, *found["W"])
    return found


def _tops(events: GeneratedEvents, w: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    number = np.abs(events.pdg)
    top = _rows_of_mothers(events, w)
    while (copies := number[top] == W).any():  # the W as it was before it radiated or recoiled
        top[copies] = _rows_of_mothers(events, top[copies])
    chosen = number[top] == TOP
    top, pairs = top[chosen], pairs[chosen]
    bottom = np.flatnonzero((number == BOTTOM) & ~is_decay_product(events.status))
    parent = events.mother_rows(bottom)
    direct = number[parent] == TOP
    bottom, parent = bottom[direct], parent[direct]
    place = np.full(len(number), -1)
    place[parent[::-1]] = bottom[::-1]  # of several the first
    with_b = place[top] >= 0
    return top[with_b], np.column_stack([place[top[with_b]], pairs[with_b]])


def _rows_of_mothers(events: GeneratedEvents, rows: np.ndarray) -> np.ndarray:
    """Row of the first mother; unlike ``mother_rows`` for rows in any order."""
    event = np.searchsorted(events.offsets, rows, side="right") - 1
    return events.mother[rows] + events.offsets[event]


def nearest_jets(events: GeneratedEvents, jets: ClusteredJets, quarks: np.ndarray) -> np.ndarray:
    """Row of the jet nearest to each quark, −1 if none is within ΔR < 0.3. [D, n] → [D, n]."""
    rows, back = np.unique(quarks, return_inverse=True)
    pt = np.hypot(events.px[rows], events.py[rows])
    one, jet, distance = pairs_within(
        np.searchsorted(rows, events.offsets), np.arcsinh(events.pz[rows] / pt),
        np.arctan2(events.py[rows], events.px[rows]), jets.offsets, jets.eta, jets.phi, MAX_DELTA_R,
    )  # fmt: skip
    nearest = np.full(len(rows), -1)
    order = np.argsort(-distance, kind="stable")
    nearest[one[order]] = jet[order]  # the last written is the nearest
    return nearest[back].reshape(quarks.shape)


def _mass(jets: ClusteredJets, rows: np.ndarray) -> np.ndarray:
    pt, eta, phi, mass = (getattr(jets, name)[rows] for name in ("pt", "eta", "phi", "mass"))
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    energy = np.sqrt(px**2 + py**2 + pz**2 + mass**2)
    square = energy.sum(1) ** 2 - px.sum(1) ** 2 - py.sum(1) ** 2 - pz.sum(1) ** 2
    return np.sqrt(np.maximum(square, 0))
