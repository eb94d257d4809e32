"""``evaluate``: all figures of merit of a tagger and its yardsticks, for all processes together and each alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from panoptag_pyg import __version__
from panoptag_pyg.evaluation.bootstrap import INTERVAL, LIMIT, EventBootstrap, Measurement, effective_count
from panoptag_pyg.evaluation.metrics import accuracy, auc, confusion_matrix
from panoptag_pyg.evaluation.predictions import Predictions
from panoptag_pyg.evaluation.rejection import RejectionCurve, discriminant, rejection_curve
from panoptag_pyg.output import atomic_output, check_output

if TYPE_CHECKING:
    from rich.table import Table

#: Signal efficiencies that tables quote.
WORKING_POINTS = (0.5, 0.8)
#: Signal efficiencies of the curves.
CURVE_EFFICIENCIES = np.round(np.arange(0.30, 1.001, 0.01), 2)
#: Signal classes and their index; the background is light.
SIGNALS = {"b": 2, "c": 1}
#: Name of the row for all processes together.
ALL = "all"


@dataclass(frozen=True)
class Result:
    """One tagger on the jets of one process (or of all).

    Attributes:
        process: name of the process, ``"all"`` for all together.
        seen: whether the model was trained on that process; ``None`` if unknown or mixed.
        tagger: name of the tagger.
        num_events: events with at least one of these jets.
        num_jets: jets of each class, in the order of the logits.
        effective_jets: unweighted jets worth as much as these of each class, (Σw)²/Σw²; their number without weights.
        accuracy: share of jets whose most probable class is the true one.
        auc: weighted one-vs-rest AUC.
        curves: rejection of light jets for signal ``"b"`` and ``"c"``.
        confusion: shares of predicted classes (columns) per true class (rows) ``[C, C]``; ``None`` without classes.
    """

    process: str
    seen: bool | None
    tagger: str
    num_events: int
    num_jets: tuple[int, ...]
    effective_jets: tuple[float, ...]
    accuracy: Measurement
    auc: Measurement
    curves: dict[str, RejectionCurve] = field(repr=False)
    confusion: np.ndarray | None = field(default=None, repr=False)

    def to_dict(self) -> dict:
        """JSON-able: working points in full, curves as columns."""
        rejections = {
            f"{signal}_rej{round(100 * x)}": curve.at(x).to_dict()
            for signal, curve in self.curves.items()
            for x in WORKING_POINTS
        }
        curves = {
            signal: {
                name: [None if np.isnan(v) else float(v) for v in column] for name, column in curve.arrays().items()
            }
            for signal, curve in self.curves.items()
        }
        return {
            "process": self.process,
            "seen_in_training": self.seen,
            "tagger": self.tagger,
            "num_events": self.num_events,
            "num_jets": dict(zip(("light", "c", "b"), self.num_jets, strict=True)),
            "effective_jets": dict(zip(("light", "c", "b"), self.effective_jets, strict=True)),
            "accuracy": self.accuracy.to_dict(),
            "auc": self.auc.to_dict(),
            **rejections,
            "confusion": None if self.confusion is None else _rows(self.confusion),
            "curves": curves,
        }


@dataclass(frozen=True)
class Report:
    """All results of an evaluation; a table for people (:meth:`table`), JSON for machines (:meth:`to_dict`).

    Attributes:
        results: one per process and tagger; all processes together come first.
        predictions: the jets with a known flavour that were evaluated.
        references: discriminants of the yardsticks, aligned with ``predictions``.
        notes: what a reader of the numbers should know.
        replicas: number of bootstrap replicas.
        seed: seed of the bootstrap.
        model_report: numbers that the model tells of itself, by what they are called.
    """

    results: tuple[Result, ...]
    predictions: Predictions = field(repr=False)
    references: dict[str, np.ndarray] = field(repr=False)
    notes: tuple[str, ...]
    replicas: int
    seed: int
    model_report: dict[str, float] = field(default_factory=dict)

    @property
    def taggers(self) -> tuple[str, ...]:
        """Names of the taggers, the model first."""
        return tuple(dict.fromkeys(result.tagger for result in self.results))

    @property
    def processes(self) -> tuple[str, ...]:
        """Names of the processes with a row of their own, ``"all"`` first."""
        return tuple(dict.fromkeys(result.process for result in self.results))

    def of(self, process: str = ALL, tagger: str | None = None) -> Result:
        """The result of one tagger on one process.

        Args:
            process: its name. Default: all together.
            tagger: its name in the table. Default: the model.
        """
        tagger = self.taggers[0] if tagger is None else tagger
        return next(r for r in self.results if (r.process, r.tagger) == (process, tagger))

    def to_dict(self) -> dict:
        """Everything as JSON-able values."""
        recipe = self.predictions.recipe
        return {
            "software": f"panoptag-pyg {__version__}",
            "source_files": list(self.predictions.source_files),
            "num_events": self.predictions.num_events,
            "num_jets": len(self.predictions),
            "discriminant": "log p_signal - log p_light; of a yardstick: its score",
            "interval": INTERVAL,
            "limit_confidence": LIMIT,
            "bootstrap": {"unit": "event", "replicas": self.replicas, "seed": self.seed},
            "notes": list(self.notes),
            "model_report": self.model_report,
            "recipe": json.loads(recipe) if recipe else None,
            "results": [result.to_dict() for result in self.results],
        }

    def table(self) -> Table:
        """The working points as a rich table."""
        from panoptag_pyg.evaluation.tables import rich_table

        return rich_table(self)

    def markdown(self) -> str:
        """The working points as a Markdown table with its notes."""
        from panoptag_pyg.evaluation.tables import markdown_table

        return markdown_table(self)

    def save(self, folder: str | os.PathLike[str], overwrite: bool = False, figures: bool = True) -> list[Path]:
        """Write ``metrics.json``, ``table.md`` and the figures into ``folder``.

        Args:
            folder: made if missing.
            overwrite: replace what an earlier evaluation left there. Default ``False``.
            figures: draw too. Default ``True``.

        Returns:
            the files written.

        Raises:
            OutputError: before anything is written if one of the files exists; or if the folder can't be written.
        """
        from panoptag_pyg.evaluation.figures import report_figures

        folder = Path(folder)
        files = [folder / name for name in output_names(figures)]
        for path in files:
            check_output(path, overwrite)
        texts = {"metrics.json": json.dumps(self.to_dict(), indent=1, allow_nan=False), "table.md": self.markdown()}
        for name, text in texts.items():
            with atomic_output(folder / name, overwrite) as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")
        if figures:
            for name, figure in report_figures(self).items():
                with atomic_output(folder / f"{name}.png", overwrite) as temporary:
                    figure.savefig(temporary)
        return files


def output_names(figures: bool = True) -> tuple[str, ...]:
    """Names of the files that :meth:`Report.save` writes."""
    return ("metrics.json", "table.md", *(("rejection.png", "processes.png", "scores.png") if figures else ()))


def evaluate(
    predictions: Predictions,
    references: Mapping[str, np.ndarray] | None = None,
    name: str = "PanopTag",
    trained_on: Sequence[str] | None = None,
    replicas: int = 200,
    seed: int = 0,
    notes: Sequence[str] = (),
    model_report: Mapping[str, float] | None = None,
) -> Report:
    """All figures of merit of a tagger's scores, with the uncertainties of a bootstrap over events.

    Args:
        predictions: scores from :func:`panoptag_pyg.evaluation.predict_jets`; jets of unknown flavour are left out.
        references: other taggers' discriminants ``[J]`` for the same jets (larger: more signal-like), by name.
        name: the model's name in tables.
        trained_on: processes that the model was trained on, to mark the others as unseen. Default: unknown.
        replicas: bootstrap replicas. Default 200.
        seed: seed of the bootstrap. Default 0.
        notes: sentences to print below the table.
        model_report: what ``model.report()`` tells; printed below the table too. Default: nothing.

    Raises:
        PredictionsError: if no jet has a known flavour.
    """
    truth = predictions.require_truth()
    known = predictions.flavour >= 0
    references = {key: np.asarray(values, np.float64)[known] for key, values in (references or {}).items()}
    notes = list(notes)
    if len(truth) < len(predictions):
        notes.append(f"{len(predictions) - len(truth):,} of {len(predictions):,} jets have no known flavour: left out.")
    if (truth.weight < 0).any():
        share = float((truth.weight < 0).mean())
        notes.append(f"{share:.1%} of the jets have a negative weight; sums are taken with the sign.")
    if len(truth) and (truth.weight != truth.weight[0]).any():
        worth = ", ".join(
            f"{count:,.0f} of {number:,} {name}"
            for name, number, count in zip(truth.class_names, _counts(truth), _effective_counts(truth), strict=True)
        )
        notes.append(f"Events are weighted; in statistical worth the jets are (Σw)²/Σw²: {worth}.")
    told = dict(model_report or {})
    if told:
        notes.append(f"{name}: " + ", ".join(f"{key} {value:.3g}" for key, value in told.items()) + ".")
    present = [(i, p) for i, p in enumerate(truth.process_names) if (truth.process == i).any()]
    results: list[Result] = []
    if len(present) != 1:
        seen = None if trained_on is None else all(p in trained_on for _, p in present)
        results += _results(truth, references, name, ALL, seen or None, replicas, seed)
    for index, process in present:
        mask = truth.process == index
        part = {key: values[mask] for key, values in references.items()}
        seen = None if trained_on is None else process in trained_on
        results += _results(truth.select(mask), part, name, process, seen, replicas, seed)
    if len(present) == 1:  # the one process is all
        results = [replace(result, process=ALL) for result in results] + results
    return Report(tuple(results), truth, dict(references), tuple(notes), replicas, seed, told)


def _results(
    jets: Predictions, references: Mapping[str, np.ndarray], name: str, process: str, seen: bool | None, replicas: int,
    seed: int,
) -> Iterator[Result]:  # fmt: skip
    """The model's and every yardstick's result on ``jets``; all from the same bootstrap replicas."""
    bootstrap = EventBootstrap(jets.event_index, replicas, seed)
    counts, effective = _counts(jets), _effective_counts(jets)
    shared = (process, seen)

    def curves(scores: Mapping[str, np.ndarray]) -> dict[str, RejectionCurve]:
        return {
            signal: rejection_curve(
                scores[signal], jets.flavour == index, jets.flavour == 0, CURVE_EFFICIENCIES,
                jets.weight, bootstrap, names=(signal, "light"),
            )
            for signal, index in SIGNALS.items()
        }  # fmt: skip

    yield Result(
        *shared,
        name,
        bootstrap.num_events,
        counts,
        effective,
        accuracy(jets.logits, jets.flavour, jets.weight, bootstrap),
        auc(jets.probabilities, jets.flavour, jets.weight, bootstrap, jets.class_names),
        curves({signal: discriminant(jets.logits, index) for signal, index in SIGNALS.items()}),
        confusion_matrix(jets.logits, jets.flavour, jets.weight),
    )
    missing = Measurement(None, missing="one score per jet, no class probabilities")
    for key, values in references.items():
        yield Result(
            *shared, key, bootstrap.num_events, counts, effective, missing, missing,
            curves(dict.fromkeys(SIGNALS, values)),
        )  # fmt: skip


def _counts(jets: Predictions) -> tuple[int, ...]:
    """Jets of each class."""
    return tuple(int(n) for n in np.bincount(jets.flavour, minlength=len(jets.class_names)))


def _effective_counts(jets: Predictions) -> tuple[float, ...]:
    """Unweighted jets worth as much as the weighted ones of each class."""
    of_class = [jets.weight[jets.flavour == index] for index in range(len(jets.class_names))]
    return tuple(effective_count(weight, np.arange(len(weight))) for weight in of_class)


def _rows(matrix: np.ndarray) -> list[list[float | None]]:
    return [[None if np.isnan(value) else float(value) for value in row] for row in matrix]
