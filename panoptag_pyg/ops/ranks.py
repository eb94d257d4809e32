"""The place of each row within its set, by a value such as pT."""

from __future__ import annotations

import torch
from torch import Tensor


def segment_order(value: Tensor, index: Tensor) -> Tensor:
    """Rows set by set, those of one set from the largest value to the smallest; equals keep their order.

    Args:
        value: what to sort by.
        index: set of each row.

    Shapes:
        value [N], index [N] → int64 [N].
    """
    order = torch.argsort(value, descending=True, stable=True)
    return order[torch.argsort(index[order], stable=True)]


def segment_rank(value: Tensor, index: Tensor, ptr: Tensor) -> Tensor:
    """Rank of each row within its set: 0 has the largest value; of equals the earlier comes first.

    Args:
        value: what to rank by.
        index: set of each row, ascending.
        ptr: first row of each set.

    Shapes:
        value [N], index [N], ptr [S+1] → int64 [N].
    """
    order = segment_order(value, index)
    place = torch.arange(value.size(0), device=value.device)
    return torch.empty_like(order).index_copy(0, order, place) - ptr[index]
