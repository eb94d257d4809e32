"""Which jet of its event does a PFO belong to, or to none? A choice among as many as the event has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch_geometric.data import HeteroData

from panoptag_pyg import ops
from panoptag_pyg.config import StrictConfig
from panoptag_pyg.events import CONTAINS
from panoptag_pyg.tasks.base import Head, Sums, Task, divided, row_weights
from panoptag_pyg.tasks.registry import register_task


class PFOJetConfig(StrictConfig):
    """Options of :class:`PFOJet` in a recipe."""

    none_weight: Annotated[float, Field(ge=0, description="weight of PFOs that are in no jet")] = 1.0
    event_weights: Annotated[bool, Field(description="weigh each PFO by its event's weight")] = True


@register_task("pfo_jet")
class PFOJet(Task):
    r"""Each PFO points to one of its event's jets or to none; cross-entropy of a softmax as long as the event has jets.

    .. math::
        L = \frac{-\sum_i w_i u_i \log p_{i, y_i}}{\sum_i w_i |u_i|}, \qquad
        p_{i, \cdot} = \mathrm{softmax}(s_{i, \text{none}}, s_{i, 1}, \dots, s_{i, n})

    with n the number of jets of PFO i's event, w the weight ``none_weight`` for PFOs in no jet and 1 for others, and u
    the events' weights. The truth is the file's ``jet/constituents``.

    The model's output is one row of scores: for each PFO that of "none", then those of its event's jets in order
    (:func:`candidates` gives their places).

    Args:
        none_weight: weight of PFOs in no jet. Default 1.
        event_weights: whether PFOs are weighed by their event's weight. Default ``True``.
    """

    Config = PFOJetConfig
    kind = "pointer"
    level = "pfo"
    needs = frozenset({"constituents"})
    num_outputs = 1
    columns: ClassVar[Mapping[str, tuple[str, str]]] = {
        "jet": ("", "number of the chosen jet within its event; -1 none"),
        "probability": ("", "of that choice"),
        "label": ("", "number of the jet that it is a constituent of; -1 none"),
        "nearest": ("", "number of the jet of nearest axis within ΔR < 0.4; -1 none: a yardstick"),
    }

    def __init__(self, none_weight: float = 1.0, event_weights: bool = True) -> None:
        super().__init__()
        self.none_weight, self.event_weights = none_weight, event_weights

    @property
    def head(self) -> Head:
        return Head("pfo_jet", 1)

    def targets(self, batch: HeteroData) -> Tensor:
        """Number of each PFO's jet within its event; -1 for none. Shapes: [P]."""
        jet, pfo = batch[CONTAINS].edge_index
        target = torch.full_like(batch["pfo"].batch, -1)
        target[pfo] = jet - batch["jet"].ptr[batch["jet"].batch[jet]]
        return target

    def sums(self, output: Tensor, batch: HeteroData) -> Sums:
        """Sums for the loss, the accuracy over all PFOs and the efficiency: the share of jets' PFOs that find theirs.

        Args:
            output: scores [S].
            batch: holds the constituents.
        """
        target, ptr = self.targets(batch), candidates(batch)
        weight = row_weights(batch, "pfo") if self.event_weights else None
        correct = choices(output.detach(), ptr)[0] == target
        inside = target >= 0
        return {
            "loss": self.loss(output, ptr, target, weight),
            "accuracy": (correct.sum().double(), torch.as_tensor(len(target), device=output.device).double()),
            "efficiency": ((correct & inside).sum().double(), inside.sum().double()),
        }

    def loss(self, scores: Tensor, ptr: Tensor, target: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
        """Numerator and denominator of the loss above.

        Args:
            scores: of all PFOs' candidates.
            ptr: first candidate of each PFO, and S.
            target: chosen jet of each PFO, -1 for none.
            weight: of each PFO. Default: 1.

        Shapes:
            scores [S], ptr [P+1], target [P], weight [P] → two scalars.
        """
        scores = scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
        log_p = log_softmax(scores, ptr)[ptr[:-1] + 1 + target]
        w = torch.where(target >= 0, 1.0, self.none_weight).to(scores.dtype)
        u = torch.ones_like(w) if weight is None else weight.to(scores.dtype)
        return -(w * u * log_p).sum(), (w * u.abs()).sum()

    def forward(self, scores: Tensor, ptr: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss, averaged; arguments as of :meth:`loss`."""
        return divided(*self.loss(scores, ptr, target, weight))

    def answers(self, output: Tensor, batch: HeteroData) -> dict[str, Tensor]:
        jet, probability = choices(output.float(), candidates(batch))
        label, nearest = self.targets(batch), nearest_jet(batch)
        return {"jet": jet, "probability": probability, "label": label, "nearest": nearest}

    def blank_truth(self, answers: dict[str, Tensor]) -> None:
        """Nothing to do: which PFOs a jet consists of is known of every jet."""

    def summary(self) -> dict[str, Any]:
        return {"none_weight": self.none_weight}

    def __repr__(self) -> str:
        return f"PFOJet(none_weight={self.none_weight:g})"


def candidates(batch: HeteroData) -> Tensor:
    """Where each PFO's scores begin: one for "none" and one for each jet of its event. Shapes: int64 [P + 1]."""
    number = batch["jet"].ptr.diff()[batch["pfo"].batch] + 1
    return torch.cat([number.new_zeros(1), number.cumsum(0)])


def nearest_jet(batch: HeteroData, max_delta_r: float = 0.4) -> Tensor:
    """Number of the jet whose axis is nearest to each PFO, -1 if none is within ``max_delta_r``. Shapes: [P]."""
    ptr = candidates(batch)
    pfo = torch.repeat_interleave(torch.arange(len(ptr) - 1, device=ptr.device), ptr.diff())
    rank = torch.arange(len(pfo), device=ptr.device) - ptr[pfo] - 1
    if not len(batch["jet"].pos):
        return torch.full_like(batch["pfo"].batch, -1)
    jet = batch["jet"].ptr[batch["pfo"].batch[pfo]] + rank.clamp_min(0)
    delta = batch["pfo"].pos[pfo] - batch["jet"].pos[jet.clamp_max(len(batch["jet"].pos) - 1)]
    delta_phi = torch.remainder(delta[:, 1] + torch.pi, 2 * torch.pi) - torch.pi
    distance = torch.where(rank >= 0, torch.hypot(delta[:, 0], delta_phi), max_delta_r)
    return choices(-distance, ptr)[0]


def log_softmax(scores: Tensor, ptr: Tensor) -> Tensor:
    """Logarithm of the softmax within each segment, none of them empty. Shapes: [S], [P + 1] → [S]."""
    counts = ptr.diff()
    row = torch.repeat_interleave(torch.arange(len(counts), device=ptr.device), counts, output_size=scores.size(0))
    # The maximum only keeps exp finite: no gradient goes through it.
    shifted = scores - ops.segment_reduce(scores.detach(), ptr, "max")[row]
    return shifted - ops.segment_reduce(shifted.exp(), ptr, "sum").log()[row]


def choices(scores: Tensor, ptr: Tensor) -> tuple[Tensor, Tensor]:
    """The candidate of highest score for each PFO (-1: none, else the number of the jet) and its probability.

    Shapes: scores [S], ptr [P+1] → [P] (int64), [P].
    """
    log_p = log_softmax(scores, ptr)
    counts = ptr.diff()
    row = torch.repeat_interleave(torch.arange(len(counts), device=ptr.device), counts, output_size=scores.size(0))
    best = ops.segment_reduce(log_p, ptr, "max")
    # Of equal scores the first: the smallest place among those that reach the maximum.
    place = torch.arange(len(scores), device=ptr.device)
    first = torch.full_like(counts, len(scores)).scatter_reduce(
        0, row, torch.where(log_p == best[row], place, len(scores)), "amin"
    )
    return first - ptr[:-1] - 1, best.exp()
