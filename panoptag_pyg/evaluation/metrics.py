"""Figures of merit over all classes, with uncertainties: accuracy, AUC, confusion, calibration."""

from __future__ import annotations

import numpy as np

from panoptag_pyg.evaluation.bootstrap import (
    EventBootstrap,
    Measurement,
    measured,
)


def accuracy(
    logits: np.ndarray,
    flavour: np.ndarray,
    weight: np.ndarray | None = None,
    bootstrap: EventBootstrap | None = None,
) -> Measurement:
    """Share of jets whose most probable class is the true one.

    Args:
        logits: raw output of the tagger.
        flavour: true class, 0 to C − 1.
        weight: weight of each jet. Default: 1.
        bootstrap: redraws events for the interval. Default: no interval.

    Shapes:
        logits [J, C], the rest [J].
    """
    flavour = np.asarray(flavour)
    weight = np.ones(len(flavour)) if weight is None else np.asarray(weight, np.float64)
    if len(flavour) == 0:
        return Measurement(None, missing="no jets")
    if weight.sum() <= 0:
        return Measurement(None, missing=f"the weights of all jets sum to {weight.sum():.3g}")
    value = float(accuracies(logits, flavour, weight[None])[0])
    if bootstrap is None:
        return Measurement(value)
    jets = np.arange(len(flavour))
    replicas = [
        accuracies(logits, flavour, bootstrap.weights(chunk, jets, weight)) for chunk in bootstrap.chunks(len(jets))
    ]
    return measured(value, np.concatenate(replicas))


def accuracies(logits: np.ndarray, flavour: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """:func:`accuracy` for n sets of weights at once, such as replicas of a bootstrap.

    Shapes:
        logits [J, C], flavour [J], weights [n, J] → [n]; NaN where the weights sum to 0.
    """
    correct = np.argmax(logits, axis=1) == flavour
    with np.errstate(all="ignore"):
        return weights @ correct / weights.sum(axis=1)


def auc(
    probabilities: np.ndarray,
    flavour: np.ndarray,
    weight: np.ndarray | None = None,
    bootstrap: EventBootstrap | None = None,
    class_names: tuple[str, ...] = ("light", "c", "b"),
) -> Measurement:
    r"""One-vs-rest AUC, averaged over classes by their share of the jets.

    Equals ``sklearn.metrics.roc_auc_score(y, p, average="weighted", multi_class="ovr")``:
    :math:`\sum_c \pi_c\,P(p_c(\text{jet of } c) > p_c(\text{other jet}))`, ties counting one half. Weights
    may be negative (scikit-learn's curve refuses some of these): the pair sum is taken with their sign.

    Args:
        probabilities: of each class.
        flavour: true class, 0 to C − 1.
        weight: weight of each jet. Default: 1.
        bootstrap: redraws events for the interval. Default: no interval.
        class_names: what to call a class that is missing. Default: light, c, b.

    Shapes:
        probabilities [J, C], the rest [J].
    """
    value, replicas, missing = auc_replicas(probabilities, flavour, weight, bootstrap, class_names)
    if missing:
        return Measurement(None, missing=missing)
    return Measurement(value) if bootstrap is None else measured(value, replicas)


def auc_replicas(
    probabilities: np.ndarray,
    flavour: np.ndarray,
    weight: np.ndarray | None = None,
    bootstrap: EventBootstrap | None = None,
    class_names: tuple[str, ...] = ("light", "c", "b"),
) -> tuple[float, np.ndarray, str]:
    """The AUC, itself in each bootstrap replica [R], and why there is none; arguments as of :func:`auc`.

    With the same bootstrap the replicas of two sets of scores belong together: their differences keep the correlation.
    """
    probabilities, flavour = np.asarray(probabilities, np.float64), np.asarray(flavour)
    weight = np.ones(len(flavour)) if weight is None else np.asarray(weight, np.float64)
    nothing = np.full(bootstrap.replicas if bootstrap else 0, np.nan)
    if len(flavour) == 0:
        return np.nan, nothing, "no jets"
    for index, name in enumerate(class_names):
        members = flavour == index
        if not members.any():
            return np.nan, nothing, f"no {name} jets"
        if weight[members].sum() <= 0:
            return np.nan, nothing, f"the weights of all {name} jets sum to {weight[members].sum():.3g}"
    value = float(aucs(probabilities, flavour, weight[None])[0])
    if bootstrap is None:
        return value, nothing, ""
    jets = np.arange(len(flavour))
    replicas = [
        aucs(probabilities, flavour, bootstrap.weights(chunk, jets, weight))
        for chunk in bootstrap.chunks(3 * len(jets))
    ]
    return value, np.concatenate(replicas), ""


def aucs(probabilities: np.ndarray, flavour: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """:func:`auc` for n sets of weights at once, such as replicas of a bootstrap; every class has jets.

    Shapes:
        probabilities [J, C], flavour [J], weights [n, J] → [n]; NaN where it is undefined.
    """
    total = np.zeros(len(weights))
    for index in range(probabilities.shape[1]):
        order = np.argsort(probabilities[:, index], kind="stable")
        positive = flavour[order] == index
        areas, share = _area(probabilities[order, index], positive, weights[:, order])
        total += areas * share
    with np.errstate(all="ignore"):
        return total / weights.sum(axis=1)


def _area(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUC and summed positive weight for n sets of weights ``[n, J]``; ``scores`` are rising."""
    starts = np.flatnonzero(np.append(True, scores[1:] != scores[:-1]))
    signal = np.add.reduceat(weights * positive, starts, axis=1)
    background = np.add.reduceat(weights * ~positive, starts, axis=1)
    below = np.cumsum(background, axis=1) - 0.5 * background
    signal_total, background_total = signal.sum(axis=1), background.sum(axis=1)
    with np.errstate(all="ignore"):
        return (signal * below).sum(axis=1) / (signal_total * background_total), signal_total


def confusion_matrix(
    logits: np.ndarray, flavour: np.ndarray, weight: np.ndarray | None = None, num_classes: int = 3
) -> np.ndarray:
    """Share of each true class (rows) predicted as each class (columns); NaN for a class without jets.

    Args:
        logits: raw output of the tagger.
        flavour: true class, 0 to C − 1.
        weight: weight of each jet. Default: 1.
        num_classes: C. Default 3.

    Shapes:
        logits [J, C], the rest [J] → [C, C], rows summing to 1.
    """
    weight = np.ones(len(flavour)) if weight is None else np.asarray(weight, np.float64)
    predicted = np.argmax(logits, axis=1) if len(flavour) else np.empty(0, int)
    cells = np.bincount(np.asarray(flavour, int) * num_classes + predicted, weights=weight, minlength=num_classes**2)
    matrix = cells.reshape(num_classes, num_classes)
    with np.errstate(all="ignore"):
        return matrix / matrix.sum(axis=1, keepdims=True)


def calibration(
    probability: np.ndarray, is_class: np.ndarray, weight: np.ndarray | None = None, bins: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predicted against observed share of a class, in equal bins of the predicted probability.

    Args:
        probability: predicted for the class.
        is_class: whether the jet is of the class.
        weight: weight of each jet. Default: 1.
        bins: how many. Default 10.

    Shapes:
        inputs [J] → mean predicted, observed share, number of jets, each [bins]; NaN where empty. Of weighted jets the
        number is that of unweighted ones worth as much, (Σw)²/Σw².
    """
    weight = np.ones(len(probability)) if weight is None else np.asarray(weight, np.float64)
    index = np.clip((np.asarray(probability) * bins).astype(int), 0, bins - 1)
    total = np.bincount(index, weights=weight, minlength=bins)
    with np.errstate(all="ignore"):
        predicted = np.bincount(index, weights=weight * probability, minlength=bins) / total
        observed = np.bincount(index, weights=weight * is_class, minlength=bins) / total
        squares = np.bincount(index, weights=weight**2, minlength=bins)
        return predicted, observed, np.where(squares > 0, total**2 / squares, 0.0)
