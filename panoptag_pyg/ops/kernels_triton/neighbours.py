"""k nearest neighbours on a GPU: distances and selection in one kernel, no [N, N] in memory.

A program holds a tile of an event's points and goes over the event's points again, tile by tile. A key packs a
distance (float32, not negative, so its bits ascend with it) over a column: all keys differ, ties go to the lower
index, the result is the same on every run, and NaN (sorted behind all numbers) can't hang it. The first tile
gives its k smallest one after the other; of a later one, a key enters only while it is smaller than the largest
kept, about k ln(N / 128) times in all. Columns are kept as sorted groups of four, so that a round of selection
looks at a quarter of them.

Cost, in two dimensions: about 10 + 3.5 rounds integer instructions per pair, where ``rounds`` is k in the first
tile; memory is read once per tile, N / 32 times 8 bytes per point, all from cache. In D dimensions: 2 D
multiplications and additions per pair on the tensor cores, three times that in tf32x3, which keeps float32's
accuracy (|a|² + |b|² − 2ab of centred points).
"""

import torch
from torch import Tensor

from panoptag_pyg.ops.kernels_triton.language import event_of_tile, jit, num_tiles, power_of_two, tl

#: Above this the list of the nearest no longer fits in registers.
MAX_K = 128
MAX_DIM = 1024

LARGEST = tl.constexpr(0x7FFFFFFFFFFFFFFF)
SMALLEST = tl.constexpr(-0x7FFFFFFFFFFFFFFF)
EMPTY = tl.constexpr(0x7F80000000000000)  # a free slot: behind every key
ITSELF = tl.constexpr(-0x100000000)  # before every other
COLUMN = tl.constexpr(0xFFFFFFFF)
FAR = tl.constexpr(3.4028234663852886e38)
TURN = tl.constexpr(6.283185307179586)


def supports(k: int, dim: int, dtype: torch.dtype) -> bool:
    """What the kernel is made for."""
    return k <= MAX_K and dim <= MAX_DIM and dtype != torch.float64


def neighbour_table(
    x: Tensor, k: int, ptr: Tensor, metric: str, loop: bool, precision: str = "tf32x3", block_k: int = 128
) -> Tensor:
    """See :func:`panoptag_pyg.ops.neighbour_table`.

    Args:
        x: coordinates, float32.
        k: neighbours.
        ptr: first row of each event.
        metric: ``"euclidean"`` or ``"wrapped_phi"``.
        loop: count the point itself.
        precision: of the products in three dimensions or more: ``"tf32x3"`` (default) or ``"ieee"``.
        block_k: columns looked at together; a power of two.
    """
    num_points, dim = x.shape
    table = torch.empty(num_points, k, dtype=torch.long, device=x.device)
    if num_points == 0:
        return table
    num_events = ptr.numel() - 1
    wide = dim > 2
    x = x.contiguous()
    norm = x
    padded = power_of_two(dim)
    if wide:
        points, x = x, torch.empty_like(x)
        norm = torch.empty(num_points, dtype=torch.float32, device=x.device)
        rows = max(1, 8192 // padded)
        _centre[(num_events,)](points, x, norm, ptr, D=dim, BLOCK_D=padded, BLOCK=rows)
    kept = power_of_two(k, 4)
    block_q = min(64 if wide else 16, max(2048 // kept, 16 if wide else 4))
    _nearest[(num_tiles(num_points, ptr, block_q),)](
        x,
        norm,
        ptr,
        table,
        num_events,
        K=k,
        KEPT=kept,
        D=dim,
        BLOCK_D=min(32, power_of_two(dim, 16)),
        WIDE=wide,
        WRAPPED=metric == "wrapped_phi",
        LOOP=loop,
        PRECISION=precision,
        BLOCK_Q=block_q,
        BLOCK_K=block_k,
        num_warps=4,
    )
    return table


@jit
def _centre(x, centred, norm, ptr, D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK: tl.constexpr):
    """Points less their event's mean, and their squared norms: |a|² + |b|² − 2ab keeps its digits only there."""
    event = tl.program_id(0)
    start, stop = tl.load(ptr + event), tl.load(ptr + event + 1)
    column = tl.arange(0, BLOCK_D)
    total = tl.zeros([BLOCK_D], tl.float32)
    for first in range(start, stop, BLOCK):
        row = first + tl.arange(0, BLOCK)
        real = (row < stop)[:, None] & (column < D)[None, :]
        point = tl.load(x + row[:, None] * D + column[None, :], real, 0.0)
        total += tl.sum(tl.where(tl.abs(point) < FAR, point, 0.0), 0)  # one NaN must not spoil the others
    mean = total / tl.maximum(stop - start, 1).to(tl.float32)
    for first in range(start, stop, BLOCK):
        row = first + tl.arange(0, BLOCK)
        real = (row < stop)[:, None] & (column < D)[None, :]
        point = tl.load(x + row[:, None] * D + column[None, :], real, 0.0) - mean[None, :]
        point = tl.where(real, point, 0.0)
        tl.store(centred + row[:, None] * D + column[None, :], point, real)
        tl.store(norm + row, tl.sum(point * point, 1), row < stop)


@jit
def _nearest(
    x,
    norm,
    ptr,
    table,
    num_events,
    K: tl.constexpr,
    KEPT: tl.constexpr,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    WIDE: tl.constexpr,
    WRAPPED: tl.constexpr,
    LOOP: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    tile = tl.program_id(0)
    event = event_of_tile(ptr, num_events, tile, BLOCK_Q)
    start, stop = tl.load(ptr + event), tl.load(ptr + event + 1)
    first = start + (tile - start // BLOCK_Q - event) * BLOCK_Q
    if first < stop:
        n = (stop - start).to(tl.int32)
        row = first + tl.arange(0, BLOCK_Q)
        slot = tl.arange(0, KEPT)[None, :].to(tl.int64)
        best = tl.where(slot < K, slot + EMPTY, SMALLEST) + tl.zeros([BLOCK_Q, KEPT], tl.int64)
        for begin in range(0, n, BLOCK_K):
            if WIDE:
                distance = _distances(x, norm, start, stop, row, begin, D, BLOCK_D, PRECISION, BLOCK_Q, BLOCK_K)
            else:
                distance = _plane_distances(x, start, stop, row, begin, D, WRAPPED, BLOCK_Q, BLOCK_K)
            keys = _keys(distance, (row - start).to(tl.int32), begin, n, LOOP, BLOCK_K)
            a, b, c, d = _sorted_groups(keys, BLOCK_Q, BLOCK_K)
            nearest = tl.min(a, 1)
            if begin == 0:
                for number in range(K):
                    best = tl.where((slot == number) & (nearest < EMPTY)[:, None], nearest[:, None], best)
                    a, b, c, d = _pop(a, b, c, d, nearest)
                    nearest = tl.min(a, 1)
            else:
                worst = tl.max(best, 1)
                while tl.max((nearest < worst).to(tl.int32), 0) > 0:
                    enters = (best == worst[:, None]) & (nearest < worst)[:, None]
                    best = tl.where(enters, nearest[:, None], best)
                    a, b, c, d = _pop(a, b, c, d, nearest)
                    nearest = tl.min(a, 1)
                    worst = tl.max(best, 1)
        best = tl.where(slot < K, best, LARGEST)
        if n > BLOCK_K:
            best = tl.sort(best, 1)
        best = tl.where(best < EMPTY, best, tl.min(best, 1)[:, None])
        tl.store(table + row[:, None] * K + slot, start + (best & COLUMN), (row < stop)[:, None] & (slot < K))


@jit
def _plane_distances(
    x,
    start,
    stop,
    row,
    begin,
    D: tl.constexpr,
    WRAPPED: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Squared distances in one or two dimensions, from differences: [BLOCK_Q, BLOCK_K]."""
    column = start + begin + tl.arange(0, BLOCK_K)
    distance = tl.zeros([BLOCK_Q, BLOCK_K], tl.float32)
    for axis in tl.static_range(D):
        mine = tl.load(x + row * D + axis, row < stop, 0.0)
        other = tl.load(x + column * D + axis, column < stop, 0.0)
        delta = mine[:, None] - other[None, :]
        if WRAPPED and axis == 1:
            delta -= TURN * tl.floor(delta * (1.0 / TURN) + 0.5)
        distance += delta * delta
    return distance


@jit
def _distances(
    x,
    norm,
    start,
    stop,
    row,
    begin,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Squared distances in more dimensions, from a matrix product of centred points: [BLOCK_Q, BLOCK_K]."""
    column = start + begin + tl.arange(0, BLOCK_K)
    product = tl.zeros([BLOCK_Q, BLOCK_K], tl.float32)
    for depth in range(0, D, BLOCK_D):
        axis = depth + tl.arange(0, BLOCK_D)
        mine = tl.load(x + row[:, None] * D + axis[None, :], (row < stop)[:, None] & (axis < D)[None, :], 0.0)
        other = tl.load(x + column[None, :] * D + axis[:, None], (column < stop)[None, :] & (axis < D)[:, None], 0.0)
        product = tl.dot(mine, other, product, input_precision=PRECISION)
    mine_norm = tl.load(norm + row, row < stop, 0.0)
    other_norm = tl.load(norm + column, column < stop, 0.0)
    return mine_norm[:, None] + other_norm[None, :] - 2.0 * product


@jit
def _keys(distance, point, begin, n, LOOP: tl.constexpr, BLOCK_K: tl.constexpr):
    """Distance over column, int64; the point itself first or not at all, columns past the event not at all."""
    column = (begin + tl.arange(0, BLOCK_K))[None, :].to(tl.int64)
    distance = tl.where(distance < FAR, distance, FAR)  # NaN too
    distance = tl.where(distance > 0.0, distance, 0.0)  # never −0, whose bits are negative
    keys = (distance.to(tl.int32, bitcast=True).to(tl.int64) << 32) | column
    if LOOP:
        keys = tl.where(point[:, None] == column, column | ITSELF, keys)
    else:
        keys = tl.where((point[:, None] == column) & (n > 1), LARGEST, keys)
    return tl.where(column < n, keys, LARGEST)


@jit
def _sorted_groups(keys, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr):
    """Four tensors [BLOCK_Q, BLOCK_K / 4], ascending: a sorting network on groups of four keys."""
    even, odd = tl.split(tl.reshape(keys, [BLOCK_Q, BLOCK_K // 4, 2, 2]))
    a, b = tl.split(even)
    c, d = tl.split(odd)
    a, b = tl.minimum(a, b), tl.maximum(a, b)
    c, d = tl.minimum(c, d), tl.maximum(c, d)
    a, c = tl.minimum(a, c), tl.maximum(a, c)
    b, d = tl.minimum(b, d), tl.maximum(b, d)
    b, c = tl.minimum(b, c), tl.maximum(b, c)
    return a, b, c, d


@jit
def _pop(a, b, c, d, nearest):
    """Take the nearest of each row off its group."""
    taken = a == nearest[:, None]
    return tl.where(taken, b, a), tl.where(taken, c, b), tl.where(taken, d, c), tl.where(taken, LARGEST, d)
