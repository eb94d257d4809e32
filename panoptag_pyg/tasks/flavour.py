"""Flavour tagging: did a light parton, a c or a b quark start the jet?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor
from torch.nn import functional as F
from torch_geometric.data import HeteroData

from panoptag_pyg.config import StrictConfig
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import EventDataset
from panoptag_pyg.events.schema import FLAVOUR_NAMES
from panoptag_pyg.tasks.base import Sums, Task
from panoptag_pyg.tasks.registry import register_task


class FlavourConfig(StrictConfig):
    """Options of :class:`FlavourTagging` in a recipe."""

    gamma: Annotated[float, Field(ge=0, description="focusing exponent; 0 is plain cross-entropy")] = 1.0
    class_weights: Annotated[
        Literal["balanced", "equal"] | list[float],
        Field(description="'balanced', 'equal', or one number each for light, c and b"),
    ] = "balanced"
    event_weights: Annotated[bool, Field(description="weigh each jet by its event's weight")] = True

    @field_validator("class_weights")
    @classmethod
    def _one_weight_per_class(cls, value: str | list[float]) -> str | list[float]:
        if isinstance(value, list) and (len(value) != len(FLAVOUR_NAMES) or min(value) < 0 or max(value) == 0):
            raise ValueError(f"needs {len(FLAVOUR_NAMES)} numbers >= 0, not all 0, for {', '.join(FLAVOUR_NAMES)}")
        return value


@register_task("flavour")
class FlavourTagging(Task):
    r"""Class-weighted focal cross-entropy over the jets whose flavour is known.

    .. math::
        L = \frac{-\sum_j w_{y_j} u_j (1 - p_j)^\gamma \log p_j}{\sum_j w_{y_j} |u_j|}

    where :math:`p_j` is the probability given to jet j's true class, :math:`w` the class weights and :math:`u` the
    jets' (events') weights. At :math:`\gamma = 0` and :math:`u = 1` this is ``F.cross_entropy(weight=w)``. Jets
    with ``y = -1`` count for nothing; without a labelled jet the loss is 0, still attached to the logits.

    Source: T.-Y. Lin et al., *Focal Loss for Dense Object Detection*, arXiv:1708.02002, eq. 5; used with
    :math:`\gamma = 1` for PanopTag, arXiv:2601.16417.

    Args:
        gamma: focusing exponent, at least 0. Default 1.
        class_weights: one weight per class; ``"balanced"`` takes N / (C N_c) from the data given to :meth:`fit`
            (a class without jets gets 0) and is 1 until then; ``"equal"`` and ``None`` (the default) are 1 for all.
        event_weights: whether :meth:`sums` weighs jets by their event's weight. Default ``True``.
    """

    Config = FlavourConfig
    class_names = FLAVOUR_NAMES
    num_outputs = len(FLAVOUR_NAMES)
    class_weights: Tensor

    def __init__(
        self,
        gamma: float = 1.0,
        class_weights: Literal["balanced", "equal"] | Sequence[float] | None = None,
        event_weights: bool = True,
    ) -> None:
        super().__init__()
        if gamma < 0:
            raise ConfigError(f"the focal loss needs gamma >= 0, not {gamma}")
        self.gamma = float(gamma)
        if isinstance(class_weights, str) and class_weights not in ("balanced", "equal"):
            raise ConfigError(f"class_weights is 'balanced', 'equal' or numbers, not '{class_weights}'")
        self.balanced = class_weights == "balanced"
        self.event_weights = event_weights
        given = None if isinstance(class_weights, str) else class_weights
        weights = torch.ones(self.num_outputs) if given is None else torch.as_tensor(given, dtype=torch.float32)
        if weights.shape != (self.num_outputs,):
            raise ConfigError(f"class_weights needs {self.num_outputs} numbers, not {list(weights.shape)}")
        self.register_buffer("class_weights", weights)

    def fit(self, dataset: EventDataset) -> None:
        """Set ``"balanced"`` weights from the dataset's class counts; nothing to do when weights were given."""
        if self.balanced:
            self.class_weights.copy_(balanced_weights(torch.as_tensor(dataset.class_counts())))

    def forward(self, logits: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss, averaged over the labelled jets.

        Args:
            logits: unnormalised scores.
            y: class of each jet; -1 where it isn't known.
            weight: weight of each jet, may be negative; 1 when ``None`` (the default).

        Shapes:
            ``logits`` [J, C], ``y`` [J] (int64), ``weight`` [J]; returns a scalar.
        """
        total, norm = self._loss_sums(logits, y, weight)
        return total / torch.where(norm > 0, norm, torch.ones_like(norm))

    #: Losses are called as functions elsewhere; both spellings are the same.
    loss = forward

    def sums(self, output: Tensor, batch: HeteroData) -> Sums:
        """Sums for the loss and the accuracy (unweighted share of labelled jets whose largest logit is right).

        Args:
            output: logits [J, C].
            batch: its jets' ``y`` is the truth, its ``weight`` the events'.
        """
        jet = batch["jet"]
        weight = batch.weight[jet.batch] if self.event_weights and "weight" in batch else None
        known = jet.y >= 0
        correct = (output.argmax(dim=-1) == jet.y) & known if output.numel() else known
        return {
            "loss": self._loss_sums(output, jet.y, weight),
            "accuracy": (correct.sum().double(), known.sum().double()),
        }

    def summary(self) -> dict[str, Any]:
        """Names and weights of the classes."""
        return {"class_names": list(self.class_names), "class_weights": self.class_weights.tolist()}

    def _loss_sums(self, logits: Tensor, y: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
        # Half precision has 8 or 11 bits: a sum over thousands of jets would stand still.
        logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        known = y >= 0
        target = y.clamp_min(0)
        log_p = F.log_softmax(logits, dim=-1).gather(-1, target.unsqueeze(-1)).squeeze(-1)
        class_weight = self.class_weights.to(logits.dtype)[target] * known
        jet_weight = torch.ones_like(class_weight) if weight is None else weight.to(logits.dtype)
        # -expm1 keeps 1 - p exact near p = 1; the floor keeps the slope finite there for gamma < 1.
        focus = (-torch.expm1(log_p)).clamp_min(torch.finfo(logits.dtype).tiny).pow(self.gamma)
        total = -(class_weight * jet_weight * focus * log_p).sum()
        return total, (class_weight * jet_weight.abs()).sum()

    def __repr__(self) -> str:
        weights = ", ".join(f"{name} {w:.3g}" for name, w in zip(self.class_names, self.class_weights, strict=True))
        return f"{type(self).__name__}(gamma={self.gamma:g}, class weights: {weights})"


def balanced_weights(counts: Tensor) -> Tensor:
    """Weights N / (C N_c) that give every class the same sum; 0 for a class that has no jets.

    C counts the classes that do occur, so the mean weight over jets is 1.

    Args:
        counts: jets of each class.

    Shapes:
        ``counts`` [C]; returns [C] (float32).

    Raises:
        ConfigError: if no jet is labelled.
    """
    counts = counts.double()
    if not (counts > 0).any():
        raise ConfigError("no jet of the training events has a known flavour: there is nothing to learn from")
    weights = counts.sum() / ((counts > 0).sum() * counts)
    return torch.where(counts > 0, weights, torch.zeros_like(weights)).float()
