"""PYTHIA after hard events from outside: the same events as PYTHIA's own reader makes, and the right weight on each."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.hard_events import EndlessMuonPairs, HardEventList, broken, file_text, muon_pair

from panoptag_pyg.errors import ConfigError, PanopTagError
from panoptag_pyg.simulation.external import ExternalPythia
from panoptag_pyg.simulation.particles import is_decay_product
from panoptag_pyg.simulation.pythia import seed_of

SETTINGS = ["PartonLevel:MPI = off"]


def muon_pairs(count, seed=0):
    rng = np.random.default_rng(seed)
    return [
        muon_pair(float(rng.uniform(100, 400)), float(rng.uniform(-0.9, 0.9)), float(rng.normal()))
        for _ in range(count)
    ]


def incoming_energy(events):
    rows = np.flatnonzero(events.status == -21)
    return events.e[rows].reshape(-1, 2)


def assert_same(one, other):
    for name, values in vars(one).items():
        if values is not None:
            np.testing.assert_array_equal(values, getattr(other, name), err_msg=name)


def test_the_same_events_as_pythias_own_reader_makes(tmp_path):
    import pythia8mc

    events = [muon_pair(150 + 10 * i, 0.1 * i, outgoing=13 if i % 2 else 5) for i in range(6)]
    path = tmp_path / "events.lhe"
    path.write_text(file_text(events))
    reader = pythia8mc.Pythia("", False)
    for line in ("Print:quiet = on", "Beams:frameType = 4", f"Beams:LHEF = {path}", *SETTINGS):
        assert reader.readString(line)
    assert reader.init()
    reader.rndm.init(seed_of(11, 0))
    ours = ExternalPythia(HardEventList(events), SETTINGS, seed=11).generate(0, 6)
    for i in range(6):
        assert reader.next()
        record = reader.event
        rows = slice(*ours.offsets[i : i + 2])
        assert ours.pdg[rows].tolist() == [record[k].id() for k in range(record.size())]
        # The coupling, in whose place events carry their numbers, is in no particle.
        for name, method in (("px", "px"), ("e", "e"), ("mass", "m"), ("z", "zProd"), ("tau", "tau")):
            expected = [getattr(record[k], method)() for k in range(record.size())]
            np.testing.assert_allclose(getattr(ours, name)[rows], expected, rtol=1e-12, atol=1e-12, err_msg=name)


def test_weights_belong_to_their_events_although_some_fail():
    events = muon_pairs(40)
    bad = {0: "colour", 7: "momentum", 8: "colour", 23: "momentum", 39: "colour"}
    for number, how in bad.items():
        broken(events[number], how)
    made = ExternalPythia(HardEventList(events), SETTINGS).generate(0, 40)
    good = [number for number in range(40) if number not in bad]
    assert made.number.tolist() == good
    assert made.num_events == len(good) == 35
    np.testing.assert_array_equal(made.weight, [events[number].weight for number in good])
    expected = np.array([events[number].momentum[:2, 3] for number in good])
    np.testing.assert_allclose(incoming_energy(made), expected, rtol=1e-9)


@pytest.mark.parametrize("bad", [(0,), (0, 29), (29,), (0, 1, 28, 29)])
def test_the_last_event_has_its_vertices(bad):
    # Where PYTHIA fails on what is repeated after a block's events, its last event is made once more.
    events = [muon_pair(200 + i, 0.2, outgoing=5) for i in range(30)]
    for number in bad:
        broken(events[number], "colour")
    made = ExternalPythia(HardEventList(events), SETTINGS, seed=5).generate(0, 30)
    assert made.number.tolist() == [number for number in range(30) if number not in bad]
    rows = np.flatnonzero(is_decay_product(made.status))
    mother = made.mother_rows(rows)
    flight = made.pz[mother] * made.tau[mother] / np.maximum(made.mass[mother], 1e-12)
    flight[made.tau[mother] == 0] = 0
    np.testing.assert_allclose(made.z[rows], made.z[mother] + flight, rtol=1e-6, atol=1e-9)
    last = slice(*made.offsets[-2:])
    assert (np.hypot(made.x[last], made.y[last]) > 0.01).any()


def test_blocks_do_not_depend_on_what_ran_before():
    events = muon_pairs(250, seed=1)
    broken(events[0], "colour")
    broken(events[204], "colour")
    generator = ExternalPythia(HardEventList(events), SETTINGS, seed=3)
    last, first = generator.generate(2, 50), generator.generate(0, 20)
    fresh = ExternalPythia(HardEventList(events), SETTINGS, seed=3)
    assert_same(fresh.generate(0, 20), first)
    assert_same(fresh.generate(2, 50), last)
    assert last.number.tolist() == [0, 1, 2, 3, *range(5, 50)]
    other = ExternalPythia(HardEventList(events), SETTINGS, seed=4).generate(0, 20)
    assert not np.array_equal(other.offsets, first.offsets)


def test_a_matrix_element_gives_another_event_for_one_that_fails():
    source = EndlessMuonPairs(every=10)
    generator = ExternalPythia(source, SETTINGS, replace_failures=True)
    made = generator.generate(3, 50)
    assert made.num_events == 50
    assert made.number is None
    numbers = [number for number in range(60) if number % 10 != 9][:50]
    expected = np.array([source.event(3, number).momentum[:2, 3] for number in numbers])
    np.testing.assert_allclose(incoming_energy(made), expected, rtol=1e-9)
    assert_same(ExternalPythia(EndlessMuonPairs(every=10), SETTINGS, replace_failures=True).generate(3, 50), made)


def test_beams_are_the_sources():
    beams = ((2212, 980.0), (-2212, 980.0))
    made = ExternalPythia(HardEventList(muon_pairs(5), beams), [*SETTINGS, "Beams:eCM = 13000"]).generate(0, 5)
    assert made.pdg[made.offsets[:-1] + 1].tolist() == [2212] * 5
    assert made.pdg[made.offsets[:-1] + 2].tolist() == [-2212] * 5
    final = made.status > 0
    assert made.e[final].sum() == pytest.approx(5 * 1960, rel=1e-6)


def test_all_of_few_events_may_fail():
    events = [broken(event, "colour") for event in muon_pairs(3)]
    made = ExternalPythia(HardEventList(events), SETTINGS).generate(0, 3)
    assert made.num_events == 0
    assert len(made.pdg) == len(made.weight) == len(made.number) == 0


@pytest.mark.parametrize(
    ("how", "reason"), [("colour", "its colour lines don't connect"), ("momentum", "another momentum")]
)
@pytest.mark.parametrize("replace_failures", [False, True])
def test_many_failures_are_an_error_with_the_reason(how, reason, replace_failures):
    events = [broken(event, how) if i % 3 == 1 else event for i, event in enumerate(muon_pairs(90))]
    generator = ExternalPythia(HardEventList(events), SETTINGS, replace_failures=replace_failures)
    with pytest.raises(PanopTagError, match=rf"list of events: PYTHIA fails on \d+ of \d+ hard.*event 1: .*{reason}"):
        generator.generate(0, 50)


def test_bad_sources_are_one_sentence():
    events = muon_pairs(5)
    broken(events[3], "pdg")
    generator = ExternalPythia(HardEventList(events), SETTINGS)
    with pytest.raises(PanopTagError, match="list of events: event 3 has a particle with the PDG number 9900099"):
        generator.generate(0, 5)
    with pytest.raises(PanopTagError, match="there is no event 105"):
        ExternalPythia(HardEventList(muon_pairs(105)), SETTINGS).generate(1, 6)
    with pytest.raises(PanopTagError, match="could not be initialised for list of events, with beams"):
        ExternalPythia(HardEventList(muon_pairs(5), ((2212, 6500.0), (21, 6500.0))), SETTINGS)
    with pytest.raises(ConfigError, match="switch on a process"):
        ExternalPythia(HardEventList(muon_pairs(5)), [*SETTINGS, "Top:gg2ttbar = on"]).generate(0, 5)
