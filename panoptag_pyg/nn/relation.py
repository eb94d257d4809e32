"""Attention that knows what a PFO is to a jet: a bias on the scores, and values in coordinates about the jet's axis."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panoptag_pyg import ops
from panoptag_pyg.ops.relations import RELATIONS

#: Δη and Δφ enter as asinh of their value over this: linear within a jet's core, logarithmic across the event.
ANGLE_SCALE = 0.1
#: Middle and spread of asinh(Δη / 0.1), asinh(Δφ / 0.1), ln ΔR, ln pT ratio and membership over an event's pairs.
CENTRE = (0.0, 0.0, 0.0, -3.0, 0.0)
SPREAD = (2.0, 2.0, 1.0, 2.0, 1.0)
#: A member's bias at the start, evenly spaced over the heads: from no preference to e⁴ = 55 times the weight.
MEMBER_BIAS = 4.0


class RelationEmbedding(nn.Module):
    r"""What a relation is to the network: the five numbers, brought to order one, and some functions of them.

    .. math::
        r = [\rho, \mathrm{GELU}(W \rho + b)], \qquad
        \rho = \big(\mathrm{asinh}(\Delta\eta / 0.1), \mathrm{asinh}(\Delta\phi / 0.1), \ln \Delta R,
        \ln(p_{T,j} / p_{T,i}), \text{member}\big) \text{, scaled}

    Args:
        hidden_dim: functions that are learnt. Default 16.

    Attributes:
        out_dim: width of r.

    Shapes:
        relations [E, 5], as :func:`panoptag_pyg.ops.relations` gives them → [E, 5 + hidden_dim].
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, hidden_dim: int = 16) -> None:
        super().__init__()
        self.linear = nn.Linear(len(RELATIONS), hidden_dim)
        self.out_dim = len(RELATIONS) + hidden_dim
        self.register_buffer("centre", torch.tensor(CENTRE), persistent=False)
        self.register_buffer("spread", torch.tensor(SPREAD), persistent=False)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        self.linear.reset_parameters()

    def forward(self, relations: Tensor) -> Tensor:
        relations = relations.to(self.centre.dtype)
        relations = torch.cat([torch.asinh(relations[:, :2] / ANGLE_SCALE), relations[:, 2:]], dim=1)
        scaled = (relations - self.centre) / self.spread
        hidden = F.gelu(self.linear(scaled))
        return torch.cat([scaled.to(hidden.dtype), hidden], dim=1)

    def __repr__(self) -> str:
        return f"RelationEmbedding({self.linear.out_features})"


class RelationBias(nn.Module):
    """A bias for each head, linear in the embedding of the relation; half of the heads begin by preferring members.

    Args:
        in_dim: width of the embedding.
        num_heads: H.

    Shapes:
        r [E, in_dim] → [E, H].
    """

    def __init__(self, in_dim: int, num_heads: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_dim, num_heads)
        self._prefer_members()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        self.linear.reset_parameters()
        self._prefer_members()

    def _prefer_members(self) -> None:
        with torch.no_grad():
            self.linear.weight[:, RELATIONS.index("member")] += torch.linspace(0, MEMBER_BIAS, len(self.linear.weight))

    def forward(self, r: Tensor) -> Tensor:
        return self.linear(r)


class RelationMAB(nn.Module):
    r"""Jets read an event's PFOs, each in its relation to the jet.

    .. math::
        a_{ij} = \mathrm{softmax}_j \Big(\frac{q_i \cdot k_j}{\sqrt{d / H}} + b_h(r_{ij})\Big), \qquad
        z_i = x_i + \sum_j a_{ij} (v_j + U_h r_{ij}), \qquad y_i = z_i + \mathrm{GELU}(W_o \mathrm{LN}(z_i) + b_o)

    with q, k and v linear in the layer-normalised jets and PFOs, as in :class:`~panoptag_pyg.nn.MAB`; b and U are
    linear in the relation's embedding r, and each can be left out.

    Args:
        dim: width.
        num_heads: heads; must divide ``dim``.
        relation_dim: width of r.
        bias: whether there is b. Default ``True``.
        values: whether there is U. Default ``True``.

    Shapes:
        x [J, dim], source [P, dim], r [E, relation_dim], ptr [B+1] each, blocked [E] (pairs to leave out) →
        [J, dim] and the weights [E, H].

    Source: Shaw et al., arXiv:1803.02155, eq. 3, for the values; Qu, Li, Qian, arXiv:2202.03772, eq. 4, for the bias.
    """

    def __init__(self, dim: int, num_heads: int, relation_dim: int, bias: bool = True, values: bool = True) -> None:
        super().__init__()
        self.dim, self.num_heads = dim, num_heads
        self.query_norm, self.source_norm, self.output_norm = (nn.LayerNorm(dim) for _ in range(3))
        self.q, self.kv, self.o = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.bias = RelationBias(relation_dim, num_heads) if bias else None
        self.relation_value = nn.Parameter(torch.empty(num_heads, relation_dim, dim // num_heads)) if values else None
        self._draw_values()

    def _draw_values(self) -> None:
        if self.relation_value is not None:
            nn.init.normal_(self.relation_value, std=1 / math.sqrt(3 * self.relation_value.size(1)))

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in (self.query_norm, self.source_norm, self.output_norm, self.q, self.kv, self.o):
            layer.reset_parameters()
        if self.bias is not None:
            self.bias.reset_parameters()
        self._draw_values()

    def forward(
        self, x: Tensor, source: Tensor, r: Tensor, ptr: Tensor, source_ptr: Tensor, blocked: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        heads = (self.num_heads, self.dim // self.num_heads)
        q = self.q(self.query_norm(x)).view(-1, *heads)
        k, v = self.kv(self.source_norm(source)).view(-1, 2, *heads).unbind(1)
        bias = r.new_zeros(r.size(0), self.num_heads) if self.bias is None else self.bias(r)
        if blocked is not None:
            bias = bias.masked_fill(blocked[:, None], -math.inf)
        values = r if self.relation_value is not None else r[:, :0]
        y, mixed, weight = ops.relation_attention(q, k, v, bias, values, ptr, source_ptr)
        if self.relation_value is not None:
            y = y + torch.einsum("jhr,hrd->jhd", mixed, self.relation_value)
        z = x + y.flatten(1)
        return z + F.gelu(self.o(self.output_norm(z))), weight

    def __repr__(self) -> str:
        extra = f"bias={self.bias is not None}, values={self.relation_value is not None}"
        return f"RelationMAB({self.dim}, num_heads={self.num_heads}, {extra})"


class JetAttention(nn.Module):
    r"""Jets of an event read each other, each in its relation to the jet.

    Formulae as of :class:`RelationMAB`, whose values it doesn't have.

    Args:
        dim: width.
        num_heads: heads; must divide ``dim``.
        relation_dim: width of the relation's embedding.
        bias: whether scores have a bias from it. Default ``True``.

    Shapes:
        x [J, dim], r [Σ m², relation_dim] (``None`` without a bias), ptr [B+1] → [J, dim].
    """

    def __init__(self, dim: int, num_heads: int, relation_dim: int, bias: bool = True) -> None:
        super().__init__()
        self.dim, self.num_heads = dim, num_heads
        self.norm, self.output_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.o = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.bias = nn.Linear(relation_dim, num_heads) if bias else None

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in (self.norm, self.output_norm, self.qkv, self.o, self.bias):
            if layer is not None:
                layer.reset_parameters()

    def forward(self, x: Tensor, r: Tensor | None, ptr: Tensor, max_length: int | None = None) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).view(-1, 3, self.num_heads, self.dim // self.num_heads).unbind(1)
        if self.bias is None or r is None:
            y = ops.ragged_attention(q, k, v, ptr, ptr, max_length, max_length)
        else:
            y = ops.pair_attention(q, k, v, self.bias(r), ptr, max_length)
        z = x + y.flatten(1)
        return z + F.gelu(self.o(self.output_norm(z)))

    def __repr__(self) -> str:
        return f"JetAttention({self.dim}, num_heads={self.num_heads})"
