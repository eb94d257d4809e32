"""A tagger as a function of tensors, which can be traced with any number of PFOs, jets and events."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim
from torch_geometric.data import HeteroData

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events.features import JET_FEATURES, PFO_FEATURES
from panoptag_pyg.events.jets import CONTAINS
from panoptag_pyg.export.plain import PlainOperations
from panoptag_pyg.training.checkpoint import refuse_diverged

_PFO_POSITION = [PFO_FEATURES.index("eta"), PFO_FEATURES.index("phi")]
_JET_POSITION = [JET_FEATURES.index("eta"), JET_FEATURES.index("phi")]


class ExportableTagger(nn.Module):
    """A trained tagger that takes tensors and runs on plain ATen operations.

    The model is copied, put into evaluation mode, and called as it is: normalisation, positions and neighbours are
    inside. Nothing is padded outside, and any number of events may come at once, none too.

    Args:
        model: a tagger.

    Attributes:
        input_names: names of the inputs, in their order.
        needs_constituents: whether the tagger reads which PFOs a jet is made of.

    Shapes:
        pfo_x [P, 14] raw features, pfo_ptr int64 [B+1] first PFO of each event and P at the end, jet_x [J, G], jet_ptr
        int64 [B+1], and where the tagger needs them constituent_jet int64 [N], ascending, and constituent_pfo int64 [N]
        → logits [J, C]; [B, C] of a tagger of whole events.

    Raises:
        ConfigError: for a tagger that reads more of an event than its PFOs, jets and their constituents.
        CheckpointError: if a weight of the tagger is not finite.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        needs = frozenset(getattr(model, "needs", ()))
        further = sorted(needs - {"constituents"})
        if further:
            raise ConfigError(
                f"{type(model).__name__} reads {further[0]} of an event, which can't be exported: only PFOs, jets and "
                "their constituents can"
            )
        refuse_diverged(model)
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.needs_constituents = "constituents" in needs
        constituents = ("constituent_jet", "constituent_pfo") if self.needs_constituents else ()
        self.input_names = ("pfo_x", "pfo_ptr", "jet_x", "jet_ptr", *constituents)

    def forward(
        self,
        pfo_x: Tensor,
        pfo_ptr: Tensor,
        jet_x: Tensor,
        jet_ptr: Tensor,
        constituent_jet: Tensor | None = None,
        constituent_pfo: Tensor | None = None,
    ) -> Tensor:
        torch._check(pfo_ptr.size(0) == jet_ptr.size(0))
        batch = HeteroData()
        batch["pfo"].x, batch["pfo"].ptr = pfo_x, pfo_ptr
        batch["pfo"].pos = pfo_x[:, _PFO_POSITION[0] : _PFO_POSITION[1] + 1]
        batch["jet"].x, batch["jet"].ptr = jet_x, jet_ptr
        batch["jet"].pos = jet_x[:, _JET_POSITION[0] : _JET_POSITION[1] + 1]
        if constituent_jet is not None and constituent_pfo is not None:
            batch[CONTAINS].edge_index = torch.stack([constituent_jet, constituent_pfo])
        with PlainOperations():
            return self.model(batch)

    def inputs_of(self, batch: HeteroData) -> tuple[Tensor, ...]:
        """The inputs in their order, from a batch of events.

        Args:
            batch: as :class:`~panoptag_pyg.events.EventLoader` gives it.
        """
        inputs: list[Tensor] = [batch["pfo"].x, batch["pfo"].ptr, batch["jet"].x, batch["jet"].ptr]
        if self.needs_constituents:
            inputs += batch[CONTAINS].edge_index.unbind(0)
        return tuple(inputs)

    @property
    def dynamic_shapes(self) -> dict[str, dict[int, Any]]:
        """Which sizes vary from call to call, as ``torch.export`` takes them."""
        return {name: {0: Dim.DYNAMIC} for name in self.input_names}
