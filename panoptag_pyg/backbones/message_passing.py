"""Any stack of PyTorch Geometric layers as a backbone."""

from __future__ import annotations

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor, nn

from panoptag_pyg import ops
from panoptag_pyg.nn import MLP


class MessagePassingBackbone(nn.Module):
    r"""PyG layers on the k-nearest-neighbour graph of each event, with residual connections.

    .. math:: x^0 = \mathrm{MLP}(f), \qquad x^{l+1} = x^l + \mathrm{GELU}\big(\mathrm{layer}_l(x^l, E)\big)

    Args:
        in_dim: number of PFO features.
        dim: width.
        layers: modules called as ``layer(x, edge_index)``, ``[P, dim] → [P, dim]``: any
            :class:`torch_geometric.nn.MessagePassing`.
        k: neighbours of each PFO in (eta, phi). Default 8.
        wrap_phi: wrap Δφ. Default ``True``.

    Shapes:
        x [P, in_dim], pos [P, 2] (eta, phi), ptr [B+1] → [P, dim].

    Example:
        >>> layers = [GATv2Conv(64, 16, heads=4) for _ in range(3)]
        >>> model = PanopTag(dim=64, num_heads=8, backbone=MessagePassingBackbone(14, 64, layers))
    """

    def __init__(self, in_dim: int, dim: int, layers: Iterable[nn.Module], k: int = 8, wrap_phi: bool = True) -> None:
        super().__init__()
        self.in_dim, self.out_dim, self.k = in_dim, dim, k
        self.metric = "wrapped_phi" if wrap_phi else "euclidean"
        self.embed = MLP([in_dim, dim, dim])
        self.layers = nn.ModuleList(layers)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in (self.embed, *self.layers):
            layer.reset_parameters()  # type: ignore[operator]

    def forward(self, x: Tensor, pos: Tensor, ptr: Tensor, max_length: int | None = None) -> Tensor:
        edge_index = ops.knn_graph(pos, self.k, ptr=ptr, metric=self.metric)
        x = self.embed(x)
        for layer in self.layers:
            x = x + F.gelu(layer(x, edge_index))
        return x

    def __repr__(self) -> str:
        names = ", ".join(type(layer).__name__ for layer in self.layers)
        return f"MessagePassingBackbone({self.in_dim}, {self.out_dim}, [{names}], k={self.k})"
