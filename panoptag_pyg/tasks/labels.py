"""Classes from a column of whole numbers: any column, or the parton's for quark against gluon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from panoptag_pyg.config import StrictConfig
from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.events.schema import COLUMNS
from panoptag_pyg.tasks.classification import Classification, ClassificationConfig
from panoptag_pyg.tasks.registry import register_task

#: Label columns that a task can be made of: whole numbers of jets or PFOs.
LABEL_COLUMNS = tuple(c.path for c in COLUMNS if c.group in ("jet", "pfo") and not c.is_float)


class LabelConfig(ClassificationConfig):
    """Options of :class:`LabelClassification` in a recipe."""

    column: Annotated[str, Field(description="column of whole numbers, such as jet/flavour or pfo/heavy_ancestry")]
    classes: Annotated[
        list[int | list[int]],
        Field(description="for each class the column's value, or a list of values; all others are left out"),
    ]
    names: Annotated[list[str] | None, Field(description="names of the classes; those of their values if absent")] = (
        None
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.column not in LABEL_COLUMNS:
            raise ValueError(
                f"there is no column of whole numbers '{self.column}' of jets or PFOs"
                f"{suggest(self.column, LABEL_COLUMNS)}"
            )
        values = [value for entry in self.classes for value in _values(entry)]
        if len(self.classes) < 2 or len(values) != len(set(values)):
            raise ValueError(f"classes needs at least two classes and no value twice, not {self.classes}")
        if self.names is not None and len(self.names) != len(self.classes):
            raise ValueError(f"names has {len(self.names)} names for {len(self.classes)} classes")
        return self


@register_task("label")
class LabelClassification(Classification):
    """Classes by any column of whole numbers of jets or PFOs; see :class:`~panoptag_pyg.tasks.Classification`.

    Args:
        column: such as ``"jet/flavour"`` or ``"pfo/heavy_ancestry"``; its first part says what is classified.
        classes: for each class the column's value, or several; rows with another value are left out.
        names: of the classes. Default: their values.
        gamma, class_weights, event_weights, label_smoothing: as of :class:`~panoptag_pyg.tasks.Classification`.

    Raises:
        ConfigError: for a column that doesn't exist, fewer than two classes, or a value in two of them.
    """

    Config: ClassVar[type[StrictConfig]] = LabelConfig
    values: Tensor
    of_value: Tensor

    def __init__(
        self,
        column: str,
        classes: Sequence[int | Sequence[int]],
        names: Sequence[str] | None = None,
        gamma: float = 1.0,
        class_weights: Literal["balanced", "equal"] | Sequence[float] | None = None,
        event_weights: bool = True,
        label_smoothing: float = 0.0,
    ) -> None:
        if column not in LABEL_COLUMNS:
            raise ConfigError(f"there is no column of whole numbers '{column}'{suggest(column, LABEL_COLUMNS)}")
        values = [_values(entry) for entry in classes]
        group, self.column = column.split("/")
        self.level = "jet" if group == "jet" else "pfo"
        self.needs = frozenset({column})
        self.class_names = tuple(names or ("+".join(map(str, entry)) for entry in values))
        super().__init__(gamma, class_weights, event_weights, label_smoothing)
        self.register_buffer("values", torch.tensor([v for entry in values for v in entry]), persistent=False)
        self.register_buffer(
            "of_value", torch.tensor([i for i, entry in enumerate(values) for _ in entry]), persistent=False
        )

    def labels(self, rows: Mapping[str, Tensor]) -> Tensor:
        return classes_of(rows[self.column], self.values, self.of_value)


def classes_of(column: Tensor, values: Tensor, of_value: Tensor) -> Tensor:
    """Class of each entry of ``column``: that of the value it has, -1 for any other.

    Args:
        column: whole numbers.
        values: values that belong to a class, all different.
        of_value: class of each of them.

    Shapes:
        column [N], values [V], of_value [V] → [N].
    """
    same = column.unsqueeze(-1) == values.to(column.device)
    return torch.where(same.any(dim=-1), of_value.to(column.device)[same.to(torch.uint8).argmax(dim=-1)], -1)


class QuarkGluonConfig(ClassificationConfig):
    """Options of :class:`QuarkGluon` in a recipe."""

    quarks: Annotated[
        list[Annotated[int, Field(ge=1, le=5)]],
        Field(min_length=1, description="which quarks count: 1 to 5 for d, u, s, c, b; jets of others are left out"),
    ] = [1, 2, 3]  # noqa: RUF012 - pydantic copies it


@register_task("quark_gluon")
class QuarkGluon(LabelClassification):
    """Did a light quark or a gluon start the jet? By ``jet/parton_flavour``; quark jets are the signal.

    The truth is that of :func:`panoptag_pyg.simulation.partons.parton_flavour`; jets of other partons, or of none, are
    left out.

    Args:
        quarks: which quarks count, 1–5 for d, u, s, c, b. Default: d, u and s.
        gamma, class_weights, event_weights, label_smoothing: as of :class:`~panoptag_pyg.tasks.Classification`.
    """

    Config = QuarkGluonConfig

    def __init__(
        self,
        quarks: Sequence[int] = (1, 2, 3),
        gamma: float = 1.0,
        class_weights: Literal["balanced", "equal"] | Sequence[float] | None = None,
        event_weights: bool = True,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            column="jet/parton_flavour",
            classes=[21, list(quarks)],
            names=["gluon", "quark"],
            gamma=gamma,
            class_weights=class_weights,
            event_weights=event_weights,
            label_smoothing=label_smoothing,
        )


def _values(entry: int | Sequence[int]) -> list[int]:
    return [entry] if isinstance(entry, int) else list(entry)
