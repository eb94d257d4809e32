"""Ragged rows inside a graph: where each stands in a table that is as wide as the largest set of this very call.

The width is a size of the graph, found when it runs, so nothing is cut off and no event is padded beyond the largest of
its call. Empty places hold a row of zeros, which is appended to the rows and so is there even if they are none.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """S sets with N rows in all, the largest with L (at least 2).

    Attributes:
        ptr: first row of each set, and N at the end [S+1].
        count: rows of each set [S].
        event: set of each row [N].
        slot: where each row stands in the flattened table, set · L + place [N].
        row: which row stands in each place [S, L]; N, the row of zeros, in empty ones.
        real: which places aren't empty [S, L].
        width: L, symbolic while a graph is traced.
    """

    ptr: Tensor
    count: Tensor
    event: Tensor
    slot: Tensor
    row: Tensor
    real: Tensor
    width: int

    def pad(self, x: Tensor) -> Tensor:
        """Rows on their places: [N, ...] → [S, L, ...]."""
        extended = torch.cat([x, x.new_zeros(1, *x.shape[1:])])
        return extended.index_select(0, self.row.flatten()).view(*self.row.shape, *x.shape[1:])

    def unpad(self, table: Tensor) -> Tensor:
        """The places of the rows: [S, L, ...] → [N, ...]."""
        return table.flatten(0, 1).index_select(0, self.slot)


_LAYOUTS: ContextVar[dict[int, Layout] | None] = ContextVar("panoptag_pyg_layouts", default=None)


def remember_layouts() -> Token[dict[int, Layout] | None]:
    """From here on, one ``ptr`` gives one layout, so that a graph computes it once and knows its width by one name."""
    return _LAYOUTS.set({})


def forget_layouts(token: Token[dict[int, Layout] | None]) -> None:
    """End of what :func:`remember_layouts` began."""
    _LAYOUTS.reset(token)


def layout_of(ptr: Tensor, num_rows: int) -> Layout:
    """Where the rows of each set stand.

    Args:
        ptr: first row of each set, and N at the end.
        num_rows: N.
    """
    known = _LAYOUTS.get()
    if known is None:
        return _layout(ptr, num_rows)
    # Python gives the id of what is gone to what comes next: a layout is that of this ptr only if it holds this ptr.
    found = known.get(id(ptr))
    if found is None or found.ptr is not ptr:
        found = known[id(ptr)] = _layout(ptr, num_rows)
    return found


def set_of_rows(ends: Tensor, num_rows: int) -> Tensor:
    """Set of each row from the end of each set: how many sets end before it or where it stands.

    Shapes:
        ends [S] → [N].
    """
    marks = torch.zeros(num_rows + 1, dtype=torch.int64, device=ends.device)
    return marks.scatter_add(0, ends, torch.ones_like(ends))[:num_rows].cumsum(0)


def _layout(ptr: Tensor, num_rows: int) -> Layout:
    first, count = ptr[:-1], ptr[1:] - ptr[:-1]
    # At least 2: AOTInductor asks of a matrix whether a size is 1, which nobody knows before the graph runs.
    width = torch.cat([count, count.new_full((1,), 2)]).amax(0).item()
    torch._check(width >= 2)
    event = set_of_rows(ptr[1:], num_rows)
    slot = event * width + torch.arange(num_rows, device=ptr.device) - first.index_select(0, event)
    place = torch.arange(width, device=ptr.device)
    real = place < count[:, None]
    row = torch.where(real, first[:, None] + place, num_rows)
    return Layout(ptr, count, event, slot, row, real, width)  # type: ignore[arg-type]
