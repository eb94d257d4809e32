"""Numba kernels of ragged attention: one event and head at a time, its softmax never in memory.

A lane of a vector is a query (or, for the gradients of keys and values, a key): 16 of them walk over the other side
together, one broadcast row at a time, with their sums in registers. Heads as narrow as 8 then waste nothing, where
matrix products would leave most of their tiles empty.

Scores are kept in units of log 2, so that softmax is a power of two.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from panoptag_pyg.ops.kernels_numba.simd import (
    absolute,
    accumulate,
    add,
    divide,
    dot,
    exp2,
    larger,
    largest,
    load,
    load_row,
    load_transposed,
    log2,
    magnitudes,
    multiply,
    multiply_columns,
    splat,
    splat_columns,
    splat_row,
    store,
    store_transposed,
    subtract,
    sum_of_products,
)

LANES = 16
LN_2 = math.log(2.0)
#: Scores whose size is known to stay below this need no maximum taken off: 2^80 · (sum over 2^40 keys) is finite.
SAFE = 80.0
#: Weights below 2^this count as such; the power of two of anything smaller isn't a normal float32.
LEAST = -126.0

_compile = njit(nogil=True, cache=True, boundscheck=False)


@_compile
def forward(
    block, num_blocks, columns, q, q_strides, k, k_strides, v, v_strides, q_bounds, k_bounds, num_heads, out, log_sum
):
    """Output and log of the softmax's denominator, of each (event, head) of a block.

    ``columns`` is a tuple of one zero per column of a head: its type tells the compiler their number and kind.
    ``q_bounds`` has no entries for queries that all events share. Inputs and output may be bits of bfloat16.
    """
    d = len(columns)
    zero, one = columns[0], log_sum.dtype.type(1)
    shared = len(q_bounds) == 0
    num_units = (len(k_bounds) - 1) * num_heads
    num_shared = len(out) // max(num_units * d, 1)
    longest_k = _whole_vectors(_longest(k_bounds))
    longest_q = _whole_vectors(num_shared if shared else _longest(q_bounds))
    query, key, value = _rows(d, longest_q, log_sum), _rows(d, longest_k, log_sum), _rows(d, longest_k, log_sum)
    tile, size = _rows(d + 1, LANES, log_sum), _rows(d, 1, log_sum)
    scale = log_sum.dtype.type(1.0 / (LN_2 * math.sqrt(d)))
    for unit in range(block * num_units // num_blocks, (block + 1) * num_units // num_blocks):
        event, head = unit // num_heads, unit % num_heads
        first_q = event * num_shared if shared else q_bounds[event]
        n_q = num_shared if shared else q_bounds[event + 1] - first_q
        first_k, n_k = k_bounds[event], k_bounds[event + 1] - k_bounds[event]
        if n_k == 0:
            for i in range(first_q, first_q + n_q):
                log_sum[i * num_heads + head] = -np.inf
                for c in range(d):
                    out[(i * num_heads + head) * d + c] = zero
            continue
        _pack(columns, k, k_strides, first_k, n_k, head, one, key)
        _pack(columns, v, v_strides, first_k, n_k, head, one, value)
        _pack(columns, q, q_strides, 0 if shared else first_q, n_q, head, scale, query)
        _sizes(columns, key, n_k, size)
        for i in range(0, n_q, LANES):
            _attend(columns, query, i * d, key, value, n_k, size, tile)
            lanes = min(LANES, n_q - i)
            _unpack(columns, tile, 0, lanes, out, first_q + i, num_heads, head)
            for lane in range(lanes):
                log_sum[(first_q + i + lane) * num_heads + head] = tile[d * LANES + lane]


@_compile
def _attend(columns, query, first, key, value, n_k, size, tile):
    """16 queries to all keys: results [16, d] and log-sums [16] into ``tile``."""
    d = len(columns)
    zero = columns[0]
    vectors = load_transposed(columns, query, first, LANES)
    bound = dot(magnitudes(vectors), size, 0)
    top = splat(zero, LANES)
    if not largest(bound) < SAFE:
        top = dot(vectors, key, 0)
        for j in range(1, n_k):
            top = larger(top, dot(vectors, key, j * d))
    total = splat(zero, LANES)
    sums = splat_columns(columns, zero, LANES)
    least = splat(query.dtype.type(LEAST), LANES)
    for j in range(n_k):
        weight = exp2(larger(subtract(dot(vectors, key, j * d), top), least))
        total = add(total, weight)
        sums = accumulate(sums, weight, value, j * d)
    share = divide(splat(query.dtype.type(1), LANES), total)
    store_transposed(tile, 0, multiply_columns(sums, share))
    store(tile, d * LANES, multiply(add(log2(total), top), splat(query.dtype.type(LN_2), LANES)))


@_compile
def backward(
    block,
    num_blocks,
    columns,
    q,
    q_strides,
    k,
    k_strides,
    v,
    v_strides,
    out,
    log_sum,
    grad_out,
    q_bounds,
    k_bounds,
    num_heads,
    grad_q,
    grad_k,
    grad_v,
):
    """Gradients of each (event, head) of a block; ``grad_q`` has rows of its own for every event."""
    d = len(columns)
    one = out.dtype.type(1)
    shared = len(q_bounds) == 0
    num_units = (len(k_bounds) - 1) * num_heads
    num_shared = len(out) // max(num_units * d, 1)
    longest_k = _whole_vectors(_longest(k_bounds))
    longest_q = _whole_vectors(num_shared if shared else _longest(q_bounds))
    query, key, value = _rows(d, longest_q, out), _rows(d, longest_k, out), _rows(d, longest_k, out)
    grad, result = _rows(d, longest_q, out), _rows(d, longest_q, out)
    top, mean = _rows(1, longest_q, out), _rows(1, longest_q, out)
    tile = _rows(2 * d, LANES, out)
    scale = out.dtype.type(1.0 / (LN_2 * math.sqrt(d)))
    in_powers, unlikely = out.dtype.type(1.0 / LN_2), out.dtype.type(1e30)
    strides = (num_heads * d, d)
    for unit in range(block * num_units // num_blocks, (block + 1) * num_units // num_blocks):
        event, head = unit // num_heads, unit % num_heads
        first_q = event * num_shared if shared else q_bounds[event]
        n_q = num_shared if shared else q_bounds[event + 1] - first_q
        first_k, n_k = k_bounds[event], k_bounds[event + 1] - k_bounds[event]
        _pack(columns, k, k_strides, first_k, n_k, head, one, key)
        _pack(columns, v, v_strides, first_k, n_k, head, one, value)
        _pack(columns, q, q_strides, 0 if shared else first_q, n_q, head, scale, query)
        _pack(columns, out, strides, first_q, n_q, head, one, result)
        _pack(columns, grad_out, strides, first_q, n_q, head, one, grad)
        for i in range(_whole_vectors(n_q)):
            # Lanes without a query weigh nothing; an event without keys meets none of its infinities.
            top[i] = log_sum[(first_q + i) * num_heads + head] * in_powers if i < n_q else unlikely
        for i in range(0, n_q, LANES):
            _query_gradient(columns, query, grad, result, i, top, mean, key, value, n_k, tile)
            _unpack(columns, tile, 0, min(LANES, n_q - i), grad_q, first_q + i, num_heads, head)
        for j in range(0, n_k, LANES):
            _key_gradients(columns, key, value, j * d, query, grad, top, mean, n_q, tile)
            _unpack(columns, tile, 0, min(LANES, n_k - j), grad_k, first_k + j, num_heads, head)
            _unpack(columns, tile, d * LANES, min(LANES, n_k - j), grad_v, first_k + j, num_heads, head)


@_compile
def _query_gradient(columns, query, grad, result, first, top, mean, key, value, n_k, tile):
    """Gradient of 16 queries from all keys, [16, d] into ``tile``; also their mean gradients of a score."""
    d = len(columns)
    queries = load_transposed(columns, query, first * d, LANES)
    grads = load_transposed(columns, grad, first * d, LANES)
    means = sum_of_products(grads, load_transposed(columns, result, first * d, LANES))
    store(mean, first, means)
    tops = load(top, first, LANES)
    least = splat(query.dtype.type(LEAST), LANES)
    sums = splat_columns(columns, columns[0], LANES)
    for j in range(n_k):
        weight = exp2(larger(subtract(dot(queries, key, j * d), tops), least))
        grad_score = multiply(weight, subtract(dot(grads, value, j * d), means))
        sums = accumulate(sums, grad_score, key, j * d)
    factor = splat(query.dtype.type(1.0 / math.sqrt(d)), LANES)
    store_transposed(tile, 0, multiply_columns(sums, factor))


@_compile
def _key_gradients(columns, key, value, first, query, grad, top, mean, n_q, tile):
    """Gradients of 16 keys and their values from all queries: [16, d] twice into ``tile``."""
    d = len(columns)
    keys = load_transposed(columns, key, first, LANES)
    values = load_transposed(columns, value, first, LANES)
    least = splat(query.dtype.type(LEAST), LANES)
    sums_k = splat_columns(columns, columns[0], LANES)
    sums_v = splat_columns(columns, columns[0], LANES)
    for i in range(n_q):
        weight = exp2(larger(subtract(dot(keys, query, i * d), splat(top[i], LANES)), least))
        sums_v = accumulate(sums_v, weight, grad, i * d)
        grad_score = multiply(weight, subtract(dot(values, grad, i * d), splat(mean[i], LANES)))
        sums_k = accumulate(sums_k, grad_score, query, i * d)
    # The packed queries hold a factor 1 / (√d ln 2); the scores' is 1 / √d.
    store_transposed(tile, 0, multiply_columns(sums_k, splat(query.dtype.type(LN_2), LANES)))
    store_transposed(tile, d * LANES, sums_v)


@_compile
def _whole_vectors(n):
    return (n + LANES - 1) // LANES * LANES


@_compile
def _longest(bounds):
    longest = 0
    for event in range(len(bounds) - 1):
        longest = max(longest, bounds[event + 1] - bounds[event])
    return longest


@_compile
def _rows(d, n, like):
    return np.empty(d * n, like.dtype)


@_compile
def _pack(columns, source, strides, first, n, head, scale, rows):
    """One head of n rows, times ``scale``, one after the other; then zeros up to a whole vector of rows."""
    d = len(columns)
    factor = splat_row(columns, scale)
    start = first * strides[0] + head * strides[1]
    for i in range(n):
        store(rows, i * d, multiply(load_row(columns, source, start + i * strides[0]), factor))
    for i in range(n, _whole_vectors(n)):
        store(rows, i * d, splat_row(columns, columns[0]))


@_compile
def _unpack(columns, tile, offset, n, target, first, num_heads, head):
    """The first n rows of a tile to one head of n rows."""
    d = len(columns)
    for i in range(n):
        store(target, ((first + i) * num_heads + head) * d, load_row(columns, tile, offset + i * d))


@_compile
def _sizes(columns, rows, n, size):
    """The largest magnitude in each column."""
    most = splat_row(columns, columns[0])
    for i in range(n):
        most = larger(most, absolute(load_row(columns, rows, i * len(columns))))
    store(size, 0, most)
