"""ABCNet's graph attention pooling layer: attention over the differences to the nearest neighbours."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panoptag_pyg import ops


class GAPLayer(nn.Module):
    r"""Attention pooling over k neighbours, in several heads, and the neighbours' largest edge features.

    .. math::
        \hat x_i = \mathrm{LN}(x_i), \quad x'_i = \mathrm{ReLU}(W \hat x_i + b), \quad
        y'_{ij} = \mathrm{ReLU}\big(W_e (\hat x_i - \hat x_j) + b_e\big), \quad
        c_{ij} = \mathrm{softmax}_j\, \mathrm{LeakyReLU}\big(a \cdot x'_i + a_e \cdot y'_{ij} + b_a\big)

    .. math::
        \text{attention features } \mathrm{ReLU}\Big(\sum_j c_{ij} y'_{ij} + \beta\Big), \qquad
        \text{graph features } \max_j y'_{ij}

    for each head; the heads' results stand side by side. The self coefficient :math:`a \cdot x'_i` shifts the scores of
    one point together; it matters through the kink of the LeakyReLU. A point without neighbours has sum and maximum 0.

    Batch normalisation, which the authors put after each linear layer, would make an event's result depend on the
    others of the batch: here the points are layer-normalised before. The edges' linear layer then is one over points.
    The coefficients' last linear layers go without an activation of their own, as in graph attention networks; the
    authors' code has a ReLU there.

    Args:
        in_dim: width of the input.
        out_dim: width of either output, all heads together.
        num_heads: heads; must divide ``out_dim``. Default 1.
        backend: a name of ``ops.available("neighbour_attention")``. Default ``"auto"``.

    Shapes:
        x [P, in_dim], table [P, k] (see :func:`panoptag_pyg.ops.neighbour_table`), count [P] (see
        :func:`panoptag_pyg.ops.neighbour_count`) → attention features [P, out_dim], graph features [P, out_dim].

    Raises:
        ValueError: if ``num_heads`` doesn't divide ``out_dim``.

    Source: Mikuni and Canelli, *ABCNet*, arXiv:2001.05311, section 2; after Chen et al., *GAPNet*, arXiv:1905.08705.
    """

    def __init__(self, in_dim: int, out_dim: int, num_heads: int = 1, backend: str = "auto") -> None:
        super().__init__()
        if out_dim % num_heads:
            raise ValueError(f"num_heads must divide out_dim, got out_dim={out_dim} and num_heads={num_heads}")
        self.in_dim, self.out_dim, self.num_heads, self.backend = in_dim, out_dim, num_heads, backend
        self.norm = nn.LayerNorm(in_dim)
        self.lin_self, self.lin_edge = nn.Linear(in_dim, out_dim), nn.Linear(in_dim, out_dim)
        self.att_self, self.att_edge = (nn.Parameter(torch.empty(num_heads, out_dim // num_heads)) for _ in range(2))
        self.att_bias, self.bias = nn.Parameter(torch.empty(num_heads)), nn.Parameter(torch.empty(out_dim))
        self._reset_attention()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in (self.norm, self.lin_self, self.lin_edge):
            layer.reset_parameters()
        self._reset_attention()

    def _reset_attention(self) -> None:
        bound = 1 / math.sqrt(self.out_dim // self.num_heads)
        for parameter in (self.att_self, self.att_edge, self.att_bias):
            nn.init.uniform_(parameter, -bound, bound)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, table: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        # Both linear layers as one product, which reads the points once.
        weight = torch.cat([self.lin_self.weight, self.lin_edge.weight])
        bias = torch.cat([self.lin_self.bias, torch.zeros_like(self.lin_edge.bias)])
        both = ops.norm_linear(x, (self.norm.weight, self.norm.bias), (weight, bias))
        own, edge = both.view(-1, 2, self.num_heads, self.out_dim // self.num_heads).unbind(1)
        score = (F.relu(own) * self.att_self).sum(-1) + self.att_bias
        centre = edge + self.lin_edge.bias.view(self.num_heads, -1)
        attended, largest = ops.neighbour_attention(
            centre, -edge, score, self.att_edge, table, count, backend=self.backend
        )
        return F.relu(attended.flatten(1) + self.bias), largest.flatten(1)

    def __repr__(self) -> str:
        return f"GAPLayer({self.in_dim}, {self.out_dim}, num_heads={self.num_heads})"
