"""Ragged sets as a grid with a fixed number of places: what an MLP across tokens needs."""

from __future__ import annotations

import torch
from torch import Tensor

from panoptag_pyg.ops.ragged import take_rows
from panoptag_pyg.ops.ranks import segment_order


def leading_rows(value: Tensor, index: Tensor, ptr: Tensor, num_places: int) -> tuple[Tensor, Tensor]:
    """The rows of largest value of each set, in falling order.

    Args:
        value: what to sort by, such as pT.
        index: set of each row, ascending.
        ptr: first row of each set.
        num_places: M; rows beyond are left out.

    Shapes:
        value [N], index [N], ptr [S+1] → rows int64 [S, M], N where there is none; taken bool [S, M].
    """
    place = torch.arange(num_places, device=value.device)
    taken = place < ptr.diff().unsqueeze(1)
    nobody = value.size(0)
    order = torch.cat([segment_order(value, index), torch.full((1,), nobody, device=value.device)])
    return order[torch.where(taken, ptr[:-1].unsqueeze(1) + place, nobody)], taken


def take_grid(x: Tensor, rows: Tensor) -> Tensor:
    """Rows of ``x`` on their places, 0 on empty ones.

    Args:
        x: rows.
        rows: from :func:`leading_rows`.

    Shapes:
        x [N, D], rows [S, M] → [S, M, D].
    """
    return take_rows(torch.cat([x, x.new_zeros(1, x.size(1))]), rows)
