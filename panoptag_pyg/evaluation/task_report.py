"""``evaluate`` for any task: figures of merit for all processes together and each alone, as a table and as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from panoptag_pyg import __version__
from panoptag_pyg.evaluation.answers import Answers
from panoptag_pyg.evaluation.bootstrap import INTERVAL, LIMIT, EventBootstrap, Measurement
from panoptag_pyg.evaluation.predictions import PredictionsError
from panoptag_pyg.evaluation.report import ALL
from panoptag_pyg.evaluation.tables import format_measurement
from panoptag_pyg.evaluation.task_figures import FIGURES, known_rows
from panoptag_pyg.output import atomic_output, check_output

if TYPE_CHECKING:
    from rich.table import Table as RichTable

#: Files that :meth:`TaskReport.save` writes.
OUTPUT_NAMES = ("metrics.json", "table.md")
LEGENDS = {
    "classes": (
        "Rej50, Rej80: rejection at 50 % and 80 % signal efficiency; (> x): 95 % confidence lower limit where fewer "
        "than 10 pass."
    ),
    "regression": (
        "Bias: median of answer / truth − 1; resolution: IQR / 1.349 of that ratio over its median; pull: ln(truth / "
        "answer) over the relative uncertainty, width 1 and coverage 0.683 where the uncertainties are right."
    ),
    "pointer": (
        "Efficiency: share of the jets' PFOs that find their jet; purity: share of those given a jet that are its own; "
        "nearest: the nearest jet axis within ΔR < 0.4."
    ),
    "": "Means of the task's own sums, without uncertainties.",
}


@dataclass(frozen=True)
class TaskResult:
    """One task on the rows of one process, or of all.

    Attributes:
        part: the task's name among those of the model.
        process: name of the process, ``"all"`` for all together.
        seen: whether the model was trained on that process; ``None`` if unknown or mixed.
        num_events: events with at least one of these rows.
        num_rows: jets, events or PFOs with known truth.
        figures: the figures of merit by name.
    """

    part: str
    process: str
    seen: bool | None
    num_events: int
    num_rows: int
    figures: dict[str, Measurement]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "task": self.part,
            "process": self.process,
            "seen_in_training": self.seen,
            "num_events": self.num_events,
            "num_rows": self.num_rows,
            "figures": {name: figure.to_dict() for name, figure in self.figures.items()},
        }


@dataclass(frozen=True)
class TaskReport:
    """All results of an evaluation; tables for people (:meth:`tables`), JSON for machines (:meth:`to_dict`).

    Attributes:
        results: one per task and process; of each task all processes together come first.
        answers: what was judged.
        notes: what a reader of the numbers should know.
        replicas: number of bootstrap replicas.
        seed: seed of the bootstrap.
    """

    results: tuple[TaskResult, ...]
    answers: Answers
    notes: tuple[str, ...]
    replicas: int
    seed: int

    def of(self, part: str | None = None, process: str = ALL) -> TaskResult:
        """The result of one task on one process; by default of the first on all."""
        part = self.results[0].part if part is None else part
        return next(r for r in self.results if (r.part, r.process) == (part, process))

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values."""
        return {
            "software": f"panoptag-pyg {__version__}",
            "source_files": list(self.answers.source_files),
            "num_events": self.answers.num_events,
            "tasks": self.answers.tasks,
            "interval": INTERVAL,
            "limit_confidence": LIMIT,
            "bootstrap": {"unit": "event", "replicas": self.replicas, "seed": self.seed},
            "notes": list(self.notes),
            "recipe": json.loads(self.answers.recipe) if self.answers.recipe else None,
            "results": [result.to_dict() for result in self.results],
        }

    def tables(self) -> list[RichTable]:
        """A table for the terminal for each task: figures in rows, processes in columns."""
        from rich import box
        from rich.table import Table

        tables = []
        for part, header, rows, legend in self.grids():
            table = Table(
                title=part, box=box.SIMPLE_HEAD, show_edge=False, header_style="bold", title_justify="left",
                caption=legend, caption_justify="left",
            )  # fmt: skip
            for number, name in enumerate(header):
                table.add_column(name, justify="right" if number else "left")
            for row in rows:
                table.add_row(*row)
            tables.append(table)
        return tables

    def markdown(self) -> str:
        """The same as Markdown tables, with the notes."""
        lines: list[str] = []
        for part, header, rows, legend in self.grids():
            lines += [f"## {part}", "", "| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
            lines += ["| " + " | ".join(row) + " |" for row in rows]
            lines += ["", legend.replace("> x", "&gt; x"), ""]
        return "\n".join([*lines, *(f"- {note}" for note in self.notes)])

    def save(self, folder: str | os.PathLike[str], overwrite: bool = False) -> list[Path]:
        """Write ``metrics.json`` and ``table.md`` into ``folder``.

        Raises:
            OutputError: before anything is written if one of the files exists; or if the folder can't be written.
        """
        files = [Path(folder) / name for name in OUTPUT_NAMES]
        for path in files:
            check_output(path, overwrite)
        texts = (json.dumps(self.to_dict(), indent=1, allow_nan=False), self.markdown())
        for path, text in zip(files, texts, strict=True):
            with atomic_output(path, overwrite) as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")
        return files

    def grids(self) -> list[tuple[str, list[str], list[list[str]], str]]:
        """Title, header, rows and legend of each task's table."""
        grids = []
        for part in dict.fromkeys(result.part for result in self.results):
            results = [result for result in self.results if result.part == part]
            if len(results) == 2:  # the one process is all
                results = results[1:]
            task = self.answers.tasks[part]
            seen = {True: "", False: " (unseen)", None: ""}
            titles = ["all processes" if r.process == ALL else r.process + seen[r.seen] for r in results]
            level = {"jet": "jets", "event": "events", "pfo": "PFOs"}[task["level"]]
            rows = [[level, *(f"{r.num_rows:,}" for r in results)]]
            rows += [
                [name, *(format_measurement(r.figures[name]) if name in r.figures else "–" for r in results)]
                for name in dict.fromkeys(name for r in results for name in r.figures)
            ]
            name = part if part == task["task"] else f"{part} ({task['task']})"
            grids.append((name, ["", *titles], rows, LEGENDS[task["kind"]]))
        return grids


def evaluate_answers(
    answers: Answers,
    trained_on: Sequence[str] | None = None,
    replicas: int = 200,
    seed: int = 0,
    notes: Sequence[str] = (),
) -> TaskReport:
    """All figures of merit of a model's answers, with the uncertainties of a bootstrap over events.

    Args:
        answers: from :func:`panoptag_pyg.evaluation.predict_answers`; rows of unknown truth are left out.
        trained_on: processes that the model was trained on, to mark the others as unseen. Default: unknown.
        replicas: bootstrap replicas. Default 200.
        seed: seed of the bootstrap. Default 0.
        notes: sentences to print below the tables.

    Raises:
        PredictionsError: if no row of a task has a known truth.
    """
    results: list[TaskResult] = []
    remarks = list(notes)
    for part, task in answers.tasks.items():
        table, columns = answers.of(part)
        if not task["kind"]:
            own = {k.removeprefix(f"{part}_"): v for k, v in answers.metrics.items() if k.startswith(f"{part}_")}
            figures = {name: Measurement(value) for name, value in own.items()}
            results.append(TaskResult(part, ALL, None, answers.num_events, len(table), figures))
            continue
        known = known_rows(columns, task["kind"])
        if not known.any():
            raise PredictionsError(
                f"evaluate needs the truth of the task '{part}', but it is unknown for all {len(table):,} "
                f"{task['level']}s of {', '.join(answers.source_files) or 'these events'}; use panoptag predict for "
                "data without truth"
            )
        if not known.all():
            remarks.append(
                f"{part}: {int((~known).sum()):,} of {len(known):,} {task['level']}s have no known truth: left out."
            )
        for process, seen, rows in _processes(answers, table.rows["process"], known, task["task"], trained_on):
            bootstrap = EventBootstrap(table.rows["event_index"][rows], replicas, seed)
            chosen = {name: values[rows] for name, values in columns.items()}
            figures = FIGURES[task["kind"]](chosen, task, table.rows["weight"][rows], bootstrap)
            results.append(TaskResult(part, process, seen, bootstrap.num_events, int(rows.sum()), figures))
        constant = _constant(columns["label"][known], task) if task["kind"] == "classes" else ""
        if constant:
            remarks.append(f"{part}: every {task['level']} is {constant}: there is nothing to tell apart.")
    for result in results:
        missing = {f.missing: name for name, f in result.figures.items() if f.value is None and f.missing}
        remarks += [f"{result.part}, {result.process}: no {name}: {why}." for why, name in missing.items()]
    return TaskReport(tuple(results), answers, tuple(dict.fromkeys(remarks)), replicas, seed)


def _processes(
    answers: Answers, process: np.ndarray, known: np.ndarray, task: str, trained_on: Sequence[str] | None
) -> list[tuple[str, bool | None, np.ndarray]]:
    """Name, whether it was trained on, and rows: all processes together, then each alone."""
    groups: list[tuple[str, bool | None, np.ndarray]] = [(ALL, None, known)]
    if task == "process":  # a process alone has one class
        return groups
    for index, name in enumerate(answers.process_names):
        rows = known & (process == index)
        if rows.any():
            groups.append((name, None if trained_on is None else name in trained_on, rows))
    return groups


def _constant(label: np.ndarray, task: dict[str, Any]) -> str:
    return task["classes"][int(label[0])] if (label == label[0]).all() else ""
