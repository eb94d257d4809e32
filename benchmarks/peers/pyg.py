"""PyTorch Geometric's own layers with our weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import EdgeConv


class EdgeMLP(nn.Module):
    """The MLP that PyG's EdgeConv calls on [x_i, x_j − x_i]; its weights are ours, the first one's halves swapped."""

    def __init__(
        self, linears: Sequence[tuple[Tensor, Tensor]], norms: Sequence[tuple[Tensor, Tensor]], eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.linears, self.norms, self.eps = list(linears), list(norms), eps
        weight = linears[0][0].detach()
        dim = weight.size(1) // 2
        # A leaf of its own: swapping inside the layer would cost the peer time.
        self.first = nn.Parameter(torch.cat([weight[:, dim:], weight[:, :dim]], dim=1))

    def forward(self, h: Tensor) -> Tensor:
        h = F.linear(h, self.first, self.linears[0][1])
        for (norm_weight, norm_bias), (weight, bias) in zip(self.norms, self.linears[1:], strict=True):
            h = F.gelu(F.layer_norm(h, (h.size(1),), norm_weight, norm_bias, self.eps))
            h = F.linear(h, weight, bias)
        return h


class PyGEdgeConv(EdgeConv):
    """:class:`torch_geometric.nn.EdgeConv` with :class:`EdgeMLP` and the maximum."""

    def __init__(self, mlp: EdgeMLP) -> None:
        super().__init__(mlp, aggr="max")

    def parameters_like_ours(self) -> list[Tensor]:
        """The parameters in our order, the swapped first weight in its place."""
        mlp = self.nn
        rest = [p for pair in (*mlp.linears, *mlp.norms) for p in pair][1:]
        return [mlp.first, *rest]


def edge_conv_of_pyg(linears: Sequence[tuple[Tensor, Tensor]], norms: Sequence[tuple[Tensor, Tensor]]) -> PyGEdgeConv:
    """The layer that computes what ``ops.edge_conv`` does, given ``edge_index`` with neighbours in row 0."""
    return PyGEdgeConv(EdgeMLP(linears, norms))
