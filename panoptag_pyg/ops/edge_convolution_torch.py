r"""EdgeConv in plain torch: first layer factored over points, the others in chunks that stay in cache.

With :math:`W_1 = [A, B]`, the first layer :math:`A (x_j - x_i) + B x_i = A x_j + (B - A) x_i` costs two products
over P points instead of one over P·k edges. The rest runs over a few hundred points at a time, so that no
tensor of all edges ever exists: freshly mapped pages and trips to memory cost more than the arithmetic. The
backward pass computes each chunk again, up to its last product, whose winners the forward pass marked.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptag_pyg.ops.ragged import add_rows_

NORM_EPS = 1e-5
#: Elements of one intermediate [edges of a chunk, width]; half a MiB of float32 on the CPU.
CHUNK = 1 << 17
DEVICE_CHUNK = 1 << 26
#: k times width from which adding up single rows beats products with a matrix that is zero but for one row in k.
SPARSE_FROM = 1000


def forward(x: Tensor, table: Tensor, parameters: list[Tensor], training: bool) -> tuple[Tensor, Tensor]:
    """See :mod:`panoptag_pyg.ops.edge_convolution`."""
    neighbour, centre = first_products(x, parameters)
    num_points, k, width = *table.shape, parameters[-1].numel()
    out = x.new_empty(num_points, width)
    winner = torch.empty(num_points if training else 0, width, dtype=torch.int16, device=x.device)
    if out.numel() == 0:
        return out, winner
    last_bias = parameters[-1] if len(parameters) > 2 else None
    for start, stop in _chunks(table, neighbour.size(1)):
        h = _first_layer(neighbour, centre[start:stop], table[start:stop])
        for i in range(2, len(parameters), 4):
            norm_weight, norm_bias, weight, bias = parameters[i : i + 4]
            h = F.layer_norm(h, (h.size(1),), norm_weight, norm_bias, NORM_EPS)
            h = torch.ops.aten.gelu_(h)
            h = torch.mm(h, weight.t()) if i + 4 == len(parameters) else torch.addmm(bias, h, weight.t())
        h = h.view(stop - start, k, width)
        if training:
            _largest(h, out[start:stop], winner[start:stop])
        else:
            torch.amax(h, 1, out=out[start:stop])
    if last_bias is not None:
        out += last_bias  # passes through the maximum
    return out, winner


def backward(grad_out: Tensor, x: Tensor, table: Tensor, parameters: list[Tensor], winner: Tensor) -> list[Tensor]:
    """See :mod:`panoptag_pyg.ops.edge_convolution`."""
    neighbour, centre = first_products(x, parameters)
    # Sums over many chunks would stand still in half precision.
    total = torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype
    grad_neighbour, grad_centre = torch.zeros_like(neighbour, dtype=total), torch.empty_like(centre)
    grads = [torch.zeros_like(p, dtype=total) for p in parameters]
    if len(parameters) > 2:
        grads[-1].copy_(grad_out.sum(0, dtype=total))
    for start, stop in _chunks(table, neighbour.size(1)):
        index = table[start:stop]
        h = _first_layer(neighbour, centre[start:stop], index)
        saved = []
        for i in range(2, len(parameters), 4):
            norm_weight, norm_bias, weight, bias = parameters[i : i + 4]
            normed, mean, rstd = torch.native_layer_norm(h, (h.size(1),), norm_weight, norm_bias, NORM_EPS)
            active = F.gelu(normed)
            saved.append((h, mean, rstd, normed, active))
            if i + 4 < len(parameters):
                h = torch.addmm(bias, active, weight.t())
        grad = grad_out[start:stop]
        if len(parameters) == 2:
            grad = _spread(grad, winner[start:stop], table.size(1))
        for i in range(len(parameters) - 4, 1, -4):
            norm_weight, norm_bias, weight, _ = parameters[i : i + 4]
            h, mean, rstd, normed, active = saved.pop()
            if i + 4 == len(parameters):
                grad_weight, grad = _grads_of_last_product(grad, winner[start:stop], active, weight, table.size(1))
                grads[i + 2] += grad_weight
            else:
                _add_product_(grads[i + 2], grad, active)
                grads[i + 3] += grad.sum(0)
                grad = torch.mm(grad, weight)
            grad = torch.ops.aten.gelu_backward(grad, normed)
            grad, grad_norm_weight, grad_norm_bias = torch.ops.aten.native_layer_norm_backward(
                grad, h, (h.size(1),), mean, rstd, norm_weight, norm_bias, (True, True, True)
            )
            grads[i] += grad_norm_weight
            grads[i + 1] += grad_norm_bias
        torch.sum(grad.view(*index.shape, -1), 1, out=grad_centre[start:stop])
        add_rows_(grad_neighbour, index.reshape(-1), grad.to(total))
    grad_x = grad_of_first_products(grad_neighbour.to(x.dtype), grad_centre, x, parameters, grads)
    return [grad_x, *(grad.to(p.dtype) for grad, p in zip(grads, parameters, strict=True))]


def first_products(x: Tensor, parameters: list[Tensor]) -> tuple[Tensor, Tensor]:
    weight, bias = parameters[:2]
    dim = x.size(1)
    return F.linear(x, weight[:, :dim]), F.linear(x, weight[:, dim:] - weight[:, :dim], bias)


def grad_of_first_products(
    grad_neighbour: Tensor, grad_centre: Tensor, x: Tensor, parameters: list[Tensor], grads: list[Tensor]
) -> Tensor:
    """Fill in the gradients of the first weight and bias; the result is that of x."""
    weight, dim = parameters[0], x.size(1)
    grads[0][:, dim:] = torch.mm(grad_centre.t(), x)
    grads[0][:, :dim] = torch.mm(grad_neighbour.t(), x)
    grads[0][:, :dim] -= grads[0][:, dim:]
    grads[1].copy_(grad_centre.sum(0))
    grad_x = torch.mm(grad_centre, weight[:, dim:] - weight[:, :dim])
    return grad_x.addmm_(grad_neighbour, weight[:, :dim])


def _grads_of_last_product(
    grad: Tensor, winner: Tensor, active: Tensor, weight: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """Gradients to the last weight [W, w] and to its input [n·k, w], where a channel's gradient has one edge per point.

    Two products that are zero but for one edge in k; where k is large, it is quicker to add up the rows that count.
    """
    if weight.device.type != "cpu" or k * weight.size(1) < SPARSE_FROM or weight.dtype == torch.float64:
        spread = _spread(grad, winner, k)
        return torch.mm(spread.t(), active), torch.mm(spread, weight)
    edge = winner.long().add_(torch.arange(len(winner)).unsqueeze(1) * k)
    grad_weight = F.embedding_bag(edge.t(), active, mode="sum", per_sample_weights=grad.t().contiguous())
    channel = winner.argsort(1)
    num_channels = torch.bincount(edge.view(-1), minlength=len(active))
    first = num_channels.cumsum(0).sub_(num_channels)
    order = (channel.view(-1), weight, first)
    return grad_weight, F.embedding_bag(*order, mode="sum", per_sample_weights=grad.gather(1, channel).view(-1))


def _add_product_(total: Tensor, grad: Tensor, active: Tensor) -> None:
    if total.dtype == grad.dtype:
        total.addmm_(grad.t(), active)
    else:
        total += torch.mm(grad.t(), active)


def _chunks(table: Tensor, width: int) -> list[tuple[int, int]]:
    elements = CHUNK if table.device.type == "cpu" else DEVICE_CHUNK
    points = max(1, elements // max(1, table.size(1) * width))
    return [(start, min(start + points, len(table))) for start in range(0, len(table), points)]


def _first_layer(neighbour: Tensor, centre: Tensor, table: Tensor) -> Tensor:
    """[chunk's edges, width]: pre-activation of the first layer, edges of one point side by side."""
    h = neighbour.index_select(0, table.reshape(-1))
    h.view(*table.shape, -1).add_(centre.unsqueeze(1))
    return h


def _largest(h: Tensor, value: Tensor, slot: Tensor) -> None:
    """Largest of the k entries [n, k, W] of each channel, and the first slot that holds it; overwrites h."""
    k = h.size(1)
    if k > 256:  # not all slots are numbers of bfloat16
        largest = h.max(1)
        value.copy_(largest.values)
        slot.copy_(largest.indices)
        return
    # torch.max is 20 times slower than amax along this dimension, and comparisons are vectorised only in place.
    torch.amax(h, 1, out=value)
    rank = torch.arange(k, 0, -1, dtype=h.dtype, device=h.device).view(1, k, 1)
    slot.copy_(h.eq_(value.unsqueeze(1)).mul_(rank).amax(1)).neg_().add_(k).clamp_(max=k - 1)  # NaN equals nothing


def _spread(grad: Tensor, winner: Tensor, k: int) -> Tensor:
    """[n·k, W]: the gradient in the winner's place, else 0."""
    out = grad.new_zeros(len(grad), k, grad.size(1))
    return out.scatter_(1, winner.long().unsqueeze(1), grad.unsqueeze(1)).flatten(0, 1)
