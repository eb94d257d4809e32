"""What an event has on average, told to each of its points."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from panoptag_pyg import ops
from panoptag_pyg.ops.ragged import take_rows


class GlobalExchange(nn.Module):
    r"""A linear layer on each point's features beside their mean over its event.

    .. math:: y_i = W \Big[x_i,\; \frac{1}{n} \sum_{j \in \text{event of } i} x_j\Big] + b

    The mean's part is computed once for each event.

    Args:
        in_dim: width of the input.
        out_dim: width of the output.

    Shapes:
        x [P, in_dim], ptr [B+1] → [P, out_dim].

    Source: Qasim et al., arXiv:1902.07987, section 4.
    """

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * in_dim, out_dim)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        self.linear.reset_parameters()

    def forward(self, x: Tensor, ptr: Tensor) -> Tensor:
        of_point, of_event = self.linear.weight.chunk(2, dim=1)
        shared = F.linear(ops.segment_reduce(x, ptr, "mean"), of_event, self.linear.bias)
        return F.linear(x, of_point) + take_rows(shared, ops.batch_from_ptr(ptr, x.size(0)))

    def __repr__(self) -> str:
        return f"GlobalExchange({self.linear.in_features // 2}, {self.linear.out_features})"
