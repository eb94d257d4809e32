"""``report_run``: all that a page says of a training run: epochs, figures of merit, calibration, maps, events."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from panoptag_pyg import __version__
from panoptag_pyg.display.view import EventView, view_events
from panoptag_pyg.errors import CheckpointError
from panoptag_pyg.evaluation import evaluate, evaluate_answers, predict_answers, predict_jets, track_counting_scores
from panoptag_pyg.evaluation.predictions import PredictionsError
from panoptag_pyg.evaluation.report import Report
from panoptag_pyg.evaluation.task_report import TaskReport
from panoptag_pyg.events import EventDataset
from panoptag_pyg.report_folder import finite
from panoptag_pyg.tasks import Task
from panoptag_pyg.tasks.base import check_truth
from panoptag_pyg.tasks.flavour import FlavourTagging
from panoptag_pyg.training import Recipe
from panoptag_pyg.training.callbacks import read_metrics
from panoptag_pyg.training.run_folder import METRICS, SUMMARY
from panoptag_pyg.trust.calibration import calibration_section
from panoptag_pyg.trust.subject import FlavourOf
from panoptag_pyg.trust.verdict import Section
from panoptag_pyg.trust.working_points import efficiency_section

#: Events that a report shows unless it is told which, spread evenly over the test events.
SHOWN_EVENTS = 20


@dataclass
class RunReport:
    """All that was found of a run.

    Attributes:
        run: the run, as it was named.
        recipe: its recipe.
        epochs: rows of its ``metrics.csv``; empty without one.
        summary: its ``summary.json``; empty without one.
        figures: of flavour tagging; ``None`` for a run of other tasks.
        tasks: figures of any other tasks; ``None`` where there are none.
        sections: of ``panoptag check``: calibration, and efficiency in pT and η.
        views: events to look at.
        notes: what a reader should know.
        command: command line, if any.
    """

    run: str
    recipe: Recipe
    epochs: list[dict[str, Any]]
    summary: dict[str, Any]
    figures: Report | None
    tasks: TaskReport | None
    sections: list[Section]
    views: list[EventView] = field(repr=False)
    notes: list[str] = field(default_factory=list)
    command: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Every number of the page as JSON-able values; events by their number."""
        return finite(
            {
                "software": f"panoptag-pyg {__version__}",
                "run": self.run,
                "command": self.command,
                "notes": self.notes,
                "recipe": self.recipe.model_dump(),
                "summary": self.summary,
                "epochs": self.epochs,
                "figures": None if self.figures is None else self.figures.to_dict(),
                "tasks": None if self.tasks is None else self.tasks.to_dict(),
                "sections": {section.key: section.to_dict() for section in self.sections},
                "events": [view.number for view in self.views],
            }
        )


def report_run(
    run: str | os.PathLike[str],
    model: nn.Module,
    task: Task,
    recipe: Recipe,
    dataset: EventDataset,
    *,
    events: Sequence[int] | None = None,
    max_events: int | None = None,
    trained_on: Sequence[str] | None = None,
    notes: Sequence[str] = (),
    replicas: int = 200,
    seed: int = 0,
    device: str = "cpu",
    batch_size: int = 64,
    command: str | None = None,
) -> RunReport:
    """Measure a trained model on test events, and gather what its run recorded.

    Args:
        run: its folder, or a checkpoint.
        model, task, recipe: as :func:`~panoptag_pyg.training.load_tagger` and ``load_task`` give them.
        dataset: test events, with the fields that model and task need.
        events: numbers of those to show. Default: 20, spread evenly.
        max_events: measure on at most so many test events, spread evenly over all; a note says so. Default: all.
        trained_on: processes of the training, to mark the others as unseen. Default: unknown.
        notes: sentences for the reader.
        replicas: bootstrap replicas. Default 200.
        seed: of all that is drawn. Default 0.
        device: where to compute. Default: the CPU.
        batch_size: events at a time. Default 64.
        command: command line to record. Default: none.

    Raises:
        PredictionsError: if the test events don't tell what the tasks ask about.
        CheckpointError: if ``metrics.csv`` or ``summary.json`` is damaged.
    """
    folder = Path(run) if Path(run).is_dir() else Path(run).parent
    epochs, summary = _epochs(folder / METRICS), _summary(folder / SUMMARY)
    parts = task.parts()
    flavour = next((name for name, part in parts.items() if isinstance(part, FlavourTagging)), None)
    figures: Report | None = None
    sections: list[Section] = []
    notes = list(notes)
    measured = dataset
    if max_events is not None and max_events < len(dataset):
        measured = dataset.select(_spread(max_events, len(dataset)))
        notes.append(f"Measured on {max_events:,} of the {len(dataset):,} test events, spread evenly over all.")
    if flavour is not None:
        figures, sections = _flavour(
            model, task, flavour, recipe, measured, trained_on, notes, replicas, seed, device, batch_size
        )
    tasks = None
    if flavour is None or len(parts) > 1:
        for part in parts.values():
            check_truth(part, measured)
        answers = predict_answers(model, task, measured, batch_size, device=device, recipe=recipe.to_json())
        tasks = evaluate_answers(answers, trained_on, replicas, seed, notes)
    if events is None:
        events = _spread(SHOWN_EVENTS, len(dataset)).tolist()
    views = view_events(model, dataset, events, device, task)
    return RunReport(str(run), recipe, epochs, summary, figures, tasks, sections, views, notes, command)


def _spread(number: int, total: int) -> np.ndarray:
    """At most ``number`` of ``total`` events, evenly: of every file its share."""
    return np.unique(np.linspace(0, total - 1, min(number, total)).round().astype(int))


def _flavour(
    model: nn.Module, task: Task, part: str, recipe: Recipe, dataset: EventDataset, trained_on: Sequence[str] | None,
    notes: list[str], replicas: int, seed: int, device: str, batch_size: int,
) -> tuple[Report, list[Section]]:  # fmt: skip
    """Figures of merit beside track counting, calibration and maps, all of the same scores."""
    if not dataset.class_counts().any():
        raise PredictionsError(
            f"a report needs the true flavour of the jets, but {', '.join(str(file.path) for file in dataset.files)} "
            "has no jet with a known one; use panoptag display --html for data without truth"
        )
    # A model of flavour alone answers with its logits.
    alone = len(task.parts()) == 1
    tagger = model if alone else FlavourOf(model, task, part).eval()
    jets = predict_jets(tagger, dataset, batch_size, device=device, recipe=recipe.to_json())
    counting, quantity = track_counting_scores(dataset)
    told = getattr(model, "report", None)
    report = evaluate(
        jets,
        {f"track counting n={n}": counting[:, n - 1] for n in (1, 2, 3)},
        name={"panoptag": "PanopTag"}.get(recipe.model.name, recipe.model.name),
        trained_on=trained_on,
        replicas=replicas,
        seed=seed,
        notes=[
            f"Track counting: the n-th largest {quantity} of a jet's tracks with pT > 1 GeV and |d0| < 2 mm.",
            *notes,
        ],
        model_report=told() if callable(told) else None,
    )
    own: Any = task.parts()[part]
    calibration, _ = calibration_section(report.predictions, own, seed, replicas)
    return report, [calibration, efficiency_section(report.predictions, seed, replicas)]


def _epochs(path: Path) -> list[dict[str, Any]]:
    try:
        return read_metrics(path)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); remove it, and the report goes without epochs") from error


def _summary(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged ({error}); remove it, and the report goes without it") from error
    return found if isinstance(found, dict) else {}
