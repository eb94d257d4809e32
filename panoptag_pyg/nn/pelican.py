"""PELICAN's trunk: from four-momenta to channels on all pairs of an event's particles."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panoptag_pyg.nn.minkowski import dot
from panoptag_pyg.nn.pair_layers import SLOPE, PairEncoding, PairMessage, PairMixing, ParticlesToPairs
from panoptag_pyg.ops.ragged import take_rows
from panoptag_pyg.ops.ragged_pairs import Pairs, all_pairs


class PelicanTrunk(nn.Module):
    r"""Pairwise products through blocks of a message and the 15 equivariant maps.

    .. math::
        T^0_{ij} = \big[f(p_i \cdot p_j),\ \mathrm{Eq}_{1 \to 2}(s)_{ij}\big], \qquad
        T^{l+1} = \mathrm{LeakyReLU}\big(\mathrm{Eq}_{2 \to 2}(\mathrm{Message}(T^l))\big)

    and a last message. The products are taken in the precision of the momenta, float64 as the networks give them.

    Memory: some 4 kB for each of the Σ n² pairs at the published widths while training.

    Args:
        num_scalars: invariants s of each particle.
        message_dim: channels between the blocks. Default 60.
        hidden_dim: channels after each message. Default 35.
        scalar_dim: channels of T⁰ that the scalars get. Default 10.
        num_layers: blocks. Default 5.
        dropout: after each message. Default 0.25.
        mean_size: n̄, a typical number of particles. Default 49.
        factorised: as of :class:`~panoptag_pyg.nn.pair_layers.PairMixing`. Default ``True``.

    Shapes:
        momentum [P, 4], scalars [P, S], ptr [B+1] → [Σ n², hidden_dim] and the
        :class:`~panoptag_pyg.ops.ragged_pairs.Pairs`.

    Source: Bogatskiy et al., *PELICAN*, arXiv:2211.00454; widths of its published configuration.
    """

    def __init__(
        self,
        num_scalars: int,
        message_dim: int = 60,
        hidden_dim: int = 35,
        scalar_dim: int = 10,
        num_layers: int = 5,
        dropout: float = 0.25,
        mean_size: float = 49.0,
        factorised: bool = True,
    ) -> None:
        super().__init__()
        scalar_dim = scalar_dim if num_scalars else 0
        self.encoding = PairEncoding(message_dim - scalar_dim)
        self.scalars = ParticlesToPairs(num_scalars, scalar_dim, mean_size) if num_scalars else None
        self.messages = nn.ModuleList(PairMessage(message_dim, hidden_dim, dropout) for _ in range(num_layers + 1))
        self.mixings = nn.ModuleList(
            PairMixing(hidden_dim, message_dim, mean_size, factorised) for _ in range(num_layers)
        )

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in (self.encoding, self.scalars, *self.messages, *self.mixings):
            if layer is not None:
                layer.reset_parameters()  # type: ignore[operator]

    def forward(self, momentum: Tensor, scalars: Tensor, ptr: Tensor) -> tuple[Tensor, Pairs]:
        pairs = all_pairs(ptr, momentum.size(0))
        t = self.encoding(dot(take_rows(momentum, pairs.row), take_rows(momentum, pairs.column)))
        if self.scalars is not None:
            t = torch.cat([t, self.scalars(scalars, pairs).to(t.dtype)], dim=1)
        for message, mixing in zip(self.messages, self.mixings, strict=False):
            t = F.leaky_relu_(mixing(message(t), pairs), SLOPE)
        return self.messages[-1](t), pairs

    def __repr__(self) -> str:
        return f"PelicanTrunk({len(self.mixings)} blocks, {self.messages[0]!r})"
