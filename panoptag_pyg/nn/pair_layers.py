"""PELICAN's layers: every linear map between tensors over particles and over pairs that permutations commute with."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panoptag_pyg import ops
from panoptag_pyg.nn.batch_norm import RowBatchNorm
from panoptag_pyg.ops.ragged import add_rows_, take_rows
from panoptag_pyg.ops.ragged_pairs import Pairs, transpose_pairs

#: LeakyReLU's slope, torch's own, as in the published code.
SLOPE = 0.01


class PairEncoding(nn.Module):
    r"""Channels from one invariant of a pair, each a power of its own that is learnt.

    .. math:: f_c(d) = \mathrm{sgn}(d)\, \frac{(1 + |d|)^{\beta_c} - 1}{\beta_c}, \qquad \beta_c = \alpha_c^2 + 10^{-6}

    A logarithm at β → 0, linear at β = 1. Starts at random β from 0.05 to 0.5; the published code spaces
    them evenly.

    Args:
        dim: C.

    Shapes:
        d [S] → [S, C].

    Source: Bogatskiy et al., arXiv:2211.00454, section 3.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.empty(dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the powers anew."""
        with torch.no_grad():
            self.alpha.uniform_(0.05, 0.5).sqrt_()

    def forward(self, d: Tensor) -> Tensor:
        power = self.alpha.square() + 1e-6
        size = d.abs().log1p().to(power.dtype)
        return d.sign().to(power.dtype)[:, None] * torch.expm1(size[:, None] * power) / power


class PairMixing(nn.Module):
    r"""The 15 linear maps of pairs to pairs that commute with permutations, mixed over channels.

    .. math:: T'_{ij} = \sum_{b=1}^{15} W_b\, A_b(T)_{ij} + \beta + \delta_{ij} \beta'

    The maps: identity and transpose; diagonal, row sums, column sums, each put on the diagonal, on rows and on columns;
    trace and total, each put on the diagonal and everywhere. Sums are means times :math:`(n / \bar n)^\alpha`, with an
    α for each map and channel that is learnt. Only identity and transpose are products over pairs; all else is mixed
    over particles and events, and then spread: 2 of 15 products cost n².

    Args:
        in_dim: channels of T.
        out_dim: channels of T'.
        mean_size: n̄, a typical number of particles. Default 49, that of the paper's jets.
        factorised: :math:`W_b = \mathrm{diag}(u_b) X + Y \mathrm{diag}(v_b)` instead of a free matrix each,
            which takes a seventh of the parameters. Default ``True``.

    Shapes:
        T [S, in_dim] on :class:`~panoptag_pyg.ops.ragged_pairs.Pairs` → [S, out_dim].

    Source: Bogatskiy et al., *PELICAN*, arXiv:2211.00454; Maron et al., arXiv:1812.09902, for the 15 maps.
    """

    NUM_MAPS, NUM_SUMS = 15, 10

    def __init__(self, in_dim: int, out_dim: int, mean_size: float = 49.0, factorised: bool = True) -> None:
        super().__init__()
        self.in_dim, self.out_dim, self.mean_size, self.factorised = in_dim, out_dim, mean_size, factorised
        if factorised:
            self.in_scale = nn.Parameter(torch.empty(self.NUM_MAPS, in_dim))
            self.out_scale = nn.Parameter(torch.empty(self.NUM_MAPS, out_dim))
            self.in_mix, self.out_mix = (nn.Parameter(torch.empty(out_dim, in_dim)) for _ in range(2))
        else:
            self.mix = nn.Parameter(torch.empty(self.NUM_MAPS, out_dim, in_dim))
        self.exponent = nn.Parameter(torch.empty(self.NUM_SUMS, in_dim))
        self.bias, self.diagonal_bias = nn.Parameter(torch.empty(out_dim)), nn.Parameter(torch.empty(out_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        nn.init.uniform_(self.exponent)
        nn.init.zeros_(self.bias)
        nn.init.zeros_(self.diagonal_bias)
        if self.factorised:
            for scale in (self.in_scale, self.out_scale):
                nn.init.normal_(scale, std=1 / math.sqrt(self.NUM_MAPS))
            for mix in (self.in_mix, self.out_mix):
                nn.init.normal_(mix, std=1 / math.sqrt(self.in_dim))
        else:
            nn.init.normal_(self.mix, std=math.sqrt(2 / (self.in_dim * self.NUM_MAPS)))

    def weights(self) -> Tensor:
        """W of each map: [15, out_dim, in_dim]."""
        if not self.factorised:
            return self.mix
        return self.in_scale[:, None, :] * self.in_mix + self.out_scale[:, :, None] * self.out_mix

    def forward(self, t: Tensor, pairs: Pairs) -> Tensor:
        w = self.weights()
        # Maps: 0 identity, 1 transpose, 2–4 diagonal to (diagonal, rows, columns), 5–7 row sums to these,
        # 8–10 column sums to these, 11 and 12 trace to (diagonal, all), 13 and 14 total to these.
        both = F.linear(t, torch.cat([w[0], w[1]]))
        out = both[:, : self.out_dim] + transpose_pairs(both[:, self.out_dim :].contiguous(), pairs.mirrored)
        dtype = self.exponent.dtype
        diagonal, rows, columns, trace, total = _aggregates(t.to(dtype), pairs)
        size = take_rows(_log_size(pairs, self.mean_size, dtype), pairs.event)
        scale = torch.exp(size[:, None, None] * self.exponent)
        trace, total = take_rows(trace, pairs.event), take_rows(total, pairs.event)

        def mixed(terms: list[tuple[Tensor, int]]) -> Tensor:
            scaled = [value if b < 5 else value * scale[:, b - 5] for value, b in terms]
            return F.linear(torch.cat(scaled, dim=1), torch.cat([w[b] for _, b in terms], dim=1))

        on_rows = mixed([(diagonal, 3), (rows, 6), (columns, 9), (trace, 12), (total, 14)]) + self.bias
        on_columns = mixed([(diagonal, 4), (rows, 7), (columns, 10)])
        on_diagonal = mixed([(diagonal, 2), (rows, 5), (columns, 8), (trace, 11), (total, 13)]) + self.diagonal_bias
        return _spread(out, on_rows, on_columns, on_diagonal, pairs)

    def __repr__(self) -> str:
        return f"PairMixing({self.in_dim}, {self.out_dim}, factorised={self.factorised})"


class PairMessage(nn.Module):
    r"""A network on every pair alone: :math:`\mathrm{BN}(\mathrm{LeakyReLU}(W t + b))`, then dropout.

    Args:
        in_dim: channels in.
        out_dim: channels out.
        dropout: share of channels of pairs set to 0 in training. Default 0.

    Shapes:
        t [S, in_dim] → [S, out_dim].
    """

    def __init__(self, in_dim: int, out_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear, self.norm, self.dropout = nn.Linear(in_dim, out_dim), RowBatchNorm(out_dim), nn.Dropout(dropout)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        self.linear.reset_parameters()
        self.norm.reset_parameters()

    def forward(self, t: Tensor) -> Tensor:
        return self.dropout(self.norm(F.leaky_relu(self.linear(t), SLOPE)))

    def __repr__(self) -> str:
        return f"PairMessage({self.linear.in_features}, {self.linear.out_features}, dropout={self.dropout.p})"


class ParticlesToPairs(nn.Module):
    r"""The 5 equivariant maps of particles to pairs: s on the diagonal, rows, columns; Σs on the diagonal, everywhere.

    .. math:: T_{ij} = \sum_{b=1}^{5} W_b\, \mathrm{LeakyReLU}(A_b(s))_{ij} + \beta

    Args:
        in_dim: channels of s.
        out_dim: channels of T.
        mean_size: n̄, by which the sum is divided. Default 49.

    Shapes:
        s [P, in_dim] → [S, out_dim].

    Source: Bogatskiy et al., arXiv:2211.00454 (its particle labels).
    """

    def __init__(self, in_dim: int, out_dim: int, mean_size: float = 49.0) -> None:
        super().__init__()
        self.in_dim, self.out_dim, self.mean_size = in_dim, out_dim, mean_size
        self.mix, self.bias = nn.Parameter(torch.empty(5, out_dim, in_dim)), nn.Parameter(torch.empty(out_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        nn.init.normal_(self.mix, std=math.sqrt(2 / (5 * self.in_dim)))
        nn.init.zeros_(self.bias)

    def forward(self, s: Tensor, pairs: Pairs) -> Tensor:
        total = take_rows(ops.segment_reduce(s, pairs.ptr, "sum") / self.mean_size, pairs.event)
        s, total = F.leaky_relu(s, SLOPE), F.leaky_relu(total, SLOPE)
        both = torch.cat([s, total], dim=1)
        on_rows = F.linear(both, torch.cat([self.mix[1], self.mix[4]], dim=1)) + self.bias
        on_columns = F.linear(s, self.mix[2])
        on_diagonal = F.linear(both, torch.cat([self.mix[0], self.mix[3]], dim=1))
        return _spread(None, on_rows, on_columns, on_diagonal, pairs)

    def __repr__(self) -> str:
        return f"ParticlesToPairs({self.in_dim}, {self.out_dim})"


class PairsToParticles(nn.Module):
    r"""The 5 equivariant maps of pairs to particles: diagonal, row sums, column sums, trace, total.

    .. math:: h_i = \sum_{b=1}^{5} W_b\, \mathrm{LeakyReLU}(A_b(T))_i + \beta

    Args:
        in_dim: channels of T.
        out_dim: channels of h.
        mean_size: n̄ of the sums' :math:`(n / \bar n)^\alpha`. Default 49.

    Shapes:
        T [S, in_dim] → [P, out_dim].

    Source: Bogatskiy et al., arXiv:2211.00454.
    """

    def __init__(self, in_dim: int, out_dim: int, mean_size: float = 49.0) -> None:
        super().__init__()
        self.mean_size, self.linear = mean_size, nn.Linear(5 * in_dim, out_dim)
        self.exponent = nn.Parameter(torch.rand(4, in_dim))

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        self.linear.reset_parameters()
        nn.init.uniform_(self.exponent)

    def forward(self, t: Tensor, pairs: Pairs) -> Tensor:
        dtype = self.exponent.dtype
        diagonal, *sums = _aggregates(t.to(dtype), pairs)
        size = take_rows(_log_size(pairs, self.mean_size, dtype), pairs.event)
        sums[2:] = [take_rows(value, pairs.event) for value in sums[2:]]
        scale = torch.exp(size[:, None, None] * self.exponent)
        scaled = [value * scale[:, number] for number, value in enumerate(sums)]
        return self.linear(F.leaky_relu(torch.cat([diagonal, *scaled], dim=1), SLOPE))

    def __repr__(self) -> str:
        return f"PairsToParticles({len(self.exponent[0])}, {self.linear.out_features})"


class PairsToSet(nn.Module):
    r"""The 2 invariants of pairs: total and trace, :math:`z = \sum_b W_b\, \mathrm{LeakyReLU}(A_b(T)) + \beta`.

    Args:
        in_dim: channels of T.
        out_dim: channels of z.
        mean_size: n̄ of the sums' :math:`(n / \bar n)^\alpha`. Default 49.

    Shapes:
        T [S, in_dim] → [B, out_dim].

    Source: Bogatskiy et al., arXiv:2211.00454.
    """

    def __init__(self, in_dim: int, out_dim: int, mean_size: float = 49.0) -> None:
        super().__init__()
        self.mean_size, self.linear = mean_size, nn.Linear(2 * in_dim, out_dim)
        self.exponent = nn.Parameter(torch.rand(2, in_dim))

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        self.linear.reset_parameters()
        nn.init.uniform_(self.exponent)

    def forward(self, t: Tensor, pairs: Pairs) -> Tensor:
        dtype = self.exponent.dtype
        _, rows, _, trace, _ = _aggregates(t.to(dtype), pairs)
        total = ops.segment_reduce(rows, pairs.ptr, "mean")
        scale = torch.exp(_log_size(pairs, self.mean_size, dtype)[:, None, None] * self.exponent)
        return self.linear(F.leaky_relu(torch.cat([total * scale[:, 0], trace * scale[:, 1]], dim=1), SLOPE))

    def __repr__(self) -> str:
        return f"PairsToSet({len(self.exponent[0])}, {self.linear.out_features})"


def _aggregates(t: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Diagonal, row means, column means [P, C]; trace and total, as means [B, C]."""
    diagonal = take_rows(t, pairs.diagonal)
    rows = ops.segment_reduce(t, pairs.row_ptr, "mean")
    columns = ops.segment_reduce(transpose_pairs(t, pairs.mirrored), pairs.row_ptr, "mean")
    return (
        diagonal,
        rows,
        columns,
        ops.segment_reduce(diagonal, pairs.ptr, "mean"),
        ops.segment_reduce(rows, pairs.ptr, "mean"),
    )


def _log_size(pairs: Pairs, mean_size: float, dtype: torch.dtype) -> Tensor:
    return (pairs.ptr.diff().clamp(min=1).to(dtype) / mean_size).log()


def _spread(out: Tensor | None, on_rows: Tensor, on_columns: Tensor, on_diagonal: Tensor, pairs: Pairs) -> Tensor:
    """T_ij = out_ij + rows_i + columns_j + δ_ij diagonal_i."""
    spread = take_rows(on_rows, pairs.row) + take_rows(on_columns, pairs.column)
    out = spread if out is None else out + spread
    return add_rows_(out, pairs.diagonal, on_diagonal.to(out.dtype))
