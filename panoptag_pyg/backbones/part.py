"""Particle Transformer's attention over a whole event: every PFO to every other, biased by their momenta."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from panoptag_pyg.backbones.registry import BackboneConfig, register_backbone
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.nn import MLP
from panoptag_pyg.nn.pair_bias import EventPairBias
from panoptag_pyg.nn.particle_block import BlockOptions, ParticleBlock


class ParTConfig(BackboneConfig):
    """Options of the Particle Transformer encoder."""

    num_heads: int = Field(8, ge=1, description="attention heads; divides dim")
    num_layers: int = Field(4, ge=1, description="attention blocks")
    ffn_ratio: int = Field(2, ge=1, description="width of the feed-forward networks over dim")
    pair_dims: list[Annotated[int, Field(ge=1)]] = Field([32, 32], description="hidden widths of the pairs' MLP")
    dropout: float = Field(0.0, ge=0, lt=1, description="of attention weights, activations and branches")


@register_backbone("part", ParTConfig, paper="arXiv:2202.03772")
class ParTBackbone(nn.Module):
    r"""Particle Transformer over all PFOs of an event: attention with a bias from pairwise kinematics.

    .. math:: x^0 = \mathrm{MLP}(f), \qquad x^{l+1} = \mathrm{block}_l\big(x^l, u(p_i, p_j)\big)

    An event of 300 PFOs has 90,000 pairs, of which ``num_heads`` numbers each are kept; the pairs' MLP runs on some
    thousand of them at a time, forward and again backward, and attention on one event at a time. So it has no batch
    normalisation, which the single-jet network has. The blocks are those of
    :class:`~panoptag_pyg.models.part.ParticleTransformer`; the defaults are smaller, as time goes with P².

    Args:
        in_dim: number of PFO features.
        dim: width. Default 256.
        num_heads: attention heads. Default 8.
        num_layers: blocks. Default 4.
        ffn_ratio: width of the feed-forward networks over ``dim``. Default 2.
        pair_dims: hidden widths of the pairs' MLP. Default (32, 32).
        dropout: of attention weights, activations and branches. Default 0.

    Shapes:
        x [P, in_dim], pos [P, 2] (not used), ptr [B+1], momentum [P, 4] (E, px, py, pz) → [P, dim].

    Source: Qu, Li, Qian, *Particle Transformer for Jet Tagging*, arXiv:2202.03772.
    """

    needs = frozenset({"momentum"})

    def __init__(
        self,
        in_dim: int,
        dim: int = 256,
        num_heads: int = 8,
        num_layers: int = 4,
        ffn_ratio: int = 2,
        pair_dims: tuple[int, ...] | list[int] = (32, 32),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ConfigError(f"num_heads must divide dim, got dim={dim} and num_heads={num_heads}")
        self.out_dim = dim
        self.embed = MLP([in_dim, dim, dim])
        self.pair_bias = EventPairBias(pair_dims, num_heads)
        options = BlockOptions(
            dim, num_heads, ffn_ratio, dropout=dropout, attn_dropout=dropout, activation_dropout=dropout
        )
        self.blocks = nn.ModuleList(ParticleBlock(options) for _ in range(num_layers))
        self.norm = nn.LayerNorm(dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew, those that end a residual branch smaller with depth."""
        for layer in (self.embed, self.pair_bias, self.norm, *self.blocks):
            layer.reset_parameters()  # type: ignore[operator]
        with torch.no_grad():
            for depth, block in enumerate(self.blocks, start=1):
                for linear in (block.attn.out_proj, block.fc2):  # type: ignore[union-attr]
                    linear.weight.div_((2.0 * depth) ** 0.5)  # type: ignore[union-attr, operator]

    def forward(
        self, x: Tensor, pos: Tensor, ptr: Tensor, max_length: int | None = None, *, momentum: Tensor
    ) -> Tensor:
        num_pfos = x.size(0)
        events = torch.repeat_interleave(
            torch.arange(ptr.size(0) - 1, device=ptr.device), ptr.diff(), output_size=num_pfos
        )
        x = self.embed(x)
        bias = self.pair_bias(momentum, ptr)
        for block in self.blocks:
            x = block(x, bias, ptr, events, max_length)
        return self.norm(x)

    def __repr__(self) -> str:
        return f"ParTBackbone({self.embed.channels[0]}, {self.out_dim}, {len(self.blocks)} × {self.blocks[0]!r})"
