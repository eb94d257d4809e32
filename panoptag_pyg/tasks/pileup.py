"""What came from the hard scatter and what from other collisions: of jets, and of single PFOs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F
from torch_geometric.data import HeteroData

from panoptag_pyg.events.schema import HeavyAncestry
from panoptag_pyg.tasks.base import Sums, row_weights, rows_of
from panoptag_pyg.tasks.classification import Classification, ClassificationConfig
from panoptag_pyg.tasks.registry import register_task

PILEUP_NAMES = ("pileup", "hard_scatter")


class PileupJetConfig(ClassificationConfig):
    """Options of :class:`PileupJet` in a recipe."""

    criterion: Annotated[
        Literal["truth_jet", "fraction"],
        Field(
            description="'truth_jet': a truth jet is matched or none is; 'fraction': share of pT from the hard scatter"
        ),
    ] = "truth_jet"
    hard_scatter_min_pt: Annotated[
        float, Field(ge=0, description="truth_jet: the matched jet's least pT, GeV; jets matched below it are left out")
    ] = 10.0
    min_fraction: Annotated[
        float, Field(gt=0, le=1, description="fraction: least share of a jet from the hard scatter")
    ] = 0.5


@register_task("pileup_jet")
class PileupJet(Classification):
    """Is the jet from the hard scatter, the signal, or from pileup? See :class:`~panoptag_pyg.tasks.Classification`.

    ``"truth_jet"`` is ATLAS's rule (arXiv:1510.03823): from the hard scatter if a truth jet of at least 10 GeV is
    matched, pileup if none is; what lies between is left out. The matching is that of the events' detector card
    (ΔR < 0.3, 5 GeV).

    Args:
        criterion: ``"truth_jet"`` (default) by ``jet/truth_pt``, ``"fraction"`` by ``jet/hard_scatter_fraction``.
        hard_scatter_min_pt: least pT of the truth jet, GeV. Default 10.
        min_fraction: least share. Default 0.5.
        gamma, class_weights, event_weights, label_smoothing: as of :class:`~panoptag_pyg.tasks.Classification`.
    """

    Config = PileupJetConfig
    class_names = PILEUP_NAMES

    def __init__(
        self,
        criterion: Literal["truth_jet", "fraction"] = "truth_jet",
        hard_scatter_min_pt: float = 10.0,
        min_fraction: float = 0.5,
        gamma: float = 1.0,
        class_weights: Literal["balanced", "equal"] | Sequence[float] | None = None,
        event_weights: bool = True,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(gamma, class_weights, event_weights, label_smoothing)
        self.criterion = criterion
        self.hard_scatter_min_pt, self.min_fraction = hard_scatter_min_pt, min_fraction
        self.needs = frozenset({"jet/truth_pt" if criterion == "truth_jet" else "jet/hard_scatter_fraction"})

    def labels(self, rows: Mapping[str, Tensor]) -> Tensor:
        if self.criterion == "fraction":
            share = rows["hard_scatter_fraction"]
            return torch.where(share >= 0, (share >= self.min_fraction).long(), -1)
        truth_pt = rows["truth_pt"]
        return torch.where(truth_pt >= self.hard_scatter_min_pt, 1, torch.where(truth_pt > 0, -1, 0))


class PFOPileupConfig(ClassificationConfig):
    """Options of :class:`PFOPileup` in a recipe."""

    class_weights: Annotated[
        Literal["balanced", "equal"] | list[float],
        Field(description="'equal' keeps the answer a fraction; 'balanced' or numbers shift it"),
    ] = "equal"
    gamma: Annotated[
        float, Field(ge=0, description="focusing exponent; above 0 the answer is no fraction any more")
    ] = 0.0


@register_task("pfo_pileup")
class PFOPileup(Classification):
    r"""Which share of a PFO's energy is from the hard scatter? Cross-entropy with that share as the target.

    .. math::
        L = \frac{-\sum_i u_i\,[\,f_i\,w_1 (1 - p_i)^\gamma \log p_i + (1 - f_i)\,w_0\,p_i^\gamma \log(1 - p_i)]}
        {\sum_i |u_i|\,[\,f_i\,w_1 + (1 - f_i)\,w_0]}

    f is ``pfo/hard_scatter_fraction``: 0 or 1 for tracks, anything between for neutral PFOs, whose tower may hold both.
    With γ = 0 and equal weights the probability p is the expected fraction, a weight in the sense of PUPPI
    (arXiv:1407.6013). Label smoothing ε makes f (1 - ε) f + ε/2 in the numerator. Accuracy and figures of merit take
    f ≥ 0.5 as hard scatter. Events without pileup have f = 1 throughout: there is nothing to learn from them.

    Args:
        gamma: focusing exponent. Default 0.
        class_weights: of pileup and hard scatter. Default: equal.
        event_weights: whether PFOs are weighed by their event's weight. Default ``True``.
        label_smoothing: ε. Default 0.
    """

    Config = PFOPileupConfig
    class_names = PILEUP_NAMES
    level = "pfo"
    needs = frozenset({"pfo/hard_scatter_fraction"})
    columns: ClassVar[Mapping[str, tuple[str, str]]] = {
        "logits": ("", "logits of the classes in the attribute `classes`"),
        "label": ("", "1 if at least half of its energy is from the hard scatter, else 0; -1 unknown"),
        "fraction": ("", "true share of its energy from the hard scatter; NaN unknown"),
    }

    def labels(self, rows: Mapping[str, Tensor]) -> Tensor:
        return (rows["hard_scatter_fraction"] >= 0.5).long()

    def sums(self, output: Tensor, batch: HeteroData) -> Sums:
        fraction = rows_of(batch, "pfo")["hard_scatter_fraction"]
        weight = row_weights(batch, "pfo") if self.event_weights else None
        correct = (output.argmax(dim=-1) == self.targets(batch)) if output.numel() else torch.zeros_like(fraction)
        error = (F.softmax(output.detach().float(), dim=-1)[:, 1] - fraction).abs()
        number = torch.as_tensor(float(len(fraction)), device=output.device).double()
        return {
            "loss": self.soft_loss(output, fraction, weight),
            "accuracy": (correct.sum().double(), number),
            "fraction_error": (error.sum().double(), number),
        }

    def soft_loss(self, logits: Tensor, fraction: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Numerator and denominator of the loss above.

        Shapes:
            ``logits`` [P, 2], ``fraction`` [P], ``weight`` [P] → two scalars.
        """
        logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        class_weights = self.class_weights.to(logits.dtype)
        target = torch.stack([1 - fraction, fraction], dim=-1).to(logits.dtype)
        share = target * class_weights
        if self.label_smoothing:
            target = (1 - self.label_smoothing) * target + self.label_smoothing / 2
        row_weight = torch.ones_like(share[:, 0]) if weight is None else weight.to(logits.dtype)
        log_p = F.log_softmax(logits, dim=-1)
        total = -(target * class_weights * row_weight.unsqueeze(-1) * self._focus(log_p) * log_p).sum()
        return total, (share * row_weight.abs().unsqueeze(-1)).sum()

    def answers(self, output: Tensor, batch: HeteroData) -> dict[str, Tensor]:
        return {**super().answers(output, batch), "fraction": rows_of(batch, "pfo")["hard_scatter_fraction"]}

    def blank_truth(self, answers: dict[str, Tensor]) -> None:
        super().blank_truth(answers)
        answers["fraction"] = torch.full_like(answers["fraction"], torch.nan)


@register_task("pfo_ancestry")
class PFOAncestry(Classification):
    """Does the PFO come from a b hadron, a c hadron or neither? By ``pfo/heavy_ancestry``.

    Arguments as of :class:`~panoptag_pyg.tasks.Classification`.
    """

    Config = ClassificationConfig
    class_names = ("none", "c", "b")
    level = "pfo"
    needs = frozenset({"pfo/heavy_ancestry"})

    @property
    def rejections(self) -> tuple[tuple[int, int], ...]:
        """PFOs of no heavy hadron rejected, those of b or c hadrons kept."""
        return ((HeavyAncestry.B, HeavyAncestry.NONE), (HeavyAncestry.C, HeavyAncestry.NONE))

    def labels(self, rows: Mapping[str, Tensor]) -> Tensor:
        return rows["heavy_ancestry"].long()
