"""Masked-PFO modelling: some PFOs are hidden but for their direction, and the network says what they were."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.data import HeteroData

from panoptag_pyg.config import StrictConfig
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import PFO_FEATURES, EventDataset
from panoptag_pyg.nn import FeatureNormalisation
from panoptag_pyg.nn.normalisation import IMPACT_SCALE
from panoptag_pyg.tasks.base import Sums, Task, divided, row_weights
from panoptag_pyg.tasks.registry import register_task

Group = Literal["momentum", "impact", "identity"]
#: What can be hidden, and the features that it consists of: each can be read off the others of its group, or nearly.
GROUPS: dict[str, tuple[str, ...]] = {
    "momentum": ("log_pt", "log_energy"),
    "impact": ("d0", "dz", "d0_error", "dz_error"),
    "identity": ("charge", *(name for name in PFO_FEATURES if name.startswith("is_"))),
}
#: Columns of the particle class among the features, and of the charge.
_CLASSES = [PFO_FEATURES.index(name) for name in GROUPS["identity"][1:]]
_CHARGE = PFO_FEATURES.index("charge")
#: Outputs for each group: one per number; one per class and one for each of the charges −1, 0, 1.
_WIDTHS = {"momentum": 2, "impact": 4, "identity": len(_CLASSES) + 3}
#: Events from which means and deviations are taken.
FIT_EVENTS = 2000


class MaskedPFOsConfig(StrictConfig):
    """Options of :class:`MaskedPFOs` in a recipe."""

    share: Annotated[float, Field(gt=0, lt=1, description="share of each event's PFOs that are hidden")] = 0.3
    hidden: Annotated[
        list[Group],
        Field(
            min_length=1, description="what of them is hidden: 'momentum', 'impact' and 'identity', or some of these"
        ),
    ] = ["momentum", "impact", "identity"]  # noqa: RUF012 (pydantic copies it)
    identity_weight: Annotated[
        float, Field(ge=0, description="weight of the cross-entropies beside the regressions")
    ] = 1.0
    huber_delta: Annotated[
        float, Field(gt=0, description="where the regressions' loss turns from square to linear, in deviations")
    ] = 1.0
    event_weights: Annotated[bool, Field(description="weigh each PFO by its event's weight")] = True

    @field_validator("hidden")
    @classmethod
    def _once(cls, groups: list[Group]) -> list[Group]:
        return [name for name in GROUPS if name in groups]  # type: ignore[misc]


@register_task("masked_pfos")
class MaskedPFOs(Task):
    r"""Say what masked PFOs were: regression of their pT, energy and impact parameters, cross-entropy of their class.

    Of each event n PFOs are masked, on average the share s of its P: :math:`n = \lfloor s P + u \rfloor`, u uniform in
    [0, 1), any of them alike. A masked PFO keeps η and φ; its hidden features are replaced by a learnt token. Over the
    masked PFOs i with events' weights u,

    .. math::
        L = \frac{\sum_i u_i \big[\overline{H_\delta}(\hat y_i - y_i)_\text{momentum}
        + t_i\, \overline{H_\delta}(\hat y_i - y_i)_\text{impact}
        - \tfrac{\lambda}{2} (\log p_{i, \text{class}} + \log p_{i, \text{charge}})\big]}{\sum_i |u_i|}

    with :math:`H_\delta` the Huber loss, averaged over the features of a group, :math:`t_i` = 1 for tracks and 0 for
    neutral PFOs, which have no impact parameters, and y the features scaled to mean 0 and deviation 1 in the training
    data: ln pT, ln E, and asinh(\|x\| / 0.01 mm) of impact parameters and errors. Of d0 and dz it is the size that is
    asked for: their signs are as good as tosses of a coin, so that the best answer for them would be 0.

    No truth is needed. The token stands in the features as they are in files, before the tagger normalises them, so
    any tagger with embeddings of PFOs can be trained; it belongs to the task and is trained along.

    Sources: T. Golling et al., *Masked particle modeling on sets*, arXiv:2401.13537, of jets; M. Leigh et al., *Is
    tokenization needed for masked particle modelling?*, arXiv:2409.12589, of continuous targets.

    Args:
        share: s. Default 0.3.
        hidden: groups of features that are hidden and asked for. Default: all three.
        identity_weight: λ. Default 1.
        huber_delta: δ. Default 1.
        event_weights: whether PFOs are weighed by their event's weight. Default ``True``.

    Attributes:
        token: what stands in place of the hidden features, in deviations from their means [14].
        normalisation: means and deviations of the features, over all PFOs.
        centre, scale: mean and deviation of the regressions' targets; those of impact parameters over tracks.
    """

    Config = MaskedPFOsConfig
    draws = True
    level = "pfo"
    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        share: float = 0.3,
        hidden: list[Group] | tuple[Group, ...] = ("momentum", "impact", "identity"),
        identity_weight: float = 1.0,
        huber_delta: float = 1.0,
        event_weights: bool = True,
    ) -> None:
        super().__init__()
        self.share, self.identity_weight, self.huber_delta = share, identity_weight, huber_delta
        self.event_weights = event_weights
        self.hidden = tuple(name for name in GROUPS if name in hidden)
        self.regressed = tuple(name for group in self.hidden if group != "identity" for name in GROUPS[group])
        self.num_outputs = sum(_WIDTHS[group] for group in self.hidden)
        self._hidden_columns = [PFO_FEATURES.index(name) for group in self.hidden for name in GROUPS[group]]
        self._regressed_columns = [PFO_FEATURES.index(name) for name in self.regressed]
        self.normalisation = FeatureNormalisation(PFO_FEATURES)
        self.token = nn.Parameter(torch.zeros(len(PFO_FEATURES)))
        self.register_buffer("centre", torch.zeros(len(self.regressed)))
        self.register_buffer("scale", torch.ones(len(self.regressed)))

    def fit(self, dataset: EventDataset) -> None:
        """Take means and deviations of the features from training events."""
        number = min(FIT_EVENTS, len(dataset))
        events = np.sort(np.random.default_rng(0).choice(len(dataset), number, replace=False))
        x = dataset.get_batch(events)["pfo"].x
        if not len(x):
            raise ConfigError(f"the task '{self.name}' needs PFOs, but {number} of its events have none")
        self.normalisation.fit(x)
        values, track = self._values(x.double()), x[:, _CHARGE] != 0
        for column, name in enumerate(self.regressed):
            rows = values[track, column] if name in GROUPS["impact"] else values[:, column]
            if len(rows):
                deviation = rows.std(correction=0)
                self.centre[column] = rows.mean()
                # All alike, as errors of 0 are: there is nothing to learn, at any scale.
                self.scale[column] = torch.where(deviation < FeatureNormalisation.STD_FLOOR, 1.0, deviation)

    @torch.no_grad()
    def prepare(self, batch: HeteroData) -> HeteroData:
        """The batch with ``batch["pfo"].masked``: which PFOs are hidden [P]."""
        pfo = batch["pfo"]
        counts = pfo.ptr.diff()
        number = (self.share * counts + torch.rand(len(counts), device=counts.device)).floor().long()
        order = torch.rand(len(pfo.x), device=counts.device).argsort()
        order = order[pfo.batch[order].argsort(stable=True)]
        rank = torch.arange(len(order), device=counts.device) - pfo.ptr[:-1][pfo.batch]
        masked = torch.zeros(len(order), dtype=torch.bool, device=counts.device)
        masked[order] = rank < number[pfo.batch]
        batch = copy.copy(batch)
        batch["pfo"].masked = masked
        return batch

    def outputs(self, model: Callable[[HeteroData], Any], batch: HeteroData) -> Tensor:
        """The model's answer for the masked events."""
        return model(self.hide(batch))

    def hide(self, batch: HeteroData) -> HeteroData:
        """The batch with the token in place of what is hidden of its masked PFOs; differentiable in the token."""
        x = batch["pfo"].x
        columns = torch.tensor(self._hidden_columns, device=x.device)
        row = x.new_zeros(len(PFO_FEATURES)).index_copy(0, columns, self._raw_token().to(x.dtype)[columns])
        where = batch["pfo"].masked.unsqueeze(1) & (torch.zeros_like(row).index_fill(0, columns, 1) > 0)
        batch = copy.copy(batch)
        batch["pfo"].x = torch.where(where, row, x)
        return batch

    def sums(self, output: Tensor, batch: HeteroData) -> Sums:
        """Sums for the loss, and over the masked PFOs for the mean error of ln pT and of impact parameters (in
        deviations), and the accuracies of class and charge, each where it is hidden.

        Args:
            output: of the network [P, num_outputs].
            batch: as :meth:`prepare` gives it.
        """
        pfo = batch["pfo"]
        weight = row_weights(batch, "pfo") if self.event_weights else None
        found: Sums = {"loss": self._loss_sums(output, pfo.x, pfo.masked, weight)}
        parts = self._split(output.detach().float())
        masked, track = pfo.masked.double(), (pfo.masked & (pfo.x[:, _CHARGE] != 0)).double()
        values = self._values(pfo.x.float())
        if "momentum" in self.hidden:
            error = (parts["momentum"][:, 0] * self.scale[0] + self.centre[0] - values[:, 0]).abs()
            found["log_pt_error"] = (masked @ error.double(), masked.sum())
        if "impact" in self.hidden:
            error = (parts["impact"] - ((values - self.centre) / self.scale)[:, -4:]).abs().mean(dim=1)
            found["impact_error"] = (track @ error.double(), track.sum())
        if "identity" in self.hidden:
            for name, logits, truth in self._identities(parts["identity"], pfo.x):
                correct = (logits.argmax(dim=1) == truth).double()
                found[f"{name}_accuracy"] = (masked @ correct, masked.sum())
        return found

    def forward(self, output: Tensor, x: Tensor, masked: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss, averaged over the masked PFOs.

        Args:
            output: of the network.
            x: raw features of the PFOs.
            masked: which of them were hidden.
            weight: of each PFO, may be negative. Default: 1.

        Shapes:
            output [P, num_outputs], x [P, 14], masked [P] (bool), weight [P] → scalar.
        """
        return divided(*self._loss_sums(output, x, masked, weight))

    def notes(self) -> list[str]:
        """What a part that isn't hidden tells of one that is."""
        if "identity" in self.hidden and "impact" not in self.hidden:
            return ["impact parameters aren't hidden: they tell charged PFOs from neutral ones"]
        return []

    def summary(self) -> dict[str, Any]:
        """Share and groups, and mean and deviation of each regression's target."""
        scales = zip(self.regressed, self.centre.tolist(), self.scale.tolist(), strict=True)
        return {
            "share": self.share,
            "hidden": list(self.hidden),
            "targets": {name: [round(centre, 5), round(scale, 5)] for name, centre, scale in scales},
        }

    def _loss_sums(self, output: Tensor, x: Tensor, masked: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
        output = output.float() if output.dtype in (torch.float16, torch.bfloat16) else output
        x, parts = x.to(output.dtype), self._split(output)
        target = (self._values(x) - self.centre.to(x.dtype)) / self.scale.to(x.dtype)
        loss, start = output.new_zeros(len(output)), 0
        for group in self.hidden:
            if group == "identity":
                for _, logits, truth in self._identities(parts[group], x):
                    entropy = F.cross_entropy(logits, truth, reduction="none")
                    loss = loss + 0.5 * self.identity_weight * entropy
                continue
            wanted = target[:, start : start + _WIDTHS[group]]
            start += _WIDTHS[group]
            error = F.huber_loss(parts[group], wanted, reduction="none", delta=self.huber_delta).mean(dim=1)
            loss = loss + (error if group == "momentum" else torch.where(x[:, _CHARGE] != 0, error, 0.0))
        used = masked.to(output.dtype) * (1 if weight is None else weight.to(output.dtype))
        # What isn't masked may have any loss, but not one that makes the sum NaN.
        return (used * torch.where(masked, loss, 0.0)).sum(), used.abs().sum()

    def _split(self, output: Tensor) -> dict[str, Tensor]:
        """The outputs of each group."""
        widths = [_WIDTHS[group] for group in self.hidden]
        return dict(zip(self.hidden, output.split(widths, dim=1), strict=True))

    def _identities(self, output: Tensor, x: Tensor) -> list[tuple[str, Tensor, Tensor]]:
        """Name, logits and truth of class and charge."""
        truths = (x[:, _CLASSES].argmax(dim=1), x[:, _CHARGE].sign().long() + 1)
        return list(zip(("class", "charge"), output.split([len(_CLASSES), 3], dim=1), truths, strict=True))

    def _values(self, x: Tensor) -> Tensor:
        """What the regressions are about, unscaled. Shapes: [P, 14] → [P, len(regressed)]."""
        columns = [
            torch.asinh(x[:, column].abs() / IMPACT_SCALE) if name in GROUPS["impact"] else x[:, column]
            for column, name in zip(self._regressed_columns, self.regressed, strict=True)
        ]
        return torch.stack(columns, dim=1) if columns else x[:, :0]

    def _raw_token(self) -> Tensor:
        """The token as features of a file."""
        y = self.normalisation.mean + self.normalisation.std * self.token
        impact = torch.tensor([kind == "impact" for kind in self.normalisation.transforms], device=y.device)
        # sinh of anything but an impact parameter might overflow, and its gradient with it.
        return torch.where(impact, IMPACT_SCALE * torch.sinh(torch.where(impact, y, 0.0)), y)

    def __repr__(self) -> str:
        return f"MaskedPFOs({self.share:g} of the PFOs, {', '.join(self.hidden)})"
