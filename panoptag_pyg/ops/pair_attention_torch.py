"""Attention with a bias per pair in plain torch: sets of equal length as one dense block, without padding.

On a CPU a matrix product of a few dozen rows costs little more than its call, so the sets of equal length, some ten
of a few hundred jets, share calls: 2 · n² · d · H multiply-adds and three passes over n² · H scores per set, whatever
the longest set is. Scores are computed again for the backward pass, which keeps memory at one block. A GPU, which
this many launches would leave idle, pads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

#: Scores of one dense block: some megabytes, which stay in the cache.
BLOCK = 1 << 20
#: torch's softmax over fewer numbers than a vector register holds goes one by one, several times slower.
REGISTER = 16

#: Rows of points and of pairs, sets, and points per set.
Block = tuple[slice, slice, int, int]


def forward(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: Tensor | None, ptr: Tensor, max_length: int | None = None
) -> Tensor:
    """See :mod:`panoptag_pyg.ops.pair_attention`."""
    lengths = ptr.diff().tolist()
    order = _Order(ptr, lengths)
    q, k, v, bias = order.points(q), order.points(k), order.points(v), order.pairs(bias)
    scale = None if scale is None else order.pairs(scale)
    out = torch.empty_like(q)
    for block in _blocks(order.lengths, q.size(1)):
        weight = _weights(q, k, bias, block)
        if scale is not None:
            weight = weight * _pair_block(scale, block)
        _point_block(out, block).copy_(weight @ _point_block(v, block))
    return order.points_back(out)


def backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    scale: Tensor | None,
    ptr: Tensor,
    max_length: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See :mod:`panoptag_pyg.ops.pair_attention`."""
    lengths = ptr.diff().tolist()
    order = _Order(ptr, lengths)
    grad_out, q, k, v = (order.points(tensor) for tensor in (grad_out, q, k, v))
    bias, scale = order.pairs(bias), None if scale is None else order.pairs(scale)
    grad_q, grad_k, grad_v, grad_bias = (torch.empty_like(tensor) for tensor in (q, k, v, bias))
    for block in _blocks(order.lengths, q.size(1)):
        weight = _weights(q, k, bias, block)
        grad = _point_block(grad_out, block)
        grad_weight = grad @ _point_block(v, block).mT
        if scale is None:
            dropped = weight
        else:
            factor = _pair_block(scale, block)
            dropped, grad_weight = weight * factor, grad_weight * factor
        _point_block(grad_v, block).copy_(dropped.mT @ grad)
        grad_score = _softmax_backward(grad_weight, weight)
        _pair_block(grad_bias, block).copy_(grad_score)
        grad_score = grad_score.mul_(1 / math.sqrt(q.size(2)))
        _point_block(grad_q, block).copy_(grad_score @ _point_block(k, block))
        _point_block(grad_k, block).copy_(grad_score.mT @ _point_block(q, block))
    return (
        order.points_back(grad_q),
        order.points_back(grad_k),
        order.points_back(grad_v),
        order.pairs_back(grad_bias),
    )


def _weights(q: Tensor, k: Tensor, bias: Tensor, block: Block) -> Tensor:
    """Weights of a block of sets before dropout: [sets, H, n, n]."""
    score = (_point_block(q, block) * (1 / math.sqrt(q.size(2)))) @ _point_block(k, block).mT
    return _softmax(score.add_(_pair_block(bias, block)))


def _softmax(score: Tensor) -> Tensor:
    """Over the last axis; may overwrite the scores."""
    if score.size(-1) >= REGISTER or score.dtype not in (torch.float32, torch.float64):
        return torch.softmax(score, -1)
    score = score.sub_(score.amax(-1, keepdim=True)).exp_()
    return score.div_(score.sum(-1, keepdim=True))


def _softmax_backward(grad: Tensor, weight: Tensor) -> Tensor:
    if weight.size(-1) >= REGISTER or weight.dtype not in (torch.float32, torch.float64):
        return torch._softmax_backward_data(grad, weight, -1, weight.dtype)
    grad = grad * weight
    return grad.sub_(weight * grad.sum(-1, keepdim=True))


def _blocks(lengths: list[int], num_heads: int) -> Iterator[Block]:
    """Neighbouring sets of equal length, as many as fit into :data:`BLOCK`; empty sets are left out."""
    point = pair = 0
    for length, group in groupby(lengths):
        sets = sum(1 for _ in group)
        if length == 0:
            continue
        most = max(1, BLOCK // (length * length * num_heads))
        while sets > 0:
            taken = min(sets, most)
            yield slice(point, point + taken * length), slice(pair, pair + taken * length * length), taken, length
            point, pair, sets = point + taken * length, pair + taken * length * length, sets - taken


def _point_block(x: Tensor, block: Block) -> Tensor:
    """[P, H, d] → the block's [sets, H, n, d], a view."""
    rows, _, sets, length = block
    return x[rows].view(sets, length, *x.shape[1:]).transpose(1, 2)


def _pair_block(x: Tensor, block: Block) -> Tensor:
    """[N, H] → the block's [sets, H, n, n], a view."""
    _, rows, sets, length = block
    return x[rows].view(sets, length, length, x.size(1)).permute(0, 3, 1, 2)


class _Order:
    """Sets of equal length side by side; nothing moves where they are already, or where few are of equal length."""

    def __init__(self, ptr: Tensor, lengths: list[int]) -> None:
        self.lengths = lengths
        self.point_rows: Tensor | None = None
        if sum(1 for _ in groupby(lengths)) <= 2 * len(set(lengths)):
            return
        length = ptr.diff()
        order = torch.argsort(length, stable=True)
        self.lengths = length[order].tolist()
        self.point_rows = _rows(ptr[:-1], length, order)
        square = length.square()
        self.pair_rows = _rows(square.cumsum(0) - square, square, order)

    def points(self, x: Tensor) -> Tensor:
        return x if self.point_rows is None else x[self.point_rows]

    def pairs(self, x: Tensor) -> Tensor:
        return x if self.point_rows is None else x[self.pair_rows]

    def points_back(self, x: Tensor) -> Tensor:
        return x if self.point_rows is None else torch.empty_like(x).index_copy_(0, self.point_rows, x)

    def pairs_back(self, x: Tensor) -> Tensor:
        return x if self.point_rows is None else torch.empty_like(x).index_copy_(0, self.pair_rows, x)


def _rows(starts: Tensor, lengths: Tensor, order: Tensor) -> Tensor:
    """Rows of all sets, one set after the other in this order."""
    lengths = lengths[order]
    shift = starts[order] - (lengths.cumsum(0) - lengths)
    shift = torch.repeat_interleave(shift, lengths)
    return shift + torch.arange(len(shift), device=shift.device)


def padded(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: Tensor | None, ptr: Tensor, max_length: int | None = None
) -> Tensor:
    """Pad every set to the longest and mask: few launches, for GPUs."""
    num_sets, num_points = ptr.numel() - 1, len(q)
    if num_sets == 0 or num_points == 0:
        return q * 0 + (k * v).sum() * 0 + bias.sum() * 0
    length = ptr.diff()
    longest = int(length.max()) if max_length is None else max_length
    sets = torch.repeat_interleave(torch.arange(num_sets, device=ptr.device), length, output_size=num_points)
    place = torch.arange(num_points, device=ptr.device) - ptr[sets]
    degree = length[sets]
    query = torch.repeat_interleave(torch.arange(num_points, device=ptr.device), degree, output_size=len(bias))
    key_place = torch.arange(len(bias), device=ptr.device) - (degree.cumsum(0) - degree)[query]
    pair = sets[query], place[query], key_place

    def dense(x: Tensor) -> Tensor:
        return x.new_zeros(num_sets, longest, *x.shape[1:]).index_put((sets, place), x).transpose(1, 2)

    def dense_pairs(x: Tensor, fill: float) -> Tensor:
        full = x.new_full((num_sets, longest, longest, x.size(1)), fill)
        return full.index_put(pair, x).permute(0, 3, 1, 2)

    # Finite, so that the queries that aren't there give no NaN.
    mask = dense_pairs(bias, torch.finfo(bias.dtype).min / 2)
    if scale is None:
        y = F.scaled_dot_product_attention(dense(q), dense(k), dense(v), mask)
    else:
        score = dense(q) @ dense(k).mT / math.sqrt(q.size(2)) + mask
        y = (torch.softmax(score, -1) * dense_pairs(scale, 0.0)) @ dense(v)
    return y.transpose(1, 2)[sets, place]
