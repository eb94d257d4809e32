"""Does the model know the events that it was trained on better than others? Scores and figures, train beside test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import kstwobign

from panoptag_pyg.evaluation.bootstrap import EventBootstrap, Measurement
from panoptag_pyg.evaluation.calibrate import jet_losses
from panoptag_pyg.evaluation.metrics import accuracy, auc
from panoptag_pyg.evaluation.predictions import Predictions
from panoptag_pyg.evaluation.rejection import discriminant
from panoptag_pyg.evaluation.tables import format_measurement
from panoptag_pyg.evaluation.task_figures import share
from panoptag_pyg.events import EventDataset
from panoptag_pyg.trust.subject import Samples, Subject
from panoptag_pyg.trust.verdict import (
    MIN_P_VALUE,
    SIGNIFICANT,
    Section,
    deviation,
    half_width,
    statistical,
    told,
)

#: Mean of Kolmogorov's distribution, √(π/2) ln 2.
KOLMOGOROV_MEAN = float(np.sqrt(np.pi / 2) * np.log(2))
#: Exchanges of events from which the distance of like samples is learnt.
EXCHANGES = 100


@dataclass(frozen=True)
class Distance:
    """Two samples of scores held against each other.

    Attributes:
        distance: largest difference of the two cumulative distributions (Kolmogorov–Smirnov).
        by_chance: mean of that for like samples.
        p_value: probability of a larger one for like samples.
        exceeded: share of the exchanges with a larger one.
    """

    distance: float
    by_chance: float
    p_value: float
    exceeded: float


def ks_distance(scores: np.ndarray, first: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Largest difference of two samples' weighted cumulative distributions, for several ways to part the jets.

    Args:
        scores: of all jets [J].
        first: which of them are in the first sample [n, J].
        weight: of each jet [J].

    Shapes: → [n].
    """
    order = np.argsort(scores, kind="stable")
    ends = np.flatnonzero(np.append(scores[order][1:] != scores[order][:-1], True))  # equal scores go together
    mine = np.where(first[:, order], weight[order], 0.0)
    other = np.where(first[:, order], 0.0, weight[order])
    with np.errstate(all="ignore"):
        rises = [(part.cumsum(axis=1) / part.sum(axis=1, keepdims=True))[:, ends] for part in (mine, other)]
    return np.abs(rises[0] - rises[1]).max(axis=1, initial=0)


def ks_test(
    scores: tuple[np.ndarray, np.ndarray],
    events: tuple[np.ndarray, np.ndarray],
    groups: tuple[np.ndarray, np.ndarray],
    weights: tuple[np.ndarray, np.ndarray],
    seed: int = 0,
    exchanges: int = EXCHANGES,
) -> Distance | None:
    """Whether two samples of jets have the same distribution of a score, where jets of one event are correlated.

    Whole events are exchanged between the samples, within their process, which gives the mean distance of like samples.
    Kolmogorov's distribution, scaled to that mean, gives the p-value: exchanges alone can't tell small ones.

    Args:
        scores: of the jets of either sample.
        events: their events.
        groups: their processes.
        weights: of the jets.
        seed: of the exchanges.
        exchanges: how many.

    Returns:
        ``None`` if a sample is empty or its weights sum to 0 or less.
    """
    if not all(len(s) and w.sum() > 0 for s, w in zip(scores, weights, strict=True)):
        return None
    score, weight = np.concatenate(scores), np.concatenate(weights).astype(np.float64)
    process = np.concatenate(groups)
    num_first = len(scores[0])
    own = [np.unique(e, return_inverse=True)[1] for e in events]
    event = np.concatenate([own[0], own[1] + own[0].max() + 1])
    _, where = np.unique(event, return_index=True)
    process_of_event, first_of_event = process[where], where < num_first
    generator = np.random.default_rng((seed, 4))
    parted = np.empty((exchanges + 1, len(score)), bool)
    parted[0] = np.arange(len(score)) < num_first
    for row in parted[1:]:
        drawn = first_of_event.copy()
        for index in np.unique(process_of_event):
            inside = np.flatnonzero(process_of_event == index)
            drawn[inside] = drawn[generator.permutation(inside)]
        row[:] = drawn[event]
    distances = ks_distance(score, parted, weight)
    mean = float(distances[1:].mean())
    p_value = float(kstwobign.sf(distances[0] / mean * KOLMOGOROV_MEAN)) if mean > 0 else 1.0
    return Distance(float(distances[0]), mean, p_value, float((distances[1:] >= distances[0]).mean()))


def matched(train: EventDataset, test: EventDataset, seed: int) -> tuple[EventDataset, EventDataset, list[str]]:
    """Both samples' events of the processes that both have, in the same proportions.

    Returns:
        training events, test events, and the names of these processes.
    """
    names = [_processes(dataset) for dataset in (train, test)]
    common = sorted(set(names[0]) & set(names[1]))
    counts = [{name: int((of == name).sum()) for name in common} for of in names]
    ratio = min((counts[0][name] / counts[1][name] for name in common), default=0.0)
    scale = min(ratio, 1.0)
    generator = np.random.default_rng((seed, 5))
    picked = []
    for name in common:
        inside = np.flatnonzero(names[0] == name)
        picked.append(generator.choice(inside, min(len(inside), round(scale * counts[1][name])), replace=False))
    rows = np.sort(np.concatenate(picked)) if picked else np.empty(0, int)
    return train.select(rows), test.select(np.flatnonzero(np.isin(names[1], common))), common


def overtraining_section(subject: Subject, samples: Samples, seed: int, replicas: int) -> Section:
    """Training beside test events of the same processes: figures, losses and distributions of scores.

    Args:
        subject: the run.
        samples: its events.
        seed: of exchanges and bootstrap.
        replicas: of the bootstrap.
    """
    from panoptag_pyg.trust.figures import overtraining_figure

    section = Section(
        "overtraining",
        "Overtraining",
        "The same model on events that it was trained on and on events that it wasn't, of the same processes in the "
        "same proportions. A better number on the training events is learnt by heart; the distance of the "
        "distributions is judged by exchanging whole events between the samples.",
    )
    if samples.train is None:
        section.checks.append(told("train beside test", f"no training events: {samples.trained_on}"))
        return section
    train, test, processes = matched(samples.train, samples.test, seed)
    if not len(train) or not len(test):
        section.checks.append(told("train beside test", "the samples have no process in common"))
        return section
    jets = [
        subject.predict(train, what="tagging training events"), subject.predict(test, what="tagging test events"),
    ]  # fmt: skip
    figures = [_figures(sample, replicas, seed) for sample in jets]
    section.numbers = {
        "processes": processes,
        "events": {"train": len(train), "test": len(test)},
        "train": figures[0], "test": figures[1], "differences": {}, "distances": {},
    }  # fmt: skip
    rows = []
    for name, sign in (("AUC", 1), ("accuracy", 1), ("−log p(true)", -1)):
        rows.append(_difference(section, name, sign, figures[0][name], figures[1][name]))
    section.tables.append(("", ["", "training events", "test events", "training − test", "σ"], rows))
    p_values = _distances(section, jets, seed)
    if p_values:
        least = min(p_values.values())
        worst = min(p_values, key=lambda name: p_values[name])
        holds = least > MIN_P_VALUE
        section.checks.append(
            statistical("distributions of scores", holds, f"{len(p_values)} tests, least p = {least:.2g} ({worst})")
        )
    section.figures["overtraining"] = lambda: overtraining_figure(jets[0], jets[1])
    return section


def _difference(section: Section, name: str, sign: int, train: Measurement, test: Measurement) -> list[str]:
    """One row of the table, its number and its verdict: better on training events is what asks for a look."""
    if train.value is None or test.value is None:
        section.checks.append(told(name, f"none: {train.missing or test.missing}"))
        return [name, format_measurement(train), format_measurement(test), "–", ""]
    value, error = train.value - test.value, float(np.hypot(half_width(train), half_width(test)))
    pull = deviation(value, error)
    section.numbers["differences"][name] = {"value": value, "error": error}
    detail = f"train − test = {value:+.4f} ± {error:.4f} ({pull:+.1f} σ)"
    section.checks.append(statistical(f"{name}, train beside test", sign * pull < SIGNIFICANT, detail))
    return [name, format_measurement(train), format_measurement(test), f"{value:+.4f} ± {error:.4f}", f"{pull:+.1f}"]


def _distances(section: Section, jets: list[Predictions], seed: int) -> dict[str, float]:
    p_values = {}
    rows = []
    for signal, index in (("b", 2), ("c", 1)):
        for flavour, name in enumerate(jets[0].class_names):
            parts = [sample.select(sample.flavour == flavour) for sample in jets]
            found = ks_test(
                tuple(discriminant(p.logits, index) for p in parts),  # type: ignore[arg-type]
                tuple(p.event_index for p in parts),  # type: ignore[arg-type]
                tuple(p.process for p in parts),  # type: ignore[arg-type]
                tuple(p.weight for p in parts),  # type: ignore[arg-type]
                seed,
            )
            if found is None:
                continue
            label = f"log(p_{signal}/p_light) of {name} jets"
            p_values[label] = found.p_value
            section.numbers["distances"][label] = vars(found)
            rows.append([label, f"{found.distance:.4f}", f"{found.by_chance:.4f}", f"{found.p_value:.2g}"])
    section.tables.append(("", ["score", "largest difference", "by chance", "p"], rows))
    return p_values


def _figures(jets: Predictions, replicas: int, seed: int) -> dict[str, Any]:
    bootstrap = EventBootstrap(jets.event_index, replicas, seed)
    everything = np.ones(len(jets), bool)
    return {
        "AUC": auc(jets.probabilities, jets.flavour, jets.weight, bootstrap),
        "accuracy": accuracy(jets.logits, jets.flavour, jets.weight, bootstrap),
        "−log p(true)": share(jet_losses(jets.logits, jets.flavour), everything, jets.weight, bootstrap, "no jets"),
    }


def _processes(dataset: EventDataset) -> np.ndarray:
    """Name of each event's process."""
    names = np.array(dataset.processes)
    found = [
        names[dataset.read_block(np.arange(start, min(start + 4096, len(dataset))), {"event/process"}).event["process"]]
        for start in range(0, len(dataset), 4096)
    ]
    return np.concatenate(found) if found else np.empty(0, names.dtype)
