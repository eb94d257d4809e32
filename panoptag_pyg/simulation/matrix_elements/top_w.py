r"""Leading-order g b → t W⁻ and the decays of its top quark and W boson, as helicity amplitudes.

Two diagrams, with the incoming b quark massless::

    b ──┬──── t          g ~~┬──── t
   k    │s   ╲              │t
    g ~~┘     W⁻         b ──┴──── W⁻

Their sum::

    A = ū(t) [ ε̸*_W P_L k̸/ŝ ε̸_g  +  ε̸_g (q̸ + m_t)/(q² − m_t²) ε̸*_W P_L ] u(b),   k = p_b + p_g,  q = p_t − p_g

times g_s T^a · g/√2 · V_tb. The conjugate process g b̄ → t̄ W⁺ has the same amplitudes for reflected momenta (CP).

Sources: T. Tait, hep-ph/9909352 (the process); J. Campbell and F. Tramontano, hep-ph/0506289 (with its decays).
"""

from __future__ import annotations

import numpy as np

from panoptag_pyg.simulation.matrix_elements.spinors import (
    GAMMA,
    LEFT,
    antiparticle_spinors,
    bar,
    dot,
    massive_polarisations,
    massless_polarisations,
    particle_spinors,
    slash,
)

#: Tr(T^a T^a) = 4, over 3 colours of the quark and 8 of the gluon.
COLOUR_AVERAGE = 4 / (3 * 8)
#: Two helicities of the quark, two of the gluon.
SPIN_AVERAGE = 1 / 4


def production_amplitudes(
    gluon: np.ndarray,
    quark: np.ndarray,
    top: np.ndarray,
    w: np.ndarray,
    gluon_polarisations: np.ndarray | None = None,
) -> np.ndarray:
    """A of g b → t W⁻ without couplings and colours, diagram by diagram.

    The other helicity of the b quark doesn't couple. The masses of t and W are those of their momenta: gauge
    invariance needs only the mass in the propagator to be that of the external top quark.

    Args:
        gluon: momentum p_g in GeV, incoming.
        quark: p_b, incoming, massless.
        top: p_t, outgoing.
        w: p_W, outgoing.
        gluon_polarisations: in place of the two helicities', for instance the momentum itself.

    Returns:
        Amplitudes of the s-channel and the t-channel diagram; the matrix element is their sum.

    Shapes:
        momenta [N, 4], gluon_polarisations [N, G, 4] → [2, N, G, 2, 3], last the helicities of gluon, t and W.
    """
    top_mass, w_mass = (np.sqrt(dot(p, p)) for p in (top, w))
    if gluon_polarisations is None:
        gluon_polarisations = massless_polarisations(gluon)
    gluon_vertex = slash(gluon_polarisations)
    w_vertex = slash(np.conj(massive_polarisations(w, w_mass))) * LEFT.diagonal()
    u_quark = particle_spinors(quark, 0.0)[:, 0]
    u_top = bar(particle_spinors(top, top_mass))

    total = gluon + quark
    s_propagator = slash(total) / dot(total, total)[:, None, None]
    # Spinors are multiplied from both ends, in steps: matrices times matrices would cost four times as much.
    right = _times(s_propagator[:, None], _times(gluon_vertex, u_quark[:, None]))
    left = u_top[:, None] @ w_vertex
    s_channel = np.einsum("nwtj,ngj->ngtw", left, right)

    exchanged = top - gluon
    numerator = slash(exchanged) + top_mass[:, None, None] * np.eye(4)
    # q² − m² = −2 p_t·p_g, exact where the difference would lose digits.
    t_propagator = numerator / (-2 * dot(top, gluon))[:, None, None]
    right = _times(t_propagator[:, None], _times(w_vertex, u_quark[:, None]))
    left = u_top[:, None] @ gluon_vertex
    t_channel = np.einsum("ngtj,nwj->ngtw", left, right)
    return np.stack([s_channel, t_channel])


def _times(matrix: np.ndarray, spinor: np.ndarray) -> np.ndarray:
    return (matrix @ spinor[..., None])[..., 0]


def squared_matrix_element(
    gluon: np.ndarray, quark: np.ndarray, top: np.ndarray, w: np.ndarray, strong: np.ndarray | float, weak: float
) -> np.ndarray:
    """|M|² of g b → t W⁻, averaged over incoming and summed over outgoing spins and colours.

    Args:
        gluon, quark, top, w: momenta in GeV.
        strong: g_s² = 4π α_s.
        weak: g² |V_tb|² = 4√2 G_F m_W² |V_tb|².

    Shapes:
        momenta [N, 4] → [N].
    """
    amplitude = production_amplitudes(gluon, quark, top, w).sum(axis=0)
    total = np.sum(np.abs(amplitude) ** 2, axis=(1, 2, 3))
    return strong * weak / 2 * COLOUR_AVERAGE * SPIN_AVERAGE * total


def w_current(fermion: np.ndarray, antifermion: np.ndarray, masses: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """J^μ = ū(f) γ^μ P_L v(f̄) of the decay W → f f̄′, for all helicities.

    Args:
        fermion: momentum of f in GeV.
        antifermion: of f̄′.
        masses: their masses.

    Shapes:
        momenta [N, 4], masses [N] → [N, 2, 2, 4].
    """
    u = bar(particle_spinors(fermion, masses[0]))
    v = antiparticle_spinors(antifermion, masses[1])
    return np.einsum("nai,mij,nbj->nabm", u, GAMMA @ LEFT, v)


def top_decay_amplitudes(top: np.ndarray, quark: np.ndarray, quark_mass: np.ndarray, current: np.ndarray) -> np.ndarray:
    """D = ū(b) J̸ P_L u(t) of t → b W⁺(→ f f̄′), without couplings and the propagator of the W boson.

    The propagator's q^μ q^ν term, suppressed by m_f/m_W · m_t/m_W, is left out.

    Args:
        top: p_t in GeV.
        quark: momentum of the b quark (or s, d).
        quark_mass: its mass.
        current: :func:`w_current` of the W⁺ boson.

    Shapes:
        momenta [N, 4], quark_mass [N], current [N, 2, 2, 4] → [N, 2, 2, 2, 2], last the helicities of t, b, f, f̄′.
    """
    u_top = particle_spinors(top, np.sqrt(dot(top, top)))
    u_quark = bar(particle_spinors(quark, quark_mass))
    return np.einsum("nqi,nabij,ntj->ntqab", u_quark, slash(current) @ LEFT, u_top)


def w_decay_amplitudes(w: np.ndarray, current: np.ndarray) -> np.ndarray:
    """D = ε_W·J of W → f f̄′, without couplings.

    Args:
        w: p_W in GeV.
        current: its :func:`w_current`.

    Shapes:
        w [N, 4], current [N, 2, 2, 4] → [N, 3, 2, 2], last the helicities of W, f, f̄′.
    """
    polarisations = massive_polarisations(w, np.sqrt(dot(w, w)))
    return dot(polarisations[:, :, None, None, :], current[:, None])


def spin_correlation(production: np.ndarray, top_decay: np.ndarray, w_decay: np.ndarray) -> np.ndarray:
    """What the spins add to a decay's probability: Σ|Σ A D_t D_W|² / (Σ|A|² Σ|D_t|² Σ|D_W|²).

    By Cauchy and Schwarz's inequality it is at most 1; its mean over all decays is 1/(2·3).

    Args:
        production: A, summed over diagrams.
        top_decay: D_t.
        w_decay: D_W.

    Shapes:
        [N, G, 2, 3], [N, 2, …], [N, 3, …] → [N].
    """
    n = len(production)
    tops, ws = top_decay.reshape(n, 2, -1), w_decay.reshape(n, 3, -1)
    full = np.einsum("ngtw,nti,nwj->ngij", production, tops, ws)
    squares = [np.sum(np.abs(a) ** 2, axis=tuple(range(1, a.ndim))) for a in (full, production, tops, ws)]
    return squares[0] / (squares[1] * squares[2] * squares[3])
