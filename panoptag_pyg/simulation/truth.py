"""What only the generator knows: heavy-flavour hadrons and ancestry, and jets of stable particles."""

from __future__ import annotations

import numpy as np

from panoptag_pyg.events.schema import HeavyAncestry
from panoptag_pyg.simulation.detector_card import DetectorCard
from panoptag_pyg.simulation.jets import ClusteredJets, cluster
from panoptag_pyg.simulation.matching import pairs_within
from panoptag_pyg.simulation.particles import GeneratedEvents, Particles, is_decay_product
from panoptag_pyg.simulation.pdg import open_heavy_flavour


def weakly_decaying(events: GeneratedEvents) -> np.ndarray:
    """2 for b hadrons that decay weakly, 1 for such c hadrons, else 0.

    A hadron decays weakly if none of the entries it decays to is a hadron of the same open flavour: B* → Bγ counts
    the B only, B → D* → D counts the B and the D.

    Shapes: [N] int8, values of :class:`~panoptag_pyg.events.schema.HeavyAncestry`.
    """
    flavour = open_heavy_flavour(events.pdg)
    heavy = np.flatnonzero(flavour)
    heavy = heavy[is_decay_product(events.status[heavy])]
    mother = events.mother_rows(heavy)
    same = flavour[mother] == flavour[heavy]
    result = flavour.copy()
    result[mother[same]] = HeavyAncestry.NONE
    return result


def heavy_ancestry(events: GeneratedEvents, weak: np.ndarray) -> np.ndarray:
    """The heaviest weakly decaying hadron among each entry's ancestors: 0 none, 1 c, 2 b. The decay chain is walked up.

    Args:
        events: generated records with N entries.
        weak: what :func:`weakly_decaying` gives for them [N].

    Shapes: [N] int8; entries that are no decay products have 0.
    """
    ancestry = np.zeros(len(weak), dtype=np.int8)
    rows = np.flatnonzero(is_decay_product(events.status))
    ancestor = events.mother_rows(rows)
    mother_of = np.full(len(weak), -1, dtype=np.int64)
    mother_of[rows] = ancestor
    while len(rows):
        ancestry[rows] = np.maximum(ancestry[rows], weak[ancestor])
        higher = mother_of[ancestor]
        go_on = (higher >= 0) & (ancestry[rows] < HeavyAncestry.B)
        rows, ancestor = rows[go_on], higher[go_on]
    return ancestry


def match_truth_jets(
    particles: Particles, jets: ClusteredJets, card: DetectorCard, max_abs_eta: float
) -> tuple[np.ndarray, np.ndarray]:
    """pT and mass of the nearest jet of stable particles, 0 where there is none near.

    Stable particles are those the generator leaves undecayed, muons too, neutrinos not.

    Args:
        particles: stable particles, without neutrinos.
        jets: J reconstructed jets.
        card: jet algorithm, and the bounds of ``[truth]``.
        max_abs_eta: up to where there are reconstructed jets; particles further out than the card's ``eta_margin``
            beyond it are left out, which only saves time.

    Returns:
        pT and mass in GeV, each [J].
    """
    transverse = np.hypot(particles.px, particles.py)
    central = np.abs(particles.pz) < transverse * np.sinh(max_abs_eta + card.truth.eta_margin)
    counts = np.bincount(particles.event[central], minlength=particles.num_events)
    px, py, pz, energy = (values[central] for values in (particles.px, particles.py, particles.pz, particles.e))
    truth = cluster(
        px,
        py,
        pz,
        energy,
        np.concatenate([[0], np.cumsum(counts)]),
        algorithm=card.jets.algorithm,
        radius=card.jets.radius,
        min_pt=card.truth.min_pt,
        constituents=False,
    )
    jet, partner, distance = pairs_within(
        jets.offsets, jets.eta, jets.phi, truth.offsets, truth.eta, truth.phi, card.truth.max_delta_r
    )
    nearest = np.lexsort((distance, jet))
    jet, partner = jet[nearest], partner[nearest]
    first = np.flatnonzero(np.diff(jet, prepend=-1))
    pt, mass = np.zeros(len(jets.pt)), np.zeros(len(jets.pt))
    pt[jet[first]], mass[jet[first]] = truth.pt[partner[first]], truth.mass[partner[first]]
    return pt, mass


def hard_scatter_share(
    jets: ClusteredJets, pfo_pt: np.ndarray, fraction: np.ndarray, offsets: np.ndarray
) -> np.ndarray:
    """Share of the constituents' summed pT that comes from the hard scatter; −1 for a jet without constituents.

    Args:
        jets: J jets.
        pfo_pt: pT of the P PFOs that they were clustered from.
        fraction: share of each PFO's energy from the hard scatter [P].
        offsets: first PFO of each event [B + 1].

    Shapes: [J], in [0, 1] or −1.
    """
    jet = np.repeat(np.arange(len(jets.pt)), np.diff(jets.constituent_offsets))
    rows = jets.constituents + offsets[jets.event[jet]]
    pt = pfo_pt[rows].astype(np.float64)
    total = np.bincount(jet, pt, len(jets.pt))
    hard = np.bincount(jet, pt * fraction[rows], len(jets.pt))
    return np.where(total > 0, np.clip(hard / np.where(total > 0, total, 1), 0, 1), -1)
