"""The matrix element of g b → t W and its decays: gauge invariance, traces, known limits, CP, widths, polarisations."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.scattering import DIRAC, METRIC, P_LEFT, boosted, feynman_slash, product, rotation, scattering

from panoptag_pyg.simulation.matrix_elements.phase_space import back_to_back, boost_from_rest
from panoptag_pyg.simulation.matrix_elements.spinors import (
    LEFT,
    antiparticle_spinors,
    bar,
    dot,
    massive_polarisations,
    massless_polarisations,
    particle_spinors,
    slash,
)
from panoptag_pyg.simulation.matrix_elements.top_w import (
    production_amplitudes,
    spin_correlation,
    squared_matrix_element,
    top_decay_amplitudes,
    w_current,
    w_decay_amplitudes,
)

COUNT = 40


@pytest.fixture
def rng():
    return np.random.default_rng()


def off_shell(rng, count=COUNT):
    return scattering(rng, count, rng.uniform(152, 194, count), rng.uniform(49, 112, count))


def size(amplitude):
    return np.sqrt(np.sum(np.abs(amplitude) ** 2, axis=(1, 2, 3)))


def test_the_gluons_longitudinal_polarisation_decouples(rng):
    gluon, quark, top, w = off_shell(rng)
    longitudinal = (gluon / gluon[:, :1])[:, None]
    s_channel, t_channel = production_amplitudes(gluon, quark, top, w, longitudinal)
    assert (size(s_channel + t_channel) < 1e-10 * size(s_channel)).all()
    # One diagram alone isn't gauge invariant: it is of the size of the physical amplitude.
    physical = production_amplitudes(gluon, quark, top, w).sum(axis=0)
    assert (size(s_channel) > 1e-3 * size(physical)).all()


def test_another_gauge_gives_the_same(rng):
    momenta = off_shell(rng)
    polarisations = massless_polarisations(momenta[0])
    shifted = polarisations + rng.normal(size=(COUNT, 2, 1)) * momenta[0][:, None] / momenta[0][:, None, :1]
    a, b = (production_amplitudes(*momenta, e).sum(axis=0) for e in (polarisations, shifted))
    np.testing.assert_allclose(b, a, atol=1e-10 * np.abs(a).max())


def by_traces(gluon, quark, top, w):
    """Σ|A|² by Dirac traces, with −g for the gluon and −g + qq/m² for the W boson; loops and all."""
    m_t, m_w2 = np.sqrt(product(top, top)), product(w, w)
    total, exchanged = gluon + quark, top - gluon
    s_line = feynman_slash(total) / product(total, total)
    t_line = (feynman_slash(exchanged) + m_t * np.eye(4)) / (product(exchanged, exchanged) - m_t**2)
    lower = [METRIC[m, m] for m in range(4)]
    vertex = [
        [DIRAC[m] @ P_LEFT @ s_line @ DIRAC[a] + DIRAC[a] @ t_line @ DIRAC[m] @ P_LEFT for a in range(4)]
        for m in range(4)
    ]
    conjugate = [[DIRAC[0] @ v.conj().T @ DIRAC[0] for v in row] for row in vertex]
    t_sum, b_sum = feynman_slash(top) + m_t * np.eye(4), feynman_slash(quark)
    result = 0.0
    for m in range(4):
        for n in range(4):
            spin = -METRIC[m, n] + lower[m] * w[m] * lower[n] * w[n] / m_w2
            for a in range(4):
                result += spin * -lower[a] * np.trace(t_sum @ vertex[m][a] @ b_sum @ conjugate[n][a])
    return result


def test_against_dirac_traces(rng):
    momenta = off_shell(rng, 12)
    expected = [by_traces(*event) for event in zip(*momenta, strict=True)]
    # Colour: Tr T^a T^a = 4, averaged over 3·8; spins averaged over 2·2; |g/√2|².
    strong, weak = rng.uniform(0.5, 2, 2)
    np.testing.assert_allclose(np.imag(expected), 0, atol=1e-9 * np.abs(expected).max())
    expected = strong * weak / 2 * 4 / 24 / 4 * np.real(expected)
    np.testing.assert_allclose(squared_matrix_element(*momenta, strong, weak), expected, rtol=1e-9)


def test_every_frame_gives_the_same(rng):
    momenta = np.array(off_shell(rng))
    turned = momenta.copy()
    turned[..., 1:] = momenta[..., 1:] @ rotation(rng)
    turned = boosted(turned, 0.7 * rotation(rng)[0])
    a, b = squared_matrix_element(*momenta, 1, 1), squared_matrix_element(*turned, 1, 1)
    np.testing.assert_allclose(a, b, rtol=1e-8)


def test_without_the_top_quarks_mass_it_is_w_and_a_jet(rng):
    # Ellis, Stirling, Webber, QCD and Collider Physics: g q → W q′, with g²/4 for √2 G_F m_W².
    gluon, quark, top, w = scattering(rng, COUNT, top=0.5)
    s, t, u = dot(gluon + quark, gluon + quark), dot(quark - top, quark - top), dot(gluon - top, gluon - top)
    expected = 1 / 3 / 4 * (s**2 + u**2 + 2 * t * 80.4**2) / (-s * u)
    wide = u < -1e3  # elsewhere even this mass counts
    assert wide.sum() > COUNT / 3
    np.testing.assert_allclose(squared_matrix_element(gluon, quark, top, w, 1, 1)[wide], expected[wide], rtol=2e-3)


def test_at_high_energies_longitudinal_w_bosons_are_goldstone_bosons(rng):
    count = 20
    energy, cosine = 20_000.0, rng.uniform(-0.8, 0.8, count)
    root = np.full(count, energy)
    masses = np.full(count, 173.0), np.full(count, 80.4)
    top, w = back_to_back(root, masses, cosine, rng.uniform(0, 6, count))
    gluon, quark = (np.outer(root / 2, [1, 0, 0, sign]) for sign in (1, -1))
    longitudinal = production_amplitudes(gluon, quark, top, w).sum(axis=0)[..., 2]
    # Their coupling ū(t) P_L u(b) is m_t/m_W times that of the W boson.
    u_top, u_quark = bar(particle_spinors(top, masses[0])), particle_spinors(quark, 0.0)[:, 0]
    e = slash(massless_polarisations(gluon))
    s_line = slash(gluon + quark) / energy**2
    exchanged = top - gluon
    t_line = (slash(exchanged) + 173 * np.eye(4)) / (dot(exchanged, exchanged) - 173**2)[:, None, None]
    goldstone = np.einsum("nti,ij,njk,ngkl,nl->ngt", u_top, LEFT, s_line, e, u_quark)
    goldstone += np.einsum("nti,ngij,njk,kl,nl->ngt", u_top, e, t_line, LEFT, u_quark)
    goldstone *= 173 / 80.4
    squares = [np.sum(np.abs(a) ** 2, axis=(1, 2)) for a in (longitudinal, goldstone)]
    np.testing.assert_allclose(squares[0], squares[1], rtol=1e-3)


def antitop_amplitudes(gluon, antiquark, antitop, w):
    """g b̄ → t̄ W⁺ from its own diagrams: the fermion line runs backwards."""
    m_t, m_w = np.sqrt(dot(antitop, antitop)), np.sqrt(dot(w, w))
    e = slash(massless_polarisations(gluon))
    boson = slash(np.conj(massive_polarisations(w, m_w))) @ LEFT
    v_b, v_t = bar(antiparticle_spinors(antiquark, 0.0)), antiparticle_spinors(antitop, m_t)
    s_line = -slash(gluon + antiquark) / dot(gluon + antiquark, gluon + antiquark)[:, None, None]
    exchanged = gluon - antitop
    t_line = slash(exchanged) + m_t[:, None, None] * np.eye(4)
    t_line = t_line / (dot(exchanged, exchanged) - m_t**2)[:, None, None]
    first = np.einsum("nbi,ngij,njk,nwkl,ntl->ngbtw", v_b, e, s_line, boson, v_t)
    return first + np.einsum("nbi,nwij,njk,ngkl,ntl->ngbtw", v_b, boson, t_line, e, v_t)


def test_the_conjugate_process_has_the_same_amplitudes_for_reflected_momenta(rng):
    momenta = off_shell(rng)
    antitop = np.abs(antitop_amplitudes(*momenta)) ** 2
    reflected = [p * np.array([1, -1, -1, -1]) for p in momenta]
    top = np.abs(production_amplitudes(*reflected).sum(axis=0)) ** 2
    # Helicities change sign under CP: of the gluon and the fermions here, −1 and +1 of the W boson too.
    assert np.allclose(antitop[:, :, 0], 0, atol=1e-12 * antitop.max())
    turned = antitop[:, ::-1, 1, ::-1][..., [1, 0, 2]]
    np.testing.assert_allclose(turned, top, rtol=1e-7, atol=1e-10 * top.max())


def two_body(rng, mother, masses):
    count = len(mother)
    pair = back_to_back(
        np.sqrt(dot(mother, mother)), masses, rng.uniform(-1, 1, count), rng.uniform(0, 2 * np.pi, count)
    )
    return [boost_from_rest(p, mother) for p in pair]


def decays(rng, top, w):
    count = len(top)
    m_b, light = np.full(count, 4.8), np.full(count, 0.5)
    boson, quark = two_body(rng, top, (rng.uniform(60, 100, count), m_b))
    f, fbar = two_body(rng, boson, (light, light))
    g, gbar = two_body(rng, w, (light, light))
    currents = w_current(f, fbar, (light, light)), w_current(g, gbar, (light, light))
    top_decay = top_decay_amplitudes(top, quark, m_b, currents[0])
    return top_decay, w_decay_amplitudes(w, currents[1]), (quark, f, fbar)


def test_the_top_quarks_decay_against_its_closed_form(rng):
    _, _, top, w = scattering(rng, COUNT)
    top_decay, _, (quark, f, fbar) = decays(rng, top, w)
    # Σ|D|² = 16 (p_t·p_f̄)(p_b·p_f) for couplings γ^μ P_L twice, whatever the masses are.
    total = np.sum(np.abs(top_decay) ** 2, axis=(1, 2, 3, 4))
    np.testing.assert_allclose(total, 16 * dot(top, fbar) * dot(quark, f), rtol=1e-8)


def test_w_decays_of_all_polarisations_together_are_isotropic(rng):
    _, _, top, w = scattering(rng, COUNT, w=80.4)
    _, w_decay, _ = decays(rng, top, w)
    total = np.sum(np.abs(w_decay) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(total, total[0], rtol=1e-7)


def test_spin_correlation_is_the_full_chain_of_spinors(rng):
    # The same with the propagators' numerators, Σ u ū = p̸ + m and Σ ε ε* = −g + qq/m², in one chain.
    gluon, quark, top, w = momenta = scattering(rng, 15)
    count = len(top)
    light = np.full(count, 0.3)
    boson, b = two_body(rng, top, (np.full(count, 79.0), np.full(count, 4.8)))
    (f, fbar), (g, gbar) = two_body(rng, boson, (light, light)), two_body(rng, w, (light, light))
    currents = w_current(f, fbar, (light, light)), w_current(g, gbar, (light, light))
    d_t, d_w = top_decay_amplitudes(top, b, np.full(count, 4.8), currents[0]), w_decay_amplitudes(w, currents[1])
    a = production_amplitudes(*momenta).sum(axis=0)
    correlation = spin_correlation(a, d_t, d_w)

    def propagated(current):  # (−g + qq/m²)·J
        qj = np.einsum("nm,m,nabm->nab", w, np.diag(METRIC), current)
        return -current + qj[..., None] * w[:, None, None] / dot(w, w)[:, None, None, None]

    u_b = bar(particle_spinors(b, np.full(count, 4.8)))
    e = slash(massless_polarisations(gluon))
    w_vertex = slash(propagated(currents[1])) @ LEFT
    t_vertex = slash(currents[0]) @ LEFT
    t_line = slash(top) + 173 * np.eye(4)
    total, exchanged = gluon + quark, top - gluon
    s_line = slash(total) / dot(total, total)[:, None, None]
    x_line = (slash(exchanged) + 173 * np.eye(4)) / (dot(exchanged, exchanged) - 173**2)[:, None, None]
    u = particle_spinors(quark, 0.0)[:, 0]
    left = np.einsum("nqi,nabij,njk->nqabk", u_b, t_vertex, t_line)
    inner = np.einsum("ncdij,njk,ngkl,nl->ngcdi", w_vertex, s_line, e, u)
    inner += np.einsum("ngij,njk,ncdkl,nl->ngcdi", e, x_line, w_vertex, u)
    full = np.einsum("nqabk,ngcdk->ngqabcd", left, inner)
    squares = [np.sum(np.abs(x) ** 2, axis=tuple(range(1, x.ndim))) for x in (full, a, d_t, d_w)]
    np.testing.assert_allclose(correlation, squares[0] / (squares[1] * squares[2] * squares[3]), rtol=1e-8)


def test_spin_correlation_is_a_probability_with_the_mean_one_sixth(rng):
    gluon, quark, top, w = (np.repeat(p, 4000, axis=0) for p in scattering(rng, 1))
    count = len(top)
    light = np.full(count, 0.3)
    a = production_amplitudes(gluon, quark, top, w).sum(axis=0)
    boson, b = two_body(rng, top, (np.full(count, 79.0), np.full(count, 4.8)))
    (f, fbar), (g, gbar) = two_body(rng, boson, (light, light)), two_body(rng, w, (light, light))
    currents = w_current(f, fbar, (light, light)), w_current(g, gbar, (light, light))
    d_t, d_w = top_decay_amplitudes(top, b, np.full(count, 4.8), currents[0]), w_decay_amplitudes(w, currents[1])
    correlation = spin_correlation(a, d_t, d_w)
    assert correlation.min() >= 0
    assert correlation.max() <= 1 + 1e-9
    # Weighted with |D_t|², whose share of the probability it leaves out.
    weight = np.sum(np.abs(d_t) ** 2, axis=(1, 2, 3, 4))
    mean = np.average(correlation, weights=weight)
    error = np.sqrt(np.sum((weight * (correlation - mean)) ** 2)) / weight.sum()
    assert abs(mean - 1 / 6) < 6 * error


def test_w_bosons_from_top_quarks_are_longitudinal_by_seven_tenths():
    # F_0 = m_t²/(m_t² + 2 m_W²) for a massless b quark, from the angle of f̄ in the W boson's frame.
    cosine, quadrature = np.polynomial.legendre.leggauss(5)
    count = len(cosine)
    top = np.tile([173.0, 0, 0, 0], (count, 1))
    w_mass, none = np.full(count, 80.4), np.zeros(count)
    boson, quark = back_to_back(top[:, 0], (w_mass, none), np.ones(count), none)
    f, fbar = (boost_from_rest(p, boson) for p in back_to_back(w_mass, (none, none), cosine, none))
    weight = dot(top, fbar) * dot(quark, f)
    d_t = top_decay_amplitudes(top, quark, none, w_current(f, fbar, (none, none)))
    np.testing.assert_allclose(np.sum(np.abs(d_t) ** 2, axis=(1, 2, 3, 4)), 16 * weight, rtol=1e-8, atol=1e-6)
    # In terms of f's angle: 3/4 F_0 sin² + 3/8 F_L (1 + cos)²; moments ⟨cos²⟩ = F_0/5 + 2 F_L/5, with F_L = 1 − F_0.
    second = np.average(cosine**2, weights=weight * quadrature)
    assert 2 - 5 * second == pytest.approx(173**2 / (173**2 + 2 * 80.4**2), rel=1e-9)
