"""LorentzNet's block: messages from Minkowski products, which move both scalars and four-vectors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panoptag_pyg import ops
from panoptag_pyg.nn.batch_norm import RowBatchNorm
from panoptag_pyg.nn.minkowski import dot, signed_log

#: Largest change of a coordinate along one edge, as in the published code; a guard that isn't reached in practice.
MAX_STEP = 100.0


class LorentzBlock(nn.Module):
    r"""Lorentz group equivariant block (LGEB).

    .. math::
        m_{ij} &= \phi_e\big(h_i, h_j, \psi(\|x_i - x_j\|^2), \psi(x_i \cdot x_j)\big), \qquad
        w_{ij} = \sigma(\phi_m(m_{ij})) \\
        x_i' &= x_i + c \, \underset{j}{\mathrm{mean}}\; \phi_x(w_{ij} m_{ij}) \, (x_i - x_j) \\
        h_i' &= h_i + \phi_h\big(h_i, \textstyle\sum_j w_{ij} m_{ij}, s_i\big)

    Only Minkowski products enter h, so h is invariant and x transforms as a four-vector. The products and x stay in
    the precision they come in, float64 as the backbone gives them, under autocast too; the messages follow autocast.

    The first linear layer is :math:`A h_i + B h_j + c\,\psi + d\,\psi`: two products over particles, not over edges.

    Args:
        dim: width of h and of all hidden layers.
        num_scalars: invariants s of each particle that every block sees anew. Default 0.
        step: c. Default 5e-3, the paper's for top tagging.
        moves: whether x is updated; the last block's x would not be used. Default ``True``.

    Shapes:
        h [P, dim], x [P, 4], scalars [P, S], edge_index [2, E] by centre, edge_ptr [P+1] → h [P, dim], x [P, 4].

    Source: Gong et al., *LorentzNet*, arXiv:2201.08187, section 3, and its published code for what that leaves open.
    """

    def __init__(self, dim: int, num_scalars: int = 0, step: float = 5e-3, moves: bool = True) -> None:
        super().__init__()
        self.dim, self.step, self.moves = dim, step, moves
        self.edge_in = nn.Linear(2 * dim + 2, dim, bias=False)
        self.edge_norm, self.edge_out = RowBatchNorm(dim), nn.Linear(dim, dim)
        self.gate = nn.Linear(dim, 1)
        self.node_in = nn.Linear(2 * dim + num_scalars, dim)
        self.node_norm, self.node_out = RowBatchNorm(dim), nn.Linear(dim, dim)
        if moves:
            self.move_in, self.move_out = nn.Linear(dim, dim), nn.Linear(dim, 1, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew; steps start small, as in the published code."""
        for layer in self.children():
            layer.reset_parameters()  # type: ignore[operator]
        if self.moves:
            nn.init.xavier_uniform_(self.move_out.weight, gain=0.001)

    def forward(
        self, h: Tensor, x: Tensor, scalars: Tensor, edge_index: Tensor, edge_ptr: Tensor
    ) -> tuple[Tensor, Tensor]:
        centre, other = edge_index[0], edge_index[1]
        x_i, x_j = ops.ragged.take_rows(x, centre), ops.ragged.take_rows(x, other)
        difference = x_i - x_j
        products = torch.stack([signed_log(dot(difference, difference)), signed_log(dot(x_i, x_j))], dim=1)
        message = self._messages(h, products.to(h.dtype), centre, other)
        if self.moves:
            length = self.move_out(F.relu(self.move_in(message))).to(x.dtype)
            moved = (difference * length).clamp(-MAX_STEP, MAX_STEP)
            x = x + self.step * ops.segment_reduce(moved, edge_ptr, "mean")
        gathered = ops.segment_reduce(message.to(h.dtype), edge_ptr, "sum")
        node = self.node_in(torch.cat([h, gathered, scalars.to(h.dtype)], dim=1))
        return h + self.node_out(F.relu(self.node_norm(node))).to(h.dtype), x

    def _messages(self, h: Tensor, products: Tensor, centre: Tensor, other: Tensor) -> Tensor:
        at_centre, at_other, at_products = self.edge_in.weight.split([self.dim, self.dim, 2], dim=1)
        message = ops.ragged.take_rows(F.linear(h, at_centre), centre)
        message = message + ops.ragged.take_rows(F.linear(h, at_other), other)
        message = message + products[:, :1] * at_products[:, 0] + products[:, 1:] * at_products[:, 1]
        message = F.relu(self.edge_out(F.relu(self.edge_norm(message))))
        return message * self.gate(message).sigmoid()

    def __repr__(self) -> str:
        return f"LorentzBlock({self.dim}, moves={self.moves})"
