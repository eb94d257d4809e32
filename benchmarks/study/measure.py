"""From the scores of a run to the figures in its record: per process, and for those seen and all of them together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from panoptag_pyg.evaluation import EventBootstrap, Predictions, RejectionCurve, rejection_curve
from panoptag_pyg.evaluation.bootstrap import measured
from panoptag_pyg.evaluation.metrics import accuracies, aucs
from panoptag_pyg.evaluation.rejection import discriminant
from panoptag_pyg.evaluation.report import SIGNALS, WORKING_POINTS
from panoptag_pyg.events.schema import FLAVOUR_NAMES

from .proximity import proximity
from .replicas import REPLICAS, pack

#: Names of processes together.
SEEN, ALL = "seen", "all"
#: Signal efficiencies of the curves.
EFFICIENCIES = tuple(round(0.3 + 0.02 * i, 2) for i in range(36))
#: Those of them whose replicas are kept, besides the working points.
FIRM = (0.4, 0.66, 0.9)
DIGITS = 5


def figures(scores: Mapping[str, Predictions], seen: Sequence[str]) -> dict[str, dict[str, Any]]:
    """All figures of a run, JSON-able: see :func:`figures_of`.

    Args:
        scores: of all jets of the test events, by process.
        seen: processes that were trained on.

    Returns:
        for each process, :data:`SEEN` and :data:`ALL`.
    """
    return {
        name: figures_of(jets, seed) | {"proximity": proximity(jets)}
        for seed, (name, jets) in enumerate(groups(scores, seen))
    }


def groups(scores: Mapping[str, Predictions], seen: Sequence[str]) -> Iterator[tuple[str, Predictions]]:
    """Every process, those seen together, all together: events of all as they are in the files, unweighted."""
    yield from scores.items()
    yield SEEN, joined([scores[process] for process in seen])
    yield ALL, joined(list(scores.values()))


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Jets of several processes as those of one, events counted on."""
    starts = np.cumsum([0, *(part.num_events for part in parts)])
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("logits", "flavour", "event_id", "file", "jet_index", "pt", "eta", "phi", "mass", "weight")
    }
    event = np.concatenate([part.event_index + start for part, start in zip(parts, starts, strict=False)])
    process = np.concatenate([np.full(len(part), number, np.int16) for number, part in enumerate(parts)])
    names = tuple(name for part in parts for name in part.process_names)
    return Predictions(
        event_index=event,
        process=process,
        process_names=names,
        class_names=parts[0].class_names,
        num_events=int(starts[-1]),
        **columns,
    )


def figures_of(jets: Predictions, seed: int) -> dict[str, Any]:
    """Accuracy, AUC, rejections and their curves on some jets, with intervals and replicas.

    Args:
        jets: with their scores; of unknown flavour are left out.
        seed: of the bootstrap: the same for all taggers, so that they see the same redrawn events.

    Returns:
        ``events``, ``jets`` (by flavour), ``accuracy`` and ``auc`` (value, low, high, replicas), and for ``b`` and
        ``c`` the ``curve`` (columns value, low, high, passed, at :data:`EFFICIENCIES`) and ``points`` (by efficiency:
        all of :class:`~panoptag_pyg.evaluation.Rejection`, and replicas of the accepted share).

    Raises:
        PredictionsError: if no flavour is known.
    """
    known = jets.require_truth()
    bootstrap = EventBootstrap(known.event_index, REPLICAS, seed)
    counts = np.bincount(known.flavour, minlength=len(FLAVOUR_NAMES))
    found: dict[str, Any] = {
        "events": jets.num_events,
        "jets": dict(zip(FLAVOUR_NAMES, map(int, counts), strict=True)),
    }
    if not counts.all():
        return found
    every = np.arange(len(known))
    for name, function, answers in (("accuracy", accuracies, known.logits), ("auc", aucs, known.probabilities)):
        value = float(function(answers, known.flavour, known.weight[None].astype(np.float64))[0])
        replicas = np.concatenate(
            [
                function(answers, known.flavour, bootstrap.weights(chunk, every, known.weight))
                for chunk in bootstrap.chunks(3 * len(known))
            ]
        )
        found[name] = rounded(measured(value, replicas).to_dict(), 7) | {"replicas": pack(replicas, value)}
    for signal, index in SIGNALS.items():
        found[signal] = _curve(
            rejection_curve(
                discriminant(known.logits, index),
                known.flavour == index,
                known.flavour == 0,
                list(EFFICIENCIES),
                known.weight,
                bootstrap,
                names=(signal, "light"),
            )
        )
    return found


def _curve(curve: RejectionCurve) -> dict[str, Any]:
    columns = curve.arrays()
    passed = columns.pop("background_passed")
    columns.pop("efficiency")
    points = {}
    for target in sorted({*WORKING_POINTS, *FIRM}):
        place = EFFICIENCIES.index(target)
        point = curve.points[place]
        share = 0.0 if point.value is None else 1 / point.value
        points[f"{target:g}"] = rounded(point.to_dict()) | {
            "replicas": pack(curve.false_positive_rate[:, place], share)
        }
    return {
        "curve": {name: [number(value) for value in values] for name, values in columns.items()}
        | {"passed": [int(value) if np.isfinite(value) else None for value in passed]},
        "points": points,
    }


def number(value: float, digits: int = DIGITS) -> float | None:
    """Rounded to some digits; ``None`` for what JSON can't hold."""
    return float(f"{value:.{digits}g}") if np.isfinite(value) else None


def rounded(values: dict[str, Any], digits: int = DIGITS) -> dict[str, Any]:
    """A dictionary with its floats rounded."""
    return {name: number(value, digits) if isinstance(value, float) else value for name, value in values.items()}
