"""What a model answers to any task, row by row, with what is needed to judge it and to find the rows again."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import nn

from panoptag_pyg.evaluation.predictions import PredictionsError
from panoptag_pyg.evaluation.rows import ROW_COLUMNS, TaskRows, with_probabilities
from panoptag_pyg.evaluation.score_file import ColumnFile, Header, get_text
from panoptag_pyg.events import EventDataset, EventLoader
from panoptag_pyg.output import atomic_hdf5
from panoptag_pyg.progress import progress
from panoptag_pyg.tasks import Task
from panoptag_pyg.tasks.base import check_processes, missing_truth, prepared

FORMAT_NAME = "panoptag-answers"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Table:
    """Rows of one level with the answers of the tasks that ask about it.

    Attributes:
        level: ``"jet"``, ``"event"`` or ``"pfo"``.
        rows: the columns of :data:`ROW_COLUMNS`, each [N].
        parts: for each task its columns by name, each [N] or [N, C].
    """

    level: str
    rows: dict[str, np.ndarray]
    parts: dict[str, dict[str, np.ndarray]]

    def __len__(self) -> int:
        return len(self.rows["event_index"])


@dataclass(frozen=True)
class Answers:
    """Answers to one or several tasks for all events of a dataset.

    Attributes:
        tables: by level, those that are asked about.
        tasks: for each task its registered ``"task"``, ``"level"``, ``"kind"`` and ``"classes"``.
        metrics: of tasks without figures of merit of their own: the means of their own sums.
        process_names: names of the processes.
        num_events: events of the dataset.
        source_files: files that the events came from.
        recipe: the model's recipe as JSON; empty if unknown.
    """

    tables: dict[str, Table]
    tasks: dict[str, dict[str, Any]]
    metrics: dict[str, float] = field(default_factory=dict)
    process_names: tuple[str, ...] = ("events",)
    num_events: int = 0
    source_files: tuple[str, ...] = ()
    recipe: str = field(default="", repr=False)
    meanings: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict, repr=False)

    def of(self, part: str) -> tuple[Table, dict[str, np.ndarray]]:
        """Rows and columns of one task."""
        table = self.tables[self.tasks[part]["level"]]
        return table, table.parts[part]

    def __repr__(self) -> str:
        rows = ", ".join(f"{len(table)} {level}s" for level, table in self.tables.items())
        return f"Answers({', '.join(self.tasks)}; {rows} of {self.num_events} events)"

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """Write an HDF5 file: ``LEVEL/COLUMN`` of rows, ``answers/TASK/COLUMN`` of answers; whole or not at all.

        A task's columns have an entry for each row of its level, which its group's attribute ``level`` names.

        Args:
            path: the file, usually ``*.h5``.
            overwrite: replace an existing file. Default ``False``.

        Raises:
            OutputError: if ``path`` exists, or cannot be written.
        """
        header = answers_header(self.tasks, self.process_names, self.source_files, self.recipe, self.meanings)
        columns: dict[str, np.ndarray] = {}
        for level, table in self.tables.items():
            columns |= {f"{level}/{name}": table.rows[name].astype(dtype) for name, dtype, *_ in ROW_COLUMNS[level]}
            for part, own in table.parts.items():
                columns |= {f"answers/{part}/{name}": values for name, values in own.items()}
        with atomic_hdf5(path, overwrite) as file:
            header.write(file, self.num_events)
            ColumnFile(file, header.columns).append(with_probabilities(columns))
        return Path(path)

    @classmethod
    def of_columns(cls, columns: Mapping[str, np.ndarray], task: Task, file: np.ndarray, **about: Any) -> Answers:
        """Answers from columns by path, as :class:`~panoptag_pyg.evaluation.rows.TaskRows` makes them.

        Args:
            columns: of at least one batch of events.
            task: that was asked.
            file: index of each event's file.
            about: the other attributes.
        """
        tables: dict[str, Table] = {}
        for name, part in task.parts().items():
            level = part.level
            if level not in tables:
                names = [column for column, *_ in ROW_COLUMNS[level] if column != "file"]
                rows = {column: columns[f"{level}/{column}"] for column in names}
                rows["file"] = np.asarray(file, dtype=np.int32)[rows["event_index"]]
                tables[level] = Table(level, rows, {})
            own = f"answers/{name}/"
            tables[level].parts[name] = {
                path.removeprefix(own): values for path, values in columns.items() if path.startswith(own)
            }
        meanings = {name: dict(part.columns) for name, part in task.parts().items()}
        return cls(tables, about_tasks(task), meanings=meanings, **about)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Answers:
        """Read what :meth:`save` wrote.

        Raises:
            PredictionsError: if the file is missing, cut short or of another kind or version.
        """
        path = Path(path)
        if not path.is_file():
            raise PredictionsError(f"{path}: no such file; make one with panoptag predict")
        try:
            with h5py.File(path, "r") as file:
                if file.attrs.get("format") != FORMAT_NAME or file.attrs.get("version") != FORMAT_VERSION:
                    raise PredictionsError(
                        f"{path} holds {file.attrs.get('format', 'something else')!r} version "
                        f"{file.attrs.get('version', '?')}, expected {FORMAT_NAME!r} version {FORMAT_VERSION}"
                    )
                tasks = json.loads(get_text(file, "tasks"))
                tables = {
                    level: Table(
                        level,
                        {name: file[f"{level}/{name}"][:] for name, *_ in ROW_COLUMNS[level]},
                        {
                            part: {
                                name: values[:]
                                for name, values in file[f"answers/{part}"].items()
                                if name != "probabilities"
                            }
                            for part, task in tasks.items()
                            if task["level"] == level
                        },
                    )
                    for level in dict.fromkeys(task["level"] for task in tasks.values())
                }
                return cls(
                    tables,
                    tasks,
                    process_names=tuple(json.loads(get_text(file, "processes"))),
                    num_events=int(file.attrs["num_events"]),
                    source_files=tuple(json.loads(get_text(file, "source_files"))),
                    recipe=get_text(file, "recipe"),
                )
        except KeyError as error:
            raise PredictionsError(f"{path} lacks a column ({error.args[0]}); make it again") from error
        except OSError as error:
            raise PredictionsError(f"{path} is damaged or no HDF5 file; make it with panoptag predict") from error


def fields_of_rows(task: Task) -> frozenset[str]:
    """What batches have to hold for the rows of a task's answers: the kinematics of its jets or PFOs."""
    levels = {part.level for part in task.parts().values()}
    names = {"jet": ("pt", "eta", "phi", "mass"), "pfo": ("pt", "eta", "phi")}
    return frozenset(f"{level}/{name}" for level in levels for name in names.get(level, ()))


def predict_answers(
    model: nn.Module,
    task: Task,
    dataset: EventDataset,
    batch_size: int | None = None,
    max_pfos_per_batch: int | None = None,
    device: str | torch.device | None = None,
    recipe: str = "",
    description: str = "answering",
) -> Answers:
    """Answer a task for every event of ``dataset``; results keep its order.

    Args:
        model: maps a batch to the task's output; put into evaluation mode.
        task: the task, as fitted in training.
        dataset: the events, with the fields that model and task need and those of :func:`fields_of_rows`; truth may be
            missing, and then is unknown in the answers.
        batch_size: events per batch. Default 64, if ``max_pfos_per_batch`` isn't given.
        max_pfos_per_batch: PFOs per batch, in place of ``batch_size``.
        device: where to compute. Default: where the model's parameters are.
        recipe: the model's recipe as JSON, kept in the result. Default: none.
        description: text of the progress bar.

    Raises:
        PredictionsError: if an answer is not finite, naming the event.
        ConfigError: if the dataset counts processes in another order than the task.
    """
    check_processes(task, dataset)
    if device is None:
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    model, task = model.to(device).eval(), task.to(device).eval()
    parts = task.parts()
    rows = TaskRows(task, [name for name, part in parts.items() if missing_truth(part, dataset)])
    pieces: dict[str, list[np.ndarray]] = defaultdict(list)
    sums: dict[str, np.ndarray] = {}
    first = 0
    with progress(description, len(dataset)) as advance, torch.inference_mode():
        loader = EventLoader(dataset, batch_size=batch_size, max_pfos_per_batch=max_pfos_per_batch)
        for number, batch in enumerate(loader):
            batch = batch.to(device, non_blocking=True)
            output = model(batch)
            shown = prepared(task, batch, number)
            # Tasks of pre-training are measured on what they show the model, and answer for the events themselves.
            measured = task.outputs(model, shown) if task.draws else output
            columns, bad = rows(output, batch, first)
            if bad.any():
                raise PredictionsError(
                    f"event {first + int(np.argmax(bad))} of {dataset.files[0].path}"
                    f"{' …' if len(dataset.files) > 1 else ''} gets an answer that is not finite: the training has "
                    "probably diverged; see metrics.csv and lower the learning rate"
                )
            for path, values in columns.items():
                pieces[path].append(values)
            for name, part in parts.items():
                if not part.kind and name not in rows.without_truth:
                    sums_of = part.sums(task.part_output(measured, name), task.part_batch(shown, name))
                    for metric, pair in sums_of.items():
                        added = np.array([float(value) for value in pair])
                        sums[f"{name}_{metric}"] = sums.get(f"{name}_{metric}", 0) + added
            first += len(batch.event_id)
            advance(len(batch.event_id))
    return Answers.of_columns(
        {path: np.concatenate(arrays) for path, arrays in pieces.items()},
        task,
        file=dataset.file_of_events(),
        metrics={name: float(total / norm) if norm else 0.0 for name, (total, norm) in sums.items()},
        process_names=tuple(dataset.processes),
        num_events=len(dataset),
        source_files=tuple(str(file.path) for file in dataset.files),
        recipe=recipe,
    )


def about_tasks(task: Task) -> dict[str, dict[str, Any]]:
    """:attr:`Answers.tasks` of a task."""
    return {
        name: {
            "task": part.name,
            "level": part.level,
            "kind": part.kind,
            "classes": list(part.class_names),
            "rejections": [[int(i) for i in pair] for pair in getattr(part, "rejections", ())],
        }
        for name, part in task.parts().items()
    }


def answers_header(
    tasks: Mapping[str, dict[str, Any]],
    process_names: Sequence[str],
    source_files: Sequence[str],
    recipe: str,
    meanings: Mapping[str, Mapping[str, tuple[str, str]]],
) -> Header:
    """What a file of answers says beside its columns; arguments as of :class:`Answers`."""
    texts = {
        "tasks": dict(tasks),
        "processes": list(process_names),
        "source_files": list(source_files),
        "recipe": recipe,
    }
    groups = {
        f"answers/{name}": {key: task[key] for key in ("level", "task", "classes")} for name, task in tasks.items()
    }
    columns = {
        f"{level}/{name}": (unit, meaning)
        for level in {task["level"] for task in tasks.values()}
        for name, _, unit, meaning in ROW_COLUMNS[level]
    }
    for part, own in meanings.items():
        columns |= {f"answers/{part}/{name}": about for name, about in own.items()}
    for name in tasks:
        columns[f"answers/{name}/probabilities"] = ("", "probabilities of the classes in the attribute `classes`")
    return Header(FORMAT_NAME, FORMAT_VERSION, texts, groups, columns)
