"""Attention that knows where things are: scores fall with the distance between query and key in (η, φ)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from panoptag_pyg.nn.attention import BipartiteAttention

#: Sharpness of the widest and the narrowest head at the start: widths σ = 1/√s of 1.8 and 0.13 in ΔR.
SHARPNESS_RANGE = (0.3, 60.0)


class GeometricAttention(BipartiteAttention):
    r"""Bipartite attention whose scores fall with the distance in (η, φ), each head at a scale that it learns.

    .. math::
        a_{ij} = \mathrm{softmax}_j \Big(\frac{q_i \cdot k_j}{\sqrt{d / H}}
        - s_h \Big[\tfrac{1}{2} (\eta_i - \eta_j)^2 + 1 - \cos(\phi_i - \phi_j)\Big]\Big), \qquad s_h > 0

    The bracket is ΔR² / 2 at small angles and periodic in φ. It is a product of four numbers of the query and four of
    the key, up to a term that the softmax doesn't see, so it runs on every backend of
    :func:`panoptag_pyg.ops.ragged_attention` as four more columns.

    A jet query of plain attention first has to learn that its own constituents lie near its axis, and some ten
    thousand events teach it slowly. Here the sharp heads begin there, the wide ones see the whole event, and all scales
    are learnt.

    Args:
        dim: width of targets, sources and output.
        num_heads: heads; must divide ``dim``. Their sharpness starts evenly spaced in log s over
            :data:`SHARPNESS_RANGE`.
        backend: a name of ``ops.available("ragged_attention")``. Default ``"auto"``.

    Shapes:
        as :class:`~panoptag_pyg.nn.BipartiteAttention`, with ``positions`` = (η, φ) of targets [J, 2] and sources
        [P, 2].

    Source: this project. Attention with a pairwise bias is ParT's idea (Qu, Li, Qian, arXiv:2202.03772, eq. 3); heads
    of fixed scale that fall with distance are ALiBi's (Press, Smith, Lewis, arXiv:2108.12409).
    """

    def __init__(self, dim: int, num_heads: int, backend: str = "auto") -> None:
        super().__init__(dim, num_heads, backend)
        self.log_sharpness = nn.Parameter(self._first_sharpness())

    def _first_sharpness(self) -> Tensor:
        low, high = SHARPNESS_RANGE
        return torch.linspace(math.log(low), math.log(high), self.num_heads)

    def reset_parameters(self) -> None:
        """Draw the weights anew and set the heads' scales back."""
        super().reset_parameters()
        with torch.no_grad():
            self.log_sharpness.copy_(self._first_sharpness())

    def project(
        self,
        target: Tensor,
        source: Tensor,
        positions: tuple[Tensor, Tensor] | None = None,
        norms: tuple[nn.LayerNorm, nn.LayerNorm] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values with four more columns, whose product is the geometric part of the score.

        Arguments as of :meth:`BipartiteAttention.project`, but the positions are needed.

        Raises:
            ValueError: without positions.
        """
        if positions is None:
            raise ValueError("GeometricAttention needs the positions (eta, phi) of targets and sources")
        q, k, v = super().project(target, source, norms=norms)
        width = q.size(-1)
        # ragged_attention divides by the root of the whole width; the learnt part keeps its own root.
        grow = math.sqrt((width + 4) / width)
        (eta_i, phi_i), (eta_j, phi_j) = (position.unbind(1) for position in positions)
        ones = torch.ones_like(eta_i)
        of_query = torch.stack([eta_i, -0.5 * ones, phi_i.cos(), phi_i.sin()], dim=1)
        of_key = torch.stack([eta_j, eta_j.square(), phi_j.cos(), phi_j.sin()], dim=1)
        sharpness = self.log_sharpness.exp() * math.sqrt(width + 4)
        q = torch.cat([q * grow, of_query[:, None, :] * sharpness[:, None]], dim=-1)
        k = torch.cat([k, of_key[:, None, :].expand(-1, self.num_heads, -1).to(k.dtype)], dim=-1)
        return q, k, torch.nn.functional.pad(v, (0, 4))
