"""ParticleNet's edge convolution on ragged jets: mean over k neighbours, batch normalisation, and a shortcut."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panoptag_pyg import ops
from panoptag_pyg.nn.batch_norm import RowBatchNorm
from panoptag_pyg.ops.ragged import take_rows

#: Elements of one intermediate [edges of a chunk, width] in evaluation, which should stay in the cache.
CHUNK = 1 << 17
DEVICE_CHUNK = 1 << 26


class ParticleEdgeConv(nn.Module):
    r"""One block of ParticleNet.

    .. math::
        y_i = \mathrm{ReLU}\Big(\mathrm{BN}(S x_i) + \frac1k \sum_{j \in \mathrm{kNN}(i)} h([x_i,\; x_j - x_i])\Big)

    where h is layers of ReLU ∘ BN ∘ W.

    A constituent isn't its own neighbour. Where a jet has fewer than k others, the free places are taken by a point
    whose features are 0: what a padded constituent is to weaver-core, so its logits come out the same. The first
    linear layer is computed over constituents instead of edges; in evaluation the normalisations become part of the
    linear layers, and edges come some thousand at a time. In training the statistics are over the k edges of every
    real constituent; weaver-core counts those of padded constituents too.

    Args:
        k: neighbours.
        in_dim: D.
        dims: widths of the layers of h.

    Shapes:
        x [N, D], coordinates [N, C], ptr [J+1] → [N, dims[-1]].

    Source: Qu, Gouskos, *ParticleNet*, arXiv:1902.08570, figure 1.
    """

    def __init__(self, k: int, in_dim: int, dims: Sequence[int]) -> None:
        super().__init__()
        self.k, self.in_dim, self.widths = k, in_dim, list(dims)
        widths = [2 * in_dim, *dims]
        self.convs = nn.ModuleList(nn.Linear(i, o, bias=False) for i, o in pairwise(widths))
        self.bns = nn.ModuleList(RowBatchNorm(dim) for dim in dims)
        self.sc, self.sc_bn = None, None
        if in_dim != dims[-1]:
            self.sc, self.sc_bn = nn.Linear(in_dim, dims[-1], bias=False), RowBatchNorm(dims[-1])

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in (*self.convs, *self.bns, self.sc, self.sc_bn):
            if layer is not None:
                layer.reset_parameters()  # type: ignore[operator]

    def forward(self, x: Tensor, coordinates: Tensor, ptr: Tensor) -> Tensor:
        table = ops.neighbour_table(coordinates, self.k, ptr)
        nobody = x.size(0)
        table = table.masked_fill(~ops.neighbour_mask(ptr, self.k, x.size(0)), nobody)
        weights: list[tuple[Tensor, Tensor | None]]
        weights = [(conv.weight, None) for conv in self.convs] if self.training else self._folded()  # type: ignore[misc]
        at_point, at_difference = weights[0][0].chunk(2, dim=1)
        of_neighbour = F.pad(F.linear(x, at_difference), (0, 0, 0, 1))
        of_point = F.linear(x, at_point - at_difference, weights[0][1])
        parts = [self._mean(of_neighbour, of_point[rows], table[rows], weights[1:]) for rows in self._chunks(x)]
        mean = parts[0] if len(parts) == 1 else torch.cat(parts)
        shortcut = x if self.sc is None or self.sc_bn is None else self.sc_bn(self.sc(x))
        return torch.relu(shortcut + mean)

    def _mean(
        self, of_neighbour: Tensor, of_point: Tensor, table: Tensor, weights: Sequence[tuple[Tensor, Tensor | None]]
    ) -> Tensor:
        """Mean of h over the edges of some points: [n, dims[-1]]."""
        y = (take_rows(of_neighbour, table) + of_point[:, None]).flatten(0, 1)
        for i, norm in enumerate(self.bns):
            if i > 0:
                y = F.linear(y, *weights[i - 1])
            y = torch.relu(norm(y) if self.training else y)
        return y.view(table.size(0), self.k, y.size(1)).mean(1)

    def _chunks(self, x: Tensor) -> list[slice]:
        if self.training or torch.compiler.is_compiling():
            return [slice(None)]
        widest = max(self.widths)
        step = max(1, (CHUNK if x.device.type == "cpu" else DEVICE_CHUNK) // (self.k * widest))
        return [slice(start, start + step) for start in range(0, max(x.size(0), 1), step)]

    def _folded(self) -> list[tuple[Tensor, Tensor | None]]:
        """Weight and bias of each layer with the normalisation after it."""
        folded: list[tuple[Tensor, Tensor | None]] = []
        for conv, norm in zip(self.convs, self.bns, strict=True):
            scale, shift = norm.affine_map()  # type: ignore[operator]
            folded.append((conv.weight * scale[:, None], shift))
        return folded

    def __repr__(self) -> str:
        return f"ParticleEdgeConv({self.in_dim}, {self.widths}, k={self.k})"
