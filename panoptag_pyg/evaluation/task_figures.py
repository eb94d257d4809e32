"""Figures of merit of any task's answers, with uncertainties from redrawing events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from panoptag_pyg.evaluation.bootstrap import EventBootstrap, Measurement, measured
from panoptag_pyg.evaluation.metrics import auc
from panoptag_pyg.evaluation.rejection import discriminant, rejection_curve
from panoptag_pyg.evaluation.rows import softmax

#: Signal efficiencies at which rejections are quoted.
WORKING_POINTS = (0.5, 0.8)
#: Half the distance between the quartiles of a Gaussian is this many standard deviations, twice.
IQR_OF_GAUSSIAN = 1.348980
#: Central 68.3 %.
ONE_SIGMA = (0.158655, 0.841345)
#: More rows than this (PFOs), and figures that rank them are redrawn less often.
MANY_ROWS = 300_000
REPLICAS_OF_MANY = 40

Figures = dict[str, Measurement]


def share(
    numerator: np.ndarray, denominator: np.ndarray, weight: np.ndarray, bootstrap: EventBootstrap, missing: str
) -> Measurement:
    """Weighted share of the rows under ``denominator`` that are under ``numerator`` too.

    Args:
        numerator, denominator: masks [N], or numbers whose weighted sums are divided.
        weight: of each row [N].
        bootstrap: redraws events.
        missing: why there is no value, if the denominator is empty.
    """
    weight = np.asarray(weight, np.float64)
    top, bottom = weight * (numerator * denominator), weight * denominator
    if not bottom.sum() > 0:
        return Measurement(None, missing=missing)
    event = bootstrap.events(np.arange(len(weight)))
    tops, bottoms = (np.bincount(event, values, bootstrap.num_events) for values in (top, bottom))
    with np.errstate(all="ignore"):
        replicas = (bootstrap.counts @ tops) / (bootstrap.counts @ bottoms)
    return measured(top.sum() / bottom.sum(), replicas)


def classes_figures(
    columns: Mapping[str, np.ndarray], task: Mapping[str, Any], weight: np.ndarray, bootstrap: EventBootstrap
) -> Figures:
    """Accuracy, the share of the largest class, AUC, and rejections at the working points.

    Args:
        columns: ``logits`` [N, C] and ``label`` [N], no label unknown.
        task: its ``classes`` and ``rejections``.
        weight: of each row [N].
        bootstrap: of the rows.
    """
    logits, label = columns["logits"], columns["label"]
    names = tuple(task["classes"])
    everything = np.ones(len(label), bool)
    largest = np.bincount(label, np.maximum(weight, 0), len(names)).argmax()
    figures: Figures = {
        "accuracy": share(logits.argmax(axis=1) == label, everything, weight, bootstrap, "nothing labelled"),
        f"{names[largest]} share": share(label == largest, everything, weight, bootstrap, "nothing labelled"),
    }
    if "fraction" in columns:
        error = np.abs(softmax(logits)[:, 1] - columns["fraction"])
        figures["mean error"] = share(error, everything, weight, bootstrap, "nothing labelled")
    ranked = bootstrap
    if len(label) > MANY_ROWS:
        ranked = bootstrap.fewer(REPLICAS_OF_MANY)
    figures["AUC"] = auc(softmax(logits), label, weight, ranked, names)
    for signal, background in task["rejections"]:
        curve = rejection_curve(
            discriminant(logits, signal, background),
            label == signal,
            label == background,
            list(WORKING_POINTS),
            weight,
            ranked,
            (names[signal], names[background]),
        )
        figures |= {f"{names[signal]} Rej{round(100 * x)}": curve.at(x) for x in WORKING_POINTS}
    return figures


def regression_figures(
    columns: Mapping[str, np.ndarray], task: Mapping[str, Any], weight: np.ndarray, bootstrap: EventBootstrap
) -> Figures:
    """Bias and resolution of the answer and of the measured value; median and width of the pull; coverage.

    With r = answer / truth: bias = median(r) − 1, resolution = IQR(r) / 1.349 / median(r). With the pull
    p = ln(truth / answer) / (uncertainty / answer): its median, half the width of its central 68.3 %, and the share of
    jets with \\|p\\| < 1; 0, 1 and 0.683 if the uncertainties are right.

    Arguments as of :func:`classes_figures`; columns ``predicted``, ``uncertainty``, ``measured``, ``truth``.
    """
    truth, predicted = columns["truth"].astype(np.float64), columns["predicted"].astype(np.float64)
    pull = np.log(truth / predicted) * predicted / columns["uncertainty"]
    figures: Figures = {}
    for name, values in (("", predicted), ("measured ", columns["measured"].astype(np.float64))):
        q25, q50, q75 = _quantiles(values / truth, (0.25, 0.5, 0.75), weight, bootstrap)
        figures[f"{name}bias"] = _of(q50 - 1)
        figures[f"{name}resolution"] = _of((q75 - q25) / IQR_OF_GAUSSIAN / q50)
    low, middle, high = _quantiles(pull, (ONE_SIGMA[0], 0.5, ONE_SIGMA[1]), weight, bootstrap)
    figures["pull median"], figures["pull width"] = _of(middle), _of((high - low) / 2)
    figures["coverage"] = share(np.abs(pull) < 1, np.ones(len(pull), bool), weight, bootstrap, "no jets")
    return figures


def pointer_figures(
    columns: Mapping[str, np.ndarray], task: Mapping[str, Any], weight: np.ndarray, bootstrap: EventBootstrap
) -> Figures:
    """Accuracy over all PFOs; efficiency: share of the jets' PFOs that find their jet; purity: share of those given a
    jet that are its own. The same for the nearest jet axis, as a yardstick.

    Arguments as of :func:`classes_figures`; columns ``jet``, ``nearest`` and ``label``.
    """
    label = columns["label"]
    figures: Figures = {}
    for name, answer in (("", columns["jet"]), ("nearest ", columns["nearest"])):
        right = answer == label
        figures[f"{name}accuracy"] = share(right, np.ones(len(label), bool), weight, bootstrap, "no PFOs")
        figures[f"{name}efficiency"] = share(right, label >= 0, weight, bootstrap, "no PFOs in jets")
        figures[f"{name}purity"] = share(right, answer >= 0, weight, bootstrap, "no PFO was given a jet")
    return figures


#: Figures of merit by the task's kind.
FIGURES: dict[str, Callable[..., Figures]] = {
    "classes": classes_figures,
    "regression": regression_figures,
    "pointer": pointer_figures,
}


def known_rows(columns: Mapping[str, np.ndarray], kind: str) -> np.ndarray:
    """Rows whose truth is known, as a mask [N]."""
    if kind == "classes":
        return columns["label"] >= 0
    if kind == "regression":
        return columns["truth"] > 0
    return np.ones(len(next(iter(columns.values()))), bool)


def _quantiles(
    values: np.ndarray, levels: tuple[float, ...], weight: np.ndarray, bootstrap: EventBootstrap
) -> np.ndarray:
    """Weighted quantiles: of the sample in column 0, of the replicas in the others. Shapes: [levels, 1 + R]."""
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    sets = [np.asarray(weight, np.float64)[order][None]]
    sets += [bootstrap.weights(chunk, order, weight) for chunk in bootstrap.chunks(2 * len(values))]
    results = []
    for weights in sets:
        # Sums with negative weights may fall: the quantile is where they first get there.
        reached = np.maximum.accumulate(np.cumsum(weights, axis=1) - weights / 2, axis=1)
        total = weights.sum(axis=1)
        results += [
            np.interp(np.asarray(levels) * t, row, ranked) if t > 0 else np.full(len(levels), np.nan)
            for row, t in zip(reached, total, strict=True)
        ]
    return np.stack(results, axis=1)


def _of(values: np.ndarray) -> Measurement:
    return measured(values[0], values[1:]) if np.isfinite(values[0]) else Measurement(None, missing="no jets")
