"""Functions of torch that the taggers call and some of the formats we write can't hold, by others that they can."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from panoptag_pyg.export.plain.layout import set_of_rows
from panoptag_pyg.export.plain.registry import plain


@plain(torch.searchsorted)
def searchsorted(sorted_sequence: Tensor, input: Tensor, *, right: bool = False) -> Tensor:
    """Of one ascending row: how many of its values come before each given one; ONNX has no such operation."""
    before = sorted_sequence <= input[..., None] if right else sorted_sequence < input[..., None]
    return before.sum(-1)


@plain(torch.repeat_interleave)
def repeat_interleave(input: Tensor, repeats: Tensor, dim: int | None = None, *, output_size: int) -> Tensor:
    """Rows repeated; the length of the result has to be known, or a graph couldn't tell it from its inputs' sizes."""
    return input.index_select(0, set_of_rows(repeats.cumsum(0), output_size))


@plain(torch.hypot)
def hypot(input: Tensor, other: Tensor) -> Tensor:
    """√(x² + y²), which ONNX has no operation for; in float64, as C's own: masses are differences of such numbers."""
    x, y = input.double(), other.double()
    return (x * x + y * y).sqrt().to(torch.promote_types(input.dtype, other.dtype))


@plain(torch.einsum)
def einsum(equation: str, *operands: Tensor) -> Tensor:
    """Of two operands, as one matrix product: torch's own asks whether a size is 1, and onnxruntime's dies of one of 0.

    Letters that both operands and the result have are a batch; those of the operands alone are summed over.
    """
    terms, arrow, result = equation.replace(" ", "").partition("->")
    names = terms.split(",")
    if len(operands) != 2 or not arrow or "." in equation or any(len(set(name)) < len(name) for name in names):
        return torch.einsum(equation, *operands)
    left, right = names
    batch = [c for c in left if c in right and c in result]
    summed = [c for c in left if c in right and c not in result]
    of_left = [c for c in left if c not in right]
    of_right = [c for c in right if c not in left]
    if any(c not in result for c in of_left + of_right):
        return torch.einsum(equation, *operands)
    a = operands[0].permute([left.index(c) for c in batch + of_left + summed])
    b = operands[1].permute([right.index(c) for c in batch + summed + of_right])
    at = len(batch)
    rows, columns = a.shape[at : at + len(of_left)], b.shape[at + len(summed) :]
    a = _merged(_merged(a, at + len(of_left), len(summed)), at, len(of_left))
    b = _merged(_merged(b, at + len(summed), len(of_right)), at, len(summed))
    product = torch.bmm if at == 1 else torch.matmul  # which reshapes, and so asks as well
    y = _split(_split(product(a, b), at + 1, columns), at, rows)
    order = batch + of_left + of_right
    return y.permute([order.index(c) for c in result])


def _merged(x: Tensor, start: int, count: int) -> Tensor:
    """Some dimensions as one. A single one stays as it is: ``reshape`` would ask whether sizes are 1."""
    if count == 1:
        return x
    return x.flatten(start, start + count - 1) if count else x.unsqueeze(start)


def _split(x: Tensor, at: int, sizes: Sequence[int]) -> Tensor:
    """The opposite."""
    if len(sizes) == 1:
        return x
    return x.unflatten(at, sizes) if sizes else x.squeeze(at)
