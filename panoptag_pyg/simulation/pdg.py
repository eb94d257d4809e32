"""The Particle Data Group's numbering scheme on arrays: charges, and which hadrons carry beauty or charm.

Source: "Monte Carlo particle numbering scheme", Review of Particle Physics.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from panoptag_pyg.events.schema import HeavyAncestry

#: Three times the charge of the fundamental particles 0–37 (quarks, leptons, bosons); 0 for those not named.
_FUNDAMENTAL = np.zeros(101, dtype=np.int64)
_FUNDAMENTAL[1:9] = [-1, 2, -1, 2, -1, 2, -1, 2]
_FUNDAMENTAL[11:19] = [-3, 0, -3, 0, -3, 0, -3, 0]
_FUNDAMENTAL[[24, 34, 37]] = 3

#: Charges of all numbers below this are looked up, those above computed.
_TABLE_SIZE = 10_000


def _digits(pdg: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    number = np.abs(np.asarray(pdg, dtype=np.int64))
    # Nuclei (10LZZZAAAI) and supersymmetric or other exotic numbers above 10^6 are no hadrons of quarks alone.
    # Those above 9·10^6 are hadrons whose quark-model place is not known, such as the f0(500), 9000221.
    plain = (number > 100) & ((number < 1_000_000) | ((number > 9_000_000) & (number < 10_000_000)))
    number = np.where(plain, number, 0)
    return number, number // 1000 % 10, number // 100 % 10, number // 10 % 10


def _charge3(pdg: np.ndarray) -> np.ndarray:
    pdg = np.asarray(pdg, dtype=np.int64)
    number = np.abs(pdg)
    hadron, q1, q2, q3 = _digits(pdg)
    quark = _FUNDAMENTAL
    baryon = quark[q1] + quark[q2] + quark[q3]
    diquark = quark[q1] + quark[q2]
    # A meson's heavier quark comes first; it is the antiquark where it is of down type.
    meson = np.where((q2 == 3) | (q2 == 5), quark[q3] - quark[q2], quark[q2] - quark[q3])
    meson = np.where(q2 == 1, quark[q3] - quark[q2], meson)
    composite = np.where(q1 == 0, np.where((q2 > 0) & (q3 > 0), meson, 0), np.where(q3 == 0, diquark, baryon))
    # Charginos, sleptons and the like have their partner's charge; 1000024 and 1000037 are the charginos.
    partner = quark[np.minimum(number % 100, 100)]
    exotic = np.where((number > 1_000_000) & (number < 3_000_000), partner, 0)
    exotic = np.where((number == 1000024) | (number == 1000037), 3, exotic)
    magnitude = np.where(hadron > 0, composite, np.where(number <= 100, quark[np.minimum(number, 100)], exotic))
    return np.sign(pdg) * magnitude


_CHARGE3_TABLE = _charge3(np.arange(_TABLE_SIZE))


def charge(pdg: np.ndarray) -> np.ndarray:
    """Electric charge in units of e. Shapes: pdg [N] integers → [N] float64."""
    pdg = np.atleast_1d(pdg)
    return np.sign(pdg) * _look_up(np.abs(pdg), _CHARGE3_TABLE, _charge3) / 3.0


def _look_up(number: np.ndarray, table: np.ndarray, compute: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    result = table[np.minimum(number, _TABLE_SIZE - 1)]
    rare = np.flatnonzero(number >= _TABLE_SIZE)
    result[rare] = compute(number[rare])
    return result


def _open_flavour(pdg: np.ndarray) -> np.ndarray:
    number, q1, q2, q3 = _digits(pdg)
    is_hadron = (number > 0) & (q2 > 0) & (q3 > 0)
    hidden = (q1 == 0) & (q2 == q3)  # quarkonia decay without the weak force
    heaviest = np.where(is_hadron & ~hidden, np.maximum(np.maximum(q1, q2), q3), 0)
    return np.where(heaviest == 5, HeavyAncestry.B, np.where(heaviest == 4, HeavyAncestry.C, HeavyAncestry.NONE))


_OPEN_FLAVOUR_TABLE = _open_flavour(np.arange(_TABLE_SIZE)).astype(np.int8)


def open_heavy_flavour(pdg: np.ndarray) -> np.ndarray:
    """2 for hadrons with open beauty, 1 with open charm, else 0 (also for quarkonia, quarks and diquarks).

    Shapes: pdg [N] integers → [N] int8, values of :class:`~panoptag_pyg.events.schema.HeavyAncestry`.
    """
    return _look_up(np.abs(np.atleast_1d(pdg)), _OPEN_FLAVOUR_TABLE, _open_flavour)
