"""Numba kernels that find the k nearest neighbours, row by row.

All distances of one point stand in the L1 cache. Read as whole numbers, floats that aren't negative keep their order:
a few passes that count the keys below a threshold, 16 keys at a time, find one that leaves little more than k of them;
those few are ranked by comparing all pairs. Ties go to the lower index, and a NaN is only a large distance.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from panoptag_pyg.ops.kernels_numba.products import padded_rows as _padded_rows
from panoptag_pyg.ops.kernels_numba.products import product as multiply_matrices
from panoptag_pyg.ops.kernels_numba.simd import (
    add,
    add_where_less,
    load,
    move_transposed,
    multiply,
    multiply_add,
    nearest_whole,
    smaller,
    splat,
    store,
    subtract,
    sum_of_lanes,
)
from panoptag_pyg.ops.kernels_numba.tiles import COLUMNS

LANES = 16
#: Steps of the search by interpolation, before it halves the interval, which always ends.
INTERPOLATIONS = 12
#: Rows whose products with their event are held at a time.
GROUP = 48
#: In many dimensions the number of points grows with about this power of the squared distance.
GROWTH = 4.0
_PADDED_GROUP = _padded_rows(GROUP)

_compile = njit(nogil=True, cache=True)


@_compile
def nearest_by_position(block, num_blocks, x, dim, wrapped, loop, bounds, integer, table):
    """Rows of the table [P, k] from coordinates x [P · dim]; ``integer`` is an empty array of their width."""
    num_rows, k = table.shape
    longest = _whole_vectors(_longest(bounds))
    packed = np.empty(dim * longest, x.dtype)
    key = np.empty(longest, integer.dtype)
    distance = key.view(x.dtype)
    scratch = _scratch(k, longest, integer)
    threshold, event, start, stop, padded = _one(key), 0, 0, 0, 0
    for row in range(block * num_rows // num_blocks, (block + 1) * num_rows // num_blocks):
        if row >= stop:
            while bounds[event + 1] <= row:
                event += 1
            start, stop = bounds[event], bounds[event + 1]
            padded = _whole_vectors(stop - start)
            _pack(x, dim, start, stop - start, padded, packed)
        _distances(packed, dim, wrapped, row - start, padded, distance)
        threshold = _select(
            key, row - start, stop - start, padded, k, loop, threshold, dim / 2, scratch, start, table[row]
        )


@_compile
def nearest_by_product(block, num_blocks, x, loop, bounds, integer, table):
    """Rows of the table [P, k] from float32 coordinates x [P, D]: products of an event's rows, a few at a time."""
    num_rows, k = table.shape
    dim = x.shape[1]
    longest = _whole_vectors(_longest(bounds))
    # Products come in whole tiles, which read rows beyond the last.
    centred, mean = np.empty((longest + _PADDED_GROUP, dim), np.float32), np.empty(dim, np.float32)
    panels = np.empty((_whole_panels(longest), dim, COLUMNS), np.float32)
    norm = np.empty(len(panels) * COLUMNS, np.float32)
    product = np.empty((_PADDED_GROUP, len(panels) * COLUMNS + LANES), np.float32)
    flat = product.reshape(-1)
    key = np.empty(longest, integer.dtype)
    distance = key.view(np.float32)
    scratch = _scratch(k, longest, integer)
    zero, far = np.float32(0), np.float32(np.finfo(np.float32).max)
    last = (block + 1) * num_rows // num_blocks
    threshold, event, stop, row = _one(key), 0, 0, block * num_rows // num_blocks
    start, n, padded = 0, 0, 0
    while row < last:
        if row >= stop:
            while bounds[event + 1] <= row:
                event += 1
            start, stop = bounds[event], bounds[event + 1]
            n, padded = stop - start, _whole_vectors(stop - start)
            _centre(x[start:stop], mean, centred, norm)
            _pack_panels(centred.reshape(-1), n, dim, panels[: _whole_panels(n)])
        rows = min(GROUP, last - row, stop - row)
        # Begun from |b|², products with -2 b lack but |a|² to be |a - b|².
        multiply_matrices(centred[row - start :], rows, panels[: _whole_panels(n)], norm, product)
        for i in range(rows):
            offset, own = i * product.shape[1], splat(norm[row + i - start], LANES)
            for j in range(0, padded, LANES):
                total = smaller(add(load(flat, offset + j, LANES), own), splat(far, LANES))
                # Rounding may leave a distance below zero.
                store(distance, j, subtract(total, smaller(total, splat(zero, LANES))))
            for j in range(n, padded):
                distance[j] = far
            threshold = _select(
                key, row + i - start, n, padded, k, loop, threshold, 4.0, scratch, start, table[row + i]
            )
        row += rows


@_compile
def _centre(points, mean, centred, norm):
    """Points [n, D] relative to their mean, so that products lose no digits far from the origin; squared lengths."""
    n, dim = points.shape
    for c in range(dim):
        mean[c] = 0
    for i in range(n):
        for c in range(dim):
            # One point that isn't finite must not take the others with it.
            mean[c] += points[i, c] if abs(points[i, c]) < np.inf else np.float32(0)
    for c in range(dim):
        mean[c] /= n
    for i in range(n):
        for c in range(dim):
            centred[i, c] = points[i, c] - mean[c]
        norm[i] = _squared_length(centred.reshape(-1), i * dim, dim)


@_compile
def _pack_panels(flat, n, dim, panels):
    """-2 times n rows as [panels, dim, COLUMNS], filled with zeros: what a product reads lies in one run."""
    target = panels.reshape(-1)
    minus_two = flat.dtype.type(-2)
    squares = COLUMNS % LANES == 0
    for i in range(0, len(panels) * COLUMNS, LANES if squares else 1):
        place = i // COLUMNS * dim * COLUMNS + i % COLUMNS
        for c in range(0, dim, LANES):
            if squares and i + LANES <= n and c + LANES <= dim:
                move_transposed(flat, i * dim + c, dim, target, place + c * COLUMNS, COLUMNS, minus_two, LANES)
                continue
            for row in range(i, i + (LANES if squares else 1)):
                for d in range(c, min(c + LANES, dim)):
                    value = flat[row * dim + d] * minus_two if row < n else flat.dtype.type(0)
                    target[place + row - i + d * COLUMNS] = value


@_compile
def _whole_panels(n):
    return (n + COLUMNS - 1) // COLUMNS


@_compile
def _squared_length(x, start, dim):
    whole = dim // LANES * LANES
    vector = splat(x.dtype.type(0), LANES)
    for c in range(start, start + whole, LANES):
        part = load(x, c, LANES)
        vector = multiply_add(part, part, vector)
    total = sum_of_lanes(vector)
    for c in range(start + whole, start + dim):
        total += x[c] * x[c]
    return total


@_compile
def _pack(x, dim, start, n, padded, packed):
    """Coordinates of one event as [dim, padded], filled with NaN."""
    for c in range(dim):
        for i in range(n):
            packed[c * padded + i] = x[(start + i) * dim + c]
        for i in range(n, padded):
            packed[c * padded + i] = np.nan


@_compile
def _distances(packed, dim, wrapped, i, padded, distance):
    """Squared distances of point i to all; NaN and infinity become the largest number."""
    kind = packed.dtype.type
    far = kind(np.finfo(packed.dtype).max)
    if dim == 2:
        a, b = splat(packed[i], LANES), splat(packed[padded + i], LANES)
        # Of angles whole turns are taken off, of none where they're no angles.
        turns = splat(kind(1 / (2 * math.pi)) if wrapped else kind(0), LANES)
        turn = splat(kind(-2 * math.pi), LANES)
        for j in range(0, padded, LANES):
            first = subtract(a, load(packed, j, LANES))
            second = subtract(b, load(packed, padded + j, LANES))
            second = multiply_add(nearest_whole(multiply(second, turns)), turn, second)
            total = multiply_add(second, second, multiply(first, first))
            store(distance, j, smaller(total, splat(far, LANES)))
        return
    for j in range(0, padded, LANES):
        total = splat(kind(0), LANES)
        for c in range(dim):
            delta = subtract(splat(packed[c * padded + i], LANES), load(packed, c * padded + j, LANES))
            total = multiply_add(delta, delta, total)
        store(distance, j, smaller(total, splat(far, LANES)))


@_compile
def _scratch(k, longest, integer):
    """What :func:`_select` works with: candidates, their keys and ranks, the result, and logarithms of counts."""
    most = _most(k)
    logs = np.empty(longest + 1)
    for count in range(longest + 1):
        logs[count] = math.log2(max(count, 0.5))
    column, order = np.empty(most + 1, np.int64), np.empty(most, np.int64)
    return column, np.empty(most, integer.dtype), np.empty(most, integer.dtype), order, logs


@_compile
def _select(key, own, n, padded, k, loop, threshold, power, scratch, first, target):
    """Points of the k smallest keys, nearest first, to ``target`` [k]; returns the threshold that found them.

    ``threshold`` is where to begin: that of another point of the event. The number of points within a squared
    distance is expected to grow as its ``power``; ``first`` is the event's first point.
    """
    column, found, rank, order, logs = scratch
    counts_itself = loop or n == 1
    key[own] = -1 if counts_itself else np.iinfo(key.dtype).max
    degree = min(k, n if counts_itself else n - 1)
    threshold, equal = _threshold(key, n, padded, degree, _most(k), threshold, power, logs)
    size = 0
    for j in range(0, padded, LANES):
        if _count(key, j, j + LANES, threshold) > 0:
            for i in range(j, j + LANES):
                column[size] = i
                size += key[i] <= threshold
    i = 0
    while equal > 0:
        # More keys are equal than fit: the first of them.
        if key[i] == threshold + 1:
            column[size] = i
            size += 1
            equal -= 1
        i += 1
    _rank(key, column, size, found, rank, order)
    for slot in range(k):
        target[slot] = first + order[slot if slot < degree else 0]
    return threshold


@_compile
def _threshold(key, n, padded, degree, most, threshold, power, logs):
    """A threshold with ``degree`` to ``most`` keys up to it; or with fewer, and how many of the next key to add."""
    octave = 1 << (23 if key.itemsize == 4 else 52)
    # Keys up to `low` are too few, those up to `high` enough.
    low, high = -2, int(np.iinfo(key.dtype).max) - 1
    num_low, num_high = 0, padded
    low_seen, high_seen = False, False
    goal = logs[min((degree + most) // 2, padded)]
    step = octave / power
    if n <= most:
        threshold = high
    attempts = 0
    while high - low > 1:
        threshold = min(max(threshold, low + 1), high - 1)
        count = _count(key, 0, padded, threshold)
        if degree <= count <= most:
            return threshold, 0
        if count < degree:
            low, num_low, low_seen = threshold, count, True
        else:
            high, num_high, high_seen = threshold, count, True
        attempts += 1
        if attempts > INTERPOLATIONS:
            threshold = low + (high - low) // 2
        elif low_seen and high_seen:
            share = (goal - logs[num_low]) / (logs[num_high] - logs[num_low])
            threshold = low + int((high - low) * share)
        else:
            threshold += int((goal - logs[count]) * step)
            step *= 2
    return low, degree - num_low


@_compile
def _count(key, first, last, threshold):
    """How many of the keys [first, last) are at most ``threshold``."""
    above = splat(key.dtype.type(threshold + 1), LANES)
    total = splat(key.dtype.type(0), LANES)
    for j in range(first, last, LANES):
        total = add_where_less(total, load(key, j, LANES), above)
    return sum_of_lanes(total)


@_compile
def _rank(key, column, size, found, rank, order):
    """Sort the ``size`` candidates: each one's place is the number of smaller keys."""
    padded = _whole_vectors(size)
    for i in range(size):
        found[i] = key[column[i]]
        order[i] = -1
    for i in range(size, padded):
        found[i] = np.iinfo(key.dtype).max
    for i in range(0, padded, LANES):
        own = load(found, i, LANES)
        total = splat(key.dtype.type(0), LANES)
        for j in range(size):
            total = add_where_less(total, splat(found[j], LANES), own)
        store(rank, i, total)
    for i in range(size):
        place = rank[i]
        while order[place] >= 0:  # equal keys: in the order of the columns
            place += 1
        order[place] = column[i]


@_compile
def _one(key):
    """Key of the distance 1."""
    return 127 << 23 if key.itemsize == 4 else 1023 << 52


@_compile
def _most(k):
    """Candidates that may be left to rank."""
    return _whole_vectors(k + LANES)


@_compile
def _whole_vectors(n):
    return (n + LANES - 1) // LANES * LANES


@_compile
def _longest(bounds):
    longest = 0
    for event in range(len(bounds) - 1):
        longest = max(longest, bounds[event + 1] - bounds[event])
    return longest
