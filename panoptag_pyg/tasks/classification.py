"""Tasks whose answer is one of some classes: the focal loss, class weights, and what they are measured by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F
from torch_geometric.data import HeteroData

from panoptag_pyg.config import StrictConfig
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import EventDataset
from panoptag_pyg.tasks.base import (
    Sums,
    Task,
    check_truth,
    divided,
    row_weights,
    rows_of,
    truth_columns,
    unknown_everywhere,
)

#: Events read at once when labels are counted.
COUNT_EVENTS = 4096
#: What the option of that name does, for every task's table.
LABEL_SMOOTHING = "share of each label that is spread evenly over all classes"


class ClassificationConfig(StrictConfig):
    """Options that all classifications share."""

    gamma: Annotated[float, Field(ge=0, description="focusing exponent; 0 is plain cross-entropy")] = 1.0
    class_weights: Annotated[
        Literal["balanced", "equal"] | list[float],
        Field(description="'balanced', 'equal', or one number for each class"),
    ] = "balanced"
    event_weights: Annotated[bool, Field(description="weigh each row by its event's weight")] = True
    label_smoothing: Annotated[float, Field(ge=0, lt=1, description=LABEL_SMOOTHING)] = 0.0


class Classification(Task):
    r"""Class-weighted focal cross-entropy over the jets, events or PFOs whose class is known.

    .. math::
        L = \frac{-\sum_j w_{y_j} u_j (1 - p_j)^\gamma \log p_j}{\sum_j w_{y_j} |u_j|}

    where :math:`p_j` is the probability given to row j's true class, :math:`w` the class weights and :math:`u` the
    events' weights. At :math:`\gamma = 0` and :math:`u = 1` this is ``F.cross_entropy(weight=w)``. Rows with
    ``y = -1`` count for nothing; without a labelled row the loss is 0, still attached to the logits.

    With label smoothing :math:`\epsilon > 0` (C. Szegedy et al., arXiv:1512.00567, sec. 7) the target of a row is
    :math:`q_{jc} = (1 - \epsilon)\,\delta_{c y_j} + \epsilon / C`, and every class has its own focal factor and weight:

    .. math::
        L = \frac{-\sum_j u_j \sum_c q_{jc} w_c (1 - p_{jc})^\gamma \log p_{jc}}{\sum_j w_{y_j} |u_j|}

    At :math:`\gamma = 0` and :math:`u = 1` this is ``F.cross_entropy(weight=w, label_smoothing=epsilon)``.

    A subclass gives ``class_names``, ``level`` (default ``"jet"``), ``needs`` and :meth:`labels`. Of two classes the
    second is the signal.

    Source: T.-Y. Lin et al., *Focal Loss for Dense Object Detection*, arXiv:1708.02002, eq. 5; used with
    :math:`\gamma = 1` for PanopTag, arXiv:2601.16417.

    Args:
        gamma: focusing exponent, at least 0. Default 1.
        class_weights: one weight per class; ``"balanced"`` takes N / (C N_c) from the data given to :meth:`fit`
            (a class without rows gets 0) and is 1 until then; ``"equal"`` and ``None`` (the default) are 1 for all.
            N_c is the sum of the rows' \|u\| where ``event_weights`` holds, else their number.
        event_weights: whether :meth:`sums` weighs rows by their event's weight. Default ``True``.
        label_smoothing: ε, at least 0 and below 1. Default 0.
    """

    Config: ClassVar[type[StrictConfig]] = ClassificationConfig
    kind = "classes"
    columns: ClassVar[Mapping[str, tuple[str, str]]] = {
        "logits": ("", "logits of the classes in the attribute `classes`"),
        "label": ("", "true class; -1 unknown"),
    }
    class_weights: Tensor

    def __init__(
        self,
        gamma: float = 1.0,
        class_weights: Literal["balanced", "equal"] | Sequence[float] | None = None,
        event_weights: bool = True,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if gamma < 0:
            raise ConfigError(f"the focal loss needs gamma >= 0, not {gamma}")
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label_smoothing needs a number from 0 to below 1, not {label_smoothing}")
        self.num_outputs = len(self.class_names)
        self.gamma = float(gamma)
        if isinstance(class_weights, str) and class_weights not in ("balanced", "equal"):
            raise ConfigError(f"class_weights is 'balanced', 'equal' or numbers, not '{class_weights}'")
        self.balanced = class_weights == "balanced"
        self.event_weights = event_weights
        self.label_smoothing = float(label_smoothing)
        given = None if isinstance(class_weights, str) else class_weights
        weights = torch.ones(self.num_outputs) if given is None else torch.as_tensor(given, dtype=torch.float32)
        if weights.shape != (self.num_outputs,):
            raise ConfigError(f"class_weights needs {self.num_outputs} numbers, not {list(weights.shape)}")
        if given is not None and (weights.min() < 0 or weights.max() == 0):
            raise ConfigError(f"class_weights needs numbers >= 0, not all 0, for {', '.join(self.class_names)}")
        self.register_buffer("class_weights", weights)
        #: Labelled rows of each class in the training data, once :meth:`fit` has counted them.
        self.counts: list[int] | None = None

    @property
    def rejections(self) -> tuple[tuple[int, int], ...]:
        """Pairs (signal class, background class) whose rejection is worth quoting."""
        return ((1, 0),) if self.num_outputs == 2 else ()

    def labels(self, rows: Mapping[str, Tensor]) -> Tensor:
        """Class of each row from its columns; -1 where it isn't known.

        Args:
            rows: columns by name, those of :attr:`needs` (without ``"jet/"`` or ``"pfo/"``) among them.

        Shapes: [N], int64.

        Raises:
            NotImplementedError: a classification has to say what its classes are.
        """
        raise NotImplementedError

    def targets(self, batch: HeteroData) -> Tensor:
        """Class of each jet, event or PFO of a batch; -1 where it isn't known."""
        return self.labels(rows_of(batch, self.level))

    def absence_is_unknown(self) -> bool:
        truth = {column.name: torch.tensor([column.default]) for column in truth_columns(self)}
        return not truth or bool(self.labels(truth)[0] < 0)

    def fit(self, dataset: EventDataset) -> None:
        """Count the labels; set ``"balanced"`` weights from them.

        Raises:
            ConfigError: if no row is labelled.
        """
        check_truth(self, dataset)
        counts, weighted = class_sums(self, dataset)
        if not counts.any():
            raise unknown_everywhere(self, dataset, " and ".join(sorted(self.needs)) or "labels")
        self.counts = counts.tolist()
        if self.balanced:
            self.class_weights.copy_(balanced_weights(weighted if self.event_weights else counts))

    def forward(self, logits: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss, averaged over the labelled rows.

        Args:
            logits: unnormalised scores.
            y: class of each row; -1 where it isn't known.
            weight: weight of each row, may be negative; 1 when ``None`` (the default).

        Shapes:
            ``logits`` [N, C], ``y`` [N] (int64), ``weight`` [N]; returns a scalar.
        """
        return divided(*self._loss_sums(logits, y, weight))

    #: Losses are called as functions elsewhere; both spellings are the same.
    loss = forward

    def sums(self, output: Tensor, batch: HeteroData) -> Sums:
        """Sums for the loss and the accuracy (unweighted share of labelled rows whose largest logit is right).

        Args:
            output: logits [N, C].
            batch: holds the truth and the events' weights.
        """
        y = self.targets(batch)
        weight = row_weights(batch, self.level) if self.event_weights else None
        known = y >= 0
        correct = (output.argmax(dim=-1) == y) & known if output.numel() else known
        return {
            "loss": self._loss_sums(output, y, weight),
            "accuracy": (correct.sum().double(), known.sum().double()),
        }

    def answers(self, output: Tensor, batch: HeteroData) -> dict[str, Tensor]:
        return {"logits": output, "label": self.targets(batch)}

    def blank_truth(self, answers: dict[str, Tensor]) -> None:
        answers["label"] = torch.full_like(answers["label"], -1)

    def notes(self) -> list[str]:
        """Says so where all labels are of one class."""
        present = [name for name, count in zip(self.class_names, self.counts or (), strict=False) if count]
        if len(present) != 1:
            return []
        return [f"{self.name}: every labelled {self.level} is {present[0]}: these events have nothing to tell apart."]

    def summary(self) -> dict[str, Any]:
        """Names and weights of the classes, and how often each occurs."""
        summary = {"class_names": list(self.class_names), "class_weights": self.class_weights.tolist()}
        return summary if self.counts is None else {**summary, "labels": self.counts}

    def _loss_sums(self, logits: Tensor, y: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
        # Half precision has 8 or 11 bits: a sum over thousands of jets would stand still.
        logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        known = y >= 0
        target = y.clamp_min(0)
        all_log_p = F.log_softmax(logits, dim=-1)
        log_p = all_log_p.gather(-1, target.unsqueeze(-1)).squeeze(-1)
        class_weight = self.class_weights.to(logits.dtype)[target] * known
        row_weight = torch.ones_like(class_weight) if weight is None else weight.to(logits.dtype)
        total = -(class_weight * row_weight * self._focus(log_p) * log_p).sum()
        if self.label_smoothing:
            of_classes = (self.class_weights.to(logits.dtype) * self._focus(all_log_p) * all_log_p).mean(dim=-1)
            spread = -(row_weight * known * of_classes).sum()
            total = (1 - self.label_smoothing) * total + self.label_smoothing * spread
        return total, (class_weight * row_weight.abs()).sum()

    def _focus(self, log_p: Tensor) -> Tensor:
        """(1 - p)^γ: -expm1 keeps 1 - p exact near p = 1, the floor keeps the slope finite there for γ < 1."""
        return (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny).pow(self.gamma)

    def __repr__(self) -> str:
        weights = ", ".join(f"{name} {w:.3g}" for name, w in zip(self.class_names, self.class_weights, strict=True))
        return f"{type(self).__name__}(gamma={self.gamma:g}, class weights: {weights})"


def class_sums(task: Classification, dataset: EventDataset) -> tuple[Tensor, Tensor]:
    """Rows of each class in a dataset, and the sum of the absolute values of their events' weights.

    Shapes: int64 [C], float64 [C].
    """
    counts = torch.zeros(task.num_outputs, dtype=torch.int64)
    weighted = torch.zeros(task.num_outputs, dtype=torch.float64)
    # What the labels and the weights are made of, and nothing else: PFOs are most of a file.
    columns = {"event/process", "event/weight", "jet/flavour", *task.needs}
    for start in range(0, len(dataset), COUNT_EVENTS):
        block = dataset.read_block(range(start, min(start + COUNT_EVENTS, len(dataset))), columns)
        label = task.labels({name: torch.from_numpy(values) for name, values in getattr(block, task.level).items()})
        weight = np.abs(block.event["weight"].astype(np.float64))
        if task.level != "event":
            weight = np.repeat(weight, np.diff(block.jet_offsets if task.level == "jet" else block.pfo_offsets))
        known = label >= 0
        counts += torch.bincount(label[known], minlength=task.num_outputs)
        weighted += torch.bincount(label[known], torch.from_numpy(weight)[known], task.num_outputs)
    return counts, weighted


def balanced_weights(counts: Tensor) -> Tensor:
    """Weights N / (C N_c) that give every class the same sum; 0 for a class that has no jets.

    C counts the classes that do occur, so the mean weight over jets is 1.

    Args:
        counts: jets of each class, or the sum of their weights.

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
