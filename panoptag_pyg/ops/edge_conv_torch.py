r"""EdgeConv in plain torch: first layer factored over points, the others in chunks that stay in cache.

With :math:`W_1 = [A, B]`, the first layer :math:`A (x_j - x_i) + B x_i = A x_j + (B - A) x_i` costs two products
over P points instead of one over P·k edges. The rest runs over a few hundred points at a time, so that no
tensor of all edges ever exists: freshly mapped pages and trips to memory cost more than the arithmetic. The
backward pass computes each chunk again, up to its last product, whose winners the forward pass marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

NORM_EPS = 1e-5
#: Elements of one intermediate [edges of a chunk, width]; half a MiB of float32 on the CPU.
CHUNK = 1 << 17
DEVICE_CHUNK = 1 << 26

_Parameters = Sequence[tuple[Tensor, Tensor]]


def edge_conv(x: Tensor, table: Tensor, linears: _Parameters, norms: _Parameters) -> Tensor:
    """See :func:`panoptag_pyg.ops.edge_conv`."""
    weight, bias = linears[0]
    dim = x.size(1)
    neighbour = F.linear(x, weight[:, :dim])
    centre = F.linear(x, weight[:, dim:] - weight[:, :dim], bias)
    if len(linears) == 1 or table.numel() == 0:
        out = neighbour[table].amax(1) + centre if table.numel() else centre
        for weight, bias in linears[1:]:
            out = F.linear(out, weight, bias)
        return out
    flat = [p for norm, linear in zip(norms, linears[1:], strict=True) for p in (*norm, *linear)]
    return _EdgeLayers.apply(neighbour, centre, table, *flat)


def _chunks(table: Tensor, width: int) -> list[tuple[int, int]]:
    elements = CHUNK if table.device.type == "cpu" else DEVICE_CHUNK
    points = max(1, elements // (table.size(1) * width))
    return [(start, min(start + points, len(table))) for start in range(0, len(table), points)]


def _first_layer(neighbour: Tensor, centre: Tensor, table: Tensor) -> Tensor:
    """[chunk's edges, width]: pre-activation of the first layer, edges of one point side by side."""
    h = neighbour.index_select(0, table.reshape(-1))
    h.view(*table.shape, -1).add_(centre.unsqueeze(1))
    return h


class _EdgeLayers(torch.autograd.Function):
    """Everything after the first layer's products: gather, (norm, GELU, linear) …, maximum."""

    @staticmethod
    def forward(ctx: Any, neighbour: Tensor, centre: Tensor, table: Tensor, *parameters: Tensor) -> Tensor:
        k, width = table.size(1), parameters[-1].numel()
        out = neighbour.new_empty(len(table), width)
        training = any(ctx.needs_input_grad)
        # One byte per edge and channel, against computing the last and widest product again.
        largest = torch.empty(len(table) if training else 0, k, width, dtype=torch.bool, device=out.device)
        for start, stop in _chunks(table, neighbour.size(1)):
            h = _first_layer(neighbour, centre[start:stop], table[start:stop])
            for i in range(0, len(parameters), 4):
                norm_weight, norm_bias, weight, bias = parameters[i : i + 4]
                h = F.layer_norm(h, (h.size(1),), norm_weight, norm_bias, NORM_EPS)
                h = torch.ops.aten.gelu_(h)
                h = torch.mm(h, weight.t()) if i + 4 == len(parameters) else torch.addmm(bias, h, weight.t())
            h = h.view(stop - start, k, width)
            torch.amax(h, 1, out=out[start:stop])
            if training:
                torch.eq(h, out[start:stop].unsqueeze(1), out=largest[start:stop])
        out += parameters[-1]  # the last bias passes through the maximum
        ctx.save_for_backward(neighbour, centre, table, largest, *parameters)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        neighbour, centre, table, largest, *parameters = ctx.saved_tensors
        grad_out = grad_out.contiguous()
        grad_neighbour, grad_centre = torch.zeros_like(neighbour), torch.empty_like(centre)
        grads = [torch.zeros_like(p) for p in parameters]
        grads[-1].copy_(grad_out.sum(0))
        k = table.size(1)
        for start, stop in _chunks(table, neighbour.size(1)):
            index = table[start:stop]
            h = _first_layer(neighbour, centre[start:stop], index)
            saved = []
            for i in range(0, len(parameters), 4):
                norm_weight, norm_bias, weight, bias = parameters[i : i + 4]
                normed, mean, rstd = torch.native_layer_norm(h, (h.size(1),), norm_weight, norm_bias, NORM_EPS)
                active = F.gelu(normed)
                saved.append((h, mean, rstd, normed, active))
                if i + 4 < len(parameters):
                    h = torch.addmm(bias, active, weight.t())
            grad = _grad_of_maximum(largest[start:stop], grad_out[start:stop]).flatten(0, 1)
            for i in range(len(parameters) - 4, -1, -4):
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
            # index_put_ gives the same bits on every run, on a GPU too, where index_add_ doesn't.
            grad_neighbour.index_put_((index.reshape(-1),), grad, accumulate=True)
        return grad_neighbour, grad_centre, None, *grads


def _grad_of_maximum(largest: Tensor, grad: Tensor) -> Tensor:
    """Gradient to the largest of each column's k entries, shared equally among equals (as ``amax`` does)."""
    share = largest.to(grad.dtype)
    return share.mul_((grad / share.sum(1)).unsqueeze(1))
