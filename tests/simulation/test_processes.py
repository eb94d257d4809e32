"""The shipped process cards: what PYTHIA generates with each."""

from __future__ import annotations

import numpy as np
import pytest

from panoptag_pyg.simulation import ProcessCard
from panoptag_pyg.simulation.particles import GeneratedEvents
from panoptag_pyg.simulation.pythia import Pythia

HIGGS = 25


def hard_process(name: str, num_events: int, *settings: str) -> GeneratedEvents:
    """Events without showers, which take less time to make."""
    card = ProcessCard.load(name)
    # (PYTHIA's batches can't be read where no particle of them has a production vertex: hadrons have.)
    levels = ("PartonLevel:MPI = off", "PartonLevel:ISR = off", "PartonLevel:FSR = off")
    return Pythia([*card.settings, *levels, *settings], seed=3).generate(0, num_events)


def daughters(events: GeneratedEvents, pdg: int) -> list[list[int]]:
    """PDG numbers of what each last copy of the particle ``pdg`` decays to, by a loop."""
    found = []
    for event in range(events.num_events):
        rows = slice(*events.offsets[event : event + 2])
        number, mother = events.pdg[rows], events.mother[rows]
        for row in np.flatnonzero(number == pdg):
            products = sorted(int(n) for n in number[mother == row])
            if products and products != [pdg]:
                found.append(products)
    return found


@pytest.mark.parametrize(("name", "partner"), [("ttH_bb", 6), ("ZH_bb", 23)])
def test_the_higgs_boson_decays_to_b_quarks_alone(name, partner):
    events = hard_process(name, 50)
    assert daughters(events, HIGGS) == [[-5, 5]] * 50
    # Its partner decays as it likes.
    assert len({tuple(products) for products in daughters(events, partner)}) >= (1 if partner == 6 else 5)
    w_decays = {tuple(products) for products in daughters(events, 24)}
    assert name != "ttH_bb" or len(w_decays) >= 4


def test_without_the_choice_it_decays_otherwise_too():
    assert len({tuple(products) for products in daughters(hard_process("ttH", 100), HIGGS)}) > 3


@pytest.mark.parametrize(
    ("name", "settings", "threshold"),
    [("QCD", (), 20), ("QCD_pt200", (), 200), ("QCD_pt200", ("PhaseSpace:pTHatMin = 400",), 400)],
)
def test_scattered_partons_are_above_the_threshold(name, settings, threshold):
    events = hard_process(name, 200, *settings)
    outgoing = np.abs(events.status) == 23
    np.testing.assert_array_equal(np.bincount(events.event_of(np.flatnonzero(outgoing))), 2)
    pt = np.hypot(events.px[outgoing], events.py[outgoing])
    # Momenta of massive quarks are put on their mass shells afterwards, which moves pT a little.
    assert pt.min() > 0.97 * threshold
    assert np.median(pt) < 1.5 * threshold  # a steeply falling spectrum
    assert set(np.abs(events.pdg[outgoing])) <= {1, 2, 3, 4, 5, 21}
    assert (events.pdg[outgoing] == 21).mean() > 0.2
