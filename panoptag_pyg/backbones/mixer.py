"""An MLP-Mixer over events of any length: learned tokens stand in for the particles."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from panoptag_pyg.backbones.heads import HeadsConfig
from panoptag_pyg.backbones.registry import register_backbone
from panoptag_pyg.nn import MAB, MLP, MixerLayer


class MixerConfig(HeadsConfig):
    """Options of the mixer encoder."""

    num_layers: int = Field(3, ge=1, description="mixer blocks")
    num_tokens: int = Field(48, ge=1, description="learned tokens of each block")
    num_heads: int = Field(32, ge=1, description="heads of the attention into and out of the tokens; divides dim")
    token_expansion: int = Field(2, ge=1, description="inner width of the MLP across tokens, in num_tokens")
    channel_expansion: int = Field(4, ge=1, description="inner width of the MLP across channels, in dim")


class MixerBlock(nn.Module):
    r"""Gather the event into tokens, mix them, and tell each point the result.

    .. math::
        T = \mathrm{MAB}(I, X), \qquad T' = \mathrm{Mixer}(T), \qquad Y = \mathrm{MAB}(X, T')

    Args:
        dim: width.
        num_tokens: M, learned tokens I, shared by all events.
        num_heads: attention heads.
        token_expansion: see :class:`~panoptag_pyg.nn.MixerLayer`.
        channel_expansion: likewise.

    Shapes:
        x [P, dim], ptr [B+1] → [P, dim].
    """

    def __init__(self, dim: int, num_tokens: int, num_heads: int, token_expansion: int, channel_expansion: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.empty(num_tokens, dim))
        self.gather = MAB(dim, num_heads)
        self.mix = MixerLayer(num_tokens, dim, token_expansion, channel_expansion)
        self.spread = MAB(dim, num_heads)
        nn.init.xavier_uniform_(self.tokens)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        nn.init.xavier_uniform_(self.tokens)
        for layer in (self.gather, self.mix, self.spread):
            layer.reset_parameters()

    def forward(self, x: Tensor, ptr: Tensor, max_length: int | None = None) -> Tensor:
        num_tokens, dim = self.tokens.shape
        tokens = self.gather(self.tokens, x, None, ptr, max_lengths=(num_tokens, max_length))
        tokens = self.mix(tokens.view(-1, num_tokens, dim)).flatten(0, 1)
        token_ptr = torch.arange(ptr.numel(), device=ptr.device) * num_tokens
        return self.spread(x, tokens, ptr, token_ptr, max_lengths=(max_length, num_tokens))

    def __repr__(self) -> str:
        return f"MixerBlock({self.gather!r}, {self.mix!r})"


@register_backbone("mixer", MixerConfig, paper="arXiv:2105.01601")
class MixerBackbone(nn.Module):
    r"""MLP-Mixer blocks on learned tokens that gather the PFOs by attention, and spread back to them.

    .. math::
        x^0 = \mathrm{MLP}(f), \qquad
        x^{l+1} = \mathrm{MAB}\big(x^l, \mathrm{Mixer}_l(\mathrm{MAB}(I_l, x^l))\big)

    **Published:** the mixer layer, two MLPs in turn across tokens and across channels (arXiv:2105.01601), and its use
    on a fixed number of a jet's constituents in place of self-attention (arXiv:2404.14677).
    **Ours:** the tokens. An MLP across particles needs a fixed number of them in a fixed order; events have
    neither. So M learned tokens gather the event (a set transformer's MAB, arXiv:1810.00825), the mixer works on
    those, and each PFO reads them back. The encoder is permutation-equivariant and linear in the number of PFOs; with
    the mixer layers taken out it would be ISAB.

    Args:
        in_dim: number of PFO features.
        dim: width. Default 256.
        num_layers: blocks. Default 3.
        num_tokens: M. Default 48.
        num_heads: heads of the attention into and out of the tokens. Default 32.
        token_expansion: inner width of the MLP across tokens, in M. Default 2.
        channel_expansion: inner width of the MLP across channels, in ``dim``. Default 4.

    Shapes:
        x [P, in_dim], pos [P, 2] (not used), ptr [B+1] → [P, dim].

    Source: Tolstikhin et al., *MLP-Mixer*, arXiv:2105.01601; Hammad and Nojiri, *Streamlined jet tagging network
    assisted by jet prong structure*, arXiv:2404.14677; and this project.
    """

    needs: frozenset[str] = frozenset()

    def __init__(
        self,
        in_dim: int,
        dim: int = 256,
        num_layers: int = 3,
        num_tokens: int = 48,
        num_heads: int = 32,
        token_expansion: int = 2,
        channel_expansion: int = 4,
    ) -> None:
        super().__init__()
        self.in_dim, self.out_dim, self.num_tokens = in_dim, dim, num_tokens
        self.embed = MLP([in_dim, dim, dim])
        options = num_tokens, num_heads, token_expansion, channel_expansion
        self.blocks = nn.ModuleList(MixerBlock(dim, *options) for _ in range(num_layers))

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in (self.embed, *self.blocks):
            layer.reset_parameters()

    def forward(self, x: Tensor, pos: Tensor, ptr: Tensor, max_length: int | None = None) -> Tensor:
        x = self.embed(x)
        for block in self.blocks:
            x = block(x, ptr, max_length)
        return x

    def __repr__(self) -> str:
        sizes = f"num_layers={len(self.blocks)}, num_tokens={self.num_tokens}"
        return f"MixerBackbone({self.in_dim}, {self.out_dim}, {sizes})"
