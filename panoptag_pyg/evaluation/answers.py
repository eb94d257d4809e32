"""What a model answers to any task, row by row, with what is needed to judge it and to find the rows again."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import nn

from panoptag_pyg import __version__
from panoptag_pyg.evaluation.predictions import PredictionsError
from panoptag_pyg.events import EventDataset, EventLoader
from panoptag_pyg.output import atomic_hdf5
from panoptag_pyg.progress import progress
from panoptag_pyg.tasks import Task
from panoptag_pyg.tasks.base import check_processes, missing_truth

FORMAT_NAME = "panoptag-answers"
FORMAT_VERSION = 1

#: Columns of the rows themselves: name, type, unit, meaning.
ROW_COLUMNS: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    level: (
        ("event_index", "int64", "", "number of the event among all events of the source files, in order"),
        ("event_id", "int64", "", "the event's own id, unique within one simulation"),
        ("file", "int32", "", "index into the root attribute `source_files`"),
        ("process", "int16", "", "index into the root attribute `processes`"),
        ("weight", "float32", "", "weight of the event"),
        *further,
    )
    for level, further in {
        "event": (),
        "jet": (
            ("jet_index", "int32", "", "number of the jet within its event, of those that were kept"),
            ("pt", "float32", "GeV", "transverse momentum"),
            ("eta", "float32", "", "pseudorapidity"),
            ("phi", "float32", "rad", "azimuth"),
            ("mass", "float32", "GeV", "mass"),
        ),
        "pfo": (
            ("pfo_index", "int32", "", "number of the PFO within its event, of those that were kept"),
            ("pt", "float32", "GeV", "transverse momentum"),
            ("eta", "float32", "", "pseudorapidity"),
            ("phi", "float32", "rad", "azimuth"),
        ),
    }.items()
}


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
        with atomic_hdf5(path, overwrite) as file:
            file.attrs["format"] = FORMAT_NAME
            file.attrs["version"] = FORMAT_VERSION
            file.attrs["software"] = f"panoptag-pyg {__version__}"
            file.attrs["tasks"] = json.dumps(self.tasks)
            file.attrs["processes"] = json.dumps(list(self.process_names))
            file.attrs["source_files"] = json.dumps(list(self.source_files))
            file.attrs["recipe"] = self.recipe
            file.attrs["num_events"] = self.num_events
            for level, table in self.tables.items():
                for name, dtype, unit, meaning in ROW_COLUMNS[level]:
                    dataset = file.create_dataset(f"{level}/{name}", data=table.rows[name].astype(dtype))
                    dataset.attrs["unit"], dataset.attrs["meaning"] = unit, meaning
                for part, columns in table.parts.items():
                    group = file.create_group(f"answers/{part}")
                    group.attrs["level"] = level
                    group.attrs["task"] = self.tasks[part]["task"]
                    group.attrs["classes"] = json.dumps(self.tasks[part]["classes"])
                    for name, values in columns.items():
                        unit, meaning = self.meanings.get(part, {}).get(name, ("", ""))
                        dataset = group.create_dataset(name, data=values)
                        dataset.attrs["unit"], dataset.attrs["meaning"] = unit, meaning
                    if "logits" in columns:
                        dataset = group.create_dataset("probabilities", data=softmax(columns["logits"]).astype("f4"))
                        dataset.attrs["meaning"] = "probabilities of the classes in the attribute `classes`"
        return Path(path)

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
                tasks = json.loads(file.attrs["tasks"])
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
                    process_names=tuple(json.loads(file.attrs["processes"])),
                    num_events=int(file.attrs["num_events"]),
                    source_files=tuple(json.loads(file.attrs["source_files"])),
                    recipe=str(file.attrs["recipe"]),
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
    without_truth = {name for name, part in parts.items() if missing_truth(part, dataset)}
    rows: dict[str, dict[str, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    columns: dict[str, dict[str, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    sums: dict[str, np.ndarray] = {}
    first = 0
    with progress(description, len(dataset)) as advance, torch.inference_mode():
        for batch in EventLoader(dataset, batch_size=batch_size, max_pfos_per_batch=max_pfos_per_batch):
            batch = batch.to(device, non_blocking=True)
            output = model(batch)
            for level in dict.fromkeys(part.level for part in parts.values()):
                for name, values in _rows(level, batch, first).items():
                    rows[level][name].append(values)
            for name, part in parts.items():
                own = task.part_output(output, name)
                answers = part.answers(own, batch)
                _check_finite(answers, part.level, batch, first, dataset)
                if name in without_truth:
                    part.blank_truth(answers)
                elif not part.kind:
                    for metric, pair in part.sums(own, batch).items():
                        added = np.array([float(value) for value in pair])
                        sums[f"{name}_{metric}"] = sums.get(f"{name}_{metric}", 0) + added
                for column, answer in answers.items():
                    columns[name][column].append(_numpy(answer))
            first += len(batch.event_id)
            advance(len(batch.event_id))
    joined = {level: {name: np.concatenate(v) for name, v in of_level.items()} for level, of_level in rows.items()}
    file = dataset.file_of_events()
    for of_level in joined.values():
        of_level["file"] = file[of_level["event_index"]]
    return Answers(
        tables={
            level: Table(
                level,
                of_level,
                {
                    name: {column: np.concatenate(v) for column, v in columns[name].items()}
                    for name, part in parts.items()
                    if part.level == level
                },
            )
            for level, of_level in joined.items()
        },
        tasks={
            name: {
                "task": part.name,
                "level": part.level,
                "kind": part.kind,
                "classes": list(part.class_names),
                "rejections": [[int(i) for i in pair] for pair in getattr(part, "rejections", ())],
            }
            for name, part in parts.items()
        },
        metrics={name: float(total / norm) if norm else 0.0 for name, (total, norm) in sums.items()},
        process_names=tuple(dataset.processes),
        num_events=len(dataset),
        source_files=tuple(str(file.path) for file in dataset.files),
        recipe=recipe,
        meanings={name: dict(part.columns) for name, part in parts.items()},
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities, float64. Shapes: [N, C] → [N, C]."""
    exponent = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return exponent / exponent.sum(axis=1, keepdims=True)


def _numpy(values: torch.Tensor) -> np.ndarray:
    array = values.float().cpu().numpy() if values.is_floating_point() else values.cpu().numpy()
    return array.astype(np.int32) if array.dtype.kind == "i" else array


def _rows(level: str, batch: Any, first: int) -> dict[str, np.ndarray]:
    event = np.arange(len(batch.event_id)) if level == "event" else batch[level].batch.cpu().numpy()
    rows = {name: getattr(batch, name).cpu().numpy()[event] for name in ("event_id", "process", "weight")}
    rows["event_index"] = first + event
    if level != "event":
        rows[f"{level}_index"] = np.arange(len(event)) - batch[level].ptr.cpu().numpy()[event]
        for name in ("pt", "eta", "phi", *(("mass",) if level == "jet" else ())):
            rows[name] = batch[level][name].cpu().numpy()
    return rows


def _check_finite(answers: dict[str, torch.Tensor], level: str, batch: Any, first: int, dataset: EventDataset) -> None:
    for name, values in answers.items():
        fine = values.isfinite().reshape(len(values), -1).all(dim=1) if len(values) else values.new_ones(0).bool()
        if not fine.all():
            row = int((~fine).nonzero()[0])
            event = row if level == "event" else int(batch[level].batch[row])
            raise PredictionsError(
                f"event {first + event} of {dataset.files[0].path}{' …' if len(dataset.files) > 1 else ''} gets an "
                f"answer that is not finite ({name}): the training has probably diverged; see metrics.csv and lower "
                "the learning rate"
            )
