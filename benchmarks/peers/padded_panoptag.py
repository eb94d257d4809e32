"""PanopTag as most people would write it from the paper: dense tensors, padded to the longest event, masked.

Its modules carry the names of :class:`panoptag_pyg.models.PanopTag`'s, so one's ``state_dict`` loads into the other:
with the same weights and events both give the same logits, and a benchmark compares like with like.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg.events.features import JET_FEATURES, PFO_FEATURES
from panoptag_pyg.nn import FeatureNormalisation


class PaddedMLP(nn.Module):
    """Linear layers with GELU, and optionally layer normalisation, between them."""

    def __init__(self, channels: list[int], norm: bool = False) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(i, o) for i, o in zip(channels[:-1], channels[1:], strict=True))
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in channels[1:-1]) if norm else None

    def forward(self, x: Tensor) -> Tensor:
        for i, linear in enumerate(self.linears):
            if i > 0:
                x = F.gelu(x if self.norms is None else self.norms[i - 1](x))
            x = linear(x)
        return x


class PaddedEdgeConv(nn.Module):
    """Concatenate, MLP on every edge, maximum over the real neighbours."""

    def __init__(self, dim: int, num_layers: int) -> None:
        super().__init__()
        self.mlp = PaddedMLP([2 * dim, *[dim] * num_layers], norm=True)

    def forward(self, x: Tensor, index: Tensor, valid: Tensor) -> Tensor:
        batch, n, k = index.shape
        neighbours = x.gather(1, index.view(batch, n * k, 1).expand(-1, -1, x.size(2))).view(batch, n, k, -1)
        centre = x[:, :, None].expand_as(neighbours)
        h = self.mlp(torch.cat([neighbours - centre, centre], dim=-1))
        h = h.masked_fill(~valid[..., None], -math.inf).amax(2)
        return torch.where(valid.any(2, keepdim=True), h, 0.0)


def padded_knn(x: Tensor, mask: Tensor, k: int, metric: str) -> tuple[Tensor, Tensor]:
    """k nearest others: index [B, N, k] and which slots are real; a PFO alone is its own neighbour."""
    if metric == "wrapped_phi":
        delta = x[:, :, None] - x[:, None]
        phi = delta[..., 1] - 2 * math.pi * torch.round(delta[..., 1] / (2 * math.pi))
        distance = delta[..., 0].square() + phi.square()
    else:
        distance = torch.cdist(
            x, x, compute_mode="donot_use_mm_for_euclid_dist" if x.size(2) <= 2 else "use_mm_for_euclid_dist"
        )
    n = x.size(1)
    alone = mask.sum(1) == 1
    diagonal = torch.eye(n, dtype=torch.bool, device=x.device) & ~alone[:, None, None]
    distance = distance.masked_fill(diagonal | ~mask[:, None, :], math.inf)
    if n < k:
        distance = F.pad(distance, (0, k - n), value=math.inf)
    nearest, index = distance.topk(k, largest=False)
    valid = nearest.isfinite() & mask[..., None]
    return torch.where(valid, index, 0), valid


class PaddedAttention(nn.Module):
    """q, k, v projections of multi-head attention."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q, self.k, self.v = (nn.Linear(dim, dim) for _ in range(3))

    def forward(self, x: Tensor, source: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = (
            layer(t).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for layer, t in ((self.q, x), (self.k, source), (self.v, source))
        )
        if mask is None:
            return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        empty = ~mask.any(1)
        y = F.scaled_dot_product_attention(q, k, v, (mask | empty[:, None])[:, None, None, :])
        return torch.where(empty[:, None, None], 0.0, y.transpose(1, 2).flatten(2))


class PaddedMAB(nn.Module):
    """Attention and a one-layer feed-forward, each with a residual connection."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.attention = PaddedAttention(dim, num_heads)
        self.query_norm, self.source_norm, self.output_norm = (nn.LayerNorm(dim) for _ in range(3))
        self.o = nn.Linear(dim, dim)

    def forward(self, x: Tensor, source: Tensor, mask: Tensor | None) -> Tensor:
        z = x + self.attention(self.query_norm(x), self.source_norm(source), mask)
        return z + F.gelu(self.o(self.output_norm(z)))


class PaddedISAB(nn.Module):
    """Every point attends to M summaries of its event."""

    def __init__(self, dim: int, num_heads: int, num_inducing: int) -> None:
        super().__init__()
        self.inducing = nn.Parameter(torch.empty(num_inducing, dim))
        self.gather = PaddedMAB(dim, num_heads)
        self.spread = PaddedMAB(dim, num_heads)
        nn.init.xavier_uniform_(self.inducing)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        summary = self.gather(self.inducing.expand(len(x), -1, -1), x, mask)
        return self.spread(x, summary, None)


class PaddedBackbone(nn.Module):
    """EdgeConv layers, then ISAB layers, with skips."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        k: int,
        num_inducing: int,
        num_local_layers: int,
        num_global_layers: int,
        edge_mlp_layers: int,
        wrap_phi: bool,
    ) -> None:
        super().__init__()
        self.k, self.metric = k, "wrapped_phi" if wrap_phi else "euclidean"
        self.embed = PaddedMLP([len(PFO_FEATURES), dim, dim])
        self.local_layers = nn.ModuleList(PaddedEdgeConv(dim, edge_mlp_layers) for _ in range(num_local_layers))
        self.global_layers = nn.ModuleList(PaddedISAB(dim, num_heads, num_inducing) for _ in range(num_global_layers))

    def forward(self, x: Tensor, pos: Tensor, mask: Tensor) -> Tensor:
        x = self.embed(x)
        for i, layer in enumerate(self.local_layers):
            points, metric = (pos, self.metric) if i == 0 else (x, "euclidean")
            with torch.no_grad():
                index, valid = padded_knn(points, mask, self.k, metric)
            x = x + layer(x, index, valid)
        h = x
        for layer in self.global_layers:
            h = layer(h, mask)
        return x + h if len(self.global_layers) else x


class PaddedPanopTag(nn.Module):
    """Takes the same batch as :class:`panoptag_pyg.models.PanopTag` and pads it first.

    Args:
        pad_to: PFOs to pad every event to. Default: the longest event of the batch.
        The others are those of :class:`~panoptag_pyg.models.PanopTag`; ``edge_mlp_layers`` is its backbone's.
    """

    def __init__(
        self,
        dim: int = 256,
        num_heads: int = 32,
        k: int = 20,
        num_inducing: int = 48,
        num_local_layers: int = 2,
        num_global_layers: int = 3,
        num_decoder_layers: int = 4,
        num_classes: int = 3,
        wrap_phi: bool = True,
        edge_mlp_layers: int = 3,
        pad_to: int | None = None,
    ) -> None:
        super().__init__()
        self.pad_to = pad_to
        self.pfo_normalisation = FeatureNormalisation(PFO_FEATURES)
        self.jet_normalisation = FeatureNormalisation(JET_FEATURES)
        self.backbone = PaddedBackbone(
            dim, num_heads, k, num_inducing, num_local_layers, num_global_layers, edge_mlp_layers, wrap_phi
        )
        self.jet_embed = PaddedMLP([len(JET_FEATURES), dim, dim])
        self.decoder = nn.ModuleList(PaddedMAB(dim, num_heads) for _ in range(num_decoder_layers))
        self.head = PaddedMLP([dim, dim, num_classes])

    def forward(self, batch: HeteroData) -> Tensor:
        pfo, jet = batch["pfo"], batch["jet"]
        x, mask = pad(pfo.x, pfo.ptr, self.pad_to)
        pos, _ = pad(pfo.pos, pfo.ptr, self.pad_to)
        jets, jet_mask = pad(jet.x, jet.ptr)
        h = self.backbone(self.pfo_normalisation(x), pos, mask)
        z = self.jet_embed(self.jet_normalisation(jets))
        for layer in self.decoder:
            z = layer(z, h, mask)
        return self.head(z)[jet_mask]


def pad(x: Tensor, ptr: Tensor, longest: int | None = None) -> tuple[Tensor, Tensor]:
    """[P, F] → [B, N, F] with zeros, and the mask [B, N] of real rows."""
    lengths = ptr.diff()
    longest = max(int(lengths.max()) if longest is None else longest, 1)
    mask = torch.arange(longest, device=x.device) < lengths[:, None]
    padded = x.new_zeros(len(lengths), longest, x.size(1))
    padded[mask] = x
    return padded, mask
