"""A class token before the rows of each set: what reads the set in a transformer."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from panoptag_pyg.ops.ragged import take_rows


class TokenSets(NamedTuple):
    """Sets that begin with a class token each.

    Attributes:
        x: all rows, those of one set together, its class token first [N + S, dim].
        ptr: first row of each set, which is its class token [S + 1].
        max_length: rows of the largest set, where known.
    """

    x: Tensor
    ptr: Tensor
    max_length: int | None

    def class_tokens(self, x: Tensor) -> Tensor:
        """The class token of each set, empty sets included: x [N + S, dim] → [S, dim]."""
        return take_rows(x, self.ptr[:-1])


def prepend_class_token(
    x: Tensor, token: Tensor, ptr: Tensor, index: Tensor, max_length: int | None = None
) -> TokenSets:
    """Put the same class token before the rows of each set.

    Args:
        x: rows of the sets.
        token: the class token.
        ptr: first row of each set.
        index: set of each row.
        max_length: rows of the largest set, where known. Default: not known.

    Shapes:
        x [N, dim], token [dim], ptr [S+1], index [N] → rows [N + S, dim].
    """
    num_rows, num_sets = x.size(0), ptr.size(0) - 1
    row, number = torch.arange(num_rows, device=x.device), torch.arange(num_sets + 1, device=x.device)
    # Which row of [x, token] stands at each place: the token, unless a row of x goes there.
    source = torch.full((num_rows + num_sets,), num_rows, device=x.device).index_copy(0, row + index + 1, row)
    tokens = take_rows(torch.cat([x, token.to(x.dtype).unsqueeze(0)]), source)
    return TokenSets(tokens, ptr + number, None if max_length is None else max_length + 1)
