"""The right detector passes, and each deliberately wrong one is caught, by the check that is meant to."""

from __future__ import annotations

import pytest
from helpers.resimulated import BlurredDetector, LossyDetector, altered, generated, remade, times
from helpers.seeds import fresh_seed

from panoptag_pyg.simulation.detector_card import DetectorCard
from panoptag_pyg.validation.calorimeters import CalorimeterMeasurement
from panoptag_pyg.validation.closure import ClosureMeasurement
from panoptag_pyg.validation.resimulation import RecordingDetector
from panoptag_pyg.validation.tracks import TrackMeasurement

pytest.importorskip("pythia8mc")
pytest.importorskip("fastjet")
#: So small that a right detector is caught once in 10,000 runs of all these tests.
SURELY = 1e-6


@pytest.fixture(scope="module")
def events():
    return generated(fresh_seed("detectors", 2**20))


def checks_of(rng, events, detector, measurement):
    measurement.add(remade(rng, detector, *events))
    return {check.name: check for check in measurement.checks()}


def tracks(rng, events, detector, kind="smeared"):
    return checks_of(rng, events, detector, TrackMeasurement(DetectorCard.load("atlas"), kind))


def calorimeters(rng, events, detector):
    return checks_of(rng, events, detector, CalorimeterMeasurement(DetectorCard.load("atlas")))


def fails(check):
    return not check.passed if check.p_value is None else check.p_value < SURELY


@pytest.mark.parametrize("kind", ["smeared", "true"])
def test_the_right_detector_passes(rng, events, kind):
    detector = RecordingDetector("atlas", kind)
    found = tracks(rng, events, detector, kind) | calorimeters(rng, events, detector)
    assert not [check for check in found.values() if fails(check)]
    assert {"efficiency, charged hadrons", "resolution of pT, charged hadrons", "efficiency in φ"} <= set(found)
    assert ("width of d0's pull" in found) == (kind == "smeared")
    assert ("d0 is the true one, its error 0" in found) == (kind == "true")
    assert found["efficiency, charged hadrons"].ndf > 20
    assert found["resolution of energy, photons (ECal)"].ndf > 10
    assert found["resolution of energy, neutral hadrons (HCal)"].ndf > 10


#: What is wrong: the changes of the card, the checks that see it, and those that may see it too.
WRONG_TRACKERS = {
    "efficiency": (
        {"tracking__efficiency__hadron__values": times(0.9)},
        {"efficiency, charged hadrons"},
        {"efficiency in φ"},
    ),
    "resolution": (
        {"tracking__resolution__hadron__constant": times(1.3)},
        {"resolution of pT, charged hadrons"},
        {"mean of pT, charged hadrons"},
    ),
    "d0": (
        {"impact_parameters__d0__values": times(1.2)},
        {"width of d0's pull", "error of d0 is the card's at the track's η and pT"},
        {"mean of d0's pull"},
    ),
    "dz": (
        {"impact_parameters__dz__values": times(0.8)},
        {"width of dz's pull", "error of dz is the card's at the track's η and pT"},
        set(),
    ),
}


@pytest.mark.parametrize("what", WRONG_TRACKERS)
def test_a_wrong_tracker_is_caught(rng, events, what):
    changes, expected, possible = WRONG_TRACKERS[what]
    found = tracks(rng, events, RecordingDetector(altered(**changes)))
    caught = {name for name, check in found.items() if fails(check)}
    assert expected <= caught <= expected | possible


def test_a_loss_in_one_direction_is_caught(rng, events):
    found = tracks(rng, events, LossyDetector("atlas"))
    assert fails(found["efficiency in φ"])
    assert not fails(found["resolution of pT, charged hadrons"])


def test_more_smearing_than_the_errors_say_is_caught(rng, events):
    found = tracks(rng, events, BlurredDetector("atlas"))
    assert fails(found["width of d0's pull"])
    assert found["error of d0 is the card's at the track's η and pT"].passed
    assert not fails(found["width of dz's pull"])


def test_smearing_that_should_not_be_is_caught(rng, events):
    found = tracks(rng, events, RecordingDetector("atlas", "smeared"), "true")
    assert not found["d0 is the true one, its error 0"].passed


@pytest.mark.parametrize(("name", "title"), [("ecal", "photons (ECal)"), ("hcal", "neutral hadrons (HCal)")])
def test_a_wrong_calorimeter_is_caught(rng, events, name, title):
    wrong = altered(**{f"{name}__resolution__{region}__stochastic": times(1.3) for region in range(2)})
    found = calorimeters(rng, events, RecordingDetector(wrong))
    assert fails(found[f"resolution of energy, {title}"])
    other = {"photons (ECal)", "neutral hadrons (HCal)"} - {title}
    assert not fails(found[f"resolution of energy, {other.pop()}"])


def test_energy_that_goes_missing_is_caught(rng, events):
    blind = altered(energy_fractions__species__0__ecal=times(0.1))
    right = checks_of(rng, events, RecordingDetector("atlas"), ClosureMeasurement())
    wrong = checks_of(rng, events, RecordingDetector(blind), ClosureMeasurement())
    name = "sum of E_T of PFOs over particles, 0 < |η| < 1.5"
    assert right[name].passed
    assert not wrong[name].passed
    assert not fails(right["no direction preferred"])
