"""Jet flavours: fractions per process and of the mixture, beside the paper's, and what their difference comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from panoptag_pyg.events.schema import FLAVOUR_NAMES
from panoptag_pyg.simulation.detector_card import DetectorCard
from panoptag_pyg.simulation.jets import cluster, four_momentum
from panoptag_pyg.simulation.labels import RULES, label_jets
from panoptag_pyg.simulation.truth import weakly_decaying
from panoptag_pyg.validation.checks import LOOK, MIN_P_VALUE, PASS, Check
from panoptag_pyg.validation.histograms import EventHistogram
from panoptag_pyg.validation.resimulation import Resimulated
from panoptag_pyg.validation.sample import Sample

#: The training mixture of arXiv:2601.16417, its shares of jets (light, c, b), and jets per event.
PAPER_MIX = ("ttbar", "single_top", "ttH")
PAPER_SHARES = {"light": 0.55, "c": 0.12, "b": 0.33}
PAPER_JETS_PER_EVENT = 6.0
#: Lowest pT of jets, GeV, and largest |η| for which fractions are measured again.
MIN_PTS = (15.0, 20.0, 25.0, 30.0)
ALL_ETA = "all"


@dataclass(frozen=True)
class Fractions:
    """Flavours of a set of jets.

    Attributes:
        shares, errors: of the jets with a known flavour, by the flavour's name.
        jets_per_event: those of known flavour.
        jets_error: uncertainty of that.
    """

    shares: dict[str, float]
    errors: dict[str, float]
    jets_per_event: float
    jets_error: float

    @classmethod
    def of(cls, jets: EventHistogram, weight: float = 1.0) -> Fractions:
        """From a histogram of jets by flavour: light, c, b.

        Args:
            jets: the histogram, its contents per event.
            weight: sum of the events' weights.
        """
        shares, covariance = jets.shares()
        errors = np.sqrt(np.maximum(np.diag(covariance), 0))
        total = jets.total.sum()
        ones = np.ones(jets.num_bins)
        variance = ones @ jets.products @ ones - total**2 / max(jets.num_events, 1)
        return cls(
            {name: float(share) for name, share in zip(FLAVOUR_NAMES, shares, strict=True)},
            {name: float(error) for name, error in zip(FLAVOUR_NAMES, errors, strict=True)},
            float(total / weight),
            float(np.sqrt(max(variance, 0)) / abs(weight)),
        )


def sample_fractions(sample: Sample) -> Fractions:
    """Fractions of one process."""
    return Fractions.of(sample.flavour_shares(), _sum_of_weights(sample))


def mix_of(samples: Mapping[str, Sample]) -> tuple[str, ...]:
    """The processes that are mixed: the paper's three if all are there, else all that there are."""
    return PAPER_MIX if set(PAPER_MIX) <= set(samples) else tuple(samples)


def mix_fractions(samples: Mapping[str, Sample]) -> Fractions:
    """Fractions of the mixture with the same number of events of each process."""
    names = mix_of(samples)
    parts = [samples[name].flavour_shares().scaled(1 / _sum_of_weights(samples[name])) for name in names]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    mixed = Fractions.of(total, len(parts))
    each = [sample_fractions(samples[name]).jets_error for name in names]
    return Fractions(mixed.shares, mixed.errors, mixed.jets_per_event, float(np.hypot.reduce(each)) / len(parts))


def _sum_of_weights(sample: Sample) -> float:
    return sample.histograms["pfo/count/all"].value_count or 1.0


def order_checks(sample: Sample) -> list[Check]:
    """Tracks of b jets are displaced more often than those of c jets, and these more often than those of light jets."""
    found = []
    for heavy, light in (("b", "c"), ("c", "light")):
        values = []
        for name in (heavy, light):
            shares, covariance = sample.displaced[name].shares()
            values.append((shares[-1], covariance[-1, -1]))
        (a, a_variance), (b, b_variance) = values
        error = np.sqrt(a_variance + b_variance)
        if error == 0 or min(sample.displaced[name].effective[-1] for name in (heavy, light)) < 5:
            continue
        deviation = (a - b) / error
        p_value = float(stats.norm.cdf(deviation))  # small only if the order is the wrong way round
        detail = f"share of tracks with significance above 3: {a:.2%} in {heavy}, {b:.2%} in {light} jets"
        found.append(
            Check(
                "flavour",
                f"{heavy} jets more displaced than {light} jets",
                detail,
                PASS if p_value > MIN_P_VALUE else LOOK,
                "statistical",
                float(deviation**2),
                1,
                p_value,
            )
        )
    return found


class FlavourVariants:
    """Flavour fractions of the same events under other definitions of jets and labels.

    Args:
        card: the detector's.
        max_abs_eta: how far out the detector sees anything.

    Attributes:
        jets: by (rule, "all" or "2.5", lowest pT); in each a histogram by flavour.
    """

    def __init__(self, card: DetectorCard, max_abs_eta: float) -> None:
        self.card, self.max_abs_eta = card, max_abs_eta
        self.inner = f"{card.jets.max_abs_eta:g}"
        self.jets = {
            (rule, eta, pt): EventHistogram(np.arange(4) - 0.5)
            for rule in RULES
            for eta in (self.inner, ALL_ETA)
            for pt in MIN_PTS
        }

    def add(self, again: Resimulated) -> None:
        """Add a block."""
        pfos, events = again.simulated.pfos, again.simulated.events
        definition = self.card.jets
        jets = cluster(
            *four_momentum(pfos.columns), pfos.offsets, algorithm=definition.algorithm, radius=definition.radius,
            min_pt=min(MIN_PTS), max_abs_eta=self.max_abs_eta,
        )  # fmt: skip
        weak = weakly_decaying(events)
        for rule in RULES:
            flavour = label_jets(jets, events, weak, self.card.labels, rule).flavour
            for (name, eta, pt), histogram in self.jets.items():
                if name != rule:
                    continue
                chosen = np.flatnonzero(
                    (jets.pt >= pt) & ((eta == ALL_ETA) | (np.abs(jets.eta) < definition.max_abs_eta))
                )
                histogram.fill(flavour[chosen], jets.event[chosen], events.weight)

    def fractions(self) -> dict[tuple[str, str, float], Fractions]:
        """By the definition's key."""
        return {key: Fractions.of(histogram, histogram.num_events) for key, histogram in self.jets.items()}


def mixed_variants(variants: Mapping[str, FlavourVariants]) -> dict[tuple[str, str, float], Fractions]:
    """Fractions of a mixture with the same number of events of each process, by the definition's key.

    Args:
        variants: of each process of the mixture.
    """
    first = next(iter(variants.values()))
    result = {}
    for key in first.jets:
        parts = [each.jets[key].scaled(1 / max(each.jets[key].num_events, 1)) for each in variants.values()]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        result[key] = Fractions.of(total, len(parts))
    return result


def explanation(
    mix: Fractions, names: tuple[str, ...], variants: Mapping[tuple[str, str, float], Fractions]
) -> list[str]:
    """Sentences on what differs from the paper and what it comes from, from the measured numbers.

    Args:
        mix: the mixture as the files have it.
        names: its processes.
        variants: the mixture under other definitions; may be empty.
    """
    paper = ", ".join(f"{PAPER_SHARES[name]:.0%} {name}" for name in FLAVOUR_NAMES)
    ours = ", ".join(f"{mix.shares[name]:.1%} {name}" for name in FLAVOUR_NAMES)
    lines = [
        f"The paper's training mixture has {paper} jets and about {PAPER_JETS_PER_EVENT:g} of them an event; "
        f"these files ({', '.join(names)}, the same number of events of each) have {ours}, and "
        f"{mix.jets_per_event:.2f} an event."
    ]
    if set(names) != set(PAPER_MIX):
        lines.append(f"The mixture here is not the paper's ({', '.join(PAPER_MIX)}), so that they need not agree.")
    if not variants:
        lines.append(
            "Which part of the difference comes from the choice of jets and labels is measured where the events can be "
            "simulated again."
        )
        return lines
    inner = next(eta for _, eta, _ in variants if eta != ALL_ETA)
    base = variants["hadron", inner, 20.0]

    def told(title: str, other: Fractions) -> str:
        shares = ", ".join(f"{other.shares[name]:.1%} {name}" for name in FLAVOUR_NAMES)
        return f"{title}: {shares}; {other.jets_per_event:.2f} jets an event."

    lines += [
        told(f"Hadron labels, |η| < {inner}, pT > 20 GeV", base),
        told("The same with DELPHES's parton labels (g → bb̄ and g → cc̄ count, at any pT above 1 GeV)",
             variants["delphes", inner, 20.0]),
        told("Hadron labels, jets at any η", variants["hadron", ALL_ETA, 20.0]),
        told("DELPHES's parton labels, jets at any η (beyond 2.5 these are light)", variants["delphes", ALL_ETA, 20.0]),
        *(told(f"Hadron labels, |η| < {inner}, pT > {pt:g} GeV", variants["hadron", inner, pt])
          for pt in MIN_PTS if pt != 20),
    ]  # fmt: skip
    distance = {key: _distance(value) for key, value in variants.items()}
    best = min(distance, key=lambda key: distance[key])
    rule, eta, pt = best
    where = "at any η" if eta == ALL_ETA else f"with |η| < {eta}"
    lines.append(
        f"Nearest to the paper among these are {rule} labels on jets {where} above {pt:g} GeV: shares differ by at "
        f"most {max(abs(variants[best].shares[n] - PAPER_SHARES[n]) for n in FLAVOUR_NAMES):.1%}, jets an event by "
        f"{variants[best].jets_per_event - PAPER_JETS_PER_EVENT:+.1f}. The paper does not say its range of η, its rule "
        "for labels, whether jets are calibrated, or how its shares are rounded."
    )
    return lines


def _distance(other: Fractions) -> float:
    shares = sum((other.shares[name] - PAPER_SHARES[name]) ** 2 for name in FLAVOUR_NAMES)
    return shares + (0.1 * (other.jets_per_event - PAPER_JETS_PER_EVENT)) ** 2
