"""One event per call, for programs that see one at a time: no ``ptr`` among the inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from panoptag_pyg.export.graph import ExportableTagger


class OneEventTagger(nn.Module):
    """An exportable tagger that is given the PFOs and jets of a single event.

    Args:
        tagger: takes any number of events.

    Shapes:
        pfo_x [P, 14], jet_x [J, G], and where the tagger needs them constituent_jet [N], ascending, and constituent_pfo
        [N] → logits [J, C]; [1, C] of a tagger of whole events.
    """

    def __init__(self, tagger: ExportableTagger) -> None:
        super().__init__()
        self.tagger = tagger
        self.input_names = tuple(name for name in tagger.input_names if not name.endswith("_ptr"))

    def forward(
        self,
        pfo_x: Tensor,
        jet_x: Tensor,
        constituent_jet: Tensor | None = None,
        constituent_pfo: Tensor | None = None,
    ) -> Tensor:
        first_and_last = torch.arange(2, device=pfo_x.device)
        ptrs = first_and_last * pfo_x.size(0), first_and_last * jet_x.size(0)
        return self.tagger(pfo_x, ptrs[0], jet_x, ptrs[1], constituent_jet, constituent_pfo)

    @property
    def dynamic_shapes(self) -> Any:
        """Which sizes vary from call to call, as ``torch.export`` takes them."""
        shapes = self.tagger.dynamic_shapes
        return {name: shapes[name] for name in self.input_names}
