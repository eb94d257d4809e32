"""The cross section in a file's attributes, against independent numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.hard_events import file_text, muon_pair

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.simulation import DetectorCard, ProcessCard
from panoptag_pyg.simulation.cross_section import cross_section
from panoptag_pyg.simulation.generators import hard_events
from panoptag_pyg.simulation.pipeline import SimulationConfig


def config(settings, **options):
    return SimulationConfig(tuple(settings), DetectorCard.load(), "true", "hadron", False, 0, **options)


@pytest.mark.parametrize("seed", [0, 1])
def test_pythias_own(seed):
    pythia8mc = pytest.importorskip("pythia8mc")
    settings = ProcessCard.load("single_top").settings
    value, error = cross_section(replace(config(settings), seed=seed))
    pythia = pythia8mc.Pythia("", False)
    for line in ("Print:quiet = on", *settings, "PartonLevel:all = off", "Random:setSeed = on", "Random:seed = 77"):
        assert pythia.readString(line)
    assert pythia.init()
    for _ in range(4000):
        pythia.next()
    info = pythia.infoPython()
    assert error / value < 0.02
    assert abs(value - 1e9 * info.sigmaGen()) < 6 * (error**2 + (1e9 * info.sigmaErr()) ** 2) ** 0.5
    # Two processes of 131 and 7 pb at 13 TeV by their documentation, at leading order with other couplings and PDFs.
    assert 110 < value < 190


def test_branching_ratios_count():
    whole, _ = cross_section(config(ProcessCard.load("ZH").settings))
    bb, _ = cross_section(config(ProcessCard.load("ZH_bb").settings))
    cc, _ = cross_section(config(ProcessCard.load("ZH_cc").settings))
    # PYTHIA's branching ratios of the Higgs boson: 57.6 % and 2.88 %.
    assert bb / whole == pytest.approx(0.577, abs=0.05)
    assert cc / whole == pytest.approx(0.0288, abs=0.004)


def test_of_a_file(tmp_path):
    path = tmp_path / "a.lhe"
    path.write_text(file_text([muon_pair()]))
    assert cross_section(config([], lhe=path)) == (12.5, 0.025)


def test_one_source_at_a_time(tmp_path):
    path = tmp_path / "a.lhe"
    path.write_text(file_text([muon_pair()]))
    assert hard_events(config([])) is None
    assert hard_events(config([], lhe=path)).origin == str(path)
    with pytest.raises(ConfigError, match="takes its events from the matrix element 'tW' and --lhe from"):
        hard_events(config([], lhe=path, matrix_element="tW"))


def test_errors_of_a_matrix_element_go_together():
    """Both charges come from the same integrals: what is off in the one is off in the other."""
    settings = list(ProcessCard.load("tW").settings)
    asked = config(settings, matrix_element="tW")
    processes = hard_events(asked).processes
    assert len(processes) == 2
    value, error = cross_section(asked)
    assert value == pytest.approx(sum(process.cross_section for process in processes))
    assert error == pytest.approx(sum(process.error for process in processes))
    assert 0 < error < 0.01 * value
