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
    load_columns,
    log2,
    multiply,
    multiply_columns,
    splat,
    splat_columns,
    store,
    store_columns,
    subtract,
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
    ``q_bounds`` has no entries for queries that all events share.
    """
    d = len(columns)
    zero, one = columns[0], out.dtype.type(1)
    shared = len(q_bounds) == 0
    num_units = (len(k_bounds) - 1) * num_heads
    num_shared = len(out) // max(num_units * d, 1)
    longest_k = _longest(k_bounds)
    longest_q = _whole_vectors(num_shared if shared else _longest(q_bounds))
    query = np.empty(d * longest_q, out.dtype)
    key, value = np.empty(longest_k * d, out.dtype), np.empty(longest_k * d, out.dtype)
    tile = np.empty((d + 1) * LANES, out.dtype)
    size = np.empty(d, out.dtype)
    scale = out.dtype.type(1.0 / (LN_2 * math.sqrt(d)))
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
        _pack_rows(columns, k, k_strides, first_k, n_k, head, one, key)
        _pack_rows(columns, v, v_strides, first_k, n_k, head, one, value)
        padded = _whole_vectors(n_q)
        _pack_columns(columns, q, q_strides, 0 if shared else first_q, n_q, padded, head, scale, query)
        _column_sizes(columns, key, n_k, size)
        for i in range(0, n_q, LANES):
            _attend(columns, query, i, padded, key, value, n_k, size, tile)
            lanes = min(LANES, n_q - i)
            _unpack_columns(columns, tile, out, first_q + i, lanes, num_heads, head)
            for lane in range(lanes):
                log_sum[(first_q + i + lane) * num_heads + head] = tile[d * LANES + lane]


@_compile
def _attend(columns, query, first, stride, key, value, n_k, size, tile):
    """16 queries to all keys: results [d, 16] and log-sums [16] into ``tile``."""
    d = len(columns)
    zero = columns[0]
    vectors = load_columns(columns, query, first, stride, LANES)
    bound = splat(zero, LANES)
    for c in range(d):
        bound = add(bound, multiply(absolute(load(query, first + c * stride, LANES)), splat(size[c], LANES)))
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
    store_columns(tile, 0, LANES, multiply_columns(sums, share))
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
    # Both sides twice: as rows to broadcast, and transposed to stand in lanes.
    query, query_columns = np.empty(d * longest_q, out.dtype), np.empty(d * longest_q, out.dtype)
    grad, grad_columns = np.empty(d * longest_q, out.dtype), np.empty(d * longest_q, out.dtype)
    key, key_columns = np.empty(d * longest_k, out.dtype), np.empty(d * longest_k, out.dtype)
    value, value_columns = np.empty(d * longest_k, out.dtype), np.empty(d * longest_k, out.dtype)
    top, mean = np.empty(longest_q, out.dtype), np.empty(longest_q, out.dtype)
    tile = np.empty(2 * d * LANES, out.dtype)
    scale = out.dtype.type(1.0 / (LN_2 * math.sqrt(d)))
    strides = (num_heads * d, d)
    for unit in range(block * num_units // num_blocks, (block + 1) * num_units // num_blocks):
        event, head = unit // num_heads, unit % num_heads
        first_q = event * num_shared if shared else q_bounds[event]
        n_q = num_shared if shared else q_bounds[event + 1] - first_q
        first_k, n_k = k_bounds[event], k_bounds[event + 1] - k_bounds[event]
        padded_q, padded_k = _whole_vectors(n_q), _whole_vectors(n_k)
        _pack_both(columns, k, k_strides, first_k, n_k, padded_k, head, one, key, key_columns)
        _pack_both(columns, v, v_strides, first_k, n_k, padded_k, head, one, value, value_columns)
        source = 0 if shared else first_q
        _pack_both(columns, q, q_strides, source, n_q, padded_q, head, scale, query, query_columns)
        _pack_both(columns, grad_out, strides, first_q, n_q, padded_q, head, one, grad, grad_columns)
        for i in range(padded_q):
            row = (first_q + i) * num_heads + head
            # Lanes without a query weigh nothing; those of an event without keys never meet one.
            top[i] = log_sum[row] / out.dtype.type(LN_2) if i < n_q else out.dtype.type(1e30)
            mean[i] = columns[0]
            if i < n_q:
                for c in range(d):
                    mean[i] += out[row * d + c] * grad_out[row * d + c]
        for i in range(0, n_q, LANES):
            _query_gradient(columns, query_columns, grad_columns, i, padded_q, top, mean, key, value, n_k, tile)
            _unpack_columns(columns, tile, grad_q, first_q + i, min(LANES, n_q - i), num_heads, head)
        for j in range(0, n_k, LANES):
            _key_gradients(columns, key_columns, value_columns, j, padded_k, query, grad, top, mean, n_q, tile)
            _unpack_columns(columns, tile, grad_k, first_k + j, min(LANES, n_k - j), num_heads, head)
            _unpack_columns(columns, tile[d * LANES :], grad_v, first_k + j, min(LANES, n_k - j), num_heads, head)


@_compile
def _query_gradient(columns, query, grad, first, stride, top, mean, key, value, n_k, tile):
    """Gradient of 16 queries from all keys: [d, 16] into ``tile``."""
    d = len(columns)
    queries = load_columns(columns, query, first, stride, LANES)
    grads = load_columns(columns, grad, first, stride, LANES)
    tops, means = load(top, first, LANES), load(mean, first, LANES)
    least = splat(query.dtype.type(LEAST), LANES)
    sums = splat_columns(columns, columns[0], LANES)
    for j in range(n_k):
        weight = exp2(larger(subtract(dot(queries, key, j * d), tops), least))
        grad_score = multiply(weight, subtract(dot(grads, value, j * d), means))
        sums = accumulate(sums, grad_score, key, j * d)
    factor = splat(query.dtype.type(1.0 / math.sqrt(d)), LANES)
    store_columns(tile, 0, LANES, multiply_columns(sums, factor))


@_compile
def _key_gradients(columns, key, value, first, stride, query, grad, top, mean, n_q, tile):
    """Gradients of 16 keys and their values from all queries: [d, 16] twice into ``tile``."""
    d = len(columns)
    keys = load_columns(columns, key, first, stride, LANES)
    values = load_columns(columns, value, first, stride, LANES)
    least = splat(query.dtype.type(LEAST), LANES)
    sums_k = splat_columns(columns, columns[0], LANES)
    sums_v = splat_columns(columns, columns[0], LANES)
    for i in range(n_q):
        weight = exp2(larger(subtract(dot(keys, query, i * d), splat(top[i], LANES)), least))
        sums_v = accumulate(sums_v, weight, grad, i * d)
        grad_score = multiply(weight, subtract(dot(values, grad, i * d), splat(mean[i], LANES)))
        sums_k = accumulate(sums_k, grad_score, query, i * d)
    # The packed queries hold a factor 1 / (√d ln 2); the scores' is 1 / √d.
    store_columns(tile, 0, LANES, multiply_columns(sums_k, splat(query.dtype.type(LN_2), LANES)))
    store_columns(tile, d * LANES, LANES, sums_v)


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
def _pack_rows(columns, source, strides, first, n, head, scale, rows):
    """One head of n rows, times ``scale``, side by side: [n, d]."""
    d = len(columns)
    for i in range(n):
        start = (first + i) * strides[0] + head * strides[1]
        for c in range(d):
            rows[i * d + c] = source[start + c] * scale


@_compile
def _pack_columns(columns, source, strides, first, n, padded, head, scale, packed):
    """One head of n rows, times ``scale``, transposed and filled with zeros: [d, padded]."""
    d = len(columns)
    for i in range(n):
        start = (first + i) * strides[0] + head * strides[1]
        for c in range(d):
            packed[c * padded + i] = source[start + c] * scale
    for c in range(d):
        for i in range(n, padded):
            packed[c * padded + i] = columns[0]


@_compile
def _pack_both(columns, source, strides, first, n, padded, head, scale, rows, packed):
    """One head of n rows, times ``scale``: as [n, d], and as [d, padded] filled with zeros."""
    _pack_rows(columns, source, strides, first, n, head, scale, rows)
    _pack_columns(columns, rows, (len(columns), 0), 0, n, padded, 0, columns[0] + 1, packed)


@_compile
def _unpack_columns(columns, tile, target, first, n, num_heads, head):
    """The first n lanes of [d, 16] to one head of n rows."""
    d = len(columns)
    for lane in range(n):
        row = (first + lane) * num_heads + head
        for c in range(d):
            target[row * d + c] = tile[c * LANES + lane]


@_compile
def _column_sizes(columns, rows, n, size):
    """The largest magnitude in each column."""
    d = len(columns)
    for c in range(d):
        size[c] = columns[0]
    for i in range(n):
        for c in range(d):
            size[c] = max(size[c], abs(rows[i * d + c]))
