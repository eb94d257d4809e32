"""PYTHIA's numbers: what our tables give is what PYTHIA itself uses."""

from __future__ import annotations

import numpy as np
import pytest

from panoptag_pyg.errors import ConfigError, MissingExtraError
from panoptag_pyg.simulation.matrix_elements.standard_model import StandardModel

pythia8mc = pytest.importorskip("pythia8mc")


@pytest.fixture
def rng():
    return np.random.default_rng()


def initialised(*lines):
    pythia = pythia8mc.Pythia("", False)
    for line in ("Print:quiet = on", "Beams:eCM = 13000", "PartonLevel:all = off", *lines):
        assert pythia.readString(line)
    assert pythia.init()
    return pythia


def test_parton_densities_are_those_of_the_set(rng):
    model = StandardModel(["PDF:pSet = 8"])
    direct, default = pythia8mc.Pythia("", False), StandardModel()
    direct.readString("PDF:pSet = 8")
    density = direct.getPDFPtr(2212)
    x, scale2 = 10 ** rng.uniform(-4, -0.01, (3, 7)), 10 ** rng.uniform(3, 7, (3, 7))
    for pdg in (21, 5, -5, 2, -1):
        expected = [[density.xf(pdg, a, b) for a, b in zip(*row, strict=True)] for row in zip(x, scale2, strict=True)]
        np.testing.assert_array_equal(model.parton_density(1, pdg, x, scale2), expected)
    assert not np.allclose(model.parton_density(0, 5, x, scale2), default.parton_density(0, 5, x, scale2), rtol=1e-3)
    # b and b̄ are the same in these sets, u and ū not.
    np.testing.assert_array_equal(default.parton_density(0, 5, x, scale2), default.parton_density(0, -5, x, scale2))


def test_no_parton_has_all_the_momentum():
    model = StandardModel()
    assert model.parton_density(0, 5, np.array(1e-3), np.array(1e4)) > 0
    np.testing.assert_array_equal(model.parton_density(0, 5, np.array([1.0, 1.0 + 1e-9]), np.array(1e4)), 0)


@pytest.mark.parametrize("lines", [[], ["SigmaProcess:alphaSvalue = 0.118", "SigmaProcess:alphaSorder = 2"]])
def test_alpha_strong_is_that_of_pythias_processes(lines, rng):
    pythia = initialised("Top:gg2ttbar = on", *lines)
    scale2 = 10 ** rng.uniform(2, 7, 11)
    ours = StandardModel(lines).alpha_strong(scale2)
    np.testing.assert_array_equal(ours, [pythia.coupSM.alphaS(q) for q in scale2])
    assert StandardModel(lines).alpha_strong(np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize(("renorm", "factor"), [(2, 1), (1, 3), (4, 2), (3, 4), (5, 5)])
def test_scales_are_those_of_pythias_processes(renorm, factor):
    lines = [
        f"SigmaProcess:renormScale2 = {renorm}",
        f"SigmaProcess:factorScale2 = {factor}",
        "SigmaProcess:renormMultFac = 0.25",
        "SigmaProcess:factorMultFac = 4",
        "SigmaProcess:factorFixScale = 12345",
    ]
    pythia, model = initialised("Top:gg2ttbar = on", *lines), StandardModel(lines)
    for _ in range(5):
        assert pythia.next()
        info = pythia.infoPython()
        s, pt2 = np.array([info.sHat()]), np.array([info.pTHat() ** 2])
        masses2 = np.array([info.m3Hat() ** 2]), np.array([info.m4Hat() ** 2])
        assert model.scale2("renorm", s, masses2, pt2)[0] == pytest.approx(info.Q2Ren(), rel=1e-9)
        assert model.scale2("factor", s, masses2, pt2)[0] == pytest.approx(info.Q2Fac(), rel=1e-9)


def test_channels_that_are_switched_on():
    whole = StandardModel().resonance(24)
    assert len(whole.channels) == 9
    assert whole.open_fraction(False) == whole.open_fraction(True) == pytest.approx(1)
    lepton = StandardModel(["24:onMode = off", "24:onIfAny = 11 13"]).resonance(24)
    assert sorted(lepton.channels) == [(-13, 14), (-11, 12)]
    assert lepton.open_fraction(False) == pytest.approx(2 * 0.108, abs=0.002)
    one_sided = StandardModel(["24:onMode = off", "24:onPosIfAny = 11", "24:onNegIfAny = 1"]).resonance(24)
    assert one_sided.open_fraction(False) == pytest.approx(0.108, abs=0.001)
    assert one_sided.open_fraction(True) == pytest.approx(0.338, abs=0.005)


def test_masses_and_couplings_follow_the_settings():
    model = StandardModel(["6:m0 = 172.5", "StandardModel:Vtb = 0.99915"])
    assert model.resonance(6).mass == 172.5
    assert model.mixing2(5) == pytest.approx(0.99915**2, rel=1e-12)
    assert model.mixing2(3) < 0.01


def test_beams():
    assert StandardModel(["Beams:eCM = 8000"]).beams == ((2212, 4000.0), (2212, 4000.0))
    lines = ["Beams:frameType = 2", "Beams:eA = 7000", "Beams:eB = 100", "Beams:idB = -2212"]
    assert StandardModel(lines).beams == ((2212, 7000.0), (-2212, 100.0))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Beams:idA = 11", "Beams:idA = 11"),
        ("Beams:frameType = 3", "frames 1 or 2"),
        ("SigmaProcess:renormScale2 = 6", "renormScale2 = 6"),
    ],
)
def test_what_tw_cannot_do_is_a_sentence(line, message):
    with pytest.raises(ConfigError, match=message):
        StandardModel([line])


def test_missing_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pythia8mc", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'panoptag-pyg\[simulation\]'"):
        StandardModel()
