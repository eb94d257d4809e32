"""tW as hard events: conserved numbers and colours, any event at any time, spectra; and what PYTHIA makes of them."""

from __future__ import annotations

import numpy as np
import pytest

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.simulation import ProcessCard, simulate
from panoptag_pyg.simulation.external import ExternalPythia
from panoptag_pyg.simulation.les_houches import fault
from panoptag_pyg.simulation.matrix_elements import TopWEvents, make_matrix_element

pythia8mc = pytest.importorskip("pythia8mc")

SETTINGS = ProcessCard.load("tW").settings
SEED = int(np.random.default_rng().integers(10**9))


@pytest.fixture(scope="module")
def source():
    return make_matrix_element("tW", SETTINGS, SEED)


@pytest.fixture(scope="module")
def events(source):
    return [source.event(0, number) for number in range(3000)]


@pytest.fixture(scope="module")
def columns(events):
    return {name: np.stack([getattr(e, name) for e in events]) for name in ("pdg", "momentum", "mass", "colours")}


def rapidity(p):
    return np.arctanh(p[..., 2] / p[..., 3])


def test_pythia_would_find_no_fault(events):
    assert {fault(event) for event in events} == {""}


def test_momenta(events, columns):
    p, mass = columns["momentum"], columns["mass"]
    mother = np.array([0, 0, 0, 0, 3, 3, 5, 5, 4, 4])
    for row in range(2, 10):
        together = [other for other in range(2, 10) if mother[other] == row + 1]
        if together:
            np.testing.assert_allclose(p[:, together].sum(axis=1), p[:, row], atol=1e-7)
    np.testing.assert_allclose(p[:, :2].sum(axis=1), p[:, 2:4].sum(axis=1), atol=1e-7)
    np.testing.assert_allclose(p[..., 3] ** 2 - (p[..., :3] ** 2).sum(-1), mass**2, atol=1e-9 * p.max() ** 2)
    assert (p[:, 0, 2] > 0).all()
    assert (p[:, 1, 2] < 0).all()
    np.testing.assert_array_equal(p[:, :2, :2], 0)
    assert p[:, :2, 3].max() < 6500


def test_charges_and_numbers(events, columns):
    thirds = {1: -1, 2: 2, 3: -1, 4: 2, 5: -1, 6: 2, 11: -3, 12: 0, 13: -3, 14: 0, 15: -3, 16: 0, 21: 0, 24: 3}
    charge = np.vectorize(lambda n: np.sign(n) * thirds[abs(n)])(columns["pdg"])
    for whole, parts in (((0, 1), (2, 3)), ((2,), (4, 5)), ((4,), (6, 7)), ((3,), (8, 9))):
        np.testing.assert_array_equal(charge[:, whole].sum(axis=1), charge[:, parts].sum(axis=1))
    for event in events[:50]:
        top = event.pdg[2]
        assert abs(top) == 6
        assert event.pdg[3] == -24 * np.sign(top)
        assert event.process_id == (1 if top > 0 else 2)
        assert sorted(np.abs(event.pdg[:2])) == [5, 21]
        assert np.sign(top) in np.sign(event.pdg[:2][np.abs(event.pdg[:2]) == 5])


def test_colour_lines_end_where_they_begin(events):
    for event in events:
        incoming, outgoing = event.status == -1, event.status == 1
        sources = [*event.colours[incoming, 0], *event.colours[outgoing, 1]]
        ends = [*event.colours[incoming, 1], *event.colours[outgoing, 0]]
        assert sorted(c for c in sources if c) == sorted(c for c in ends if c)
        assert len({c for c in sources if c}) == sum(c > 0 for c in sources)
        coloured = np.abs(event.pdg)
        np.testing.assert_array_equal((event.colours != 0).sum(axis=1), np.where(coloured == 21, 2, coloured < 10))
        np.testing.assert_array_equal(event.colours[2], event.colours[5])


def test_any_event_at_any_time(source, events):
    other = TopWEvents(SETTINGS, SEED)
    for block, number in [(0, 2), (3, 250), (0, 99), (3, 0), (0, 250)]:
        first, second = other.event(block, number), source.event(block, number)
        for name, values in vars(first).items():
            np.testing.assert_array_equal(values, getattr(second, name), err_msg=name)
        if block == 0:
            np.testing.assert_array_equal(first.momentum, events[number].momentum)
    assert not np.allclose(source.event(0, 0).momentum, source.event(1, 0).momentum)
    assert not np.allclose(source.event(0, 0).momentum, source.event(0, 100).momentum)
    apart = make_matrix_element("tW", SETTINGS, SEED + 1)
    assert not np.allclose(source.event(0, 0).momentum, apart.event(0, 0).momentum)
    assert apart.processes == source.processes  # whatever the seed


def test_an_event_is_the_callers_own(source):
    event = source.event(0, 0)
    event.momentum[:] = 0
    event.mothers[:] = 7
    assert source.event(0, 0).momentum.any()
    assert source.event(0, 1).mothers.max() == 5


def test_spectra(columns):
    p = columns["momentum"]
    count = len(p)
    top, w = p[:, 2], p[:, 3]
    pt = np.hypot(top[:, 0], top[:, 1])
    np.testing.assert_allclose(pt, np.hypot(w[:, 0], w[:, 1]), rtol=1e-6)
    assert 90 < pt.mean() < 112
    assert 75 < np.median(pt) < 96
    peak, edges = np.histogram(pt, np.arange(0, 300, 30))
    assert edges[peak.argmax()] in (30, 60)
    y_top, y_w = rapidity(top), rapidity(w)
    for y in (y_top, y_w):
        assert abs(y.mean()) < 6 * y.std() / np.sqrt(count)
    assert 1.1 < y_top.std() < 1.45
    assert 1.15 < y_w.std() < 1.55
    phi = np.arctan2(top[:, 1], top[:, 0])
    assert abs(np.mean(np.exp(1j * phi))) < 6 / np.sqrt(count)
    positive = columns["pdg"][:, 2] > 0
    assert abs(positive.mean() - 0.5) < 6 * 0.5 / np.sqrt(count)
    for values in (pt, np.abs(y_top), np.abs(y_w)):
        a, b = values[positive], values[~positive]
        assert abs(a.mean() - b.mean()) < 6 * values.std() * 2 / np.sqrt(count)


def test_top_and_antitop_decay_alike(columns):
    # Transverse momenta of the b quark and of the products of both W bosons.
    p, pdg = columns["momentum"], columns["pdg"]
    positive = pdg[:, 2] > 0
    for row in (5, 6, 7, 8, 9):
        pt = np.hypot(p[:, row, 0], p[:, row, 1])
        # The fermion of t W⁻ and the antifermion of t̄ W⁺ stand in the same row.
        assert (pdg[positive, row] > 0).all() == (pdg[~positive, row] < 0).all()
        spread = pt.std() * 2 / np.sqrt(len(pt))
        assert abs(pt[positive].mean() - pt[~positive].mean()) < 6 * spread


def test_scale_and_couplings(events):
    for event in events[:100]:
        pt2 = np.sum(event.momentum[2, :2] ** 2)
        lighter = min(event.mass[2] ** 2, event.mass[3] ** 2) + pt2
        assert event.scale == pytest.approx(np.sqrt(lighter), rel=1e-9)
        assert 0.08 < event.alpha_qcd < 0.14
        assert 1 / 130 < event.alpha_qed < 1 / 125
        assert event.weight >= 1


def test_beams_of_unequal_energies():
    lines = ["Beams:frameType = 2", "Beams:eA = 8000", "Beams:eB = 4000"]
    source = TopWEvents(lines, 1)
    p = np.stack([source.event(0, number).momentum for number in range(1000)])
    assert rapidity(p[:, 2]).mean() == pytest.approx(np.log(2) / 2, abs=6 * 1.3 / np.sqrt(1000))
    assert p[:, 0, 3].max() < 8000
    assert p[:, 1, 3].max() < 4000


def test_unknown_matrix_elements():
    with pytest.raises(ConfigError, match="did you mean 'tW'"):
        make_matrix_element("tw", SETTINGS, 0)


def test_after_pythia(source):
    generator = ExternalPythia(source, [*SETTINGS, "PartonLevel:MPI = off"], SEED, replace_failures=True)
    made = generator.generate(0, 100)
    assert made.num_events == 100
    np.testing.assert_array_equal(made.weight, [source.event(0, n).weight for n in range(100)])
    event = made.event_of(np.arange(len(made.pdg)))
    produced = np.abs(made.status) == 22  # intermediate particles of the hard process
    for pdg, number in ((6, 1), (24, 2)):
        # The W boson of the top quark is such a one too.
        counts = np.bincount(event[produced & (np.abs(made.pdg) == pdg)], minlength=100)
        np.testing.assert_array_equal(counts, number)
    tops = produced & (np.abs(made.pdg) == 6)
    expected = [[e.pdg[2], e.mass[2]] for e in (source.event(0, n) for n in range(100))]
    np.testing.assert_allclose(np.stack([made.pdg[tops], made.mass[tops]], axis=1), expected, rtol=1e-9)
    # Momentum is conserved through showers and hadronisation.
    final = made.status > 0
    np.testing.assert_allclose(np.bincount(event[final], made.e[final]), 13_000, rtol=1e-6)
    np.testing.assert_allclose(np.bincount(event[final], made.pz[final]), 0, atol=0.1)


@pytest.mark.slow
def test_a_file_of_tw(tmp_path):
    from panoptag_pyg.events import EventFile

    def simulated(process, name, workers):
        simulate(process, 600, tmp_path / name, seed=SEED % 1000, workers=workers)
        with EventFile(tmp_path / name) as file:
            flavour, pt = file.column("jet/flavour"), file.column("jet/pt")
            jets = np.diff(file.read().jet_offsets)
        event = np.repeat(np.arange(len(jets)), jets)
        return np.bincount(event[(flavour == 2) & (pt > 25)], minlength=len(jets)), jets, pt

    b_jets, jets, pt = simulated("tW", "one.h5", 1)
    again = simulated("tW", "two.h5", 2)
    np.testing.assert_array_equal(pt, again[2])
    of_ttbar, jets_of_ttbar, _ = simulated("ttbar", "ttbar.h5", 2)
    assert 0.8 < b_jets.mean() < 1.3
    assert b_jets.mean() < of_ttbar.mean() - 0.3
    assert jets.mean() < jets_of_ttbar.mean() - 0.4
