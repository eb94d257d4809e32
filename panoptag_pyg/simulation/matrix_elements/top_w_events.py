"""tW as a source of hard events: g b → t W⁻ and g b̄ → t̄ W⁺, decayed, with mothers and colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from panoptag_pyg.simulation.les_houches import HardEvent, HardProcess
from panoptag_pyg.simulation.matrix_elements.phase_space import boost_along_z
from panoptag_pyg.simulation.matrix_elements.standard_model import StandardModel
from panoptag_pyg.simulation.matrix_elements.top_w_decays import Decays, TopWDecays
from panoptag_pyg.simulation.matrix_elements.top_w_production import GLUON, TOP, WINDOW, Production, TopWProduction, W

#: Events that are made at once.
_PORTION = 100
#: Sets these random numbers apart from others of the same seed.
_STREAM = 0x7457
#: Rows of an event: gluon, quark, t, W⁻, W⁺, quark from t, f and f̄′ of W⁺, f and f̄′ of W⁻.
_STATUS = np.array([-1, -1, 2, 2, 2, 1, 1, 1, 1, 1])
_MOTHERS = np.array([[0, 0], [0, 0], [1, 2], [1, 2], [3, 3], [3, 3], [5, 5], [5, 5], [4, 4], [4, 4]])


@dataclass
class _Portion:
    """Events as arrays: rows as above, but the parton from the beam along +z first."""

    production: Production
    pdg: np.ndarray
    colours: np.ndarray
    momentum: np.ndarray
    mass: np.ndarray


class TopWEvents:
    """Leading-order tW production with decays: a :class:`~panoptag_pyg.simulation.les_houches.HardEvents`.

    Args:
        settings: lines ``"Key = value"`` of PYTHIA settings; beams, parton densities, α_s, scales, masses and decay
            channels are taken from them (:class:`StandardModel`).
        seed: any whole number ≥ 0; events of block n depend on it and on n alone.
        quarks: incoming flavours besides the gluon: (5,) (default), or with 3 and 1 what |V_ts|² and |V_td|² add.
        window: where line shapes end, in widths; 0 puts produced t and W on their mass shells.

    Attributes:
        processes: t W⁻ (1) and t̄ W⁺ (2); cross sections in pb include the fractions of the decays that are on.

    Raises:
        MissingExtraError: pythia8mc isn't installed.
        ConfigError: these settings don't allow tW.
    """

    origin = "matrix element of tW"
    strategy = 3

    def __init__(
        self, settings: Sequence[str], seed: int = 0, quarks: tuple[int, ...] = (5,), window: float = WINDOW
    ) -> None:
        self.seed = seed
        self._model = StandardModel(settings)
        self.beams: tuple[tuple[int, float], tuple[int, float]] = self._model.beams
        self._decays = TopWDecays(self._model)
        fractions = self._decays.fraction(False), self._decays.fraction(True)
        self.production = TopWProduction(self._model, quarks, fractions, window)
        self.processes: Sequence[HardProcess] = [
            HardProcess(1 + i, float(self.production.cross_sections[i]), float(self.production.errors[i]))
            for i in (0, 1)
        ]
        self._at: tuple[int, int] | None = None
        self._portion: _Portion

    def event(self, block: int, number: int) -> HardEvent:
        """The ``number``-th event of a block, counted from 0; there is no last one."""
        at = (block, number // _PORTION)
        if at != self._at:
            rng = np.random.default_rng((_STREAM, self.seed, *at))
            self._portion, self._at = self._make(rng), at
        return self._hard_event(number % _PORTION)

    def _make(self, rng: np.random.Generator) -> _Portion:
        production = self.production.events(rng, _PORTION)
        decays = self._decays(production, rng)
        conjugate = production.quark < 0
        momentum = np.concatenate([np.stack(production.momenta(), axis=1), decays.momenta], axis=1)
        momentum = _in_laboratory(momentum, production, rng, self.beams)
        pdg = _numbers(production, decays)
        colours = _colours(pdg)
        colours[conjugate] = colours[conjugate][:, :, ::-1]
        pdg[conjugate] *= np.where(pdg[conjugate] == GLUON, 1, -1)
        mass = np.concatenate(
            [np.zeros((_PORTION, 2)), *(m[:, None] for m in production.masses), decays.masses], axis=1
        )
        for rows in (pdg, colours, momentum):
            swapped = ~production.gluon_first
            rows[swapped, :2] = rows[swapped, 1::-1]
        return _Portion(production, pdg, colours, momentum, mass)

    def _hard_event(self, row: int) -> HardEvent:
        portion, made = self._portion, self._portion.production
        energy, *space = portion.momentum[row].T
        return HardEvent(
            weight=float(made.weight[row]),
            scale=float(made.scale[row]),
            alpha_qed=self._model.alpha_em,
            alpha_qcd=float(made.alpha_strong[row]),
            process_id=2 if made.quark[row] < 0 else 1,
            pdg=portion.pdg[row].copy(),
            status=_STATUS.copy(),
            mothers=_MOTHERS.copy(),
            colours=portion.colours[row].copy(),
            momentum=np.stack([*space, energy], axis=-1),
            mass=portion.mass[row].copy(),
            lifetime=np.zeros(len(_STATUS)),
            spin=np.full(len(_STATUS), 9.0),
        )


def _numbers(production: Production, decays: Decays) -> np.ndarray:
    """PDG numbers as of events with a top quark [N, 10]."""
    gluon, top, w_minus, w_plus = (np.full(len(production.s), pdg) for pdg in (GLUON, TOP, -W, W))
    products = (decays.top_quark, decays.top_w_products, decays.w_products)
    return np.column_stack([gluon, np.abs(production.quark), top, w_minus, w_plus, *products])


def _colours(pdg: np.ndarray) -> np.ndarray:
    """Lines of colour and anticolour of events with a top quark [N, 10, 2].

    The gluon's anticolour (501) annihilates the b quark's colour, and the top quark takes the gluon's colour (502).
    """
    colours = np.zeros((*pdg.shape, 2), dtype=np.int64)
    for row, lines in ((0, (502, 501)), (1, (501, 0)), (2, (502, 0)), (5, (502, 0))):
        colours[:, row] = lines
    for row, line in ((6, 503), (8, 504)):
        hadronic = np.abs(pdg[:, row]) < 10
        colours[hadronic, row, 0] = colours[hadronic, row + 1, 1] = line
    return colours


def _in_laboratory(
    momentum: np.ndarray,
    production: Production,
    rng: np.random.Generator,
    beams: tuple[tuple[int, float], tuple[int, float]],
) -> np.ndarray:
    """Momenta from the frame with the gluon along +z to that of the beams; of the conjugate process by CP."""
    momentum = momentum.copy()
    # A reflection, which keeps the gluon's direction.
    momentum[production.quark < 0, :, 2] *= -1
    # Half a turn around x.
    momentum[~production.gluon_first, :, 2:] *= -1
    phi = 2 * np.pi * rng.random(len(momentum))[:, None]
    x, y = momentum[..., 1].copy(), momentum[..., 2].copy()
    momentum[..., 1] = np.cos(phi) * x - np.sin(phi) * y
    momentum[..., 2] = np.sin(phi) * x + np.cos(phi) * y
    return boost_along_z(momentum, production.y + np.log(beams[0][1] / beams[1][1]) / 2)
