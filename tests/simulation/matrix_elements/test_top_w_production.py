"""The hadronic process: its cross section by another integration and by PYTHIA in a limit, and events like it."""

from __future__ import annotations

import numpy as np
import pytest

from panoptag_pyg.benchmarks.pipeline.tw import published
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.simulation.matrix_elements.spinors import dot
from panoptag_pyg.simulation.matrix_elements.standard_model import StandardModel
from panoptag_pyg.simulation.matrix_elements.top_w import squared_matrix_element
from panoptag_pyg.simulation.matrix_elements.top_w_production import TopWProduction, top_width

pythia8mc = pytest.importorskip("pythia8mc")

FIXED = (
    "SigmaProcess:renormScale2 = 5",
    "SigmaProcess:factorScale2 = 5",
    "SigmaProcess:renormFixScale = 30000",
    "SigmaProcess:factorFixScale = 30000",
)


@pytest.fixture
def rng():
    return np.random.default_rng()


@pytest.fixture(scope="module")
def process():
    return TopWProduction(StandardModel(["Beams:eCM = 13000"]))


def integrated(settings, masses, partons, min_pt=0.0, energy=13_000.0, order=(40, 40, 24)):
    """Σ ∫ dx₁ dx₂ dcos θ f f dσ̂ by Gauss and Legendre, with PYTHIA's densities and α_s asked directly.

    ``partons``: for each beam's (gluon, Σ |V|² quark), functions of x.
    """
    pythia = pythia8mc.Pythia("", False)
    for line in ("Print:quiet = on", *settings):
        pythia.readString(line)
    alpha = pythia8mc.AlphaStrong()
    alpha.init(0.13, 1, 6, False)
    density = pythia.getPDFPtr(2212)
    nodes = [np.polynomial.legendre.leggauss(n) for n in order]
    nodes = [((x + 1) / 2, w / 2) for x, w in nodes]
    s_max, s_min = energy**2, (np.hypot(masses[0], min_pt) + np.hypot(masses[1], min_pt)) ** 2
    total = 0.0
    for u, weight_s in zip(*nodes[0], strict=True):
        log = np.log(s_max / s_min) * u**2
        s = s_min * np.exp(log)
        y_max = np.log(s_max / s) / 2
        y, weight_y = y_max * (2 * nodes[1][0] - 1), 2 * y_max * nodes[1][1]
        x = np.sqrt(s / s_max) * np.exp(y), np.sqrt(s / s_max) * np.exp(-y)
        f = [[[function(density, value) for value in values] for function in partons] for values in x]
        f = np.array(f)  # beam, parton, point
        luminosity = np.sum(weight_y * (f[0, 0] * f[1, 1] + f[0, 1] * f[1, 0]))
        e_t = (s + masses[0] ** 2 - masses[1] ** 2) / (2 * np.sqrt(s))
        p = np.sqrt(e_t**2 - masses[0] ** 2)
        c_max = np.sqrt(max(1 - (min_pt / p) ** 2, 0))
        # Even in ln(1 − cos θ), where light particles go forward.
        span = np.log((1 + 1e-3 + c_max) / (1 + 1e-3 - c_max)) if c_max > 0 else 0.0
        rest = (1 + 1e-3 + c_max) * np.exp(-span * nodes[2][0])
        c, weight_c = 1 + 1e-3 - rest, span * rest * nodes[2][1]
        one, zero = np.ones_like(c), np.zeros_like(c)
        gluon, quark = (np.sqrt(s) / 2 * np.stack([one, zero, zero, k * one], axis=-1) for k in (1, -1))
        top = np.stack([e_t * one, p * np.sqrt(1 - c**2), zero, p * c], axis=-1)
        strong = 4 * np.pi * alpha.alphaS(30_000.0)
        weak = 4 * np.sqrt(2) * 1.16637e-5 * masses[1] ** 2
        matrix_element = squared_matrix_element(gluon, quark, top, gluon + quark - top, strong, weak)
        parton = np.sum(weight_c * matrix_element) * p / (16 * np.pi * s**1.5)
        jacobian = 2 * np.log(s_max / s_min) * u
        total += weight_s * jacobian * luminosity * parton
    return total * 0.3893793721e9


def test_the_cross_section_against_another_integration():
    model = StandardModel(["Beams:eCM = 13000", *FIXED])
    process = TopWProduction(model, window=0)
    partons = (lambda d, x: d.xf(21, x, 30_000), lambda d, x: 0.9991**2 * d.xf(5, x, 30_000))
    expected = integrated(FIXED, (173.0, 80.385), partons)
    assert process.cross_sections[0] == pytest.approx(expected, abs=6 * process.errors[0] + 2e-3 * expected)


@pytest.mark.slow
def test_published_cross_sections():
    for row in published():
        assert row["error_pb"] < 0.005 * row["ours_pb"]
        assert row["ours_pb"] == pytest.approx(row["published_pb"], rel=0.15), row["name"]


@pytest.mark.slow
def test_without_the_top_quarks_mass_it_is_pythias_own_process():
    # g q → W q′ of all flavours above 100 GeV: densities, α_s, flux, spins and colours as PYTHIA has them.
    settings = ("WeakBosonAndParton:qg2Wq = on", "PhaseSpace:pTHatMin = 100", *FIXED)
    pythia = pythia8mc.Pythia("", False)
    for line in ("Print:quiet = on", "Beams:eCM = 13000", "PartonLevel:all = off", "24:mMin = 75", "24:mMax = 86"):
        pythia.readString(line)
    for line in settings:
        pythia.readString(line)
    assert pythia.init()
    for _ in range(30_000):
        pythia.next()
    theirs = pythia.infoPython().sigmaGen() * 1e9
    window = (np.arctan((86**2 - 80.385**2) / 80.385 / 2.085) - np.arctan((75**2 - 80.385**2) / 80.385 / 2.085)) / np.pi
    # Σ over the other quark of |V|² is 1 for u, c, d and s, but b has the top quark alone to go to.
    light = (
        lambda d, x: d.xf(21, x, 30_000),
        lambda d, x: sum(d.xf(q, x, 30_000) for q in (1, -1, 2, -2, 3, -3, 4, -4)),
    )
    ours = integrated(FIXED, (0.5, 80.385), light, min_pt=100.0) * window
    # PYTHIA's g²/4 is π α/sin²θ_W with a running α, ours √2 G_F m_W².
    weak = np.pi * pythia.coupSM.alphaEM(80.385**2) / pythia.coupSM.sin2thetaW() / (np.sqrt(2) * 1.16637e-5 * 80.385**2)
    assert theirs == pytest.approx(ours * weak, rel=0.03)


def test_top_and_antitop_have_the_same_cross_section(process):
    np.testing.assert_allclose(process.cross_sections[0], process.cross_sections[1], rtol=1e-12)
    assert (process.errors < 3e-3 * process.cross_sections).all()


def test_few_proposed_points_are_lost_and_none_exceeds_the_maximum(process, rng):
    assert process.efficiency > 0.4
    weights = process.events(rng, 20_000).weight
    assert (weights == 1).mean() > 0.9995
    assert weights.max() < 1.5


def test_events_follow_the_integrand(process, rng):
    events = process.events(rng, 20_000)
    points, ratio, luminosities = process._propose(rng, 50_000)

    def compare(of_events, of_points, edges):
        counts = np.histogram(of_events, edges)[0]
        sums, squares = (np.histogram(of_points, edges, weights=w)[0] for w in (ratio, ratio**2))
        shares, error = sums / ratio.sum(), np.sqrt(squares) / ratio.sum()
        spread = np.sqrt(len(of_events) * np.maximum(shares, 1e-4) + (len(of_events) * error) ** 2)
        assert (np.abs(counts - len(of_events) * shares) < 6 * spread).all()

    compare(np.sqrt(events.s), np.sqrt(points.s), [0, 260, 300, 350, 400, 500, 700, 1000, 13_000])
    compare(events.y, points.y, [-6, -2, -1, -0.5, 0, 0.5, 1, 2, 6])
    compare(events.cos_theta, points.cos_theta, np.linspace(-1, 1, 11))
    compare(events.masses[0], points.masses[0], [150, 165, 171, 172.5, 173.5, 175, 181, 195])
    compare(events.masses[1], points.masses[1], [45, 70, 78, 80, 81, 83, 90, 115])
    share = luminosities[[c.gluon_beam == 0 for c in process._channels]].sum(axis=0) / luminosities.sum(axis=0)
    expected = np.average(share * (points.y > 1), weights=ratio)
    found = np.mean(events.gluon_first & (events.y > 1))
    assert abs(found - expected) < 6 * np.sqrt(expected / 20_000 + expected / 30_000)
    assert set(np.unique(events.quark)) == {5, -5}
    assert abs(np.mean(events.quark > 0) - 0.5) < 6 * 0.5 / np.sqrt(20_000)


def test_masses_follow_their_line_shapes_and_the_phase_space(process, rng):
    events = process.events(rng, 20_000)
    for masses, shape in zip(events.masses, (process.top, process.w), strict=True):
        assert abs(np.median(masses) - shape.mass) < 0.1 * shape.width
        assert masses.min() >= shape.lightest
        assert masses.max() <= shape.heaviest
        # A Breit–Wigner has half of its area within Γ/2.
        assert abs(np.mean(np.abs(masses - shape.mass) < shape.width / 2) - 0.5) < 0.03


def test_the_top_quark_is_more_central_than_the_w_boson(process, rng):
    events = process.events(rng, 20_000)
    _, _, top, w = events.momenta()
    sign = np.where(events.gluon_first, 1, -1)
    y_top, y_w = (sign * np.arctanh(p[:, 3] / p[:, 0]) + events.y for p in (top, w))
    # By 0.07, with a statistical error of 0.01.
    assert y_top.std() < y_w.std()
    for y in (y_top, y_w, events.y):
        assert abs(y.mean()) < 6 * y.std() / np.sqrt(20_000)


def test_momenta_are_on_shell_and_conserved(process, rng):
    events = process.events(rng, 100)
    gluon, quark, top, w = events.momenta()
    np.testing.assert_allclose(gluon + quark, top + w, atol=1e-9)
    np.testing.assert_allclose(np.sqrt(dot(top, top)), events.masses[0], rtol=1e-9)
    np.testing.assert_allclose(np.sqrt(dot(w, w)), events.masses[1], rtol=1e-9)
    np.testing.assert_allclose(dot(gluon + quark, gluon + quark), events.s, rtol=1e-12)
    np.testing.assert_allclose(top[:, 3] / np.linalg.norm(top[:, 1:], axis=1), events.cos_theta, atol=1e-9)
    assert process.events(rng, 0).s.shape == (0,)


def test_the_same_random_numbers_give_the_same_events(process, rng):
    seed = int(rng.integers(2**31))
    again = TopWProduction(StandardModel(["Beams:eCM = 13000"]))
    first, second = (p.events(np.random.default_rng(seed), 50) for p in (process, again))
    for name in ("s", "y", "cos_theta", "quark", "gluon_first", "scale", "alpha_strong"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


@pytest.mark.slow
def test_strange_and_down_quarks_add_what_their_mixing_allows(process):
    model = StandardModel(["Beams:eCM = 13000"])
    more = TopWProduction(model, quarks=(5, 3, 1))
    extra = more.cross_sections / process.cross_sections - 1
    assert (extra > 0.003).all()
    assert (extra < 0.05).all()
    # There are more d than d̄ in a proton.
    assert more.cross_sections[0] > more.cross_sections[1]
    assert set(np.unique(more.events(np.random.default_rng(0), 3000).quark)) >= {5, -5, 3}


def test_shares_of_the_two_conjugate_processes(process):
    one = TopWProduction(StandardModel(["Beams:eCM = 13000"]), conjugate_fractions=(0.1, 0.0))
    assert one.cross_sections == pytest.approx([0.1 * process.cross_sections[0], 0], rel=1e-2)
    assert (one.events(np.random.default_rng(0), 200).quark == 5).all()


@pytest.mark.slow
def test_the_cross_section_grows_with_energy_and_falls_with_mass(process):
    def total(*lines):
        return TopWProduction(StandardModel(lines), window=0).cross_sections.sum()

    at_8, at_14 = total("Beams:eCM = 8000"), total("Beams:eCM = 14000")
    # σ_LO(8 TeV) : σ(13 TeV) : σ(14 TeV) = 22 : 72 : 84 in NNLO+NNLL predictions (LHC Top WG).
    middle = process.cross_sections.sum()
    assert at_8 / middle == pytest.approx(22.4 / 71.7, rel=0.1)
    assert at_14 / middle == pytest.approx(84.4 / 71.7, rel=0.1)
    assert total("Beams:eCM = 13000", "6:m0 = 183") < 0.93 * middle


def test_too_little_energy_is_a_sentence():
    with pytest.raises(ConfigError, match="300 GeV isn't enough"):
        TopWProduction(StandardModel(["Beams:eCM = 300"]))


def test_the_top_quarks_width_near_threshold():
    mass = np.array([100.0, 173.0, 346.0])
    width = top_width(mass, 80.0)
    assert (np.diff(width) > 0).all()
    # Γ ∝ m³ far above the threshold, times m.
    assert top_width(np.array(1e4), 80.0) / top_width(np.array(5e3), 80.0) == pytest.approx(16, rel=1e-3)
