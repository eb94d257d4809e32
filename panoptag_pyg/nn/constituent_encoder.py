"""A transformer over each jet's own constituents, which may also know what the event's encoder says of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from panoptag_pyg.nn.mlp import MLP
from panoptag_pyg.nn.pair_bias import EventPairBias
from panoptag_pyg.nn.particle_block import BlockOptions, ParticleBlock
from panoptag_pyg.ops.ragged import sorted_by_length, take_rows


class JetPairBias(EventPairBias):
    """The same for pairs of one jet's constituents, which are nearer to each other."""

    #: Middle and spread of ln kT, ln z, ln Δ and ln m² over pairs of constituents of a jet (GeV).
    CENTRE = (-0.5, -1.5, -1.8, -1.0)
    SPREAD = (1.5, 0.8, 1.0, 3.0)


class ConstituentEncoder(nn.Module):
    r"""Constituents attend to those of their jet, biased by their momenta pair by pair.

    .. math::
        c^0_i = \mathrm{MLP}(f_i) + W\, \mathrm{LN}(h_i), \qquad
        c^{l+1} = \mathrm{block}_l\big(c^l, u(p_i, p_j)\big)

    with f in coordinates about the jet's axis, and h the event encoder's embedding of the same PFO. The blocks are
    the Particle Transformer's.

    Args:
        in_dim: features of a constituent.
        dim: width.
        num_heads: attention heads; divides ``dim``.
        num_layers: blocks.
        pair_dims: hidden widths of the pairs' MLP. Empty: no bias.
        ffn_ratio: width of the blocks' feed-forward networks over ``dim``. Default 2.
        dropout: of attention weights, activations and branches. Default 0.
        event: whether h is read. Default ``True``.

    Shapes:
        x [N, in_dim], momentum [N, 4] (E, px, py, pz), ptr [J+1], h [N, dim] or ``None``, told [N, 1] (1 where h may
        be read, else 0) or ``None`` → [N, dim].

    Source: Qu, Li, Qian, *Particle Transformer for Jet Tagging*, arXiv:2202.03772.
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        num_heads: int,
        num_layers: int,
        pair_dims: Sequence[int] = (32,),
        ffn_ratio: int = 2,
        dropout: float = 0.0,
        event: bool = True,
    ) -> None:
        super().__init__()
        self.embed = MLP([in_dim, dim, dim])
        self.event_norm = nn.LayerNorm(dim) if event else None
        self.event = nn.Linear(dim, dim, bias=False) if event else None
        options = BlockOptions(
            embed_dim=dim,
            num_heads=num_heads,
            ffn_ratio=ffn_ratio,
            dropout=dropout,
            attn_dropout=dropout,
            activation_dropout=dropout,
        )
        self.pair_bias = JetPairBias(pair_dims, num_heads) if pair_dims and num_layers else None
        self.blocks = nn.ModuleList(ParticleBlock(options) for _ in range(num_layers))

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in (self.embed, self.event_norm, self.event, self.pair_bias, *self.blocks):
            if layer is not None:
                layer.reset_parameters()  # type: ignore[operator]

    def forward(
        self,
        x: Tensor,
        momentum: Tensor,
        ptr: Tensor,
        max_length: int | None = None,
        h: Tensor | None = None,
        told: Tensor | None = None,
    ) -> Tensor:
        c = self.embed(x)
        if self.event is not None and self.event_norm is not None and h is not None:
            of_event = self.event(self.event_norm(h))
            c = c + (of_event if told is None else of_event * told.to(of_event.dtype))
        if len(self.blocks) == 0:
            return c
        # Jets of equal length side by side: attention then runs on blocks that are where they are.
        num_rows, num_jets = x.size(0), ptr.size(0) - 1
        _, rows, ptr = sorted_by_length(ptr, num_rows)
        sets = torch.repeat_interleave(torch.arange(num_jets, device=ptr.device), ptr.diff(), output_size=num_rows)
        bias = None if self.pair_bias is None else self.pair_bias(take_rows(momentum, rows), ptr)
        y = take_rows(c, rows)
        for block in self.blocks:
            y = block(y, bias, ptr, sets, max_length)
        return torch.empty_like(y).index_copy(0, rows, y)

    def __repr__(self) -> str:
        return f"ConstituentEncoder({len(self.blocks)} × {self.blocks[0] if len(self.blocks) else None!r})"
