"""A transformer's encoder over the whole event."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from panoptag_pyg.backbones.heads import HeadsConfig
from panoptag_pyg.backbones.registry import register_backbone
from panoptag_pyg.nn import MLP, TransformerBlock


class TransformerConfig(HeadsConfig):
    """Options of the transformer encoder."""

    num_layers: int = Field(4, ge=1, description="transformer blocks")
    expansion: int = Field(4, ge=1, description="inner width of the feed-forward, in dim")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="dropout after attention and feed-forward")


@register_backbone("transformer", TransformerConfig, paper="arXiv:1706.03762")
class TransformerBackbone(nn.Module):
    r"""Full self-attention: every PFO attends to every PFO of its event, without padding.

    .. math::
        x^0 = \mathrm{MLP}(f), \quad
        z = x^l + \mathrm{Attention}\big(\mathrm{LN}(x^l)\big), \quad
        x^{l+1} = z + \mathrm{MLP}\big(\mathrm{LN}(z)\big), \quad h = \mathrm{LN}(x^L)

    No positional encoding: PFOs have no order, and (η, φ) is among their features. Time grows with the square of an
    event's PFOs.

    Args:
        in_dim: number of PFO features.
        dim: width. Default 256.
        num_layers: blocks. Default 4.
        num_heads: attention heads. Default 32.
        expansion: inner width of the feed-forward, in ``dim``. Default 4.
        dropout: after attention and feed-forward. Default 0.

    Shapes:
        x [P, in_dim], pos [P, 2] (not used), ptr [B+1] → [P, dim].

    Source: Vaswani et al., arXiv:1706.03762; pre-norm: Xiong et al., arXiv:2002.04745.
    """

    needs: frozenset[str] = frozenset()

    def __init__(
        self,
        in_dim: int,
        dim: int = 256,
        num_layers: int = 4,
        num_heads: int = 32,
        expansion: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_dim, self.out_dim, self.num_heads = in_dim, dim, num_heads
        self.embed = MLP([in_dim, dim, dim])
        self.blocks = nn.ModuleList(TransformerBlock(dim, num_heads, expansion, dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(dim)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in (self.embed, *self.blocks, self.norm):
            layer.reset_parameters()

    def forward(self, x: Tensor, pos: Tensor, ptr: Tensor, max_length: int | None = None) -> Tensor:
        x = self.embed(x)
        for block in self.blocks:
            x = block(x, ptr, max_length)
        return self.norm(x)

    def __repr__(self) -> str:
        sizes = f"num_layers={len(self.blocks)}, num_heads={self.num_heads}"
        return f"TransformerBackbone({self.in_dim}, {self.out_dim}, {sizes})"
