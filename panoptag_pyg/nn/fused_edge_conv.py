"""EdgeConv with a multi-layer edge MLP on a table of k neighbours."""

from __future__ import annotations

from torch import Tensor, nn

from panoptag_pyg import ops
from panoptag_pyg.nn.mlp import MLP


class FusedEdgeConv(nn.Module):
    r"""Messages from the k nearest neighbours through an MLP, reduced by the maximum.

    .. math:: y_i = \max_{j \in \mathcal{N}(i)} \mathrm{MLP}\big([x_j - x_i,\; x_i]\big)

    Args:
        in_dim: width of the input.
        out_dim: width of every layer of the MLP.
        num_layers: linear layers in the MLP, with layer normalisation and GELU between them. Default 3.
        backend: a name of ``ops.available("edge_conv")``. Default ``"auto"``.

    Shapes:
        x [P, in_dim], table [P, k] (see :func:`panoptag_pyg.ops.neighbour_table`) → [P, out_dim].

    Source: Wang et al., arXiv:1801.07829, eq. 8. :class:`EdgeConv` is PyG's, and concatenates the other way round.
    """

    def __init__(self, in_dim: int, out_dim: int, num_layers: int = 3, backend: str = "auto") -> None:
        super().__init__()
        self.mlp = MLP([2 * in_dim, *[out_dim] * num_layers], norm=True)
        self.out_dim = out_dim
        self.backend = backend

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        self.mlp.reset_parameters()

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        linears = [(layer.weight, layer.bias) for layer in self.mlp.linears]
        norms = [(layer.weight, layer.bias) for layer in self.mlp.norms or ()]
        return ops.edge_conv(x, table, linears, norms, backend=self.backend)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"FusedEdgeConv({self.mlp.channels})"
