"""The transformer's encoder block on ragged events."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from panoptag_pyg import ops


class TransformerBlock(nn.Module):
    r"""Self-attention among all points of an event, then a feed-forward, each after layer normalisation.

    .. math::
        z = x + W_o\, \mathrm{Attention}\big(W_{qkv}\, \mathrm{LN}_1(x)\big), \qquad
        y = z + W_2\, \mathrm{GELU}\big(W_1\, \mathrm{LN}_2(z)\big)

    with biases. The same as :class:`torch.nn.TransformerEncoderLayer` with ``norm_first=True, activation="gelu"``
    on each event alone, without its padding.

    Args:
        dim: width.
        num_heads: attention heads; must divide ``dim``.
        expansion: width of the feed-forward's inner layer, in ``dim``. Default 4.
        dropout: chance for an entry of either sum's second term to be dropped in training. Default 0.
        backend: a name of ``ops.available("ragged_attention")``. Default ``"auto"``.

    Shapes:
        x [P, dim], ptr [B+1] → [P, dim].

    Raises:
        ValueError: if ``num_heads`` doesn't divide ``dim``.

    Source: Vaswani et al., arXiv:1706.03762; order of the normalisation: Xiong et al., arXiv:2002.04745, figure 1b.
    """

    def __init__(
        self, dim: int, num_heads: int, expansion: int = 4, dropout: float = 0.0, backend: str = "auto"
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"num_heads must divide dim, got dim={dim} and num_heads={num_heads}")
        self.dim, self.num_heads, self.dropout, self.backend = dim, num_heads, dropout, backend
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.widen, self.narrow = nn.Linear(dim, expansion * dim), nn.Linear(expansion * dim, dim)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        layers = self.attention_norm, self.feed_forward_norm, self.qkv, self.out, self.widen, self.narrow
        for layer in layers:
            layer.reset_parameters()

    def forward(self, x: Tensor, ptr: Tensor, max_length: int | None = None) -> Tensor:
        qkv = _norm_linear(x, self.attention_norm, self.qkv)
        q, k, v = qkv.view(x.size(0), 3, self.num_heads, self.dim // self.num_heads).unbind(1)
        attended = ops.ragged_attention(q, k, v, ptr, ptr, max_length, max_length, backend=self.backend)
        x = x + F.dropout(self.out(attended.flatten(1)), self.dropout, self.training)
        inner = F.gelu(_norm_linear(x, self.feed_forward_norm, self.widen))
        return x + F.dropout(self.narrow(inner), self.dropout, self.training)

    def __repr__(self) -> str:
        inner = self.widen.out_features // self.dim
        return f"TransformerBlock({self.dim}, num_heads={self.num_heads}, expansion={inner})"


def _norm_linear(x: Tensor, norm: nn.LayerNorm, linear: nn.Linear) -> Tensor:
    return ops.norm_linear(x, (norm.weight, norm.bias), (linear.weight, linear.bias))
