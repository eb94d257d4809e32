"""Les Houches files all the way into an event file."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from helpers.hard_events import broken, file_text, muon_pair

from panoptag_pyg.errors import ConfigError, PanopTagError
from panoptag_pyg.events import EventFile
from panoptag_pyg.simulation import simulate
from panoptag_pyg.simulation.les_houches_file import LesHouchesFileError
from panoptag_pyg.simulation.request import plan_simulation

PYTHIA6 = Path(__file__).parent.parent / "data" / "pythia6_ttbar_12_events.lhe"
QUICK = ["PartonLevel:MPI = off"]


def attribute(file, name):
    value = file.attributes[name]
    return json.loads(value) if isinstance(value, str) and value[:1] in "[{" else value


@pytest.fixture(scope="module")
def hard_events():
    rng = np.random.default_rng(2)
    events = [
        muon_pair(float(rng.uniform(100, 400)), float(rng.uniform(-0.8, 0.8)), float(rng.normal(0, 9)), outgoing=5)
        for _ in range(130)
    ]
    for number in (3, 101):
        broken(events[number], "colour")
    return events


@pytest.fixture(scope="module")
def lhe(hard_events, tmp_path_factory):
    path = tmp_path_factory.mktemp("lhe") / "bottom.lhe.gz"
    path.write_bytes(gzip.compress(file_text(hard_events, strategy=-4).encode()))
    return path


@pytest.fixture(scope="module")
def simulated(lhe):
    return simulate(None, None, lhe.with_name("bottom.h5"), lhe=lhe, settings=QUICK, seed=3)


def test_weights_and_numbers_are_the_files(hard_events, simulated):
    file = EventFile(simulated)
    block = file.read()
    kept = [number for number in range(130) if number not in (3, 101)]
    assert file.processes == ["bottom"]
    assert block.event["id"].tolist() == kept
    expected = np.array([hard_events[number].weight for number in kept], dtype=np.float32)
    np.testing.assert_array_equal(block.event["weight"], expected)
    assert (expected < 0).sum() > 30
    # Two b jets back to back in nearly all events.
    assert (block.jet["flavour"] == 2).sum() > 150


def test_what_the_file_says(hard_events, simulated):
    file = EventFile(simulated)
    weights = np.array([event.weight for event in hard_events])
    lhe = attribute(file, "lhe")
    assert lhe["file"] == "bottom.lhe.gz"
    assert (lhe["strategy"], lhe["num_events"]) == (-4, 130)
    assert lhe["beams"] == [[2212, 6500.0], [2212, 6500.0]]
    assert lhe["sum_of_weights"] == pytest.approx(weights.sum())
    assert lhe["sum_of_negative_weights"] == pytest.approx(weights[weights < 0].sum())
    assert attribute(file, "cross_section_pb") == 12.5
    assert attribute(file, "cross_section_error_pb") == 0.025
    assert attribute(file, "num_events_dropped") == 2
    assert attribute(file, "pythia_settings")[0] == "PartonLevel:MPI = on"


def test_workers_make_the_same(lhe, simulated, tmp_path):
    again = simulate("bottom", 130, tmp_path / "again.h5", lhe=lhe, settings=QUICK, seed=3, workers=2)
    one, other = EventFile(simulated).read(), EventFile(again).read()
    for group in ("event", "pfo", "jet"):
        for name, values in getattr(one, group).items():
            np.testing.assert_array_equal(values, getattr(other, group)[name], err_msg=f"{group}/{name}")


def test_a_part_of_a_file_of_another_collider(tmp_path):
    path = simulate(None, 5, tmp_path / "tevatron.h5", lhe=PYTHIA6, settings=QUICK, all_eta=True)
    file = EventFile(path)
    block = file.read()
    assert file.processes == ["pythia6_ttbar_12_events"]
    assert block.num_events == 5
    assert block.event["weight"].tolist() == [1] * 5
    energy = np.add.reduceat(block.pfo["energy"], block.pfo_offsets[:-1])
    assert (energy < 1960 * 1.15).all()  # not 13 TeV; the calorimeter fluctuates
    assert attribute(file, "cross_section_pb") == pytest.approx(5.4803624)
    assert "num_events_dropped" not in file.attributes


def test_the_process_is_a_name_or_a_card_of_settings(tmp_path):
    # A shipped card's process must not mix with the file's events.
    plan = plan_simulation("ttbar", 3, lhe=PYTHIA6)
    assert plan.process == "ttbar"
    assert not any("Top:" in line for line in plan.config.settings)
    card = tmp_path / "mine.toml"
    card.write_text('name = "semileptonic"\nsettings = ["24:onMode = off", "24:onIfAny = 11 13"]\n')
    plan = plan_simulation(card, None, lhe=PYTHIA6)
    assert plan.process == "semileptonic"
    assert plan.num_events == 12
    assert "24:onIfAny = 11 13" in plan.config.settings
    assert plan.config.lhe.is_absolute()


def test_the_source_knows_the_files_content(tmp_path):
    names = set()
    for count in (1, 2):
        path = tmp_path / str(count) / "a.lhe"
        path.parent.mkdir()
        path.write_text(file_text([muon_pair()] * count))
        names.add(plan_simulation(None, 1, lhe=path).source)
    assert len(names) == 2


def test_refusals_leave_nothing(lhe, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    bad = tmp_path / "bad.lhe"
    bad.write_text(file_text([broken(muon_pair(), "momentum") if i % 15 == 0 else muon_pair() for i in range(105)]))
    unknown = tmp_path / "unknown.lhe"
    unknown.write_text(file_text([muon_pair(), broken(muon_pair(), "pdg")]))
    for options, error, message in (
        ({"lhe": lhe, "num_events": 131}, ConfigError, "bottom.lhe.gz has 130 events, not 131"),
        ({"lhe": lhe, "num_events": 0}, ConfigError, "number of events is 0"),
        ({"lhe": tmp_path / "none.lhe"}, LesHouchesFileError, "none.lhe: can't be read"),
        ({"lhe": unknown}, PanopTagError, "unknown.lhe: event 1 has a particle with the PDG number 9900099"),
        ({"lhe": bad}, PanopTagError, "could not shower 7 of 105 events of .*bad.lhe"),
        ({"lhe": lhe, "process": "nowhere.toml"}, ConfigError, "there is no such process card"),
        ({"process": "ttbar"}, ConfigError, "how many events"),
        ({}, ConfigError, "name a process, or give a file of events"),
        ({"lhe": lhe, "settings": ["HardQCD:all = on"], "num_events": 2}, ConfigError, "switch on a process"),
    ):
        arguments = {"process": None, "num_events": None, "settings": QUICK, **options}
        with pytest.raises(error, match=message):
            simulate(output=folder / "x.h5", **arguments)
        assert os.listdir(folder) == []
