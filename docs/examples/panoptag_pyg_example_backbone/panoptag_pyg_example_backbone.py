"""An event encoder in a package of its own: each PFO learns from the mean of its neighbours."""

import torch
from pydantic import Field
from torch import Tensor, nn

from panoptag_pyg import ops
from panoptag_pyg.backbones import BackboneConfig, register_backbone
from panoptag_pyg.nn import MLP


class NeighbourMeanConfig(BackboneConfig):  # brings dim
    """Options, as recipes have them."""

    num_layers: int = Field(2, ge=1, description="layers")
    k: int = Field(8, ge=1, description="neighbours of each PFO in (eta, phi)")


@register_backbone("neighbour_mean", NeighbourMeanConfig, paper="docs/bring_your_backbone.md")
class NeighbourMean(nn.Module):
    """Each PFO and the mean of its k neighbours, through an MLP, some layers deep."""

    def __init__(self, in_dim: int, dim: int, num_layers: int, k: int) -> None:
        super().__init__()
        self.out_dim, self.k = dim, k
        self.embed = MLP([in_dim, dim, dim])
        self.layers = nn.ModuleList(MLP([2 * dim, dim, dim], norm=True) for _ in range(num_layers))

    def reset_parameters(self) -> None:
        for layer in (self.embed, *self.layers):
            layer.reset_parameters()  # type: ignore[operator]

    def forward(self, x: Tensor, pos: Tensor, ptr: Tensor, max_length: int | None = None) -> Tensor:
        neighbours = ops.neighbour_table(pos, self.k, ptr, "wrapped_phi")
        x = self.embed(x)
        for layer in self.layers:
            x = x + layer(torch.cat([x, x[neighbours].mean(1)], dim=1))
        return x

    def __repr__(self) -> str:
        return f"NeighbourMean({self.out_dim}, {len(self.layers)} layers, k={self.k})"
