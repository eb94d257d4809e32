"""Contrast of jets: two views of one event, and each jet must be told from all other jets of the batch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F
from torch_geometric.data import HeteroData

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import JET_FEATURES, EventDataset
from panoptag_pyg.events.augmentation import Augmentation, AugmentationSection
from panoptag_pyg.tasks.base import Head, Sums, Task, blank_output, row_weights
from panoptag_pyg.tasks.registry import register_task

Between = Literal["views", "constituents", "event"]
#: Where a batch keeps its two views.
FIRST, SECOND = "first_view", "second_view"
#: Events from which the typical jet is taken.
FIT_EVENTS = 2000
_PHI = JET_FEATURES.index("phi")
#: Columns of jets that say how hard and how heavy a jet is.
_KINEMATICS = [JET_FEATURES.index(name) for name in ("pt", "mass")]


class EventJetContrastConfig(AugmentationSection):
    """Options of :class:`EventJetContrast` in a recipe; the first five make the views, as in ``[augmentation]``."""

    rotate_phi: Annotated[
        bool | Literal["any", "cells"],
        Field(description="turn each view around the beam: 'any' angle (or true), or by whole 'cells' of 20°"),
    ] = "cells"
    reflect_eta: Annotated[bool, Field(description="mirror half of the views, z to −z")] = True
    pfo_dropout: Annotated[float, Field(ge=0, lt=1, description="probability of each PFO to be lost from a view")] = 0.1
    smear_energy: Annotated[
        float, Field(ge=0, description="further relative resolution of each PFO's energy and pT together")
    ] = 0.05
    smear_impact_parameters: Annotated[
        float, Field(ge=0, description="further Gaussian error of each track's d0 and dz, in units of its own errors")
    ] = 0.3
    smear_axis: Annotated[
        float, Field(ge=0, description="Gaussian error of the jets' η and φ as the network is told them")
    ] = 0.05
    hide_kinematics: Annotated[
        bool, Field(description="tell the network the typical jet's pT and mass in place of each jet's own")
    ] = True
    between: Annotated[
        Between,
        Field(description="a jet's partner: itself in the other view ('views'), its 'constituents' there, its 'event'"),
    ] = "views"
    same_event: Annotated[
        bool, Field(description="other jets of the same event are negatives too, not only those of other events")
    ] = False
    temperature: Annotated[float, Field(gt=0, description="by which the cosines are divided")] = 0.1
    dim: Annotated[int, Field(ge=1, description="numbers that the contrast sees of each jet")] = 32
    event_weights: Annotated[bool, Field(description="weigh each jet by its event's weight")] = True


@register_task("event_jet_contrast")
class EventJetContrast(Task):
    r"""InfoNCE of jets: find a jet's partner in another view of its event, among the jets of the whole batch.

    Each event is changed twice at random, by the detector's symmetries, by losing and by smearing PFOs. The head gives
    each jet a vector; z are these, of length 1. With :math:`s_{ik} = z_i \cdot z_k / \tau`, the partner p of jet i and
    its negatives N(i),

    .. math::
        L = \frac{\sum_i u_i \ell_i}{\sum_i |u_i|}, \qquad
        \ell_i = -\log \frac{e^{s_{ip}}}{e^{s_{ip}} + \sum_{k \in N(i)} e^{s_{ik}}}

    over both views' jets i that have a negative at all; u are the events' weights.

    - ``between = "views"``: the partner is the same jet in the other view, negatives are both views' jets of other
      events (NT-Xent), with ``same_event`` those of its own event too.
    - ``"constituents"``: z_i is a jet of one view; candidates are the mean embeddings of jets' constituents in the
      other one, projected by a head of their own. The partner is that of the same jet.
    - ``"event"``: likewise, candidates are the mean embeddings of whole events, each once; the partner is that of the
      jet's own. All other events are negatives, and ``same_event`` means nothing.

    Partners and negatives are those of one batch on one process: the loss is of each process's own batch, and
    accumulated batches aren't as one large batch. A jet's recorded kinematics are the same in both views and would give
    it away: its pT and mass (and angularities) are hidden, its η and φ smeared, in what the network is told.

    Sources: A. van den Oord et al., arXiv:1807.03748, eq. 4; T. Chen et al., *SimCLR*, arXiv:2002.05709, eq. 1, for
    two views; B. Dillon et al., *JetCLR*, arXiv:2108.04253, for jets and their symmetries.

    Args:
        rotate_phi, reflect_eta, pfo_dropout, smear_energy, smear_impact_parameters: as of
            :class:`~panoptag_pyg.events.augmentation.AugmentationSection`. Defaults: ``"cells"``, ``True``, 0.1, 0.05,
            0.3.
        smear_axis: standard deviation of the jets' η and φ. Default 0.05.
        hide_kinematics: replace pT and mass by their medians in the training data, angularities by 0. Default ``True``.
        between: ``"views"`` (default), ``"constituents"`` or ``"event"``.
        same_event: whether other jets of the same event are negatives. Default ``False``.
        temperature: τ. Default 0.1.
        dim: width of z. Default 32.
        event_weights: whether jets are weighed by their event's weight. Default ``True``.
    """

    Config = EventJetContrastConfig
    draws = True
    level = "jet"
    typical: Tensor

    def __init__(
        self,
        rotate_phi: bool | Literal["any", "cells"] = "cells",
        reflect_eta: bool = True,
        pfo_dropout: float = 0.1,
        smear_energy: float = 0.05,
        smear_impact_parameters: float = 0.3,
        smear_axis: float = 0.05,
        hide_kinematics: bool = True,
        between: Between = "views",
        same_event: bool = False,
        temperature: float = 0.1,
        dim: int = 32,
        event_weights: bool = True,
    ) -> None:
        super().__init__()
        self.views = AugmentationSection(
            rotate_phi=rotate_phi,
            reflect_eta=reflect_eta,
            pfo_dropout=pfo_dropout,
            smear_energy=smear_energy,
            smear_impact_parameters=smear_impact_parameters,
        )
        self.smear_axis, self.hide_kinematics = smear_axis, hide_kinematics
        self.between, self.same_event, self.temperature = between, same_event, temperature
        self.event_weights = event_weights
        self.num_outputs = dim if between == "views" else 2 * dim
        if between == "constituents":
            self.needs = frozenset({"constituents"})
        self.register_buffer("typical", torch.ones(len(JET_FEATURES)))

    @property
    def head(self) -> Head:
        return Head("jet" if self.between == "views" else f"jet_{self.between}", self.num_outputs)  # type: ignore[arg-type]

    def fit(self, dataset: EventDataset) -> None:
        """Take the median jet of some training events.

        Raises:
            ConfigError: if none of them has a jet.
        """
        number = min(FIT_EVENTS, len(dataset))
        events = np.sort(np.random.default_rng(0).choice(len(dataset), number, replace=False))
        x = dataset.get_batch(events)["jet"].x
        if not len(x):
            raise ConfigError(f"the task '{self.name}' needs jets, but {number} of its events have none")
        self.typical.copy_(x[:, : len(JET_FEATURES)].median(dim=0).values)

    @torch.no_grad()
    def prepare(self, batch: HeteroData) -> HeteroData:
        """The batch, with its two views beside it; jets keep their order in both."""
        augment = Augmentation(self.views)
        views = [self._told(augment(batch)) for _ in range(2)]
        batch = copy.copy(batch)
        batch[FIRST], batch[SECOND] = views
        return batch

    def outputs(self, model: Callable[[HeteroData], Any], batch: HeteroData) -> Tensor:
        """The model's answers for both views, side by side [J, 2 num_outputs]."""
        return torch.cat([model(batch[FIRST]), model(batch[SECOND])], dim=1)

    def blank(self, batch: HeteroData) -> Tensor:
        return blank_output(Head("jet", 2 * self.num_outputs), batch)

    def sums(self, output: Tensor, batch: HeteroData) -> Sums:
        """Sums for the loss and for the share of jets whose partner is nearer than all their negatives.

        Args:
            output: of the network for both views [J, 2 num_outputs].
            batch: as :meth:`prepare` gives it.
        """
        output = output.float() if output.dtype in (torch.float16, torch.bfloat16) else output
        event = batch["jet"].batch
        weight = row_weights(batch, "jet") if self.event_weights else None
        weight = output.new_ones(len(output)) if weight is None else weight.to(output.dtype)
        total, norm = output.new_zeros(()), output.new_zeros(())
        right, number = (output.new_zeros((), dtype=torch.float64) for _ in range(2))
        for similarity, partner, negative in self._comparisons(output, event):
            of_jets = weight.repeat(len(similarity) // max(len(weight), 1))
            loss, used = info_nce(similarity, partner, negative)
            total = total + (of_jets * loss)[used].sum()
            norm = norm + of_jets[used].abs().sum()
            with torch.no_grad():
                highest = similarity.masked_fill(~negative, -torch.inf).amax(dim=1) if similarity.size(1) else loss
                own = similarity.gather(1, partner.unsqueeze(1)).squeeze(1)
                right, number = right + (used & (own > highest)).sum().double(), number + used.sum().double()
        return {"loss": (total, norm), "accuracy": (right, number)}

    def summary(self) -> dict[str, Any]:
        return {"between": self.between, "views": self.views.model_dump(), "temperature": self.temperature}

    def _told(self, batch: HeteroData) -> HeteroData:
        """A view whose jets are hidden and smeared in what the network is told of them."""
        batch = copy.copy(batch)
        jet = batch["jet"]
        jet.x, jet.pos = jet.x.clone(), jet.pos.clone()
        if self.hide_kinematics:
            for column in _KINEMATICS:
                jet.x[:, column] = self.typical[column]
            jet.x[:, len(JET_FEATURES) :] = 0
        if self.smear_axis:
            jet.pos += self.smear_axis * torch.randn_like(jet.pos)
            jet.pos[:, 1] = torch.remainder(jet.pos[:, 1] + torch.pi, 2 * torch.pi) - torch.pi
            jet.x[:, _PHI - 1 : _PHI + 1] = jet.pos.to(jet.x.dtype)
        return batch

    def _comparisons(self, output: Tensor, event: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Similarities of jets and candidates [N, M], each jet's partner [N], and which candidates are negatives."""
        jets, device = len(output), output.device
        rows = torch.arange(jets, device=device)
        first, second = output.chunk(2, dim=1)
        if self.between == "views":
            z = F.normalize(torch.cat([first, second]), dim=1)
            event = event.repeat(2)
            negative = event.unsqueeze(1) != event
            if self.same_event:  # all but itself and its partner
                rows_of = rows.repeat(2)
                negative = rows_of.unsqueeze(1) != rows_of
            return [(z @ z.T / self.temperature, torch.cat([rows + jets, rows]), negative)]
        found = []
        for of_jets, of_others in ((first, second), (second, first)):
            z = F.normalize(of_jets.chunk(2, dim=1)[0], dim=1)
            others = F.normalize(of_others.chunk(2, dim=1)[1], dim=1)
            if self.between == "event":
                # All jets of an event hold its one embedding: the first speaks for it.
                leads = torch.ones_like(rows, dtype=torch.bool)
                leads[1:] = event[1:] != event[:-1]
                partner, own = leads.cumsum(0) - 1, event[leads]
                found.append((z @ others[leads].T / self.temperature, partner, event.unsqueeze(1) != own))
                continue
            negative = rows.unsqueeze(1) != rows if self.same_event else event.unsqueeze(1) != event
            found.append((z @ others.T / self.temperature, rows, negative))
        return found

    def __repr__(self) -> str:
        return f"EventJetContrast({self.between}, temperature={self.temperature:g}, {Augmentation(self.views)!r})"


def info_nce(similarity: Tensor, partner: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    r""":math:`\ell_i = -\log\, e^{s_{ip}} / (e^{s_{ip}} + \sum_{k \in N(i)} e^{s_{ik}})` of each row.

    Args:
        similarity: s.
        partner: p of each row.
        negative: which columns are N(i); the partner's own column must not be among them.

    Shapes:
        similarity [N, M], partner [N] (int64), negative [N, M] (bool) → loss [N], and which rows have a negative [N]
        (bool); the loss of the others is 0.
    """
    used = negative.any(dim=1)
    own = similarity.gather(1, partner.unsqueeze(1))
    # Finite, so that rows without a negative have a gradient of 0 and not of NaN.
    least = torch.finfo(similarity.dtype).min / 2
    others = (similarity - own).masked_fill(~negative, least)
    return torch.logsumexp(torch.cat([torch.zeros_like(own), others], dim=1), dim=1), used
