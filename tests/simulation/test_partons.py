"""Which parton started a jet, on hand-made records and in simulated events."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.particles import make_record

from panoptag_pyg.events import EventFile
from panoptag_pyg.simulation import DetectorCard, simulate
from panoptag_pyg.simulation.jets import ClusteredJets
from panoptag_pyg.simulation.partons import parton_flavour
from panoptag_pyg.simulation.truth import hard_scatter_share

CARD = DetectorCard.load()


def jets_at(*events, constituents=()):
    counts = [len(event) for event in events]
    eta, phi = (np.array([place[i] for event in events for place in event], dtype=float) for i in (0, 1))
    count = sum(counts)
    lengths = [len(rows) for rows in constituents] or [0] * count
    return ClusteredJets(
        np.repeat(np.arange(len(events)), counts),
        np.full(count, 50.0),
        eta,
        phi,
        np.full(count, 5.0),
        np.cumsum([0, *counts]),
        np.cumsum([0, *lengths]),
        np.array([row for rows in constituents for row in rows], dtype=np.int32),
    )


def test_the_parton_of_highest_energy_wins():
    record = make_record(
        [
            (21, -23, 0, 60, 0.0, 0.0),
            (5, -51, 1, 40, 0.2, 0.0),
            (-5, -51, 1, 40, -0.2, 0.0),
            (-2, -23, 0, 50, 1.0, np.pi - 0.1),  # seen across φ = π
            (3, -71, 0, 45, 1.0, np.pi - 0.1),
            (1, -21, 0, 200, 2.0, 0.0),  # on its way in
            (6, -62, 0, 90, 2.0, 0.0),
            (4, 91, 0, 90, 2.0, 0.0),  # inside a decay
            (511, -83, 0, 90, 2.0, 0.0),
            (2203, -63, 0, 90, 2.0, 0.0),
            (4, -71, 0, 4.9, 2.0, 0.0),  # too soft
            (4, -71, 0, 30, -2.0, 0.0),
        ],
        [(4, -23, 0, 100, -2.0, 0.5)],
    )
    jets = jets_at([(0.1, 0.0), (1.0, -np.pi + 0.1), (2.0, 0.0), (-2.0, 0.39), (-2.0, 0.41)], [(0.0, 0.0), (-2.0, 0.5)])
    assert parton_flavour(jets, record, CARD.labels, 0.4).tolist() == [21, 2, 0, 4, 0, 0, 4]
    # A larger jet reaches further.
    assert parton_flavour(jets, record, CARD.labels, 0.6).tolist() == [21, 2, 0, 4, 4, 0, 4]


def test_energy_decides_not_pt():
    # At equal distance the gluon has more pT, the quark further out more energy.
    record = make_record([(21, -71, 0, 50, 1.7, 0.0), (2, -71, 0, 45, 2.2, 0.0)])
    assert 45 * np.cosh(2.2) > 50 * np.cosh(1.7)
    assert parton_flavour(jets_at([(1.95, 0.0)]), record, CARD.labels, 0.4).tolist() == [2]


@pytest.mark.parametrize("jets", [jets_at([], []), jets_at([(0.0, 0.0)], [])])
def test_nothing_there(jets):
    assert not parton_flavour(jets, make_record([], []), CARD.labels, 0.4).any()


def test_hard_scatter_share(rng):
    pt, fraction = rng.uniform(1, 9, 7).astype(np.float32), rng.uniform(0, 1, 7)
    jets = jets_at([(0, 0), (1, 0), (2, 0)], [], [(0, 0)], constituents=[[0, 2], [], [1], [2, 0]])
    share = hard_scatter_share(jets, pt, fraction, np.array([0, 3, 4, 7]))
    expected = [np.average(fraction[[0, 2]], weights=pt[[0, 2]]), -1, fraction[1]]
    np.testing.assert_allclose(share, [*expected, np.average(fraction[[6, 4]], weights=pt[[6, 4]])], rtol=1e-6)


def test_in_top_quark_pairs(tmp_path):
    block = EventFile(simulate("ttbar", 60, tmp_path / "ttbar.h5", seed=11)).read()
    origin, flavour = block.jet["parton_flavour"], block.jet["flavour"]
    assert np.isin(origin, [0, 1, 2, 3, 4, 5, 21]).all()
    # b jets of tops begin as b quarks; a c quark gives most of the others'; gluons only radiate here.
    assert (origin[flavour == 2] == 5).mean() > 0.8
    light = origin[flavour == 0]
    assert 0.2 < (light == 21).mean() < 0.8
    assert ((light >= 1) & (light <= 3)).mean() > 0.2
    assert (block.jet["hard_scatter_fraction"] == 1).all()
