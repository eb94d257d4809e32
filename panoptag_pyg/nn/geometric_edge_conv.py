"""EdgeConv whose edges know where in (η, φ) the neighbour lies."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from panoptag_pyg import ops
from panoptag_pyg.nn.fused_edge_conv import FusedEdgeConv
from panoptag_pyg.ops.ragged import take_rows
from panoptag_pyg.ops.unwrapped import unwrapped_neighbours

#: Δη and Δφ enter over this, about a jet's radius.
ANGLE_SCALE = 0.4


class GeometricEdgeConv(FusedEdgeConv):
    r"""Messages that also see :math:`(\Delta\eta, \Delta\phi)`, with Δφ wrapped, and no position else.

    .. math::
        y_i = \max_{j \in \mathcal{N}(i)} \mathrm{MLP}\big([x_j - x_i,\; x_i,\; \eta_j - \eta_i,\; \phi_j - \phi_i]\big)

    Runs on :func:`panoptag_pyg.ops.edge_conv` with two more features, whose value at the centre has no weight; a
    neighbour across φ = ±π is a copy with φ ± 2π. So turning the event changes nothing.

    Args:
        in_dim: width of the input.
        out_dim: width of every layer of the MLP.
        num_layers: linear layers in the MLP, with layer normalisation and GELU between them. Default 3.
        backend: a name of ``ops.available("edge_conv")``. Default ``"auto"``.

    Shapes:
        x [P, in_dim], table [P, k], pos [P, 2] (η, φ) → [P, out_dim].
    """

    centre_mask: Tensor

    def __init__(self, in_dim: int, out_dim: int, num_layers: int = 3, backend: str = "auto") -> None:
        super().__init__(in_dim + 2, out_dim, num_layers, backend)
        mask = torch.ones(2 * (in_dim + 2))
        mask[-2:] = 0
        self.register_buffer("centre_mask", mask, persistent=False)

    def forward(self, x: Tensor, table: Tensor, pos: Tensor) -> Tensor:  # type: ignore[override]
        source, positions, table = unwrapped_neighbours(pos, table)
        points = torch.cat([take_rows(x, source), (positions / ANGLE_SCALE).to(x.dtype)], dim=1)
        linears: list[tuple[Tensor, Tensor]] = [(layer.weight, layer.bias) for layer in self.mlp.linears]  # type: ignore[misc]
        linears[0] = linears[0][0] * self.centre_mask, linears[0][1]
        norms: list[tuple[Tensor, Tensor]] = [(norm.weight, norm.bias) for norm in self.mlp.norms or nn.ModuleList()]  # type: ignore[misc]
        return ops.edge_conv(points, table, linears, norms, backend=self.backend)[: x.size(0)]

    def __repr__(self) -> str:
        return f"GeometricEdgeConv({self.mlp.channels})"
