"""What is wrong with a hard event that PYTHIA fails on."""

from __future__ import annotations

import pytest
from helpers.hard_events import broken, muon_pair

from panoptag_pyg.simulation.les_houches import fault


@pytest.mark.parametrize("outgoing", [13, 5])
def test_faults(outgoing):
    assert len(muon_pair()) == 4
    assert fault(muon_pair(outgoing=outgoing)) == ""
    assert fault(broken(muon_pair(outgoing=outgoing), "colour")) == "its colour lines don't connect"
    assert "another momentum" in fault(broken(muon_pair(outgoing=outgoing), "momentum"))


def test_gluons_have_two_lines():
    event = muon_pair(outgoing=5)
    event.pdg[:2] = 21
    event.colours[:2] = [[502, 503], [503, 504]]
    event.colours[2:] = [[502, 0], [0, 504]]
    assert fault(event) == ""
    event.colours[1, 1] = 502
    assert fault(event) == "its colour lines don't connect"


def test_few_digits_are_no_fault():
    event = muon_pair(outgoing=5)
    event.momentum[3, 0] *= 1 + 1e-5
    assert fault(event) == ""
