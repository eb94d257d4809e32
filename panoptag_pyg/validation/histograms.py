"""Histograms that know how their bins vary from event to event, and comparisons that take this into account.

The particles of one event are not independent: a jet fills many bins at once. So a bin's uncertainty is not the root of
its count. Events are independent; each histogram keeps the sum over events of the products of its bins' contents, from
which any combination of bins gets its covariance, event weights (negative ones too) included.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from panoptag_pyg.validation.checks import MIN_ENTRIES

#: Events needed per bin in a test: the covariance is measured on the same events.
EVENTS_PER_BIN = 8
_KS_DRAWS = 10_000


@dataclass
class EventHistogram:
    """K bins filled with entries of events; entries beyond the edges are in the outer bins.

    Attributes:
        edges: of the bins [K + 1].
        num_events: events filled so far, also those without an entry.
        total: sum of each bin over events [K].
        products: sum over events of the products of two bins' contents [K, K].
        value, value_count: sums over events of entries' values (with weights), and of the weights.
        value_products: sums over events of the squares and the product of these two [3].
    """

    edges: np.ndarray
    num_events: int = 0
    total: np.ndarray = field(default_factory=lambda: np.zeros(0))
    products: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    value: float = 0.0
    value_count: float = 0.0
    value_products: np.ndarray = field(default_factory=lambda: np.zeros(3))

    def __post_init__(self) -> None:
        self.edges = np.asarray(self.edges, dtype=np.float64)
        if len(self.total) == 0:
            self.total = np.zeros(self.num_bins)
            self.products = np.zeros((self.num_bins, self.num_bins))

    @property
    def num_bins(self) -> int:
        """K."""
        return len(self.edges) - 1

    @property
    def effective(self) -> np.ndarray:
        """Independent entries that would have each bin's relative uncertainty [K]."""
        squares = np.diag(self.products)
        return np.divide(self.total**2, squares, out=np.zeros(self.num_bins), where=squares > 0)

    def fill(self, values: np.ndarray, event: np.ndarray, weight: np.ndarray) -> None:
        """Add B events.

        Args:
            values: entries [N].
            event: event of each entry, 0 to B − 1 [N].
            weight: weight of each event [B].
        """
        num_events = len(weight)
        self.num_events += num_events
        if len(values) == 0:
            return
        values = np.asarray(values, dtype=np.float64)
        bins = np.clip(np.searchsorted(self.edges, values, side="right") - 1, 0, self.num_bins - 1)
        flat = np.bincount(event * self.num_bins + bins, minlength=num_events * self.num_bins)
        content = flat.reshape(num_events, self.num_bins) * weight[:, None]
        self.total += content.sum(axis=0)
        self.products += content.T @ content
        sums = np.bincount(event, values, num_events) * weight
        counts = np.bincount(event, minlength=num_events) * weight
        self.value += sums.sum()
        self.value_count += counts.sum()
        self.value_products += [sums @ sums, counts @ counts, sums @ counts]

    def scaled(self, factor: float) -> EventHistogram:
        """The same with all weights multiplied by ``factor``."""
        return EventHistogram(
            self.edges, self.num_events, self.total * factor, self.products * factor**2, self.value * factor,
            self.value_count * factor, self.value_products * factor**2,
        )  # fmt: skip

    def __add__(self, other: EventHistogram) -> EventHistogram:
        return EventHistogram(
            self.edges, self.num_events + other.num_events, self.total + other.total, self.products + other.products,
            self.value + other.value, self.value_count + other.value_count, self.value_products + other.value_products,
        )  # fmt: skip

    def mean(self) -> tuple[float, float]:
        """Mean of the entries and its uncertainty; NaN without entries."""
        if self.value_count == 0:
            return float("nan"), float("nan")
        mean = self.value / self.value_count
        squares, counts, product = self.value_products
        variance = squares - 2 * mean * product + mean**2 * counts
        return mean, float(np.sqrt(max(variance, 0.0))) / abs(self.value_count)

    def shares(self) -> tuple[np.ndarray, np.ndarray]:
        """Each bin's share of all entries and the shares' covariance. [K], [K, K]."""
        return _shares(self.total, self.products)

    def density(self) -> tuple[np.ndarray, np.ndarray]:
        """Share of entries per unit of the variable, and its uncertainty. [K], [K]."""
        shares, covariance = self.shares()
        width = np.diff(self.edges)
        return shares / width, np.sqrt(np.maximum(np.diag(covariance), 0)) / width


def _shares(total: np.ndarray, products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    everything = total.sum()
    if everything == 0:
        return np.zeros(len(total)), np.zeros(products.shape)
    shares = total / everything
    # How a share moves when an event is added: (its bin's content − share · all of its content) / everything.
    influence = (np.eye(len(total)) - shares[:, None]) / everything
    return shares, influence @ products @ influence.T


@dataclass(frozen=True)
class Comparison:
    """Two histograms of unit area.

    Attributes:
        chi2, ndf, p_value: with both uncertainties and all correlations between bins; ndf 0: too few events.
        ks: largest distance between the two cumulative distributions.
        ks_p_value: probability of a larger one, if both were drawn from the same distribution.
    """

    chi2: float
    ndf: int
    p_value: float
    ks: float
    ks_p_value: float


def quadratic(difference: np.ndarray, covariance: np.ndarray) -> tuple[float, int]:
    """χ² = dᵀ C⁻¹ d and the rank of C; directions without variance are left out. [K], [K, K] → numbers."""
    scale = np.sqrt(np.diag(covariance))
    used = scale > 0
    if not used.any():
        return 0.0, 0
    correlation = covariance[np.ix_(used, used)] / np.outer(scale[used], scale[used])
    eigenvalues, vectors = np.linalg.eigh(correlation)
    kept = eigenvalues > 1e-8 * eigenvalues[-1]
    projected = (difference[used] / scale[used]) @ vectors[:, kept]
    return float((projected**2 / eigenvalues[kept]).sum()), int(kept.sum())


def hotelling_p_value(chi2: float, ndf: int, num_events: int) -> float:
    """Probability of a larger χ² where the covariance was measured on the same events (Hotelling's T²)."""
    if ndf == 0 or num_events <= ndf + 1:
        return float("nan")
    return float(stats.f.sf(chi2 * (num_events - ndf) / (ndf * (num_events - 1)), ndf, num_events - ndf))


def merge_matrix(effective: list[np.ndarray], max_bins: int) -> np.ndarray:
    """Which bins are merged into which, so that ``max_bins`` at most have enough entries. → [K', K] of 0 and 1."""
    needed = max(MIN_ENTRIES, min(float(entries.sum()) for entries in effective) / max_bins)
    groups: list[list[int]] = []
    current: list[int] = []
    for bin_number in range(len(effective[0])):
        current.append(bin_number)
        if min(float(entries[current].sum()) for entries in effective) >= needed:
            groups.append(current)
            current = []
    if current and groups:
        groups[-1] += current
    matrix = np.zeros((len(groups), len(effective[0])))
    for row, group in enumerate(groups):
        matrix[row, group] = 1
    return matrix


def compare(one: EventHistogram, other: EventHistogram) -> Comparison:
    """Compare the shapes of two histograms of different events with the same bins.

    χ² = dᵀ (C₁ + C₂)⁻¹ d with d the difference of the bins' shares and C their covariances between events; neighbouring
    bins are merged until each has ten effective entries in both. The Kolmogorov–Smirnov distance is that of the binned
    distributions, its p-value from draws of a normal distribution with the same covariance.

    Args:
        one, other: histograms with the same edges.
    """
    events = min(one.num_events, other.num_events)
    merge = merge_matrix([one.effective, other.effective], max(2, events // (2 * EVENTS_PER_BIN)))
    (a, a_cov), (b, b_cov) = (_shares(merge @ h.total, merge @ h.products @ merge.T) for h in (one, other))
    chi2, ndf = (0.0, 0) if len(merge) < 2 else quadratic((a - b)[:-1], (a_cov + b_cov)[:-1, :-1])
    (a, a_cov), (b, b_cov) = one.shares(), other.shares()
    distance = float(np.abs(np.cumsum(a - b)).max(initial=0))
    ks_p = float("nan")
    if one.total.any() and other.total.any():
        ks_p = _ks_p_value(distance, a_cov + b_cov)
    return Comparison(chi2, ndf, hotelling_p_value(chi2, ndf, events), distance, ks_p)


def _ks_p_value(distance: float, covariance: np.ndarray) -> float:
    eigenvalues, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(eigenvalues, 0))
    draws = np.random.default_rng(0).standard_normal((_KS_DRAWS, len(eigenvalues))) @ root.T
    larger = np.abs(np.cumsum(draws, axis=1)).max(axis=1) >= distance
    return float((larger.sum() + 1) / (_KS_DRAWS + 1))


def flatness(histogram: EventHistogram) -> tuple[float, int, float]:
    """Whether all (equally wide) bins are filled equally: χ², degrees of freedom, p-value."""
    bins = histogram.num_bins
    contrast = (np.eye(bins) - 1 / bins)[:-1]
    return _zero_mean(histogram, contrast)


def mirror_symmetry(histogram: EventHistogram) -> tuple[float, int, float]:
    """Whether a histogram with edges symmetric about 0 is symmetric: χ², degrees of freedom, p-value."""
    half = histogram.num_bins // 2
    contrast = np.zeros((half, histogram.num_bins))
    contrast[np.arange(half), np.arange(half)] = -1
    contrast[np.arange(half), histogram.num_bins - 1 - np.arange(half)] = 1
    effective = histogram.effective
    enough = (effective[:half] >= MIN_ENTRIES) & (effective[::-1][:half] >= MIN_ENTRIES)
    return _zero_mean(histogram, contrast[enough])


def _zero_mean(histogram: EventHistogram, contrast: np.ndarray) -> tuple[float, int, float]:
    """Test that combinations of bins [M, K] are 0 in the mean over events."""
    num_events = histogram.num_events
    if len(contrast) == 0 or num_events < EVENTS_PER_BIN * len(contrast):
        return 0.0, 0, float("nan")
    mean = contrast @ histogram.total / num_events
    second = contrast @ histogram.products @ contrast.T / num_events
    covariance = (second - np.outer(mean, mean)) / (num_events - 1)
    chi2, ndf = quadratic(mean, covariance)
    return chi2, ndf, hotelling_p_value(chi2, ndf, num_events)
