"""Ragged attention on a GPU, for the narrow heads of taggers: 4 to 64 numbers, 8 in PanopTag.

A product of 16 × 16 tiles on heads of width 8 would be half zeros and would read half of each 32-byte sector. A program
therefore takes as many heads at once as fill 16 columns: keys and values are read once for all of them, and a query's
row holds its own head's columns and zeros elsewhere, so scores, outputs and gradients of the heads never mix:

    rows (head, query) × columns (head, dimension): q₂ k₂ᵀ, p v₂, pᵀ dy₂, dsᵀ q₂

Where one side of an event fits in a tile (an ISAB's inducing points, an event's jets) it stays in registers: the
softmax of set → inducing needs one pass, and the backward pass goes over the other side once and writes all three
gradients. Otherwise there are two passes, one for each side. Each gradient has one writer, shared queries' are summed
over events afterwards: no atomics, the same bits on every run.

Cost per pair of query and key and head: 4 d multiplications and additions (10 d backward) on the tensor cores, which is
little, and one exponential and about ten instructions (20 backward), which is the floor: 48 inducing points × 65,000
points × 32 heads are 10⁸ pairs, some 40 µs on an H100; keys and values of those points are 67 MB in bfloat16, 25 µs.
"""

import math
from typing import Any

import torch
from torch import Tensor

from panoptag_pyg.ops.kernels_triton.language import dot_precision, event_of_tile, jit, num_tiles, power_of_two, tl

MAX_DIM = 64
#: Most queries or keys held by one program.
TILE = 64
LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)


def supports(dim: int, dtype: torch.dtype) -> bool:
    """What the kernels are made for."""
    return dim <= MAX_DIM and dtype != torch.float64


def forward(
    q: Tensor, k: Tensor, v: Tensor, q_ptr: Tensor | None, k_ptr: Tensor, max_q: int | None, max_k: int | None
) -> tuple[Tensor, Tensor]:
    """See :mod:`panoptag_pyg.ops.attention`."""
    num_events, (num_rows, heads, dim) = k_ptr.numel() - 1, q.shape
    rows = num_rows if q_ptr is not None else num_events * num_rows
    out = q.new_empty(rows, heads, dim)
    log_sum = torch.empty(rows, heads, dtype=torch.float32, device=q.device)
    if out.numel() == 0:
        return out, log_sum
    shape = _shape(q, num_rows if q_ptr is None else max_q, max_k)
    _forward[_grid(q, q_ptr, num_events, shape, "BLOCK_Q")](
        q, k, v, out, log_sum, q_ptr, k_ptr, num_events, num_rows,
        *q.stride()[:2], *k.stride()[:2], *v.stride()[:2], 1 / math.sqrt(dim), SHARED=q_ptr is None, **shape,
    )  # fmt: skip
    return out, log_sum


def backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    log_sum: Tensor,
    q_ptr: Tensor | None,
    k_ptr: Tensor,
    max_q: int | None,
    max_k: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """See :mod:`panoptag_pyg.ops.attention`."""
    num_events, num_rows, dim = k_ptr.numel() - 1, q.size(0), q.size(2)
    shared = q_ptr is None
    if num_events == 0 or out.numel() == 0 or k.numel() == 0:
        return torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
    most_q = num_rows if shared else _longest(q_ptr, max_q)
    most_k = _longest(k_ptr, max_k)
    shape = _shape(q, most_q, most_k)
    grad_q = torch.zeros(out.shape, dtype=torch.float32 if shared else q.dtype, device=q.device)
    grad_k, grad_v = (torch.zeros(k.shape, dtype=k.dtype, device=k.device) for _ in range(2))
    arguments = (
        q, k, v, out, log_sum, grad_out, grad_q, grad_k, grad_v, q_ptr, k_ptr, num_events, num_rows,
        *q.stride()[:2], *k.stride()[:2], *v.stride()[:2], 1 / math.sqrt(dim),
    )  # fmt: skip
    hold_queries = most_q <= shape["BLOCK_Q"]
    hold_keys = most_k <= shape["BLOCK_K"] and not hold_queries
    if not hold_keys:
        _over_keys[_grid(q, q_ptr, num_events, shape, "BLOCK_Q")](
            *arguments, SHARED=shared, OTHERS=hold_queries, **shape
        )
    if not hold_queries:
        _over_queries[_grid(k, k_ptr, num_events, shape, "BLOCK_K")](
            *arguments, SHARED=shared, OTHERS=hold_keys, **shape
        )
    if shared:
        grad_q = grad_q.view(num_events, *q.shape).sum(0).to(q.dtype)
    return grad_q, grad_k, grad_v


def _longest(ptr: Tensor | None, known: int | None) -> int:
    """Most rows of an event; looked up, which waits for the device, where nobody has said."""
    return known if known is not None or ptr is None else int(ptr.diff().max())  # type: ignore[return-value]


def _shape(q: Tensor, max_q: int | None, max_k: int | None) -> dict[str, Any]:
    """Extents of the tiles, heads that fill 16 columns, warps."""
    heads, dim = q.shape[1:]
    together = 1 << (max(16 // dim, 1).bit_length() - 1)
    together = min(together, power_of_two(heads))
    block_q = min(TILE, power_of_two(TILE if max_q is None else max_q, max(16 // together, 1)))
    rows = together * block_q
    return {
        "HEADS": heads,
        "D": dim,
        "COLUMNS": power_of_two(dim * together, 16),
        "TOGETHER": together,
        "BLOCK_Q": block_q,
        "BLOCK_K": min(TILE, power_of_two(TILE if max_k is None else max_k, 16)),
        "PRECISION": dot_precision(q.dtype),
        "num_warps": (8 if q.element_size() == 4 and rows > 64 else 4) if rows >= 64 else max(rows // 16, 1),
    }


def _grid(side: Tensor, ptr: Tensor | None, num_events: int, shape: dict[str, Any], block: str) -> tuple[int, int]:
    groups = -(-shape["HEADS"] // shape["TOGETHER"])
    tiles = num_events * -(-len(side) // shape[block]) if ptr is None else num_tiles(len(side), ptr, shape[block])
    return groups, tiles


@jit
def _tile_of(ptr, num_events, num_rows, SHARED: tl.constexpr, BLOCK: tl.constexpr):
    """Event of this program, its first row of the tile, its number of rows, where they and the results' lie."""
    tile = tl.program_id(1)
    if SHARED:
        tiles = (num_rows + BLOCK - 1) // BLOCK
        event = tile // tiles
        start = event.to(tl.int64) * num_rows
        return event, (tile % tiles).to(tl.int64) * BLOCK, start * 0 + num_rows, start * 0, start
    else:
        event = event_of_tile(ptr, num_events, tile, BLOCK)
        start = tl.load(ptr + event)
        return event, (tile - start // BLOCK - event) * BLOCK, tl.load(ptr + event + 1) - start, start, start


@jit
def _columns(HEADS: tl.constexpr, D: tl.constexpr, COLUMNS: tl.constexpr, TOGETHER: tl.constexpr):
    """Head and dimension of each column; a column that is none has a head past the last."""
    column = tl.arange(0, COLUMNS)
    head = tl.where(column < TOGETHER * D, tl.program_id(0) * TOGETHER + column // D, HEADS)
    return head, column % D


@jit
def _query_rows(
    x, first, count, start, stride, head_stride,
    HEADS: tl.constexpr, D: tl.constexpr, COLUMNS: tl.constexpr, TOGETHER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Rows (head, query), zero outside the head's own columns: [TOGETHER · BLOCK, COLUMNS]."""
    head, dimension = _columns(HEADS, D, COLUMNS, TOGETHER)
    row = tl.arange(0, TOGETHER * BLOCK)
    query = first + row % BLOCK
    own = tl.program_id(0) * TOGETHER + row // BLOCK
    real = (query < count)[:, None] & (own[:, None] == head[None, :]) & (head < HEADS)[None, :]
    place = (start + query)[:, None] * stride + (head * head_stride + dimension)[None, :]
    return tl.load(x + place, real, 0.0)


@jit
def _key_rows(
    x, begin, count, start, stride, head_stride,
    HEADS: tl.constexpr, D: tl.constexpr, COLUMNS: tl.constexpr, TOGETHER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Keys or values of all heads of this program: [BLOCK, COLUMNS]."""
    head, dimension = _columns(HEADS, D, COLUMNS, TOGETHER)
    key = begin + tl.arange(0, BLOCK)
    real = (key < count)[:, None] & (head < HEADS)[None, :]
    return tl.load(x + (start + key)[:, None] * stride + (head * head_stride + dimension)[None, :], real, 0.0)


@jit
def _store_query_rows(
    x, value, first, count, start,
    HEADS: tl.constexpr, D: tl.constexpr, COLUMNS: tl.constexpr, TOGETHER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Keep each row's own columns, put the heads side by side, write [BLOCK, COLUMNS] of a contiguous tensor."""
    head, dimension = _columns(HEADS, D, COLUMNS, TOGETHER)
    own = tl.program_id(0) * TOGETHER + tl.arange(0, TOGETHER * BLOCK) // BLOCK
    value = tl.where(own[:, None] == head[None, :], value, 0.0)
    value = tl.sum(tl.reshape(value, [TOGETHER, BLOCK, COLUMNS]), 0)
    query = first + tl.arange(0, BLOCK)
    real = (query < count)[:, None] & (head < HEADS)[None, :]
    place = (start + query)[:, None] * (HEADS * D) + (head * D + dimension)[None, :]
    tl.store(x + place, value.to(x.dtype.element_ty), real)


@jit
def _store_key_rows(
    x, value, begin, count, start,
    HEADS: tl.constexpr, D: tl.constexpr, COLUMNS: tl.constexpr, TOGETHER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write [BLOCK, COLUMNS] of a contiguous tensor."""
    head, dimension = _columns(HEADS, D, COLUMNS, TOGETHER)
    key = begin + tl.arange(0, BLOCK)
    real = (key < count)[:, None] & (head < HEADS)[None, :]
    place = (start + key)[:, None] * (HEADS * D) + (head * D + dimension)[None, :]
    tl.store(x + place, value.to(x.dtype.element_ty), real)


@jit
def _per_row(first, count, start, HEADS: tl.constexpr, TOGETHER: tl.constexpr, BLOCK: tl.constexpr):
    """Place of each row (head, query) in a tensor [queries, HEADS], and whether it is one."""
    row = tl.arange(0, TOGETHER * BLOCK)
    query = first + row % BLOCK
    head = tl.program_id(0) * TOGETHER + row // BLOCK
    return (start + query) * HEADS + head, (query < count) & (head < HEADS)


@jit
def _forward(
    q, k, v, out, log_sum, q_ptr, k_ptr, num_events, num_rows,
    q_stride, q_head, k_stride, k_head, v_stride, v_head, scale,
    SHARED: tl.constexpr, HEADS: tl.constexpr, D: tl.constexpr, COLUMNS: tl.constexpr, TOGETHER: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    event, first, num_q, q_start, out_start = _tile_of(q_ptr, num_events, num_rows, SHARED, BLOCK_Q)
    if first < num_q:
        k_start = tl.load(k_ptr + event)
        num_k = tl.load(k_ptr + event + 1) - k_start
        query = _query_rows(q, first, num_q, q_start, q_stride, q_head, HEADS, D, COLUMNS, TOGETHER, BLOCK_Q)
        largest = tl.full([TOGETHER * BLOCK_Q], float("-inf"), tl.float32)
        total = tl.zeros([TOGETHER * BLOCK_Q], tl.float32)
        result = tl.zeros([TOGETHER * BLOCK_Q, COLUMNS], tl.float32)
        for begin in range(0, num_k, BLOCK_K):
            key = _key_rows(k, begin, num_k, k_start, k_stride, k_head, HEADS, D, COLUMNS, TOGETHER, BLOCK_K)
            value = _key_rows(v, begin, num_k, k_start, v_stride, v_head, HEADS, D, COLUMNS, TOGETHER, BLOCK_K)
            score = tl.dot(query, tl.trans(key), input_precision=PRECISION) * (scale * LOG2_E)
            score = tl.where((begin + tl.arange(0, BLOCK_K) < num_k)[None, :], score, float("-inf"))
            higher = tl.maximum(largest, tl.max(score, 1))
            weight = tl.exp2(score - higher[:, None])
            shrink = tl.exp2(largest - higher)
            total = total * shrink + tl.sum(weight, 1)
            result = tl.dot(weight.to(value.dtype), value, result * shrink[:, None], input_precision=PRECISION)
            largest = higher
        result /= tl.where(total > 0.0, total, 1.0)[:, None]
        _store_query_rows(out, result, first, num_q, out_start, HEADS, D, COLUMNS, TOGETHER, BLOCK_Q)
        place, real = _per_row(first, num_q, out_start, HEADS, TOGETHER, BLOCK_Q)
        tl.store(log_sum + place, (largest + tl.log2(tl.where(num_k > 0, total, 1.0))) * LN_2, real)


@jit
def _pair(query, grad, delta, log_sum, key, value, queries, keys, scale, PRECISION: tl.constexpr):
    """Weights of attention and the gradient of the scores, [rows, keys]; zero where there is no such pair."""
    score = tl.dot(query, tl.trans(key), input_precision=PRECISION) * (scale * LOG2_E)
    real = queries[:, None] & keys[None, :]
    weight = tl.where(real, tl.exp2(score - log_sum[:, None]), 0.0)
    slope = tl.dot(grad, tl.trans(value), input_precision=PRECISION)
    return weight.to(query.dtype), (weight * (slope - delta[:, None]) * scale).to(query.dtype)


@jit
def _over_keys(
    q, k, v, out, log_sum, grad_out, grad_q, grad_k, grad_v, q_ptr, k_ptr, num_events, num_rows,
    q_stride, q_head, k_stride, k_head, v_stride, v_head, scale,
    SHARED: tl.constexpr, OTHERS: tl.constexpr, HEADS: tl.constexpr, D: tl.constexpr, COLUMNS: tl.constexpr,
    TOGETHER: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradient of a tile of queries; where it holds all of an event's (OTHERS), of the keys and values too."""
    event, first, num_q, q_start, out_start = _tile_of(q_ptr, num_events, num_rows, SHARED, BLOCK_Q)
    if first < num_q:
        k_start = tl.load(k_ptr + event)
        num_k = tl.load(k_ptr + event + 1) - k_start
        query = _query_rows(q, first, num_q, q_start, q_stride, q_head, HEADS, D, COLUMNS, TOGETHER, BLOCK_Q)
        grad = _query_rows(grad_out, first, num_q, out_start, HEADS * D, D, HEADS, D, COLUMNS, TOGETHER, BLOCK_Q)
        result = _query_rows(out, first, num_q, out_start, HEADS * D, D, HEADS, D, COLUMNS, TOGETHER, BLOCK_Q)
        delta = tl.sum(grad.to(tl.float32) * result.to(tl.float32), 1)
        place, queries = _per_row(first, num_q, out_start, HEADS, TOGETHER, BLOCK_Q)
        norm = tl.load(log_sum + place, queries, 0.0) * LOG2_E
        total = tl.zeros([TOGETHER * BLOCK_Q, COLUMNS], tl.float32)
        for begin in range(0, num_k, BLOCK_K):
            key = _key_rows(k, begin, num_k, k_start, k_stride, k_head, HEADS, D, COLUMNS, TOGETHER, BLOCK_K)
            value = _key_rows(v, begin, num_k, k_start, v_stride, v_head, HEADS, D, COLUMNS, TOGETHER, BLOCK_K)
            keys = begin + tl.arange(0, BLOCK_K) < num_k
            weight, slope = _pair(query, grad, delta, norm, key, value, queries, keys, scale, PRECISION)
            total = tl.dot(slope, key, total, input_precision=PRECISION)
            if OTHERS:
                of_key = tl.dot(tl.trans(slope), query, input_precision=PRECISION)
                _store_key_rows(grad_k, of_key, begin, num_k, k_start, HEADS, D, COLUMNS, TOGETHER, BLOCK_K)
                of_value = tl.dot(tl.trans(weight), grad, input_precision=PRECISION)
                _store_key_rows(grad_v, of_value, begin, num_k, k_start, HEADS, D, COLUMNS, TOGETHER, BLOCK_K)
        _store_query_rows(grad_q, total, first, num_q, out_start, HEADS, D, COLUMNS, TOGETHER, BLOCK_Q)


@jit
def _over_queries(
    q, k, v, out, log_sum, grad_out, grad_q, grad_k, grad_v, q_ptr, k_ptr, num_events, num_rows,
    q_stride, q_head, k_stride, k_head, v_stride, v_head, scale,
    SHARED: tl.constexpr, OTHERS: tl.constexpr, HEADS: tl.constexpr, D: tl.constexpr, COLUMNS: tl.constexpr,
    TOGETHER: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of a tile of keys and values; where it holds all of an event's (OTHERS), of the queries too."""
    event, first, num_k, k_start, _ = _tile_of(k_ptr, num_events, num_rows, False, BLOCK_K)
    if first < num_k:
        if SHARED:
            num_q = num_k * 0 + num_rows
            q_start = num_k * 0
            out_start = event.to(tl.int64) * num_rows
        else:
            q_start = tl.load(q_ptr + event)
            num_q = tl.load(q_ptr + event + 1) - q_start
            out_start = q_start
        key = _key_rows(k, first, num_k, k_start, k_stride, k_head, HEADS, D, COLUMNS, TOGETHER, BLOCK_K)
        value = _key_rows(v, first, num_k, k_start, v_stride, v_head, HEADS, D, COLUMNS, TOGETHER, BLOCK_K)
        keys = first + tl.arange(0, BLOCK_K) < num_k
        of_key = tl.zeros([BLOCK_K, COLUMNS], tl.float32)
        of_value = tl.zeros([BLOCK_K, COLUMNS], tl.float32)
        for begin in range(0, num_q, BLOCK_Q):
            query = _query_rows(q, begin, num_q, q_start, q_stride, q_head, HEADS, D, COLUMNS, TOGETHER, BLOCK_Q)
            grad = _query_rows(grad_out, begin, num_q, out_start, HEADS * D, D, HEADS, D, COLUMNS, TOGETHER, BLOCK_Q)
            result = _query_rows(out, begin, num_q, out_start, HEADS * D, D, HEADS, D, COLUMNS, TOGETHER, BLOCK_Q)
            delta = tl.sum(grad.to(tl.float32) * result.to(tl.float32), 1)
            place, queries = _per_row(begin, num_q, out_start, HEADS, TOGETHER, BLOCK_Q)
            norm = tl.load(log_sum + place, queries, 0.0) * LOG2_E
            weight, slope = _pair(query, grad, delta, norm, key, value, queries, keys, scale, PRECISION)
            of_key = tl.dot(tl.trans(slope), query, of_key, input_precision=PRECISION)
            of_value = tl.dot(tl.trans(weight), grad, of_value, input_precision=PRECISION)
            if OTHERS:
                of_query = tl.dot(slope, key, input_precision=PRECISION)
                _store_query_rows(grad_q, of_query, begin, num_q, out_start, HEADS, D, COLUMNS, TOGETHER, BLOCK_Q)
        _store_key_rows(grad_k, of_key, first, num_k, k_start, HEADS, D, COLUMNS, TOGETHER, BLOCK_K)
        _store_key_rows(grad_v, of_value, first, num_k, k_start, HEADS, D, COLUMNS, TOGETHER, BLOCK_K)
