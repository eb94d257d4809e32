r"""EdgeConv on a GPU, forward: from the factored first layer to the maximum in one kernel.

With :math:`W_1 = [A, B]` the first layer is two products over points (cuBLAS). A program then takes the edges of some
points: gathers and adds, normalises, applies GELU, multiplies by the hidden layer's weights, normalises, applies GELU,
multiplies by the last layer's weights in strips of columns and keeps the largest of each point's edges. Nothing of an
edge's leaves the chip.

Extents are powers of two and k isn't, so slots are taken in parts: k = 20 as 16 + 4, the later part compared with
what the earlier one wrote.

For E edges of width W, three layers: 4 E W² multiplications and additions; memory sees the two products, the table,
the output and the winners, (3 or 5) P W numbers instead of some 14 E W of the unfused pass. At W = 256 in bfloat16 the
floor is no longer memory but the arithmetic between the products, about 30 instructions per edge and channel.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.ops.kernels_triton.edge_layers import first_layer, gelu, largest_of_groups, scaled, statistics
from panoptag_pyg.ops.kernels_triton.language import dot_precision, jit, power_of_two, tl

#: Wider layers don't fit on the chip.
MAX_WIDTH = 256


def supports(widths: tuple[int, ...], dtype: torch.dtype) -> bool:
    """What the kernels are made for: two or three layers of width up to 256, not in float64."""
    return len(widths) in (2, 3) and max(widths) <= MAX_WIDTH and dtype != torch.float64


def forward(x: Tensor, table: Tensor, parameters: list[Tensor], training: bool) -> tuple[Tensor, Tensor]:
    """See :mod:`panoptag_pyg.ops.edge_convolution`."""
    check(x, parameters)
    neighbour, centre = node_products(x, *parameters[:2])
    num_points, k = table.shape
    width = len(parameters[-1])
    out = x.new_empty(num_points, width)
    winner = torch.empty(num_points if training else 0, width, dtype=torch.int16, device=x.device)
    if num_points == 0:
        return out, winner
    for first, group in parts_of(k):
        launch_forward(neighbour, centre, table, parameters, out, winner, first, group, training)
    return out, winner


def check(x: Tensor, parameters: list[Tensor]) -> None:
    """Refuse what :func:`supports` refuses, in words."""
    widths = tuple(len(bias) for bias in parameters[1::4])
    if not supports(widths, x.dtype):
        raise ConfigError(
            "backend 'triton' of 'edge_conv' takes two or three layers of width up to "
            f"{MAX_WIDTH} in float32, float16 or bfloat16, got widths {widths} in {x.dtype}: use backend='torch'"
        )


def node_products(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """A x and (B − A) x + b, whose sum over an edge is the first layer: two [P, w]."""
    dim = x.size(1)
    of_neighbour, of_centre = weight[:, :dim], weight[:, dim:] - weight[:, :dim]
    return F.linear(x, of_neighbour).contiguous(), F.linear(x, of_centre, bias).contiguous()


def parts_of(k: int) -> list[tuple[int, int]]:
    """(first slot, slots) of the parts, each a power of two; slots past k repeat the last, which changes nothing."""
    if k <= 4:
        return [(0, power_of_two(k))]
    left, first, parts = -(-k // 4) * 4, 0, []
    while left:
        size = min(1 << (left.bit_length() - 1), 64)
        parts.append((first, size))
        first, left = first + size, left - size
    return parts


def launch_forward(
    neighbour: Tensor,
    centre: Tensor,
    table: Tensor,
    parameters: list[Tensor],
    out: Tensor,
    winner: Tensor,
    first: int,
    group: int,
    training: bool,
) -> None:
    """One part of the slots, for all points."""
    num_points, k = table.shape
    widths = [len(bias) for bias in parameters[1::4]]
    three = len(widths) == 3
    norm1, hidden, norm2, last = layers_of(parameters)
    rows = 128 if out.element_size() == 2 else 64
    _forward[(-(-num_points // (rows // group)),)](
        neighbour,
        centre,
        table,
        *norm1,
        *hidden,
        *norm2,
        *last,
        out,
        winner,
        num_points,
        K=k,
        FIRST=first,
        GROUP=group,
        W1=widths[0],
        W1_PADDED=power_of_two(widths[0], 16),
        W2=widths[-2],
        W2_PADDED=power_of_two(widths[-2], 16),
        W3=widths[-1],
        THREE=three,
        TRAINING=training,
        PRECISION=dot_precision(out.dtype),
        ROWS=rows,
        BLOCK_D=32,
        BLOCK_N=64 if out.element_size() == 2 else 32,
        num_warps=8,
        num_stages=3 if out.element_size() == 2 else 2,
    )


def layers_of(parameters: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
    """First norm, hidden linear, second norm, last linear; without a hidden layer, the norm and the last twice."""
    norm1, hidden = parameters[2:4], parameters[4:6]
    return (norm1, hidden, parameters[6:8], parameters[8:10]) if len(parameters) > 6 else (norm1, hidden, norm1, hidden)


@jit
def _forward(
    neighbour,
    centre,
    table,
    norm1_weight,
    norm1_bias,
    hidden_weight,
    hidden_bias,
    norm2_weight,
    norm2_bias,
    last_weight,
    last_bias,
    out,
    winner,
    num_points,
    K: tl.constexpr,
    FIRST: tl.constexpr,
    GROUP: tl.constexpr,
    W1: tl.constexpr,
    W1_PADDED: tl.constexpr,
    W2: tl.constexpr,
    W2_PADDED: tl.constexpr,
    W3: tl.constexpr,
    THREE: tl.constexpr,
    TRAINING: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    NODES: tl.constexpr = ROWS // GROUP
    DTYPE: tl.constexpr = out.dtype.element_ty
    first_node = tl.program_id(0).to(tl.int64) * NODES
    row = tl.arange(0, ROWS)
    node = tl.minimum(first_node + row // GROUP, num_points - 1)
    slot = tl.minimum(FIRST + row % GROUP, K - 1)
    source = tl.load(table + node * K + slot)

    column1, column2 = tl.arange(0, W1_PADDED), tl.arange(0, W2_PADDED)
    h = first_layer(neighbour, centre, source, node, column1, W1)
    mean, rstd = statistics(h, column1, W1)
    if THREE:
        product = tl.zeros([ROWS, W2_PADDED], tl.float32)
        for begin in range(0, W1, BLOCK_D):
            column = begin + tl.arange(0, BLOCK_D)
            part = first_layer(neighbour, centre, source, node, column, W1)
            part = (part - mean[:, None]) * rstd[:, None]
            part = gelu(scaled(part, norm1_weight, norm1_bias, column, W1)).to(DTYPE)
            real = (column2 < W2)[None, :] & (column < W1)[:, None]
            factor = tl.load(hidden_weight + column2[None, :] * W1 + column[:, None], real, 0.0)
            product = tl.dot(part, factor, product, input_precision=PRECISION)
        h = product + tl.load(hidden_bias + column2, column2 < W2, 0.0).to(tl.float32)[None, :]
        mean, rstd = statistics(h, column2, W2)
    h = (h - mean[:, None]) * rstd[:, None]
    active = gelu(scaled(h, norm2_weight, norm2_bias, column2, W2)).to(DTYPE)

    group_node = first_node + tl.arange(0, NODES)
    for begin in range(0, W3, BLOCK_N):
        strip = begin + tl.arange(0, BLOCK_N)
        inside = (strip < W3)[None, :] & (column2 < W2)[:, None]
        factor = tl.load(last_weight + strip[None, :] * W2 + column2[:, None], inside, 0.0)
        y = tl.dot(active, factor, input_precision=PRECISION)
        y += tl.load(last_bias + strip, strip < W3, 0.0).to(tl.float32)[None, :]
        place = group_node[:, None] * W3 + strip[None, :]
        real = (group_node < num_points)[:, None] & (strip < W3)[None, :]
        if TRAINING:
            value, best = largest_of_groups(y.to(DTYPE), slot, GROUP, ROWS, BLOCK_N)
            if FIRST > 0:
                real = real & (value > tl.load(out + place, real, 0.0))
            tl.store(winner + place, best.to(tl.int16), real)
        else:
            value = tl.max(tl.reshape(y, [NODES, GROUP, BLOCK_N]), 1).to(DTYPE)
            if FIRST > 0:
                real = real & (value > tl.load(out + place, real, 0.0))
        tl.store(out + place, value, real)
