"""The Particle Transformer's blocks on ragged batches: particles attend to each other, then a class token to them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panoptag_pyg import ops


@dataclass(frozen=True)
class BlockOptions:
    """One block's make-up; names and defaults are those of weaver-core's ``block_params``."""

    embed_dim: int = 128
    num_heads: int = 8
    ffn_ratio: int = 4
    dropout: float = 0.1
    attn_dropout: float = 0.1
    activation_dropout: float = 0.1
    activation: str = "gelu"
    use_rmsnorm: bool = False
    use_bias: bool = True
    use_qk_norm: bool = False
    headwise_attn_output_gate: bool = False
    elementwise_attn_output_gate: bool = False
    layer_scale_init_values: float | None = None
    drop_path_rate: float = 0.0
    scale_attn_mask: bool = False
    scale_attn: bool = True
    scale_fc: bool = True
    scale_heads: bool = True
    scale_resids: bool = True


class ParticleBlock(nn.Module):
    r"""Attention and a feed-forward network, normalised before and after each (NormFormer).

    .. math::
        x' = x + \mathrm{LN}\big(\gamma_h \mathrm{Attention}_h(\mathrm{LN}(x))\big), \qquad
        y = w \odot x' + W_2\,\mathrm{LN}\big(\mathrm{GELU}(W_1 \mathrm{LN}(x'))\big)

    Submodules are named as in weaver-core, whose weights they take.

    Args:
        options: its make-up. Default: that of the published network.

    Shapes:
        x [N, d], bias [Σ n², H] or ``None``, ptr [J+1] → [N, d].

    Source: Qu, Li, Qian, *Particle Transformer for Jet Tagging*, arXiv:2202.03772, figure 3;
    Shleifer et al., *NormFormer*, arXiv:2110.09456.
    """

    def __init__(self, options: BlockOptions | None = None) -> None:
        super().__init__()
        self.options = o = options or BlockOptions()
        norm = nn.RMSNorm if o.use_rmsnorm else nn.LayerNorm
        dim, hidden = o.embed_dim, o.embed_dim * o.ffn_ratio
        self.pre_attn_norm = norm(dim)
        self.attn = _Projections(o, norm)
        self.post_attn_norm = norm(dim) if o.scale_attn else nn.Identity()
        self.dropout = nn.Dropout(o.dropout)
        self.ls1, self.ls2 = (_layer_scale(o) for _ in range(2))
        self.pre_fc_norm = norm(dim)
        self.fc1 = nn.Linear(dim, hidden, bias=o.use_bias)
        self.fc1_g = nn.Linear(dim, hidden, bias=o.use_bias) if o.activation == "swiglu" else None
        self.act = {"gelu": nn.GELU, "swiglu": nn.SiLU}.get(o.activation, nn.ReLU)()
        self.act_dropout = nn.Dropout(o.activation_dropout)
        self.post_fc_norm = norm(hidden) if o.scale_fc else nn.Identity()
        self.fc2 = nn.Linear(hidden, dim, bias=o.use_bias)
        self.c_mask = nn.Parameter(torch.ones(1)) if o.scale_attn_mask else None
        self.c_attn = nn.Parameter(torch.ones(o.num_heads)) if o.scale_heads else None
        self.w_resid = nn.Parameter(torch.ones(dim)) if o.scale_resids else None

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        draw_anew(self)
        for scale in (self.c_mask, self.c_attn, self.w_resid):
            if scale is not None:
                nn.init.ones_(scale)
        for layer in (self.ls1, self.ls2):
            if isinstance(layer, _LayerScale):
                nn.init.constant_(layer.gamma, self.options.layer_scale_init_values or 1.0)

    def forward(
        self, x: Tensor, bias: Tensor | None, ptr: Tensor, sets: Tensor, max_length: int | None = None
    ) -> Tensor:
        """Particles attend to the particles of their jet.

        Args:
            x: particles.
            bias: of every pair, sorted by query, then key. ``None``: no bias.
            ptr: first particle of each jet.
            sets: jet of each particle [N].
            max_length: particles of the longest jet, where known.
        """
        normed = self.pre_attn_norm(x)
        q, k, v = self.attn.all(normed)
        dropout = self.options.attn_dropout if self.training else 0.0
        if bias is None and dropout == 0:
            y = ops.ragged_attention(q, k, v, ptr, ptr, max_length, max_length)
        else:
            if bias is None:
                pairs = ops.pair_index(ptr)
                bias = q.new_zeros(pairs.size(1), q.size(1))
            elif self.c_mask is not None:
                bias = bias * self.c_mask
            y = ops.pair_attention(q, k, v, bias, ptr, max_length, dropout)
        return self._feed_forward(self._after_attention(y, normed, x, sets), sets)

    def class_attention(self, token: Tensor, x: Tensor, ptr: Tensor, order: Tensor, max_length: int | None) -> Tensor:
        """Each jet's class token attends to itself and the jet's particles.

        Args:
            token: class tokens [J, d].
            x: particles [N, d].
            ptr: first particle of each jet.
            order: rows of ``[token; x]`` jet by jet, the token first: :func:`with_tokens`.
            max_length: particles of the longest jet, where known.
        """
        normed = self.pre_attn_norm(torch.cat([token, x])[order])
        jets = torch.arange(token.size(0), device=x.device)
        q, (k, v) = self.attn.query(token), self.attn.keys(normed)
        dropout = self.options.attn_dropout if self.training else 0.0
        if dropout == 0:
            ones = torch.arange(token.size(0) + 1, device=x.device)
            longest = None if max_length is None else max_length + 1
            y = ops.ragged_attention(q, k, v, ones, ptr + ones, 1, longest)
        else:
            row = torch.repeat_interleave(jets, ptr.diff() + 1, output_size=x.size(0) + token.size(0))
            weight = F.dropout(
                ops.attention_weights(q, k, torch.stack([row, torch.arange(row.size(0), device=x.device)])), dropout
            )
            y = ops.segment_sum(weight[..., None] * v, row, token.size(0))
        return self._feed_forward(self._after_attention(y, token, token, jets), jets)

    def _after_attention(self, y: Tensor, query: Tensor, residual: Tensor, sets: Tensor) -> Tensor:
        y = self.attn.out(y, query)
        if self.c_attn is not None:
            y = (y.unflatten(1, (self.options.num_heads, -1)) * self.c_attn[:, None]).flatten(1)
        y = self.dropout(self.post_attn_norm(y))
        return self._drop_path(self.ls1(y), sets) + residual

    def _feed_forward(self, x: Tensor, sets: Tensor) -> Tensor:
        y = self.pre_fc_norm(x)
        y = self.act(self.fc1(y)) if self.fc1_g is None else self.act(self.fc1_g(y)) * self.fc1(y)
        y = self.dropout(self.fc2(self.post_fc_norm(self.act_dropout(y))))
        residual = x if self.w_resid is None else x * self.w_resid
        return self._drop_path(self.ls2(y), sets) + residual

    def _drop_path(self, x: Tensor, sets: Tensor) -> Tensor:
        """Leave out this branch of whole jets (stochastic depth)."""
        rate = self.options.drop_path_rate
        if not self.training or rate == 0:
            return x
        # One draw per particle would do, of which a jet takes that of its first: no need to know how many jets.
        first = torch.searchsorted(sets, sets)
        keep = torch.empty(x.size(0), 1, device=x.device, dtype=x.dtype).bernoulli_(1 - rate) / (1 - rate)
        return x * keep[first]

    def __repr__(self) -> str:
        o = self.options
        return f"ParticleBlock({o.embed_dim}, num_heads={o.num_heads}, ffn_ratio={o.ffn_ratio})"


class _Projections(nn.Module):
    """Linear layers of multi-head attention; queries, keys and values in one matrix."""

    def __init__(self, o: BlockOptions, norm: type[nn.Module]) -> None:
        super().__init__()
        dim = o.embed_dim
        self.num_heads, self.head_dim = o.num_heads, dim // o.num_heads
        self.in_proj = nn.Linear(dim, 3 * dim, bias=o.use_bias)
        self.out_proj = nn.Linear(dim, dim, bias=o.use_bias)
        self.q_norm, self.k_norm = (norm(dim // o.num_heads) if o.use_qk_norm else nn.Identity() for _ in range(2))
        if o.headwise_attn_output_gate or o.elementwise_attn_output_gate:
            self.gate_proj = nn.Linear(dim, o.num_heads if o.headwise_attn_output_gate else dim, bias=o.use_bias)

    def all(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.in_proj(x).view(x.size(0), 3, self.num_heads, self.head_dim).unbind(1)
        return self.q_norm(q), self.k_norm(k), v

    def query(self, x: Tensor) -> Tensor:
        dim = x.size(1)
        bias = None if self.in_proj.bias is None else self.in_proj.bias[:dim]
        return self.q_norm(F.linear(x, self.in_proj.weight[:dim], bias).view(x.size(0), self.num_heads, self.head_dim))

    def keys(self, x: Tensor) -> tuple[Tensor, Tensor]:
        dim = x.size(1)
        bias = None if self.in_proj.bias is None else self.in_proj.bias[dim:]
        k, v = F.linear(x, self.in_proj.weight[dim:], bias).view(x.size(0), 2, self.num_heads, self.head_dim).unbind(1)
        return self.k_norm(k), v

    def out(self, y: Tensor, query: Tensor) -> Tensor:
        if hasattr(self, "gate_proj"):
            y = y * torch.sigmoid(self.gate_proj(query)).view(
                y.size(0), self.num_heads, self.gate_proj.out_features // self.num_heads
            )
        return self.out_proj(y.flatten(1))


class _LayerScale(nn.Module):
    def __init__(self, dim: int, value: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), value))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


def _layer_scale(o: BlockOptions) -> nn.Module:
    value = o.layer_scale_init_values
    return _LayerScale(o.embed_dim, value) if value else nn.Identity()


def with_tokens(ptr: Tensor, num_particles: int) -> Tensor:
    """Rows of J tokens followed by N particles, in the order jet by jet, each jet's token before its particles.

    Args:
        ptr: first particle of each jet [J+1].
        num_particles: N.

    Shapes:
        → [J + N], int64.
    """
    num_jets = ptr.size(0) - 1
    jets = torch.arange(num_jets, device=ptr.device)
    jet = torch.repeat_interleave(jets, ptr.diff(), output_size=num_particles)
    particles = torch.arange(num_particles, device=ptr.device)
    order = torch.empty(num_jets + num_particles, dtype=torch.long, device=ptr.device)
    order = order.scatter(0, ptr[:-1] + jets, jets)
    return order.scatter(0, particles + jet + 1, particles + num_jets)


def draw_anew(module: nn.Module) -> None:
    """Linear layers as weaver-core begins: Glorot's uniform weights, no bias; norms at 1 and 0."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear):
            if name.endswith("in_proj"):  # each of queries, keys and values by itself
                bound = (6 / (layer.weight.size(0) // 3 + layer.weight.size(1))) ** 0.5
                nn.init.uniform_(layer.weight, -bound, bound)
            else:
                nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.LayerNorm | nn.RMSNorm | nn.BatchNorm1d):
            layer.reset_parameters()
