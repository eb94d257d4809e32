"""Jet flavour: which quark, if a heavy one, started a jet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.events.schema import Flavour, HeavyAncestry
from panoptag_pyg.simulation.detector_card import Labels
from panoptag_pyg.simulation.jets import ClusteredJets
from panoptag_pyg.simulation.matching import pairs_within
from panoptag_pyg.simulation.particles import GeneratedEvents

#: The rules that ``label_jets`` knows.
RULES = ("hadron", "delphes")


@dataclass
class JetLabels:
    """Labels of J jets.

    Attributes:
        flavour: 0 light, 1 c, 2 b [J].
        num_b_hadrons, num_c_hadrons: weakly decaying hadrons in the jet, c hadrons from b hadrons too [J].
    """

    flavour: np.ndarray
    num_b_hadrons: np.ndarray
    num_c_hadrons: np.ndarray


def label_jets(
    jets: ClusteredJets, events: GeneratedEvents, weak: np.ndarray, card: Labels, rule: str = "hadron"
) -> JetLabels:
    """Flavour of each jet.

    Args:
        jets: J jets of B events.
        events: the generator's records of the same events, N entries.
        weak: weakly decaying hadrons [N], from :func:`~panoptag_pyg.simulation.truth.weakly_decaying`.
        card: thresholds and distances.
        rule: ``"hadron"`` (default): b if a weakly decaying b hadron with enough pT is near, else c if such a c hadron
            is; this is how the experiments do it. ``"delphes"``: the heaviest parton near, of any status, so that
            g → bb̄ makes a b jet; this is DELPHES's JetFlavorAssociation.

    Raises:
        ConfigError: there is no such rule.
    """
    if rule not in RULES:
        raise ConfigError(f"unknown label rule '{rule}'{suggest(rule, RULES)}")
    hadrons = _above(events, np.flatnonzero(weak), card.hadron_min_pt)
    num_b, num_c = (
        _count(jets, events, hadrons[weak[hadrons] == kind], card.hadron_max_delta_r)
        for kind in (HeavyAncestry.B, HeavyAncestry.C)
    )
    if rule == "hadron":
        has_b, has_c = num_b > 0, num_c > 0
    else:
        number = np.abs(events.pdg)
        heavy = (number == 4) | (number == 5)
        partons = _above(events, np.flatnonzero(heavy & (events.status < 0)), card.parton_min_pt)
        partons = partons[np.abs(_eta(events, partons)) <= card.parton_max_abs_eta]
        has_b, has_c = (
            _count(jets, events, partons[number[partons] == quark], card.parton_max_delta_r) > 0 for quark in (5, 4)
        )
    flavour = np.where(has_b, Flavour.B, np.where(has_c, Flavour.C, Flavour.LIGHT))
    return JetLabels(flavour.astype(np.int8), num_b.astype(np.int8), num_c.astype(np.int8))


def _eta(events: GeneratedEvents, rows: np.ndarray) -> np.ndarray:
    pt = np.hypot(events.px[rows], events.py[rows])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.arcsinh(events.pz[rows] / pt)


def _above(events: GeneratedEvents, rows: np.ndarray, min_pt: float) -> np.ndarray:
    return rows[np.hypot(events.px[rows], events.py[rows]) > min_pt]


def _count(jets: ClusteredJets, events: GeneratedEvents, rows: np.ndarray, max_delta_r: float) -> np.ndarray:
    """How many of the entries ``rows`` (rising) are near each jet, [J]."""
    eta, phi = _eta(events, rows), np.arctan2(events.py[rows], events.px[rows])
    jet, _, _ = pairs_within(
        jets.offsets, jets.eta, jets.phi, np.searchsorted(rows, events.offsets), eta, phi, max_delta_r
    )
    return np.bincount(jet, minlength=len(jets.pt))
