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
    grad_neighbour, grad_centre = torch.zeros_like(neighbour), torch.empty_like(centre)
    grads = [torch.zeros_like(p) for p in parameters]
    if len(parameters) > 2:
        grads[-1].copy_(grad_out.sum(0))
    k = table.size(1)
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
        grad = _grad_of_maximum(winner[start:stop], grad_out[start:stop], k)
        for i in range(len(parameters) - 4, 1, -4):
            norm_weight, norm_bias, weight, _ = parameters[i : i + 4]
            h, mean, rstd, normed, active = saved.pop()
            grads[i + 2].addmm_(grad.t(), active)
            if i + 4 < len(parameters):
                grads[i + 3] += grad.sum(0)
            grad = torch.ops.aten.gelu_backward(torch.mm(grad, weight), normed)
            grad, grad_norm_weight, grad_norm_bias = torch.ops.aten.native_layer_norm_backward(
                grad, h, (h.size(1),), mean, rstd, norm_weight, norm_bias, (True, True, True)
            )
            grads[i] += grad_norm_weight
            grads[i + 1] += grad_norm_bias
        torch.sum(grad.view(stop - start, k, -1), 1, out=grad_centre[start:stop])
        add_rows_(grad_neighbour, index.reshape(-1), grad)
    return [grad_of_first_products(grad_neighbour, grad_centre, x, parameters, grads), *grads]


def first_products(x: Tensor, parameters: list[Tensor]) -> tuple[Tensor, Tensor]:
    weight, bias = parameters[:2]
    dim = x.size(1)
    return F.linear(x, weight[:, :dim]), F.linear(x, weight[:, dim:] - weight[:, :dim], bias)


def grad_of_first_products(
    grad_neighbour: Tensor, grad_centre: Tensor, x: Tensor, parameters: list[Tensor], grads: list[Tensor]
) -> Tensor:
    """Fill in the gradients of the first weight and bias; the result is that of x."""
    weight, dim = parameters[0], x.size(1)
    torch.mm(grad_centre.t(), x, out=grads[0][:, dim:])
    torch.mm(grad_neighbour.t(), x, out=grads[0][:, :dim])
    grads[0][:, :dim] -= grads[0][:, dim:]
    grads[1].copy_(grad_centre.sum(0))
    grad_x = torch.mm(grad_centre, weight[:, dim:] - weight[:, :dim])
    return grad_x.addmm_(grad_neighbour, weight[:, :dim])


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
    """Largest of the k entries [n, k, W] of each channel, and the first slot that holds it."""
    largest = h.max(1)
    value.copy_(largest.values)
    slot.copy_(largest.indices)


def _grad_of_maximum(winner: Tensor, grad: Tensor, k: int) -> Tensor:
    """[n·k, W]: the gradient in the winner's place, else 0."""
    out = grad.new_zeros(len(grad), k, grad.size(1))
    return out.scatter_(1, winner.long().unsqueeze(1), grad.unsqueeze(1)).flatten(0, 1)
