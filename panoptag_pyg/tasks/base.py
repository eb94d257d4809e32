"""What a task is: the targets it reads from a batch, the loss it wants minimised, the answers it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg.config import StrictConfig
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import EventDataset
from panoptag_pyg.events.schema import COLUMNS, Column

#: Name of a quantity -> (numerator, denominator). Sums add up exactly over batches and ranks; means don't.
Sums = dict[str, tuple[Tensor, Tensor]]
Level = Literal["jet", "event", "pfo"]


@dataclass(frozen=True)
class Head:
    """What a model has to put out for a task.

    Attributes:
        kind: ``"jet"``, ``"event"`` or ``"pfo"``: a row of ``num_outputs`` numbers for each of these;
            ``"pfo_jet"``: for each PFO a score of "no jet" and one of each jet of its event, all in one row [S]; or
            ``"jet_constituents"`` and ``"jet_event"``: a row for each jet, whose first half is of the jet's embedding
            and whose second of the mean embedding of its constituents, or of its event's PFOs.
        num_outputs: numbers per row; 1 for ``"pfo_jet"``.
    """

    kind: Literal["jet", "event", "pfo", "pfo_jet", "jet_constituents", "jet_event"]
    num_outputs: int

    @property
    def rows(self) -> Level:
        """What has a row each: ``"jet"``, ``"event"`` or ``"pfo"``."""
        first = self.kind.partition("_")[0]
        return first  # type: ignore[return-value]


class Task(nn.Module):
    """One question asked of every jet, event or PFO.

    A subclass registers itself with :func:`panoptag_pyg.tasks.register_task` and says what it minimises in
    :meth:`sums`; most begin from :class:`~panoptag_pyg.tasks.Classification` or
    :class:`~panoptag_pyg.tasks.Regression`, which need the targets only.

    Attributes:
        Config: the options a recipe's ``[task]`` section may hold; they are the constructor's arguments.
        name: the name it is registered under.
        level: what is asked: ``"jet"`` (default), ``"event"`` or ``"pfo"``.
        kind: which figures of merit ``evaluate`` computes: ``"classes"``, ``"regression"``, ``"pointer"``, or ``""``
            for the task's own sums alone.
        needs: what the task reads from a batch beyond its features, such as ``"jet/parton_flavour"``.
        processes: names that datasets count first, so that ``batch.process`` means the same everywhere.
        num_outputs: width of the model's output.
        class_names: names of the outputs, where they are classes.
        columns: unit and meaning of what :meth:`answers` gives, by name.
        draws: whether :meth:`prepare` draws random numbers: the model is shown something else than the events
            themselves, and no truth is needed. So do the tasks of pre-training.
    """

    Config: ClassVar[type[StrictConfig]]
    name: ClassVar[str] = ""
    kind: ClassVar[str] = ""
    columns: ClassVar[Mapping[str, tuple[str, str]]] = {}
    draws: bool = False
    level: Level = "jet"
    needs: frozenset[str] = frozenset()
    processes: tuple[str, ...] = ()
    num_outputs: int
    class_names: tuple[str, ...] = ()

    @classmethod
    def from_config(cls, config: StrictConfig) -> Task:
        """The task with checked options."""
        return cls(**{field: getattr(config, field) for field in type(config).model_fields})

    @property
    def head(self) -> Head | dict[str, Head]:
        """What the model puts out; a table of heads for several tasks at once."""
        return Head(self.level, self.num_outputs)

    def parts(self) -> dict[str, Task]:
        """The single tasks by name: itself, unless there are several."""
        return {self.name or type(self).__name__: self}

    def part_output(self, output: Any, part: str) -> Tensor:
        """The model's output for one of :meth:`parts`."""
        return output

    def part_batch(self, batch: HeteroData, part: str) -> HeteroData:
        """What :meth:`prepare` made of the batch for one of :meth:`parts`."""
        return batch

    def fit(self, dataset: EventDataset) -> None:
        """Take from the training data what the task needs to know of it; nothing by default.

        Raises:
            ConfigError: if the data can't teach the task anything.
        """

    def prepare(self, batch: HeteroData) -> HeteroData:
        """The batch with what this task draws at random noted in it; the batch itself, unless the task :attr:`draws`.

        Random numbers come from torch's own generator on the batch's device, so that a resumed run draws the same.
        The given batch isn't changed.

        Args:
            batch: the batch, after augmentation.
        """
        return batch

    def outputs(self, model: Callable[[HeteroData], Any], batch: HeteroData) -> Any:
        """The model's answer for what the task shows it of a batch; by default for the batch.

        Args:
            model: called with a batch.
            batch: as :meth:`prepare` gives it.
        """
        return model(batch)

    def measure(self, model: Callable[[HeteroData], Any], batch: HeteroData) -> Sums:
        """:meth:`sums` of the model's :meth:`outputs`.

        Args:
            model: called with a batch.
            batch: as :meth:`prepare` gives it.
        """
        return self.sums(self.outputs(model, batch), batch)

    def sums(self, output: Any, batch: HeteroData) -> Sums:
        """Numerator and denominator of ``"loss"`` and of each metric on one batch.

        The loss's denominator follows from the truth alone, not from the output: batches of one optimiser step, here
        and on other ranks, are divided by the sum of theirs, known before the model has answered.

        Args:
            output: the model's answer for the batch.
            batch: the batch as ``EventLoader`` gives it.

        Shapes:
            ``output`` [J, num_outputs] for jets, [B, …] for events, [P, …] for PFOs; each sum is a scalar.

        Raises:
            NotImplementedError: a task has to say what it minimises.
        """
        raise NotImplementedError

    def loss_parts(self, sums: Sums) -> list[tuple[float, Tensor, Tensor]]:
        """Weight, numerator and denominator of each loss that is added up; one, unless there are several tasks.

        Args:
            sums: what :meth:`sums` gave for a batch.
        """
        return [(1.0, *sums["loss"])]

    @torch.no_grad()
    def loss_norms(self, batch: HeteroData) -> Tensor:
        """Denominators of :meth:`loss_parts`, before the model has answered: they depend on the truth alone.

        Args:
            batch: the batch, on the task's device.

        Shapes:
            returns float64 [parts].
        """
        parts = self.loss_parts(self.sums(self.blank(batch), batch))
        return torch.stack([norm.double() for _, _, norm in parts])

    def blank(self, batch: HeteroData) -> Any:
        """Zeros in place of :meth:`outputs`."""
        return blank_output(self.head, batch)

    def finish(self, metrics: dict[str, float], stage: str) -> None:
        """Complete the numbers of an epoch, once all sums are divided; nothing by default.

        Args:
            metrics: what the epoch gave, by name; changed in place.
            stage: ``"train"`` or ``"val"``, the prefix of its names.
        """

    def answers(self, output: Tensor, batch: HeteroData) -> dict[str, Tensor]:
        """What ``predict`` writes: for each of :attr:`columns` one entry per row, truth too where it is known.

        Args:
            output: the model's answer for the batch.
            batch: the batch.
        """
        return {"output": output}

    def absence_is_unknown(self) -> bool:
        """Whether rows of a file without the task's truth count as unlabelled, not as what its defaults mean."""
        return True

    def blank_truth(self, answers: dict[str, Tensor]) -> None:
        """Mark the truth in ``answers`` as unknown, in place: these events' files don't hold it."""

    def notes(self) -> list[str]:
        """Sentences that whoever trains should read, once :meth:`fit` has seen the data; none by default."""
        return []

    def summary(self) -> dict[str, Any]:
        """What a run's ``summary.json`` should say about the task."""
        return {}


def blank_output(head: Head | Mapping[str, Head], batch: HeteroData) -> Any:
    """Zeros of the shape that a model puts out for a batch: a tensor, or a table of tensors for several heads."""
    if not isinstance(head, Head):
        return {name: blank_output(own, batch) for name, own in head.items()}
    device = batch["pfo"].ptr.device
    if head.kind == "pfo_jet":
        shape: tuple[int, ...] = (int(((batch["jet"].ptr.diff() + 1) * batch["pfo"].ptr.diff()).sum()),)
    else:
        rows = len(batch["pfo"].ptr) - 1 if head.kind == "event" else len(batch[head.rows].x)
        shape = (rows, head.num_outputs)
    # Sums over a batch keep all their digits.
    return torch.zeros(shape, dtype=torch.float64, device=device)


def prepared(task: Task, batch: HeteroData, number: int) -> HeteroData:
    """The batch as :meth:`Task.prepare` makes it, with random numbers of its own: the same each time that it is asked.

    For validation, whose losses are to be compared between epochs; the generators are left as they were.

    Args:
        task: the task.
        batch: the batch.
        number: of the batch, by which it gets other random numbers than the others.
    """
    if not task.draws:
        return batch
    device = batch["pfo"].x.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(number)
        return task.prepare(batch)


def truth_columns(task: Task) -> list[Column]:
    """The columns of truth that a task reads."""
    return [column for column in COLUMNS if column.truth and column.path in task.needs]


def missing_truth(task: Task, dataset: EventDataset) -> str:
    """One sentence on what the files lack of the task's truth; empty if they have it all.

    Args:
        task: the task.
        dataset: the events.
    """
    for column in truth_columns(task):
        lacking = [str(file.path) for file in dataset.files if not file.has(column.path)]
        if len(lacking) == len(dataset.files):
            return _without(task, column, dataset)
        if lacking and not task.absence_is_unknown():
            return (
                f"{lacking[0]} doesn't hold {column.path}, which the task '{task.name}' needs, though other files do; "
                "leave it out, or simulate it again"
            )
    return ""


def check_truth(task: Task, dataset: EventDataset) -> None:
    """Refuse events whose files don't hold the truth that a task needs.

    Raises:
        ConfigError: naming the column and the files; or if the dataset counts processes in another order.
    """
    check_processes(task, dataset)
    problem = missing_truth(task, dataset)
    if problem:
        raise ConfigError(problem)


def check_processes(task: Task, dataset: EventDataset) -> None:
    """Refuse a dataset that counts processes in another order than the task.

    Raises:
        ConfigError: saying how to open it.
    """
    if tuple(getattr(dataset, "processes", ())[: len(task.processes)]) != task.processes:
        raise ConfigError(
            f"the task '{task.name}' needs a dataset that counts its processes first: "
            f"EventDataset(…, processes={list(task.processes)})"
        )


def unknown_everywhere(task: Task, dataset: EventDataset, what: str) -> ConfigError:
    """The error for events none of which has the truth ``what``."""
    return ConfigError(
        f"the task '{task.name}' needs {what}, but it is unknown in all {len(dataset)} events of {_files(dataset)}; "
        "give events with that truth, or choose another task"
    )


def _without(task: Task, column: Column, dataset: EventDataset) -> str:
    return (
        f"the task '{task.name}' needs {column.path} ({column.meaning}), but {_files(dataset)} "
        f"{'lacks' if len(dataset.files) == 1 else 'lack'} that column; simulate the events again to have it, "
        "or leave that task out (panoptag_near_flavour.toml is panoptag_near.toml without its own)"
    )


def _files(dataset: EventDataset) -> str:
    names = [str(file.path) for file in getattr(dataset, "files", [])] or ["the data"]
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def row_weights(batch: HeteroData, level: Level) -> Tensor | None:
    """Weight of each jet, event or PFO: that of its event; ``None`` where the batch has none.

    Shapes: [J], [B] or [P].
    """
    if "weight" not in batch:
        return None
    return batch.weight if level == "event" else batch.weight[batch[level].batch]


def rows_of(batch: HeteroData, level: Level) -> Mapping[str, Tensor]:
    """The batch's columns of jets, events or PFOs, by name."""
    return batch if level == "event" else batch[level]  # type: ignore[return-value]


def divided(total: Tensor, norm: Tensor) -> Tensor:
    """``total / norm``, and 0, still attached, where there is nothing to divide by."""
    return total / torch.where(norm > 0, norm, torch.ones_like(norm))
