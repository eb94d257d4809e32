"""EdgeConv on a GPU, backward: edges computed again on the chip, weights' gradients as products over chunks of edges.

For each chunk of edges (:data:`SCRATCH` bytes of device memory; all edges, where they fit):

1. one kernel computes an edge's layers again, takes the gradient of the maximum from the winners, goes back to the
   first layer, and writes four numbers per edge and channel: both activations, the gradient before the hidden layer's
   normalisation, and that of the first layer. Gradients of norms and biases are summed by each program in its own row;
2. the last weight's gradient is a product over edges of one nonzero per point and channel: a kernel that makes it from
   the winners as it goes, in a fixed number of parts; the hidden weight's is one product by cuBLAS;
3. a point's gradient as a neighbour is the sum of its incoming edges' in the order of a stable sort, as a centre of its
   own edges'. No atomics anywhere: the same bits on every run on the same kind of GPU.

Bytes: 4 writes and 5 reads (one from cache) of E W numbers; the unfused pass moves some 20. Multiplications and
additions: 5 products of E W², two of which repeat or are forced by recomputation; three times the forward pass's
4 E W² would be 12, these are 10.
"""

import torch
from torch import Tensor

from panoptag_pyg.ops.kernels_triton.edge_convolution import check, layers_of, node_products
from panoptag_pyg.ops.kernels_triton.edge_layers import first_layer, gelu, gelu_slope, norm_gradient, scaled, statistics
from panoptag_pyg.ops.kernels_triton.language import dot_precision, jit, power_of_two, tl

#: Device memory for what one chunk of edges keeps.
SCRATCH = 4 << 30
#: Rows of the norms' and biases' partial sums: two for each multiprocessor of an H100.
PROGRAMS = 264
#: Most parts of the sum over edges in the last weight's gradient.
PARTS = 132


def backward(grad_out: Tensor, x: Tensor, table: Tensor, parameters: list[Tensor], winner: Tensor) -> list[Tensor]:
    """See :mod:`panoptag_pyg.ops.edge_convolution`."""
    check(x, parameters)
    if table.size(0) == 0:
        return [torch.zeros_like(tensor) for tensor in (x, *parameters)]
    neighbour, centre = node_products(x, *parameters[:2])
    grad_neighbour, grad_centre, grads = _edge_gradients(grad_out, neighbour, centre, table, parameters, winner)
    weight, dim = parameters[0], x.size(1)
    of_neighbour, of_centre = weight[:, :dim], weight[:, dim:] - weight[:, :dim]
    summed = grad_centre.sum(0)
    grad_neighbour, grad_centre = grad_neighbour.to(x.dtype), grad_centre.to(x.dtype)
    grad_x = torch.addmm(grad_neighbour @ of_neighbour, grad_centre, of_centre)
    grad_second = grad_centre.t() @ x
    grad_first = grad_neighbour.t() @ x - grad_second
    grads = [torch.cat([grad_first, grad_second], 1), summed, *grads]
    return [grad_x, *(grad.to(p.dtype).contiguous() for grad, p in zip(grads, parameters, strict=True))]


def _edge_gradients(
    grad_out: Tensor, neighbour: Tensor, centre: Tensor, table: Tensor, parameters: list[Tensor], winner: Tensor
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Gradients of the two node products (float32) and of all parameters but the first layer's."""
    (num_points, k), dtype = table.shape, neighbour.dtype
    widths = [len(bias) for bias in parameters[1::4]]
    w1, w2, w3 = widths[0], widths[-2], widths[-1]
    three = len(widths) == 3
    per_edge = (2 * w1 + (2 * w2 if three else 0)) * neighbour.element_size()
    points = min(num_points, max(1, SCRATCH // (per_edge * k)))
    edges = points * k

    def scratch(width: int) -> Tensor:
        return torch.empty(edges, width, dtype=dtype, device=neighbour.device)

    active1, grad1 = scratch(w1), scratch(w1)
    active2, grad2 = (scratch(w2), scratch(w2)) if three else (active1, grad1)
    norm1, hidden, norm2, last = layers_of(parameters)
    # Contiguous along the summed index, as the tensor cores take a factor of 32-bit numbers.
    last_transposed, hidden_transposed = last[0].t().contiguous(), hidden[0].t().contiguous()
    small = power_of_two(max(w1, w2), 16)
    sums = neighbour.new_zeros(5, small, dtype=torch.float32)
    grad_hidden = neighbour.new_zeros(w2, w1, dtype=torch.float32)
    grad_last = neighbour.new_zeros(w3, w2, dtype=torch.float32)
    grad_neighbour = neighbour.new_zeros(num_points, w1, dtype=torch.float32)
    grad_centre = torch.empty_like(grad_neighbour)
    shape = {
        "K": k,
        "W1": w1,
        "W1_PADDED": power_of_two(w1, 16),
        "W2": w2,
        "W2_PADDED": power_of_two(w2, 16),
        "W3": w3,
        "PRECISION": dot_precision(dtype),
    }
    for first in range(0, num_points, points):
        stop = min(first + points, num_points)
        partial = neighbour.new_zeros(PROGRAMS, 5, small, dtype=torch.float32)
        rows = 64
        programs = min(PROGRAMS, -(-(stop - first) * k // rows))
        _edge_layers[(programs,)](
            neighbour, centre, table, *norm1, *hidden, *norm2, last_transposed, hidden_transposed, grad_out, winner,
            active1, active2, grad1, grad2, partial, first * k, stop * k, programs,
            **shape, THREE=three, SMALL=small, ROWS=rows, BLOCK_D=32, num_warps=8, num_stages=2,
        )  # fmt: skip
        sums += partial.sum(0)
        strip = min(128, power_of_two(w3, 16))
        share = min(PARTS, -(-(stop - first) * k // 256))
        parts = neighbour.new_empty(share, w3, w2, dtype=torch.float32)
        _last_weight[(-(-w3 // strip), share)](
            grad_out, winner, active2, parts, first * k, stop * k,
            K=k, W2=w2, W2_PADDED=shape["W2_PADDED"], W3=w3, PRECISION=shape["PRECISION"],
            BLOCK_W=strip, BLOCK_E=64 if dtype.itemsize == 2 else 32, num_warps=8, num_stages=2,
        )  # fmt: skip
        grad_last += parts.sum(0)
        if three:
            held = (stop - first) * k
            grad_hidden += (grad2[:held].t() @ active1[:held]).float()
        _sum_of_edges(grad1, table, first, stop, grad_neighbour, grad_centre)
    # Copies: an operation's results must not share memory.
    norm1_weight, norm1_bias, hidden_bias, norm2_weight, norm2_bias = (
        row[:width].clone() for row, width in zip(sums, (w1, w1, w2, w2, w2), strict=True)
    )
    ends = [grad_last, grad_out.float().sum(0)]
    if not three:
        return grad_neighbour, grad_centre, [norm1_weight, norm1_bias, *ends]
    middle = [norm1_weight, norm1_bias, grad_hidden, hidden_bias, norm2_weight, norm2_bias]
    return grad_neighbour, grad_centre, [*middle, *ends]


def _sum_of_edges(grad: Tensor, table: Tensor, first: int, stop: int, neighbour: Tensor, centre: Tensor) -> None:
    """Add the edges of points first … stop − 1 to their neighbours, and set their own sums."""
    (num_points, width), k = neighbour.shape, table.size(1)
    target, order = table[first:stop].flatten().int().sort(stable=True)
    points = torch.arange(num_points + 1, device=table.device, dtype=torch.int32)
    incoming = torch.searchsorted(target, points)
    _sum_edges[(num_points,)](
        grad, order, incoming, neighbour, centre, first, stop,
        K=k, W=width, W_PADDED=power_of_two(width, 16), FIRST=first == 0, BLOCK=8, num_warps=2,
    )  # fmt: skip


@jit
def _edge_layers(
    neighbour, centre, table,
    norm1_weight, norm1_bias, hidden_weight, hidden_bias, norm2_weight, norm2_bias,
    last_transposed, hidden_transposed, grad_out, winner,
    active1, active2, grad1, grad2, partial, first_edge, last_edge, programs,
    K: tl.constexpr, W1: tl.constexpr, W1_PADDED: tl.constexpr, W2: tl.constexpr, W2_PADDED: tl.constexpr,
    W3: tl.constexpr, PRECISION: tl.constexpr, THREE: tl.constexpr, SMALL: tl.constexpr,
    ROWS: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    DTYPE: tl.constexpr = neighbour.dtype.element_ty
    column1, column2 = tl.arange(0, W1_PADDED), tl.arange(0, W2_PADDED)
    row = partial + tl.program_id(0) * 5 * SMALL
    for tile in range(tl.program_id(0), (last_edge - first_edge + ROWS - 1) // ROWS, programs):
        place = tile * ROWS + tl.arange(0, ROWS).to(tl.int64)  # in the chunk
        real = place + first_edge < last_edge
        edge = tl.minimum(place + first_edge, last_edge - 1)
        node, slot = edge // K, (edge % K).to(tl.int32)
        source = tl.load(table + edge)
        inside1 = real[:, None] & (column1 < W1)[None, :]
        inside2 = real[:, None] & (column2 < W2)[None, :]
        place1 = place[:, None] * W1 + column1[None, :]
        place2 = place[:, None] * W2 + column2[None, :]

        h = first_layer(neighbour, centre, source, node, column1, W1)
        mean1, rstd1 = statistics(h, column1, W1)
        if THREE:
            product = tl.zeros([ROWS, W2_PADDED], tl.float32)
            for begin in range(0, W1, BLOCK_D):
                column = begin + tl.arange(0, BLOCK_D)
                part = first_layer(neighbour, centre, source, node, column, W1)
                part = (part - mean1[:, None]) * rstd1[:, None]
                part = gelu(scaled(part, norm1_weight, norm1_bias, column, W1)).to(DTYPE)
                where = place[:, None] * W1 + column[None, :]
                tl.store(active1 + where, part, real[:, None] & (column < W1)[None, :])
                inside = (column2 < W2)[None, :] & (column < W1)[:, None]
                factor = tl.load(hidden_weight + column2[None, :] * W1 + column[:, None], inside, 0.0)
                product = tl.dot(part, factor, product, input_precision=PRECISION)
            h2 = product + tl.load(hidden_bias + column2, column2 < W2, 0.0).to(tl.float32)[None, :]
            mean2, rstd2 = statistics(h2, column2, W2)
            normed2 = tl.where((column2 < W2)[None, :], (h2 - mean2[:, None]) * rstd2[:, None], 0.0)
            before2 = scaled(normed2, norm2_weight, norm2_bias, column2, W2)
            tl.store(active2 + place2, gelu(before2).to(DTYPE), inside2)

        grad = _through_last(grad_out, winner, last_transposed, node, slot, real, column2, W2, W2_PADDED, W3,
                             PRECISION, DTYPE, ROWS, BLOCK_D)  # fmt: skip
        if THREE:
            # Norms' parameters are loaded anew where they are used: kept, they would fill the registers.
            grad *= gelu_slope(scaled(normed2, norm2_weight, norm2_bias, column2, W2))
            _add(row + 3 * SMALL + column2, grad * normed2)
            _add(row + 4 * SMALL + column2, grad)
            grad = norm_gradient(grad, normed2, norm2_weight, rstd2, column2, W2)
            _add(row + 2 * SMALL + column2, grad)
            tl.store(grad2 + place2, grad.to(DTYPE), inside2)
            tl.debug_barrier()  # other threads of this program read it next, in strips
            product = tl.zeros([ROWS, W1_PADDED], tl.float32)
            for begin in range(0, W2, BLOCK_D):
                column = begin + tl.arange(0, BLOCK_D)
                where = place[:, None] * W2 + column[None, :]
                part = tl.load(grad2 + where, real[:, None] & (column < W2)[None, :], 0.0)
                inside = (column1 < W1)[None, :] & (column < W2)[:, None]
                factor = tl.load(hidden_transposed + column1[None, :] * W2 + column[:, None], inside, 0.0)
                product = tl.dot(part, factor, product, input_precision=PRECISION)
            grad = product
        h = first_layer(neighbour, centre, source, node, column1, W1)
        normed = tl.where((column1 < W1)[None, :], (h - mean1[:, None]) * rstd1[:, None], 0.0)
        before = scaled(normed, norm1_weight, norm1_bias, column1, W1)
        if not THREE:
            tl.store(active1 + place1, gelu(before).to(DTYPE), inside1)
        grad *= gelu_slope(before)
        _add(row + column1, grad * normed)
        _add(row + SMALL + column1, grad)
        grad = norm_gradient(grad, normed, norm1_weight, rstd1, column1, W1)
        tl.store(grad1 + place1, grad.to(DTYPE), inside1)
        tl.debug_barrier()  # the sums in `partial` are read again


@jit
def _add(place, gradient):
    """Add the sum over rows to this program's own sums."""
    tl.store(place, tl.load(place) + tl.sum(gradient, 0))


@jit
def _through_last(
    grad_out, winner, last_transposed, node, slot, real, column2,
    W2: tl.constexpr, W2_PADDED: tl.constexpr, W3: tl.constexpr, PRECISION: tl.constexpr, DTYPE: tl.constexpr,
    ROWS: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Gradient of the last activation: the output's, where the edge has won, times the last layer's weight."""
    product = tl.zeros([ROWS, W2_PADDED], tl.float32)
    for begin in range(0, W3, BLOCK_D):
        column = begin + tl.arange(0, BLOCK_D)
        part = _won(grad_out, winner, node, slot, real, column, W3)
        inside = (column2 < W2)[None, :] & (column < W3)[:, None]
        factor = tl.load(last_transposed + column2[None, :] * W3 + column[:, None], inside, 0.0)
        product = tl.dot(part.to(DTYPE), factor, product, input_precision=PRECISION)
    return product


@jit
def _won(grad_out, winner, node, slot, real, column, W: tl.constexpr):
    """Gradient of an edge's last layer: its point's, in the channels where this slot is the winner."""
    inside = real[:, None] & (column < W)[None, :]
    where = node[:, None] * W + column[None, :]
    best = tl.load(winner + where, inside, -1).to(tl.int32)
    return tl.where(best == slot[:, None], tl.load(grad_out + where, inside, 0.0), 0.0)


@jit
def _last_weight(
    grad_out, winner, active, parts, first_edge, last_edge,
    K: tl.constexpr, W2: tl.constexpr, W2_PADDED: tl.constexpr, W3: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_W: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """One part of the sum over edges of (gradient of the last layer) × (its input): [W3, W2] in float32."""
    DTYPE: tl.constexpr = active.dtype.element_ty
    row = tl.program_id(0) * BLOCK_W + tl.arange(0, BLOCK_W)
    column = tl.arange(0, W2_PADDED)
    share = (last_edge - first_edge + tl.num_programs(1) - 1) // tl.num_programs(1)
    start = tl.program_id(1).to(tl.int64) * share
    stop = tl.minimum(start + share, last_edge - first_edge)
    product = tl.zeros([BLOCK_W, W2_PADDED], tl.float32)
    for begin in range(start, stop, BLOCK_E):
        place = begin + tl.arange(0, BLOCK_E)
        real = place < stop
        edge = tl.minimum(place + first_edge, last_edge - 1)
        grad = _won(grad_out, winner, edge // K, (edge % K).to(tl.int32), real, row, W3).to(DTYPE)
        inside = real[:, None] & (column < W2)[None, :]
        factor = tl.load(active + place[:, None] * W2 + column[None, :], inside, 0.0)
        product = tl.dot(tl.trans(grad), factor, product, input_precision=PRECISION)
    where = (tl.program_id(1) * W3 + row)[:, None] * W2 + column[None, :]
    tl.store(parts + where, product, (row < W3)[:, None] & (column < W2)[None, :])


@jit
def _sum_edges(
    grad, order, incoming, neighbour, centre, first, stop,
    K: tl.constexpr, W: tl.constexpr, W_PADDED: tl.constexpr, FIRST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sum a point's incoming edges, in order, and its own: no two programs write the same row."""
    point = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, W_PADDED)
    real = column < W
    total = tl.zeros([W_PADDED], tl.float32)
    if not FIRST:
        total = tl.load(neighbour + point * W + column, real, 0.0)
    end = tl.load(incoming + point + 1)
    for begin in range(tl.load(incoming + point), end, BLOCK):
        place = begin + tl.arange(0, BLOCK)
        edge = tl.load(order + place, place < end, 0)
        inside = (place < end)[:, None] & real[None, :]
        total += tl.sum(tl.load(grad + edge[:, None] * W + column[None, :], inside, 0.0).to(tl.float32), 0)
    tl.store(neighbour + point * W + column, total, real)
    if (point >= first) & (point < stop):
        total = tl.zeros([W_PADDED], tl.float32)
        for own in range(0, K, BLOCK):
            slot = own + tl.arange(0, BLOCK)
            leaving = (point - first) * K + slot
            held = (slot < K)[:, None] & real[None, :]
            total += tl.sum(tl.load(grad + leaving[:, None] * W + column[None, :], held, 0.0).to(tl.float32), 0)
        tl.store(centre + point * W + column, total, real)
