"""PYTHIA's own numbers for a matrix element: parton densities, couplings, scales, masses, widths and decay channels.

They are read after the settings of the process card and of ``--set`` have been given to PYTHIA, so that ``PDF:pSet``,
``6:m0``, ``24:onMode`` or ``SigmaProcess:renormScale2`` mean here what they mean for PYTHIA's own processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from panoptag_pyg.errors import ConfigError, require_extra

#: 1 GeV⁻² in pb.
PICOBARN = 0.3893793721e9
#: Beams whose parton densities are known to hold what the process needs.
_BEAMS = (2212, -2212)


@dataclass(frozen=True)
class Resonance:
    """Mass and width of an unstable particle, and its decay channels that are switched on.

    Attributes:
        mass: in GeV.
        width: in GeV.
        channels: PDG numbers of the products of each open channel of the *particle*.
        fractions: their branching fractions, for the particle and the antiparticle, 0 where it is off [2, channels].
        total: sum of the fractions of all channels, on and off.
    """

    mass: float
    width: float
    channels: tuple[tuple[int, ...], ...]
    fractions: np.ndarray
    total: float

    def open_fraction(self, antiparticle: bool) -> float:
        """Probability that particle or antiparticle decay into a channel that is switched on."""
        return float(self.fractions[int(antiparticle)].sum() / self.total)


class StandardModel:
    """What PYTHIA would use for a 2 → 2 process with these settings.

    Args:
        settings: lines ``"Key = value"`` of PYTHIA settings. Those that PYTHIA doesn't know are passed over: whoever
            showers the events says so.

    Attributes:
        beams: PDG number and energy in GeV of the beams along +z and −z.
        alpha_em: α at the mass of the Z boson.
        fermi: G_F in GeV⁻².

    Raises:
        MissingExtraError: pythia8mc isn't installed.
        ConfigError: the beams aren't protons or antiprotons that meet head on, or a scale is one that PYTHIA doesn't
            have for 2 → 2 processes.
    """

    def __init__(self, settings: Sequence[str] = ()) -> None:
        pythia8mc = require_extra("pythia8mc", "simulation")
        self._pythia = pythia8mc.Pythia("", False)
        for line in ("Print:quiet = on", *settings):
            self._pythia.readString(line, False)
        self.beams = self._beams()
        self._densities = [self._pythia.getPDFPtr(pdg) for pdg, _ in self.beams]
        self._alpha_strong = pythia8mc.AlphaStrong()
        self._alpha_strong.init(
            self._parm("SigmaProcess:alphaSvalue"),
            self._mode("SigmaProcess:alphaSorder"),
            self._mode("StandardModel:alphaSnfmax"),
            False,
        )
        self.alpha_em = self._parm("StandardModel:alphaEMmZ")
        self.fermi = self._parm("StandardModel:GF")
        self._scales = {kind: self._scale_choice(kind) for kind in ("renorm", "factor")}

    def _parm(self, key: str) -> float:
        return float(self._pythia.parm(key))

    def _mode(self, key: str) -> int:
        return int(self._pythia.mode(key))

    def _beams(self) -> tuple[tuple[int, float], tuple[int, float]]:
        first, second = self._mode("Beams:idA"), self._mode("Beams:idB")
        frame = self._mode("Beams:frameType")
        if first not in _BEAMS or second not in _BEAMS or frame not in (1, 2):
            raise ConfigError(
                f"the matrix element needs beams of protons or antiprotons in PYTHIA's frames 1 or 2; "
                f"Beams:idA = {first}, Beams:idB = {second}, Beams:frameType = {frame}"
            )
        if frame == 1:
            half = self._parm("Beams:eCM") / 2
            return (first, half), (second, half)
        return (first, self._parm("Beams:eA")), (second, self._parm("Beams:eB"))

    def _scale_choice(self, kind: str) -> tuple[int, float, float]:
        mode = self._mode(f"SigmaProcess:{kind}Scale2")
        if mode not in (1, 2, 3, 4, 5):
            raise ConfigError(f"SigmaProcess:{kind}Scale2 = {mode} isn't known for tW; 1 to 5 are")
        return mode, self._parm(f"SigmaProcess:{kind}MultFac"), self._parm(f"SigmaProcess:{kind}FixScale")

    def scale2(
        self, kind: str, s: np.ndarray, masses2: tuple[np.ndarray | float, np.ndarray | float], pt2: np.ndarray
    ) -> np.ndarray:
        """μ² of a 2 → 2 process in GeV², as ``SigmaProcess:renormScale2`` and ``factorScale2`` define it.

        1: the smaller m_T² (default for factorisation), 2: the geometric mean of both m_T² (default for α_s), 3: their
        mean, 4: ŝ, 5: a fixed value; 1 to 4 times ``SigmaProcess:renormMultFac`` or ``factorMultFac``.

        Args:
            kind: ``"renorm"`` or ``"factor"``.
            s: ŝ in GeV².
            masses2: squared masses of the two outgoing particles.
            pt2: their squared transverse momentum.

        Shapes:
            [N] → [N].
        """
        mode, factor, fixed = self._scales[kind]
        first, second = masses2[0] + pt2, masses2[1] + pt2
        if mode == 5:
            return np.full(np.shape(s), fixed)
        choices = (np.minimum(first, second), np.sqrt(first * second), (first + second) / 2, s)
        return factor * np.broadcast_to(choices[mode - 1], np.shape(s))

    def alpha_strong(self, scale2: np.ndarray) -> np.ndarray:
        """α_s(μ²) of PYTHIA's hard processes: ``SigmaProcess:alphaSvalue`` and ``alphaSorder``.

        Shapes:
            scale2 [N] in GeV² → [N].
        """
        return _each(self._alpha_strong.alphaS, np.ravel(scale2)).reshape(np.shape(scale2))

    def parton_density(self, beam: int, pdg: int, x: np.ndarray, scale2: np.ndarray) -> np.ndarray:
        """x f(x, μ²) of a parton, from the set that ``PDF:pSet`` names (default NNPDF2.3 QCD+QED LO, α_s = 0.130).

        Args:
            beam: 0 or 1, along +z or −z.
            pdg: PDG number of the parton.
            x: its share of the beam's momentum.
            scale2: factorisation scale μ² in GeV².

        Shapes:
            [N], [N] → [N].
        """
        density = self._densities[beam]
        x, scale2 = np.broadcast_arrays(x, scale2)
        pairs = zip(np.ravel(x).tolist(), np.ravel(scale2).tolist(), strict=True)
        # At x = 1 PYTHIA (seen in 8.317) may answer with the value of the call before.
        values = (density.xf(pdg, a, b) if a < 1 else 0.0 for a, b in pairs)
        return np.fromiter(values, float, x.size).reshape(x.shape)

    def mixing2(self, quark: int) -> float:
        """|V_tq|² of d, s or b (1, 3, 5)."""
        return self._parm(f"StandardModel:V{ {1: 'td', 3: 'ts', 5: 'tb'}[quark] }") ** 2

    def mass(self, pdg: int) -> float:
        """m in GeV of a particle's ``m0``."""
        return float(self._pythia.particleData.m0(int(pdg)))

    def resonance(self, pdg: int) -> Resonance:
        """Mass, width and the channels of an unstable particle that are switched on.

        PYTHIA's ``onMode`` is 1 for a channel that is on, 2 or 3 if only for the particle or only for the antiparticle.
        """
        data = self._pythia.particleData
        entry: Any = data.particleDataEntryPtr(pdg)
        channels = [entry.channel(i) for i in range(entry.sizeChannels())]
        fractions = np.array([channel.bRatio() for channel in channels])
        on = np.array([channel.onMode() for channel in channels])
        switched = fractions * np.stack([np.isin(on, (1, 2)), np.isin(on, (1, 3))])
        kept = np.flatnonzero(switched.any(axis=0))
        return Resonance(
            mass=float(data.m0(pdg)),
            width=float(data.mWidth(pdg)),
            channels=tuple(tuple(channels[i].product(j) for j in range(channels[i].multiplicity())) for i in kept),
            fractions=switched[:, kept],
            total=float(fractions.sum()),
        )


def _each(function: Any, values: Iterable[float]) -> np.ndarray:
    values = np.asarray(values)
    return np.fromiter((function(value) for value in values.tolist()), float, len(values))
