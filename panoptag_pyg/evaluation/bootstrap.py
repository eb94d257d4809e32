"""Statistical uncertainties: jets of one event are correlated, so whole events are redrawn."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

#: Probability content of the intervals, that of ±1 standard deviation of a Gaussian.
INTERVAL = 0.682689
#: Confidence level of one-sided limits.
LIMIT = 0.95
#: How many replica weights are held in memory at once (float64: 64 MB).
CHUNK_ENTRIES = 8_000_000


@dataclass(frozen=True)
class Measurement:
    """A figure of merit with its 68.3 % interval, or the reason why there is none.

    Attributes:
        value: the figure; ``None`` if it cannot be computed.
        low: lower end of the 68.3 % interval; ``None`` if unknown.
        high: upper end of the 68.3 % interval; ``None`` if unknown or without bound.
        missing: why there is no value, such as ``"no c jets"``; empty otherwise.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    missing: str = ""

    def to_dict(self) -> dict:
        """The fields as JSON-able values, without those that say nothing."""
        return {name: entry for name, entry in asdict(self).items() if entry is not None and entry != ""}


class EventBootstrap:
    r"""Redraw events with replacement, by giving each a Poisson weight of mean 1.

    In replica :math:`r` all jets of event :math:`e` get the same factor :math:`k_{re} \sim
    \mathrm{Poisson}(1)`, so correlations between jets of one event (shared PFOs, shared weight) are kept.
    Quantities computed with the same object see the same replicas: ratios of two taggers keep their correlation.

    Args:
        event_index: event of each jet, any integers [J].
        replicas: number of redrawn samples R. Default 200.
        seed: seed of the random numbers. Default 0.

    Source: Poisson bootstrap, Chamandy et al., "Estimating uncertainty for massive data streams" (2012);
    G. Bohm and G. Zech, "Statistics of weighted Poisson events", arXiv:1309.1287.
    """

    def __init__(self, event_index: np.ndarray, replicas: int = 200, seed: int = 0):
        if replicas < 2:
            raise ValueError(f"a bootstrap needs at least 2 replicas, got {replicas}")
        events, self._event_of_jet = np.unique(np.asarray(event_index), return_inverse=True)
        self.num_events = len(events)
        self.replicas = replicas
        self.seed = seed
        self._counts: np.ndarray | None = None

    def __repr__(self) -> str:
        return f"EventBootstrap({self.num_events} events, replicas={self.replicas}, seed={self.seed})"

    @property
    def counts(self) -> np.ndarray:
        """How often each event is drawn in each replica [R, events], uint8."""
        if self._counts is None:
            generator = np.random.default_rng(self.seed)
            self._counts = np.empty((self.replicas, self.num_events), np.uint8)
            for replica in self._counts:  # row by row: NumPy draws int64, eight times what is kept
                replica[:] = generator.poisson(1.0, self.num_events)
        return self._counts

    def fewer(self, replicas: int) -> EventBootstrap:
        """The first of these replicas, at most ``replicas``: for figures that take long to redraw."""
        first = object.__new__(type(self))
        first.__dict__.update(self.__dict__)
        first._counts = self.counts[:replicas]
        first.replicas = len(first._counts)
        return first

    def events(self, jets: np.ndarray) -> np.ndarray:
        """Number of the event of each of ``jets``, counted from 0 [len(jets)]."""
        return self._event_of_jet[jets]

    def chunks(self, num_jets: int) -> Iterator[slice]:
        """Ranges of replicas whose weights for ``num_jets`` jets fit into memory together."""
        step = max(1, CHUNK_ENTRIES // max(num_jets, 1))
        for start in range(0, self.replicas, step):
            yield slice(start, min(start + step, self.replicas))

    def weights(self, replicas: slice, jets: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Weights of some jets in some replicas: their own times the draws of their events.

        Args:
            replicas: which replicas.
            jets: indices of the jets [K].
            weight: weight of every jet [J].

        Shapes:
            → [number of replicas, K], float64.
        """
        drawn = self.counts[replicas][:, self._event_of_jet[jets]]
        return drawn * np.asarray(weight, np.float64)[jets]


def interval(replicas: np.ndarray, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Central 68.3 % of bootstrap replicas; NaN (an undefined replica) is left out.

    Args:
        replicas: the figure in each replica.
        axis: along which the replicas lie. Default 0.

    Returns:
        lower and upper end, without that axis; NaN where no replica is defined.
    """
    tail = 100 * (1 - INTERVAL) / 2
    values = np.asarray(replicas, np.float64)
    if values.size == 0 or np.isnan(values).all():
        shape = np.delete(values.shape, axis)
        return np.full(shape, np.nan), np.full(shape, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column that is NaN in every replica stays NaN
        low, high = np.nanpercentile(values, [tail, 100 - tail], axis=axis)
    return low, high


def measured(value: float, replicas: np.ndarray) -> Measurement:
    """``value`` with the interval of its bootstrap ``replicas``; no interval where all are undefined."""
    low, high = interval(replicas)
    return Measurement(
        float(value),
        float(low) if np.isfinite(low) else None,
        float(high) if np.isfinite(high) else None,
    )


def effective_count(weight: np.ndarray, event: np.ndarray) -> float:
    r"""Number of independent unweighted events worth as much as these weighted jets.

    :math:`k = (\sum_e W_e)^2 / \sum_e W_e^2` with :math:`W_e` the weight of all given jets of event e
    (the effective sample size; equal to the number of jets for unit weights and one jet per event).

    Args:
        weight: weight of each jet [J].
        event: event of each jet [J].
    """
    if len(weight) == 0:
        return 0.0
    per_event = np.bincount(np.unique(event, return_inverse=True)[1], weights=weight)
    squares = float(np.sum(per_event**2))
    return float(np.sum(per_event)) ** 2 / squares if squares > 0 else 0.0


def binomial_interval(passed: float, total: float, probability: float = INTERVAL) -> tuple[float, float]:
    """Central Clopper–Pearson interval of an efficiency; ``passed`` and ``total`` may be effective counts.

    Args:
        passed: how many passed.
        total: of how many.
        probability: content of the interval. Default: that of ±1 standard deviation.

    Source: C. J. Clopper, E. S. Pearson, Biometrika 26 (1934) 404.
    """
    tail = (1 - probability) / 2
    return _binomial_bound(passed, total, tail), binomial_upper(passed, total, 1 - tail)


def binomial_upper(passed: float, total: float, confidence: float = LIMIT) -> float:
    """One-sided Clopper–Pearson upper limit of an efficiency; ``3 / total`` at 95 % when none passes.

    Args:
        passed: how many passed.
        total: of how many.
        confidence: level of the limit. Default 0.95.
    """
    from scipy.stats import beta

    if total <= 0 or passed >= total:
        return 1.0
    return float(beta.ppf(confidence, passed + 1, total - passed))


def _binomial_bound(passed: float, total: float, tail: float) -> float:
    from scipy.stats import beta

    if passed <= 0 or total <= 0:
        return 0.0
    return float(beta.ppf(tail, passed, max(total - passed, 0) + 1))
