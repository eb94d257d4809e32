"""Graph attention over the nearest neighbours, after ABCNet."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from panoptag_pyg import ops
from panoptag_pyg.backbones.heads import HeadsConfig
from panoptag_pyg.backbones.registry import register_backbone
from panoptag_pyg.nn import MLP, GAPLayer, GlobalExchange


class GATConfig(HeadsConfig):
    """Options of the graph attention encoder."""

    num_layers: int = Field(2, ge=1, description="GAPLayers")
    num_heads: int = Field(4, ge=1, description="heads of a GAPLayer; divides dim")
    k: int = Field(10, ge=1, description="neighbours of each PFO")
    wrap_phi: bool = Field(True, description="measure position distances with Δφ wrapped to [-π, π]")


@register_backbone("gat", GATConfig, paper="arXiv:2001.05311")
class GATBackbone(nn.Module):
    r"""Attention pooling over the differences to neighbours, levels joined, and the event's mean told to each PFO.

    .. math::
        x^0 = \mathrm{MLP}(f), \quad (a^l, g^l) = \mathrm{GAP}_l(x^{l-1}), \quad
        x^l = \mathrm{MLP}_l\big([x^0, a^l]\big), \quad
        u = \mathrm{ReLU}\, W\, [x^1, g^1, \dots, x^L, g^L], \quad h = \mathrm{MLP}\big([u, \bar u]\big)

    a are the attention features and g the graph features of a :class:`~panoptag_pyg.nn.GAPLayer`; neighbours are the
    nearest in (η, φ) for the first layer and in x for later ones; :math:`\bar u` is the mean over the event.

    The layers, their skip connections and the pooling are ABCNet's segmentation network. Ours are the sizes, the
    embedding of the features before the first layer, layer normalisation for batch normalisation, and GELU inside the
    MLPs.

    Args:
        in_dim: number of PFO features.
        dim: width. Default 256.
        num_layers: GAPLayers. Default 2.
        num_heads: heads of a GAPLayer, of dim / num_heads each. Default 4.
        k: neighbours. Default 10.
        wrap_phi: wrap Δφ when neighbours are found in (η, φ). Default ``True``.

    Shapes:
        x [P, in_dim], pos [P, 2] (η, φ), ptr [B+1] → [P, dim].

    Source: Mikuni and Canelli, *ABCNet: an attention-based method for particle tagging*, arXiv:2001.05311.
    """

    needs: frozenset[str] = frozenset()

    def __init__(
        self,
        in_dim: int,
        dim: int = 256,
        num_layers: int = 2,
        num_heads: int = 4,
        k: int = 10,
        wrap_phi: bool = True,
    ) -> None:
        super().__init__()
        self.in_dim, self.out_dim, self.k = in_dim, dim, k
        self.metric = "wrapped_phi" if wrap_phi else "euclidean"
        self.embed = MLP([in_dim, dim, dim])
        self.layers = nn.ModuleList(GAPLayer(dim, dim, num_heads) for _ in range(num_layers))
        self.mlps = nn.ModuleList(MLP([2 * dim, dim, dim], norm=True) for _ in range(num_layers))
        self.join = nn.Linear(2 * num_layers * dim, dim)
        self.exchange = GlobalExchange(dim, dim)
        self.out = nn.Linear(dim, dim)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in (self.embed, *self.layers, *self.mlps, self.join, self.exchange, self.out):
            layer.reset_parameters()

    def forward(self, x: Tensor, pos: Tensor, ptr: Tensor, max_length: int | None = None) -> Tensor:
        first = x = self.embed(x)
        count = ops.neighbour_count(ptr, self.k, x.size(0))
        levels = []
        for i, (layer, mlp) in enumerate(zip(self.layers, self.mlps, strict=True)):
            if i == 0:
                table = ops.neighbour_table(pos, self.k, ptr, self.metric)
            else:
                table = ops.neighbour_table(x, self.k, ptr)
            attended, graph = layer(x, table, count)
            x = mlp(torch.cat([first, attended], dim=1))
            levels += [x, graph]
        x = F.relu(self.join(torch.cat(levels, dim=1)))
        return self.out(F.gelu(self.exchange(x, ptr)))

    def __repr__(self) -> str:
        heads = self.layers[0].num_heads
        sizes = f"num_layers={len(self.layers)}, num_heads={heads}, k={self.k}"
        return f"GATBackbone({self.in_dim}, {self.out_dim}, {sizes})"
