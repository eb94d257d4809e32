"""Which process gave the event: one of several, or signal against the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.events import EventDataset
from panoptag_pyg.tasks.classification import Classification, ClassificationConfig
from panoptag_pyg.tasks.registry import register_task

_ONE_OF = "give either classes, at least two processes to tell apart, or signal, processes to tell from all others"


class ProcessConfig(ClassificationConfig):
    """Options of :class:`ProcessClassification` in a recipe."""

    classes: Annotated[
        list[str] | None, Field(description="processes to tell apart; events of others are left out")
    ] = None
    signal: Annotated[
        list[str] | None, Field(description="processes that are the signal; all others are the background")
    ] = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if _problem(self.classes, self.signal):
            raise ValueError(_problem(self.classes, self.signal))
        return self


@register_task("process")
class ProcessClassification(Classification):
    """One answer per event: its process; see :class:`~panoptag_pyg.tasks.Classification`.

    Args:
        classes: processes to tell apart, by the names in the files; events of others are left out.
        signal: instead, the processes that are the signal; all others are the background.
        gamma, class_weights, event_weights, label_smoothing: as of :class:`~panoptag_pyg.tasks.Classification`.

    Raises:
        ConfigError: for both or neither, for fewer than two classes, or a name twice.
    """

    Config = ProcessConfig
    level = "event"

    def __init__(
        self,
        classes: Sequence[str] | None = None,
        signal: Sequence[str] | None = None,
        gamma: float = 1.0,
        class_weights: Literal["balanced", "equal"] | Sequence[float] | None = None,
        event_weights: bool = True,
        label_smoothing: float = 0.0,
    ) -> None:
        problem = _problem(classes, signal)
        if problem:
            raise ConfigError(f"task 'process': {problem}")
        # Datasets count these processes first, so that their numbers say the class.
        self.processes = tuple(classes or signal or ())
        self.signal = signal is not None
        self.class_names = ("background", "signal") if self.signal else self.processes
        super().__init__(gamma, class_weights, event_weights, label_smoothing)

    def labels(self, rows: Mapping[str, Tensor]) -> Tensor:
        process = rows["process"].long()
        named = process < len(self.processes)
        return named.long() if self.signal else torch.where(named, process, -1)

    def fit(self, dataset: EventDataset) -> None:
        """Count the events of each class and set ``"balanced"`` weights.

        Raises:
            ConfigError: naming a process of which there is no event.
        """
        found = {name for file in dataset.files for name in file.processes}
        for name in self.processes:
            if name not in found:
                raise ConfigError(
                    f"the task 'process' asks for '{name}', but the events are of {', '.join(sorted(found))}"
                    f"{suggest(name, found)}"
                )
        super().fit(dataset)
        for name, count in zip(self.class_names, self.counts or (), strict=True):
            if not count:
                raise ConfigError(f"the task 'process' has no training event of the class '{name}'; give some")


def _problem(classes: Sequence[str] | None, signal: Sequence[str] | None) -> str:
    names = list(classes or signal or ())
    if (classes is None) == (signal is None) or not names or (classes is not None and len(names) < 2):
        return _ONE_OF
    return (
        f"the process '{next(n for n in names if names.count(n) > 1)}' is named twice"
        if len(set(names)) < len(names)
        else ""
    )
