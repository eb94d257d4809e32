"""GravNet: message passing in spaces that the network learns."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from panoptag_pyg.backbones.registry import BackboneConfig, register_backbone
from panoptag_pyg.nn import MLP, GlobalExchange, GravNetConv


class GravNetConfig(BackboneConfig):
    """Options of the GravNet encoder; the defaults of a block are the paper's."""

    num_layers: int = Field(4, ge=1, description="GravNet blocks")
    block_dim: int = Field(64, ge=1, description="width of the dense layers of a block")
    space_dim: int = Field(4, ge=1, description="S, dimensions of the learned space")
    propagate_dim: int = Field(22, ge=1, description="F_LR, features that are passed to neighbours")
    message_dim: int = Field(48, ge=1, description="F_OUT, width of a block's output")
    k: int = Field(40, ge=1, description="neighbours in the learned space")
    wrap_phi: bool = Field(True, description="give the network cos φ and sin φ too, so that a space can close in φ")


class GravNetBlock(nn.Module):
    r"""Exchange with the event's mean, dense layers, and one GravNet layer.

    .. math::
        u = \tanh W_3 \tanh W_2 \tanh W_1 \big[x, \bar x\big], \qquad y = \mathrm{LN}(\tanh \mathrm{GravNet}(u))

    Args:
        in_dim: width of the input.
        block_dim: width of the dense layers.
        out_dim: width of the output.
        space_dim: see :class:`~panoptag_pyg.nn.GravNetConv`.
        propagate_dim: likewise.
        k: likewise.

    Shapes:
        x [P, in_dim], ptr [B+1] → [P, out_dim].
    """

    def __init__(self, in_dim: int, block_dim: int, out_dim: int, space_dim: int, propagate_dim: int, k: int) -> None:
        super().__init__()
        self.exchange = GlobalExchange(in_dim, block_dim)
        self.dense = nn.ModuleList(nn.Linear(block_dim, block_dim) for _ in range(2))
        self.conv = GravNetConv(block_dim, out_dim, space_dim, propagate_dim, k)
        self.norm = nn.LayerNorm(out_dim)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in (self.exchange, *self.dense, self.conv, self.norm):
            layer.reset_parameters()  # type: ignore[operator]

    def forward(self, x: Tensor, ptr: Tensor) -> Tensor:
        x = torch.tanh(self.exchange(x, ptr))
        for linear in self.dense:
            x = torch.tanh(linear(x))
        return self.norm(torch.tanh(self.conv(x, ptr)))

    def __repr__(self) -> str:
        return f"GravNetBlock({self.exchange!r}, {self.conv!r})"


@register_backbone("gravnet", GravNetConfig, paper="arXiv:1902.07987")
class GravNetBackbone(nn.Module):
    r"""Blocks that each find neighbours in a small space they learn, and weigh them by distance.

    .. math::
        x^{l+1} = \mathrm{Block}_l(x^l), \qquad h = \mathrm{MLP}\big([x^1, \dots, x^L]\big)

    A block joins each PFO's features with their mean over the event, passes three dense layers with tanh, and gathers
    the k nearest in its space by mean and maximum, weighted by :math:`\exp(-10\, d^2)`: see
    :class:`~panoptag_pyg.nn.GravNetConv`. The paper's batch normalisation of each block's output is a layer
    normalisation here, so that an event doesn't depend on the others of its batch.

    Args:
        in_dim: number of PFO features.
        dim: width of the result. Default 256.
        num_layers: blocks. Default 4.
        block_dim: width of a block's dense layers. Default 64.
        space_dim: dimensions of a learned space. Default 4.
        propagate_dim: features that are passed to neighbours. Default 22.
        message_dim: width of a block's output. Default 48.
        k: neighbours. Default 40.
        wrap_phi: give the network cos φ and sin φ beside the features, so that a learned space can close in φ.
            Default ``True``.

    Shapes:
        x [P, in_dim], pos [P, 2] (η, φ), ptr [B+1] → [P, dim].

    Source: Qasim et al., *Learning representations of irregular particle-detector geometry with distance-weighted
    graph networks*, arXiv:1902.07987, sections 3 and 4.
    """

    needs: frozenset[str] = frozenset()

    def __init__(
        self,
        in_dim: int,
        dim: int = 256,
        num_layers: int = 4,
        block_dim: int = 64,
        space_dim: int = 4,
        propagate_dim: int = 22,
        message_dim: int = 48,
        k: int = 40,
        wrap_phi: bool = True,
    ) -> None:
        super().__init__()
        self.in_dim, self.out_dim, self.k, self.wrap_phi = in_dim, dim, k, wrap_phi
        widths = [in_dim + 2 * wrap_phi, *[message_dim] * (num_layers - 1)]
        sizes = block_dim, message_dim, space_dim, propagate_dim, k
        self.blocks = nn.ModuleList(GravNetBlock(width, *sizes) for width in widths)
        self.join = MLP([num_layers * message_dim, dim, dim])

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in (*self.blocks, self.join):
            layer.reset_parameters()

    def forward(self, x: Tensor, pos: Tensor, ptr: Tensor, max_length: int | None = None) -> Tensor:
        if self.wrap_phi:
            phi = pos[:, 1:].to(x.dtype)
            x = torch.cat([x, phi.cos(), phi.sin()], dim=1)
        results = []
        for block in self.blocks:
            x = block(x, ptr)
            results.append(x)
        return self.join(torch.cat(results, dim=1))

    def __repr__(self) -> str:
        return f"GravNetBackbone({self.in_dim}, {self.out_dim}, num_layers={len(self.blocks)}, k={self.k})"
