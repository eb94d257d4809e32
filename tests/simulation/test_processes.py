"""The shipped process cards: what PYTHIA generates with each."""

from __future__ import annotations

import numpy as np
import pytest

from panoptag_pyg.simulation import ProcessCard
from panoptag_pyg.simulation.cards import shipped
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


@pytest.mark.parametrize(("made", "partner"), [("ttH", 6), ("ZH", 23), ("WH", 24), ("ggH", 0), ("VBFH", 0)])
@pytest.mark.parametrize(("decay", "quark"), [("bb", 5), ("cc", 4)])
def test_the_higgs_boson_decays_to_one_kind_of_quark_alone(made, partner, decay, quark):
    name = f"{made}_{decay}"
    events = hard_process(name, 50)
    assert daughters(events, HIGGS) == [[-quark, quark]] * 50
    if partner in (0, 24):
        return
    # Its partner decays as it likes.
    assert len({tuple(products) for products in daughters(events, partner)}) >= (1 if partner == 6 else 5)
    w_decays = {tuple(products) for products in daughters(events, 24)}
    assert made != "ttH" or len(w_decays) >= 4


def test_without_the_choice_it_decays_otherwise_too():
    assert len({tuple(products) for products in daughters(hard_process("ttH", 100), HIGGS)}) > 3


@pytest.mark.parametrize(
    ("name", "settings", "threshold"),
    [
        ("QCD", (), 20),
        ("QCD_pt200", (), 200),
        ("QCD_pt200", ("PhaseSpace:pTHatMin = 400",), 400),
        ("QCD_pt600toInf", (), 600),
    ],
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


def outgoing(events: GeneratedEvents) -> list[list[int]]:
    """PDG numbers of what leaves the hard process of each event, without signs."""
    found = []
    for event in range(events.num_events):
        rows = slice(*events.offsets[event : event + 2])
        hard = np.isin(np.abs(events.status[rows]), (22, 23))
        hard &= np.isin(np.abs(events.status[rows][events.mother[rows]]), (21,))
        found.append(sorted(np.abs(events.pdg[rows][hard]).tolist()))
    return found


PARTONS = {1, 2, 3, 4, 5, 21}


@pytest.mark.parametrize(
    "name",
    [
        # What the Higgs boson decays to is tested above; its partners are those of the card without the choice.
        pytest.param(name, marks=pytest.mark.slow if name.endswith(("_bb", "_cc")) else ())
        for name in sorted(shipped("processes"))
    ],
)
def test_every_card_makes_what_it_says(name):
    card = ProcessCard.load(name)
    if card.matrix_element is not None or name == "minimum_bias":
        pytest.skip("its events don't come from PYTHIA, or have no hard process")
    expected = {
        "ttbar": [6, 6], "ttH": [6, 6, HIGGS], "ZH": [23, HIGGS], "WH": [24, HIGGS], "ggH": [HIGGS],
        "VBFH": ["quark", "quark", HIGGS], "Zjets": ["parton", 23], "Wjets": ["parton", 24],
        "QCD": ["parton", "parton"], "QCD_pt200": ["parton", "parton"], "single_top": ["quark", 6],
    }  # fmt: skip
    for products in outgoing(hard_process(name, 20)):
        rest = list(products)
        for product in expected[name.removesuffix("_bb").removesuffix("_cc")]:
            kinds = {"parton": PARTONS, "quark": PARTONS - {21}}.get(product, {product})
            rest.remove(next(number for number in rest if number in kinds))
        assert rest == []


@pytest.mark.parametrize(("name", "boson"), [("Zjets", 23), ("Wjets", 24)])
def test_bosons_with_jets_in_bins(name, boson):
    events = hard_process(f"{name}_pt100to200", 100)
    rows = np.flatnonzero((np.abs(events.pdg) == boson) & (np.abs(events.status) == 22))
    np.testing.assert_array_equal(np.bincount(events.event_of(rows)), 1)
    pt = np.hypot(events.px[rows], events.py[rows])
    assert 99 < pt.min() < 110
    assert pt.max() < 201
    if boson == 23:
        assert events.mass[rows].min() > 59.9
        assert events.mass[rows].max() < 120.1
        assert abs(np.median(events.mass[rows]) - 91.2) < 1
