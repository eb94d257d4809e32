"""A tagger whose matrix products are computed in bfloat16: half the memory traffic where the processor has them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Bfloat16Tagger(nn.Module):
    """An exportable tagger under autocast: products in bfloat16; normalisation, softmax and distances in float32.

    The weights stay float32 in the file; what a compiler folds is its own affair.

    Args:
        tagger: an :class:`~panoptag_pyg.export.graph.ExportableTagger`, or one of a single event.

    Shapes:
        as of ``tagger``; the logits are float32.
    """

    def __init__(self, tagger: nn.Module) -> None:
        super().__init__()
        self.tagger = tagger
        self.input_names: tuple[str, ...] = tuple(tagger.input_names)  # type: ignore[arg-type]

    def forward(self, *inputs: Tensor) -> Tensor:
        with torch.autocast(inputs[0].device.type, dtype=torch.bfloat16):
            logits = self.tagger(*inputs)
        return logits.float()

    @property
    def dynamic_shapes(self) -> Any:
        """Which sizes vary from call to call, as ``torch.export`` takes them."""
        shapes: dict[str, Any] = self.tagger.dynamic_shapes  # type: ignore[assignment]
        return {"inputs": tuple(shapes[name] for name in self.input_names)}
