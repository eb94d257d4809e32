"""Jet flavour and ancestry on hand-made events."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.particles import make_particles, make_record

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.simulation import DetectorCard
from panoptag_pyg.simulation.jets import ClusteredJets
from panoptag_pyg.simulation.labels import label_jets
from panoptag_pyg.simulation.truth import heavy_ancestry, match_truth_jets, weakly_decaying

CARD = DetectorCard.load()


def jets_at(*events):
    """Jets of 50 GeV at the (eta, phi) of each event."""
    counts = [len(event) for event in events]
    eta, phi = (np.array([place[i] for event in events for place in event], dtype=float) for i in (0, 1))
    count = len(eta)
    return ClusteredJets(
        np.repeat(np.arange(len(events)), counts),
        np.full(count, 50.0),
        eta,
        phi,
        np.full(count, 5.0),
        np.cumsum([0, *counts]),
        np.zeros(count + 1, dtype=np.int64),
        np.zeros(0, dtype=np.int32),
    )


def label(jets, record, rule="hadron"):
    return label_jets(jets, record, weakly_decaying(record), CARD.labels, rule)


def test_chain_of_a_beauty_hadron():
    # 1 B*0, 2 B0, 3 photon, 4 D*-, 5 D0bar, 6 pion, 7 K+, 8 pion; 9 prompt D*+, 10 D0, 11 pion; 12 J/psi.
    record = make_record(
        [
            (513, -83, 0, 40, 0.0, 0.0),
            (511, -91, 1, 39, 0.0, 0.0),
            (22, 91, 1, 1, 0.0, 0.0),
            (-413, -91, 2, 20, 0.0, 0.0),
            (-421, -91, 4, 19, 0.0, 0.0),
            (-211, 91, 4, 1, 0.0, 0.0),
            (321, 91, 5, 10, 0.0, 0.0),
            (-211, 91, 5, 9, 0.0, 0.0),
            (413, -83, 0, 30, 1.0, 0.0),
            (421, -91, 9, 28, 1.0, 0.0),
            (211, 91, 9, 2, 1.0, 0.0),
            (443, -83, 0, 10, 1.0, 0.0),
        ]
    )
    weak = weakly_decaying(record)
    assert weak.tolist() == [0, 0, 2, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0]
    ancestry = heavy_ancestry(record, weak)
    # The pion of the prompt D* comes from no weak decay; the B's c hadrons' daughters count as b.
    assert ancestry.tolist() == [0, 0, 0, 0, 2, 2, 2, 2, 2, 0, 0, 0, 0]


def test_ancestry_stops_at_the_event():
    # The second event's entry 1 has mother 0, which must not be the first event's b hadron.
    first = [(521, -83, 0, 20, 0, 0), (421, -91, 1, 15, 0, 0), (211, 91, 2, 5, 0, 0)]
    second = [(421, -83, 0, 20, 0, 0), (211, 91, 1, 5, 0, 0), (211, 83, 0, 5, 0, 0)]
    record = make_record(first, second)
    assert heavy_ancestry(record, weakly_decaying(record)).tolist() == [0, 0, 2, 2, 0, 0, 1, 0]


def test_hadron_rule():
    record = make_record(
        [
            (521, -83, 0, 20, 0.0, 0.0),
            (411, -83, 0, 20, 0.1, 0.0),
            (421, -83, 0, 20, 1.0, np.pi - 0.05),
            (511, -83, 0, 4.9, -1.0, 0.0),
            (5, -71, 0, 50, -1.0, 2.0),
        ],
        [(4122, -83, 0, 6, 0.0, 0.0)],
    )
    first = [(0.05, 0.0), (1.0, -np.pi + 0.1), (-1.0, 0.0), (-1.0, 2.0), (0.0, 0.31)]
    jets = jets_at(first, [(0.0, 0.1), (2.0, 2.0)])
    labels = label(jets, record)
    # b over c; across φ = π; too soft; partons don't count; just too far; next event's hadron in its own event only.
    assert labels.flavour.tolist() == [2, 1, 0, 0, 0, 1, 0]
    assert labels.num_b_hadrons.tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert labels.num_c_hadrons.tolist() == [1, 1, 0, 0, 0, 1, 0]


def test_delphes_rule():
    record = make_record(
        [
            (21, -43, 0, 60, 0.0, 0.0),
            (5, -51, 1, 30, 0.2, 0.0),
            (-5, -51, 1, 30, -0.2, 0.0),
            (4, -71, 0, 2, 1.5, 0.0),
            (5, -71, 0, 0.9, 1.5, 0.0),
            (5, -71, 0, 30, 2.6, 0.0),
            (521, -83, 0, 20, -1.5, 0.0),
            (6, -62, 0, 90, -1.5, 0.0),
        ]
    )
    jets = jets_at([(0.0, 0.49 - 0.05), (1.5, 0.2), (2.45, 0.0), (-1.5, 0.0)])
    # g → bb̄ is b; the soft b doesn't beat the c; partons beyond |η| = 2.5, hadrons and tops don't count.
    assert label(jets, record, "delphes").flavour.tolist() == [2, 1, 0, 0]


def test_unknown_rule():
    with pytest.raises(ConfigError, match="did you mean 'hadron'"):
        label(jets_at([]), make_record([]), "hadrons")


def test_truth_jets_are_the_nearest_ones(rng):
    eta, phi = np.array([0.0, 0.05, 0.25, 2.0]), np.array([0.0, 0.02, 0.7, 0.0])
    particles = make_particles(
        211, [30.0, 10.0, 12.0, 3.0], eta, phi, mass=0.14, event=np.array([0, 0, 0, 1]), num_events=2
    )
    jets = jets_at([(0.0, 0.0), (0.2, 0.5), (-1.0, 0.0)], [(2.0, 0.0)])
    pt, mass = match_truth_jets(particles, jets, CARD, 2.5)
    px = 30 + 10 * np.cos(0.02)
    assert pt[0] == pytest.approx(np.hypot(px, 10 * np.sin(0.02)))
    assert mass[0] > 0
    assert pt[1] == pytest.approx(12.0)
    assert pt[2] == 0  # nothing near
    assert pt[3] == 0  # below the card's min_pt
