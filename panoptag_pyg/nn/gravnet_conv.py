"""GravNet's layer: neighbours in a space that the layer learns, weighed by their distance in it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panoptag_pyg import ops
from panoptag_pyg.ops.ragged import take_rows


class GravNetConv(nn.Module):
    r"""Features of the nearest neighbours in a learned space, falling off as a Gaussian of the distance.

    .. math::
        s_i = W_s x_i + b_s, \quad h_i = W_h x_i + b_h, \quad w_{ij} = \exp\big(-10\, |s_i - s_j|^2\big), \quad
        y_i = W_1 x_i + W_2 \Big[\operatorname*{mean}_{j \in \mathcal{N}(i)} w_{ij} h_j,\;
        \max_{j \in \mathcal{N}(i)} w_{ij} h_j\Big] + b_2

    with N(i) the k nearest in s. Gradients reach s through the weights, not through the choice of neighbours. The
    distances are computed in float32 or better. Parameters are called as in PyG's layer of this name, and its state
    dicts fit; with ``loop=True`` the results are the same.

    Args:
        in_dim: width of the input.
        out_dim: width of the output.
        space_dim: width of s; the paper's S. Default 4.
        propagate_dim: width of h; the paper's F_LR. Default 22.
        k: neighbours. Default 40.
        loop: count a point among its own neighbours, as PyG does. Default ``False``.
        backend: a name of ``ops.available("weighted_neighbours")``. Default ``"auto"``.

    Shapes:
        x [P, in_dim], ptr [B+1] → [P, out_dim].

    Source: Qasim et al., *Learning representations of irregular particle-detector geometry with distance-weighted
    graph networks*, arXiv:1902.07987, section 3; without the tanh that its models have after it.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        space_dim: int = 4,
        propagate_dim: int = 22,
        k: int = 40,
        loop: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.k, self.loop, self.backend = k, loop, backend
        self.lin_s = nn.Linear(in_dim, space_dim)
        self.lin_h = nn.Linear(in_dim, propagate_dim)
        self.lin_out1 = nn.Linear(in_dim, out_dim, bias=False)
        self.lin_out2 = nn.Linear(2 * propagate_dim, out_dim)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for linear in (self.lin_s, self.lin_h, self.lin_out1, self.lin_out2):
            linear.reset_parameters()

    def forward(self, x: Tensor, ptr: Tensor) -> Tensor:
        # Rounded to bfloat16, near points would be as far as far ones.
        with torch.autocast(x.device.type, enabled=False):
            space = self.lin_s(x.to(self.lin_s.weight.dtype))
            table = ops.neighbour_table(space, self.k, ptr, loop=self.loop)
            weight = (-10.0 * (space[:, None] - take_rows(space, table)).square().sum(-1)).exp()
        count = ops.neighbour_count(ptr, self.k, x.size(0), self.loop)
        gathered = ops.weighted_neighbours(self.lin_h(x), weight, table, count, backend=self.backend)
        both = torch.cat([self.lin_out1.weight, self.lin_out2.weight], dim=1)
        return F.linear(torch.cat([x, gathered], dim=1), both, self.lin_out2.bias)

    def __repr__(self) -> str:
        widths = f"{self.lin_s.in_features}, {self.lin_out1.out_features}"
        learned = f"space_dim={self.lin_s.out_features}, propagate_dim={self.lin_h.out_features}"
        return f"GravNetConv({widths}, {learned}, k={self.k})"
