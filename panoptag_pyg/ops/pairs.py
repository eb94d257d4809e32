"""All pairs of points of the same set, on ragged batches: which they are, and a symmetric quantity spread over them.

Pairs are sorted by query, then key. Of a symmetric quantity only the lower half is computed, key ≤ query, in the same
order; :func:`mirror_pairs` copies it to the other half. How many pairs there are is known only when the lengths are,
so these are operations of torch's own, into which ``torch.compile`` doesn't look.
"""

from __future__ import annotations

import torch
from torch import Tensor

from panoptag_pyg.ops.ragged import add_rows_, batch_from_ptr, complete_edges


def pair_index(ptr: Tensor, lower: bool = False, self_pairs: bool = True) -> Tensor:
    """Query and key of every pair of the same set.

    Args:
        ptr: first point of each set, and P at the end.
        lower: only pairs whose key isn't behind the query. Default ``False``.
        self_pairs: with those of a point and itself. Default ``True``.

    Shapes:
        ptr [B+1] → [2, N], N = Σ n² or Σ n (n − 1), of the lower half Σ n (n ± 1) / 2; int64.
    """
    return _pair_index(ptr, lower, self_pairs)


def mirror_pairs(values: Tensor, ptr: Tensor, self_pairs: bool = True) -> Tensor:
    """A symmetric quantity on the lower half of the pairs, copied to all pairs.

    Args:
        values: of the pairs that ``pair_index(ptr, lower=True, self_pairs=self_pairs)`` gives.
        ptr: first point of each set, and P at the end.
        self_pairs: whether they have those of a point and itself, which otherwise get 0. Default ``True``.

    Shapes:
        values [T, H], ptr [B+1] → [N, H], N = Σ n².
    """
    return _mirror_pairs(values, ptr, self_pairs)


def lower_half(ptr: Tensor, self_pairs: bool = True) -> Tensor:
    """:func:`pair_index` of the lower half, by tensor operations and one look at the total."""
    num_points = int(ptr[-1])
    points = torch.arange(num_points, device=ptr.device)
    start = ptr[batch_from_ptr(ptr, num_points)]
    degree = points - start + (1 if self_pairs else 0)
    total = int(degree.sum())
    query = torch.repeat_interleave(points, degree, output_size=total)
    first_pair = degree.cumsum(0) - degree
    return torch.stack([query, torch.arange(total, device=ptr.device) + (start - first_pair)[query]])


def mirror_index(ptr: Tensor, self_pairs: bool = True) -> Tensor:
    """Where every one of all pairs stands in the lower half: [N]; T, the end, for a pair that isn't there."""
    query, key = complete_edges(ptr, ptr)
    num_points = int(ptr[-1])
    start = ptr[batch_from_ptr(ptr, num_points)]
    degree = torch.arange(num_points, device=ptr.device) - start + (1 if self_pairs else 0)
    ends = degree.cumsum(0)
    upper, lower = torch.maximum(query, key), torch.minimum(query, key)
    place = (ends - degree - start)[upper] + lower
    if self_pairs or num_points == 0:
        return place
    return place.masked_fill_(query == key, int(ends[-1]))


@torch.library.custom_op("panoptag_pyg::pair_index", mutates_args=())
def _pair_index(ptr: Tensor, lower: bool, self_pairs: bool) -> Tensor:
    if lower:
        return lower_half(ptr.long(), self_pairs)
    edges = complete_edges(ptr.long(), ptr.long())
    return edges if self_pairs else edges[:, edges[0] != edges[1]]


@_pair_index.register_fake
def _(ptr: Tensor, lower: bool, self_pairs: bool) -> Tensor:
    return ptr.new_empty(2, torch.library.get_ctx().new_dynamic_size(), dtype=torch.long)


@torch.library.custom_op("panoptag_pyg::mirror_pairs", mutates_args=())
def _mirror_pairs(values: Tensor, ptr: Tensor, self_pairs: bool) -> Tensor:
    place = mirror_index(ptr.long(), self_pairs)
    if not self_pairs:
        values = torch.cat([values, values.new_zeros(1, values.size(1))])
    return values.index_select(0, place)


@_mirror_pairs.register_fake
def _(values: Tensor, ptr: Tensor, self_pairs: bool) -> Tensor:
    return values.new_empty(torch.library.get_ctx().new_dynamic_size(), values.size(1))


@torch.library.custom_op("panoptag_pyg::mirror_pairs_backward", mutates_args=())
def _mirror_pairs_backward(grad: Tensor, values: Tensor, ptr: Tensor, self_pairs: bool) -> Tensor:
    total = grad.new_zeros(len(values) + (0 if self_pairs else 1), grad.size(1))
    add_rows_(total, mirror_index(ptr.long(), self_pairs), grad)
    return total if self_pairs else total[:-1].clone()


@_mirror_pairs_backward.register_fake
def _(grad: Tensor, values: Tensor, ptr: Tensor, self_pairs: bool) -> Tensor:
    return torch.empty_like(values)


def _setup(ctx, inputs, output):  # type: ignore[no-untyped-def]
    values, ptr, ctx.self_pairs = inputs
    ctx.save_for_backward(values, ptr)


def _backward(ctx, grad):  # type: ignore[no-untyped-def]
    return _mirror_pairs_backward(grad, *ctx.saved_tensors, ctx.self_pairs), None, None


_mirror_pairs.register_autograd(_backward, setup_context=_setup)
