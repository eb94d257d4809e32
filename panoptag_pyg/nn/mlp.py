"""The multi-layer perceptron that every other layer is made of."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from panoptag_pyg.ops.edge_conv import NORM_EPS


class MLP(nn.Module):
    r"""Linear layers with GELU between them, none after the last.

    .. math:: y = W_L\, \mathrm{GELU}(\dots \mathrm{GELU}(W_1 x + b_1) \dots) + b_L

    Args:
        channels: widths from input to output, at least two.
        norm: layer normalisation before each GELU. Default ``False``.

    Shapes:
        x [..., channels[0]] → [..., channels[-1]].

    Raises:
        ValueError: for fewer than two widths.
    """

    def __init__(self, channels: Sequence[int], norm: bool = False) -> None:
        super().__init__()
        if len(channels) < 2:
            raise ValueError(f"an MLP needs at least an input and an output width, got {list(channels)}")
        self.channels = list(channels)
        self.linears = nn.ModuleList(nn.Linear(i, o) for i, o in zip(channels[:-1], channels[1:], strict=True))
        self.norms = nn.ModuleList(nn.LayerNorm(c, eps=NORM_EPS) for c in channels[1:-1]) if norm else None

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in (*self.linears, *(self.norms or ())):
            layer.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        for i, linear in enumerate(self.linears):
            if i > 0:
                x = F.gelu(x if self.norms is None else self.norms[i - 1](x))
            x = linear(x)
        return x

    def __repr__(self) -> str:
        return f"MLP({self.channels}, norm={self.norms is not None})"
