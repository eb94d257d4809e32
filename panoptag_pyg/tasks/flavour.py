"""Flavour tagging: did a light parton, a c or a b quark start the jet?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor
from torch_geometric.data import HeteroData

from panoptag_pyg.config import StrictConfig
from panoptag_pyg.events import EventDataset
from panoptag_pyg.events.schema import FLAVOUR_NAMES, Flavour
from panoptag_pyg.tasks.classification import LABEL_SMOOTHING, Classification, balanced_weights, class_sums
from panoptag_pyg.tasks.registry import register_task


class FlavourConfig(StrictConfig):
    """Options of :class:`FlavourTagging` in a recipe."""

    gamma: Annotated[float, Field(ge=0, description="focusing exponent; 0 is plain cross-entropy")] = 1.0
    class_weights: Annotated[
        Literal["balanced", "equal"] | list[float],
        Field(description="'balanced', 'equal', or one number each for light, c and b"),
    ] = "balanced"
    event_weights: Annotated[bool, Field(description="weigh each jet by its event's weight")] = True
    label_smoothing: Annotated[float, Field(ge=0, lt=1, description=LABEL_SMOOTHING)] = 0.0

    @field_validator("class_weights")
    @classmethod
    def _one_weight_per_class(cls, value: str | list[float]) -> str | list[float]:
        if isinstance(value, list) and (len(value) != len(FLAVOUR_NAMES) or min(value) < 0 or max(value) == 0):
            raise ValueError(f"needs {len(FLAVOUR_NAMES)} numbers >= 0, not all 0, for {', '.join(FLAVOUR_NAMES)}")
        return value


@register_task("flavour")
class FlavourTagging(Classification):
    """Light, c or b: :class:`~panoptag_pyg.tasks.Classification` by the column ``jet/flavour``, the paper's task.

    Arguments as there. Source: *PanopTag*, arXiv:2601.16417.
    """

    Config = FlavourConfig
    class_names = FLAVOUR_NAMES
    num_outputs = len(FLAVOUR_NAMES)

    @property
    def rejections(self) -> tuple[tuple[int, int], ...]:
        """Light jets rejected, b or c jets kept."""
        return ((Flavour.B, Flavour.LIGHT), (Flavour.C, Flavour.LIGHT))

    def labels(self, rows: Mapping[str, Tensor]) -> Tensor:
        return rows["flavour"].long()

    def targets(self, batch: HeteroData) -> Tensor:
        # Every batch has the flavour already, whatever else it holds.
        return batch["jet"].y

    def fit(self, dataset: EventDataset) -> None:
        """Set ``"balanced"`` weights from the jets of each class; nothing to do when weights were given."""
        if not self.balanced:
            return
        _, weight = dataset.event_weights()
        if self.event_weights and len(weight) and (np.abs(weight) != abs(weight[0])).any():
            counts, sums = class_sums(self, dataset)
        else:  # the counts alone, which manifests know and files keep in one column
            counts = sums = torch.as_tensor(dataset.class_counts())
        self.class_weights.copy_(balanced_weights(sums))
        self.counts = counts.tolist()
