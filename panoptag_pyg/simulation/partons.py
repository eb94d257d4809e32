"""The parton that started a jet: quark or gluon, and which quark."""

from __future__ import annotations

import numpy as np

from panoptag_pyg.simulation.detector_card import Labels
from panoptag_pyg.simulation.jets import ClusteredJets
from panoptag_pyg.simulation.matching import pairs_within
from panoptag_pyg.simulation.particles import GeneratedEvents, is_decay_product

GLUON = 21
#: PYTHIA's status codes (absolute) of partons on their way into a collision: hard process, its underlying event,
#: initial-state branchings and their recoilers. What comes out of these carries other codes.
_INCOMING = (21, 31, 34, 41, 42, 45, 46, 53, 54, 61)


def parton_flavour(jets: ClusteredJets, events: GeneratedEvents, card: Labels, radius: float) -> np.ndarray:
    """Flavour of the parton of highest energy near each jet.

    Candidates are the gluons and the quarks up to b that leave the hard process, the decays of its resonances, the
    underlying event or the parton shower, at any stage of their evolution: the parton before its branchings is among
    them and is mostly the one that wins. Partons on their way into the collision, and those inside hadron decays, are
    none. The rule isn't infrared safe beyond leading order; it is the experiments' usual one.

    Source: ATLAS, *Light-quark and gluon jet discrimination in pp collisions at √s = 7 TeV*, arXiv:1405.6583, and its
    ``PartonTruthLabelID``: the parton of highest energy within ΔR < R, tops left out.

    Args:
        jets: J jets of B events.
        events: the generator's records of the same events.
        card: how much pT a parton needs (``origin_min_pt``).
        radius: R, the largest ΔR; that of the jets.

    Returns:
        1–5 for d, u, s, c, b quarks (antiquarks the same), 21 for gluons, 0 where there is no parton near; int8 [J].
    """
    number = np.abs(events.pdg)
    coloured = ((number >= 1) & (number <= 5)) | (number == GLUON)
    rows = np.flatnonzero(coloured & ~is_decay_product(events.status) & ~np.isin(np.abs(events.status), _INCOMING))
    pt = np.hypot(events.px[rows], events.py[rows])
    rows, pt = rows[pt > card.origin_min_pt], pt[pt > card.origin_min_pt]
    jet, partner, _ = pairs_within(
        jets.offsets,
        jets.eta,
        jets.phi,
        np.searchsorted(rows, events.offsets),
        np.arcsinh(events.pz[rows] / pt),
        np.arctan2(events.py[rows], events.px[rows]),
        radius,
    )
    hardest = np.lexsort((-events.e[rows[partner]], jet))
    jet, partner = jet[hardest], partner[hardest]
    first = np.flatnonzero(np.diff(jet, prepend=-1))
    flavour = np.zeros(len(jets.pt), dtype=np.int8)
    flavour[jet[first]] = number[rows[partner[first]]]
    return flavour
