"""Several tasks at once on one embedding, each with a head and a weight of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
from pydantic import ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg.config import StrictConfig
from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.events import EventDataset
from panoptag_pyg.tasks.base import Head, Sums, Task, divided
from panoptag_pyg.tasks.registry import register_task, task_config, task_names, task_of

_RESERVED = ("task", "weight")
#: Where a batch keeps what each task made of it.
VIEWS = "views"


class SeveralConfig(StrictConfig):
    """Options of :class:`Several` in a recipe: one table for each task.

    ``[task.flavour]`` asks for the task ``flavour``; ``[task.origin]`` with ``task = "quark_gluon"`` calls it
    ``origin``. ``weight`` (default 1) is that of its loss; all further keys are the task's own options.
    """

    model_config = ConfigDict(extra="allow", strict=True)

    @model_validator(mode="after")
    def _check(self) -> SeveralConfig:
        tables = self.model_extra or {}
        if not tables:
            raise ValueError("several tasks need a table for each, such as [task.flavour] and [task.jet_pt]")
        for name, table in tables.items():
            if not isinstance(table, dict):
                raise ValueError(f"'{name}' should be a table, [task.{name}], not {table!r}")
            tables[name] = _checked(name, table)
        return self


class _Part(StrictConfig):
    task: str
    weight: Annotated[float, Field(ge=0)] = 1.0


@register_task("several")
class Several(Task):
    r"""The weighted sum of several tasks' losses, :math:`L = \sum_i w_i L_i`.

    The model gives each task an output by its name. A task without a labelled row in a batch adds 0. Metrics are those
    of the tasks, named ``task_metric``; an epoch's loss is the sum of the tasks' own, each exact over the epoch.

    Args:
        tasks: the tasks by name; names are words of letters, digits and ``_``.
        weights: of their losses. Default: 1 each.

    Raises:
        ConfigError: for no task, several within several, or a name that is no word.
    """

    Config = SeveralConfig
    num_outputs = 0

    def __init__(self, tasks: Mapping[str, Task], weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        if not tasks:
            raise ConfigError("several tasks need at least one")
        for name, task in tasks.items():
            if not name.isidentifier() or isinstance(task, Several):
                raise ConfigError(f"'{name}' can't be one of several tasks: names are words, and tasks single ones")
        self.tasks = nn.ModuleDict(tasks)
        self.weights = {name: float((weights or {}).get(name, 1.0)) for name in tasks}
        self.needs = frozenset().union(*(task.needs for task in tasks.values()))
        orders = {task.processes for task in tasks.values() if task.processes}
        if len(orders) > 1:
            raise ConfigError(f"the tasks count processes in different orders: {' and '.join(map(str, orders))}")
        self.processes = next(iter(orders), ())

    @classmethod
    def from_config(cls, config: StrictConfig) -> Several:
        tasks, weights = {}, {}
        for name, table in (config.model_extra or {}).items():
            options = {key: value for key, value in table.items() if key not in _RESERVED}
            task = task_of(table["task"])
            tasks[name] = task.from_config(task_config(table["task"], options, f"task '{name}'"))
            weights[name] = table["weight"]
        return cls(tasks, weights)

    @property
    def head(self) -> dict[str, Head]:
        return {name: task.head for name, task in self.parts().items()}  # type: ignore[misc]

    def parts(self) -> dict[str, Task]:
        return dict(self.tasks.items())  # type: ignore[arg-type]

    def part_output(self, output: Mapping[str, Tensor], part: str) -> Tensor:
        return output[part]

    @property
    def draws(self) -> bool:  # type: ignore[override]
        """Whether one of the tasks does."""
        return any(task.draws for task in self.parts().values())

    def prepare(self, batch: HeteroData) -> HeteroData:
        """The batch; for each task that draws, with that task's own beside it: the others see the events themselves."""
        views = {name: task.prepare(batch) for name, task in self.parts().items() if task.draws}
        if not views:
            return batch
        batch = copy.copy(batch)
        batch[VIEWS] = views
        return batch

    def outputs(self, model: Callable[[HeteroData], Any], batch: HeteroData) -> dict[str, Tensor]:
        """Each task's, by name; tasks that draw each call the model for themselves, all others once together.

        Args:
            model: called with a batch, gives a table of outputs by name.
            batch: as :meth:`prepare` gives it.
        """
        parts = self.parts()
        shared = None if all(task.draws for task in parts.values()) else model(batch)
        found = {}
        for name, task in parts.items():
            own = _Selected(model if task.draws else (lambda _: shared), name)
            found[name] = task.outputs(own, self.part_batch(batch, name))
        return found

    def part_batch(self, batch: HeteroData, part: str) -> HeteroData:
        """The batch as that task prepared it."""
        return batch[VIEWS][part] if self.tasks[part].draws else batch

    def blank(self, batch: HeteroData) -> dict[str, Tensor]:
        return {name: task.blank(self.part_batch(batch, name)) for name, task in self.parts().items()}

    def fit(self, dataset: EventDataset) -> None:
        """Fit each task."""
        for task in self.parts().values():
            task.fit(dataset)

    def sums(self, output: Mapping[str, Tensor], batch: HeteroData) -> Sums:
        """The weighted sum of the losses, and all sums of each task under its name.

        Args:
            output: each task's, by name.
            batch: the batch.
        """
        sums: Sums = {}
        loss = []
        for name, task in self.parts().items():
            own = task.sums(output[name], self.part_batch(batch, name))
            loss.append(self.weights[name] * divided(*own["loss"]))
            sums |= {f"{name}_{metric}": pair for metric, pair in own.items()}
        total = torch.stack(loss).sum()
        return {"loss": (total, torch.ones_like(total)), **sums}

    def loss_parts(self, sums: Sums) -> list[tuple[float, Tensor, Tensor]]:
        """Each task's own."""
        return [(weight, *sums[f"{name}_loss"]) for name, weight in self.weights.items()]

    def finish(self, metrics: dict[str, float], stage: str) -> None:
        """Put the sum of the tasks' exact losses in place of the batches' mean."""
        metrics[f"{stage}_loss"] = sum(
            weight * metrics[f"{stage}_{name}_loss"] for name, weight in self.weights.items()
        )

    def notes(self) -> list[str]:
        """Those of the tasks."""
        return [note for task in self.parts().values() for note in task.notes()]

    def summary(self) -> dict[str, Any]:
        return {name: {"weight": self.weights[name], **task.summary()} for name, task in self.parts().items()}

    def __repr__(self) -> str:
        return f"Several({', '.join(f'{weight:g} {name}' for name, weight in self.weights.items())})"


class _Selected:
    """One output of a model that gives several."""

    def __init__(self, model: Callable[[HeteroData], Any], name: str) -> None:
        self.model, self.name = model, name

    def __call__(self, batch: HeteroData) -> Tensor:
        return self.model(batch)[self.name]


def _checked(name: str, table: dict[str, Any]) -> dict[str, Any]:
    """The table with all defaults; errors of a part name its key."""
    part = _Part.model_validate({"task": name, **{key: table[key] for key in _RESERVED if key in table}})
    if part.task not in task_names() or part.task == "several":
        known = [other for other in task_names() if other != "several"]
        raise ValueError(f"'{name}': there is no task '{part.task}'{suggest(part.task, known)}")
    options = {key: value for key, value in table.items() if key not in _RESERVED}
    try:
        config = task_config(part.task, options, "", name)
    except ConfigError as error:
        raise ValueError(str(error).removeprefix(": ")) from error
    return {**part.model_dump(), **config.model_dump()}
