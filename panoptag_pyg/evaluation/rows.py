"""From a batch and a model's output to the rows of a table: scores of jets, or answers to any task."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

import numpy as np
import torch

from panoptag_pyg.events.schema import FLAVOUR_NAMES
from panoptag_pyg.tasks import Task

#: Columns of the rows themselves, by what a row is: name, type, unit, meaning.
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
            ("jet_index", "int32", "", "number of the jet within its event"),
            ("pt", "float32", "GeV", "transverse momentum"),
            ("eta", "float32", "", "pseudorapidity"),
            ("phi", "float32", "rad", "azimuth"),
            ("mass", "float32", "GeV", "mass"),
        ),
        "pfo": (
            ("pfo_index", "int32", "", "number of the PFO within its event"),
            ("pt", "float32", "GeV", "transverse momentum"),
            ("eta", "float32", "", "pseudorapidity"),
            ("phi", "float32", "rad", "azimuth"),
        ),
    }.items()
}
#: Columns of a jet's scores; ``logits`` and ``probabilities`` stand beside them.
JET_COLUMNS = (*ROW_COLUMNS["jet"], ("flavour", "int8", "", "true flavour: 0 light, 1 c, 2 b; -1 unknown"))

#: Columns by path.
Columns = dict[str, np.ndarray]


class RowMaker(Protocol):
    """Makes rows of a model's output.

    Attributes:
        levels: what a row of a column is, by the column's path up to its last ``/``: ``jet``, ``event`` or ``pfo``.
    """

    @property
    def levels(self) -> Mapping[str, str]: ...

    def __call__(self, output: Any, batch: Any, first: int) -> tuple[Columns, np.ndarray]:
        """The rows of a batch.

        Args:
            output: the model's.
            batch: the events.
            first: number of the batch's first event.

        Returns:
            the columns by path; and which events' answers are not all finite, bool [B].
        """
        ...


class ScoreRows:
    """Rows of the flavour tagger: ``jet/COLUMN`` and ``jet/logits``."""

    levels: Mapping[str, str] = {"jet": "jet"}

    def __call__(self, output: Any, batch: Any, first: int) -> tuple[Columns, np.ndarray]:
        """See :class:`RowMaker`; without jets there need be no output."""
        logits = np.zeros((0, len(FLAVOUR_NAMES)), np.float32) if output is None else _numpy(output)
        rows = row_columns("jet", batch, first)
        rows["jet/flavour"] = batch["jet"].y.cpu().numpy().astype(np.int8)
        rows["jet/logits"] = logits
        bad = np.asarray(~np.isfinite(logits).all(axis=1))
        return rows, _events_of_bad(bad, "jet", batch)


class TaskRows:
    """Rows of any task: ``LEVEL/COLUMN`` and ``answers/TASK/COLUMN``.

    Args:
        task: the task.
        without_truth: names of those of its parts whose truth the files don't hold. Default: none.
    """

    def __init__(self, task: Task, without_truth: Collection[str] = ()) -> None:
        self.task = task
        self.parts = task.parts()
        self.without_truth = frozenset(without_truth)
        self.levels: Mapping[str, str] = {
            **{part.level: part.level for part in self.parts.values()},
            **{f"answers/{name}": part.level for name, part in self.parts.items()},
        }

    def __call__(self, output: Any, batch: Any, first: int) -> tuple[Columns, np.ndarray]:
        """See :class:`RowMaker`."""
        columns: Columns = {}
        bad = np.zeros(len(batch.event_id), dtype=bool)
        for level in dict.fromkeys(part.level for part in self.parts.values()):
            columns |= row_columns(level, batch, first)
        for name, part in self.parts.items():
            answers = part.answers(self.task.part_output(output, name), batch)
            for values in answers.values():
                fine = values.isfinite().reshape(len(values), -1).all(dim=1) if len(values) else values.new_ones(0)
                bad |= _events_of_bad(~fine.bool().cpu().numpy(), part.level, batch)
            if name in self.without_truth:
                part.blank_truth(answers)
            columns |= {f"answers/{name}/{column}": _numpy(values) for column, values in answers.items()}
        return columns, bad


def row_columns(level: str, batch: Any, first: int) -> Columns:
    """The columns of :data:`ROW_COLUMNS` but ``file``, by path, for the rows of a batch.

    Args:
        level: ``"jet"``, ``"event"`` or ``"pfo"``.
        batch: the events; of PFOs with the fields that :func:`~panoptag_pyg.evaluation.answers.fields_of_rows` names.
        first: number of the batch's first event.
    """
    types = {name: dtype for name, dtype, *_ in ROW_COLUMNS[level]}
    event = rows_event(level, batch)
    rows = {name: getattr(batch, name).cpu().numpy()[event] for name in ("event_id", "process", "weight")}
    rows["event_index"] = first + event
    if level != "event":
        store = batch[level]
        rows[f"{level}_index"] = np.arange(len(event)) - store.ptr.cpu().numpy()[event]
        x = store.x[:, :4].cpu().numpy() if level == "jet" else None
        for number, name in enumerate(("pt", "eta", "phi", "mass")[: 4 if level == "jet" else 3]):
            rows[name] = store[name].cpu().numpy() if name in store or x is None else x[:, number]
    return {f"{level}/{name}": values.astype(types[name]) for name, values in rows.items()}


def rows_event(level: str, batch: Any) -> np.ndarray:
    """Event of each row within the batch, int64 [N]."""
    return np.arange(len(batch.event_id)) if level == "event" else batch[level].batch.cpu().numpy()


def with_probabilities(columns: Mapping[str, np.ndarray]) -> Columns:
    """The columns, with ``PATH/probabilities``, float32, beside each ``PATH/logits``."""
    found = dict(columns)
    for path, values in columns.items():
        if path.endswith("/logits"):
            found[path.removesuffix("logits") + "probabilities"] = softmax(values).astype(np.float32)
    return found


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities, float64. Shapes: [N, C] → [N, C]."""
    logits = logits.astype(np.float64)
    exponent = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return exponent / exponent.sum(axis=1, keepdims=True)


def _events_of_bad(bad: np.ndarray, level: str, batch: Any) -> np.ndarray:
    events = np.zeros(len(batch.event_id), dtype=bool)
    if bad.any():
        events[rows_event(level, batch)[bad]] = True
    return events


def _numpy(values: torch.Tensor) -> np.ndarray:
    array = values.float().cpu().numpy() if values.is_floating_point() else values.cpu().numpy()
    return array.astype(np.int32) if array.dtype.kind == "i" else array
