"""Decay lengths of b hadrons, and which long-lived particles reach the detector."""

from __future__ import annotations

import numpy as np
from scipy import stats

from panoptag_pyg.errors import require_extra
from panoptag_pyg.simulation.particles import is_decay_product
from panoptag_pyg.simulation.truth import weakly_decaying
from panoptag_pyg.validation.checks import Check, exact, statistical
from panoptag_pyg.validation.resimulation import Resimulated

#: Ground-state b hadrons that decay weakly, as physicists write them.
B_HADRONS = {511: "$B^0$", 521: "$B^+$", 531: "$B_s^0$", 5122: r"$\Lambda_b^0$"}
#: Long-lived hadrons that the setups treat differently.
LONG_LIVED = {310: "K0S", 3122: "Λ"}
#: Proper lifetimes in units of the mean, for the figure.
TIME_EDGES = np.linspace(0, 8, 41)
_MIN_HADRONS = 30


class LifetimeMeasurement:
    """Flight of weakly decaying hadrons.

    Args:
        settings: lines of PYTHIA settings of the file.

    Attributes:
        times: proper lifetime of b hadrons in units of the mean of their kind; one array per block.
        lengths: decay length and βγcτ with each hadron's own τ, mm; one array per block, [2, n].
        decayed, stable: long-lived hadrons that the generator decayed, and that it left to the detector.
    """

    def __init__(self, settings: tuple[str, ...]) -> None:
        self.data = require_extra("pythia8mc", "simulation").Pythia("", False).particleData
        self.limit = _lifetime_limit(settings)
        self.times: list[np.ndarray] = []
        self.lengths: list[np.ndarray] = []
        self.decayed = dict.fromkeys(LONG_LIVED, 0)
        self.stable = dict.fromkeys(LONG_LIVED, 0)

    def add(self, again: Resimulated) -> None:
        """Add a block."""
        events = again.simulated.events
        number = np.abs(events.pdg)
        for pdg in LONG_LIVED:
            self.stable[pdg] += int(((number == pdg) & (events.status > 0)).sum())
            self.decayed[pdg] += int(((number == pdg) & (events.status < 0)).sum())
        hadron = np.flatnonzero((weakly_decaying(events) == 2) & np.isin(number, list(B_HADRONS)))
        child = np.flatnonzero(is_decay_product(events.status))
        parent = events.mother_rows(child)
        of = np.full(len(number), -1)
        of[parent] = child
        hadron = hadron[of[hadron] >= 0]
        # A B0 that oscillates is there twice; the two entries share one flight.
        hadron = hadron[~np.isin(hadron, np.flatnonzero(number[np.maximum(of, 0)] == number))]
        child = of[hadron]
        length = np.sqrt(sum((getattr(events, a)[child] - getattr(events, a)[hadron]) ** 2 for a in "xyz"))
        momentum = np.sqrt(sum(getattr(events, a)[hadron] ** 2 for a in ("px", "py", "pz")))
        tau = events.tau[hadron]
        self.lengths.append(np.stack([length, momentum / events.mass[hadron] * tau]))
        mean = np.array([self.data.tau0(int(pdg)) for pdg in number[hadron]])
        self.times.append(tau / mean if len(mean) else np.zeros(0))

    def checks(self) -> list[Check]:
        """Decay lengths, the exponential law, and the treatment of long-lived particles."""
        found = []
        length, expected = np.concatenate(self.lengths, axis=1)
        if len(length) >= _MIN_HADRONS:
            wrong = int((np.abs(length - expected) > 1e-3 + 1e-4 * expected).sum())
            found.append(exact("lifetimes", "b hadrons fly βγcτ", wrong, len(length), "b hadrons"))
            times = np.concatenate(self.times)
            # The sum of n exponential numbers of mean 1 is half of a χ² number with 2n degrees of freedom.
            chi2, ndf = 2 * float(times.sum()), 2 * len(times)
            p_value = 2 * min(stats.chi2.sf(chi2, ndf), stats.chi2.cdf(chi2, ndf))
            detail = f"mean {times.mean():.3f} of the known lifetime, {len(times):,} b hadrons"
            found.append(statistical("lifetimes", "mean lifetime of b hadrons", detail, chi2, ndf, p_value))
            distance = stats.kstest(times, "expon")
            detail = f"Kolmogorov–Smirnov distance {distance.statistic:.4f} from an exponential law"
            counts, expected_counts = _binned(times)
            deviation = ((counts - expected_counts) ** 2 / expected_counts).sum()
            found.append(statistical("lifetimes", "decay law of b hadrons", detail, deviation, len(counts) - 1))
        for pdg, name in LONG_LIVED.items():
            reach = self.data.tau0(pdg) > self.limit
            wrong = self.decayed[pdg] if reach else self.stable[pdg]
            what = f"{name} (should {'reach the detector' if reach else 'decay in the generator'})"
            found.append(
                exact("lifetimes", f"{name} as the setup says", wrong, self.decayed[pdg] + self.stable[pdg], what)
            )
        return found


def _binned(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts in bins of equal probability, and the expected ones."""
    bins = int(np.clip(len(times) // 20, 2, 20))
    edges = stats.expon.ppf(np.linspace(0, 1, bins + 1))
    return np.histogram(times, edges)[0], np.full(bins, len(times) / bins)


def _lifetime_limit(settings: tuple[str, ...]) -> float:
    """Mean proper lifetime, mm, beyond which PYTHIA's settings leave a particle undecayed."""
    values = {}
    for line in settings:
        key, _, value = line.partition("=")
        values[key.strip().lower()] = value.strip().lower()
    if values.get("particledecays:limittau0", "off") not in ("on", "true", "yes", "1", "ok"):
        return 1000.0  # PYTHIA's tables switch decays off beyond a metre
    return float(values.get("particledecays:tau0max", "10"))
