"""Attention over a table of neighbours with self and neighbour coefficients: the inside of a GAPLayer.

A backend is a pair of functions on plain, contiguous tensors of one dtype; ``inputs`` are centre [P, H, F],
neighbour [P, H, F], score [P, H], weight [H, F], table [P, k] and count [P]::

    forward(*inputs, training) → out [P, 2, H, F], winner [P, H, F] int16
    backward(grad_out [P, 2, H, F], *inputs, winner) → grad_centre, grad_neighbour, grad_score, grad_weight

``winner`` is the slot of the largest entry, or [0, H, F] when not training. A backend without ``backward`` is one
differentiable function ``(*inputs) → out``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptag_pyg.ops.ragged import add_rows_
from panoptag_pyg.ops.recompute import gradients
from panoptag_pyg.ops.registry import choose, get, register_backend
from panoptag_pyg.ops.weighted_neighbours import chunks

#: Slope of LeakyReLU below 0.
SLOPE = 0.2


def neighbour_attention(
    centre: Tensor,
    neighbour: Tensor,
    score: Tensor,
    weight: Tensor,
    table: Tensor,
    count: Tensor,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    r"""Attention-weighted sum, and maximum, of edge features that a ReLU makes of two points' parts.

    .. math::
        y_{ij} = \mathrm{ReLU}(c_i + n_j), \qquad
        a_{ij} = \mathrm{softmax}_j\big(\mathrm{LeakyReLU}_{0.2}(s_i + w \cdot y_{ij})\big), \qquad
        \Big[\sum_{j \in \mathcal{N}(i)} a_{ij} y_{ij},\; \max_{j \in \mathcal{N}(i)} y_{ij}\Big]

    per head. A point without neighbours gets 0.

    Args:
        centre: c, the point's own part of its edges' features.
        neighbour: n, a neighbour's part.
        score: s, the point's own part of the score: the self coefficient.
        weight: w, which makes the neighbour coefficient.
        table: neighbours of each point, see :func:`panoptag_pyg.ops.neighbour_table`.
        count: how many of a point's slots are real, see :func:`panoptag_pyg.ops.neighbour_count`.
        backend: ``"auto"`` (default), or a name of ``ops.available("neighbour_attention")``.

    Shapes:
        centre [P, H, F], neighbour [P, H, F], score [P, H], weight [H, F], table [P, k], count [P]
        → two of [P, H, F].

    Raises:
        ValueError: for shapes that don't fit.
        ConfigError: for a backend that doesn't exist or can't be used here, with the reason.

    Source: Chen et al., *GAPNet*, arXiv:1905.08705, eq. 3 to 5; Mikuni and Canelli, *ABCNet*, arXiv:2001.05311.
    """
    fits = centre.dim() == 3 and centre.shape == neighbour.shape and centre.shape[1:] == weight.shape
    if not fits or score.shape != centre.shape[:2] or table.size(0) != centre.size(0):
        shapes = ", ".join(str(list(tensor.shape)) for tensor in (centre, neighbour, score, weight))
        raise ValueError(f"expected [P, H, F], [P, H, F], [P, H] and [H, F], got {shapes}")
    floats = [centre, neighbour, score, weight]
    dtype = centre.dtype
    for tensor in floats:
        dtype = torch.promote_types(dtype, tensor.dtype)
    floats = [tensor.to(dtype) for tensor in floats]
    training = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in floats)
    sizes = {"k": table.size(1), "num_heads": centre.size(1), "dim": centre.size(2)}
    name = choose("neighbour_attention", backend, centre.device.type, dtype=dtype, training=training, **sizes)
    attended, largest = _neighbour_attention(*floats, table, count, training, name)[0].unbind(1)
    return attended, largest


@torch.library.custom_op("panoptag_pyg::neighbour_attention", mutates_args=())
def _neighbour_attention(
    centre: Tensor,
    neighbour: Tensor,
    score: Tensor,
    weight: Tensor,
    table: Tensor,
    count: Tensor,
    training: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    implementation = get("neighbour_attention", backend)
    inputs = _dense(centre, neighbour, score, weight, table.long(), count.long())
    with torch.autocast(centre.device.type, enabled=False):
        if implementation.backward is not None:
            return implementation.function(*inputs, training)
        return implementation.function(*inputs), _no_winner(centre)


@_neighbour_attention.register_fake
def _(
    centre: Tensor,
    neighbour: Tensor,
    score: Tensor,
    weight: Tensor,
    table: Tensor,
    count: Tensor,
    training: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    out = centre.new_empty(centre.size(0), 2, *centre.shape[1:])
    pair = get("neighbour_attention", backend).backward is not None
    winner = torch.empty_like(centre, dtype=torch.int16, memory_format=torch.contiguous_format)
    return out, winner if training and pair else _no_winner(centre)


@torch.library.custom_op("panoptag_pyg::neighbour_attention_backward", mutates_args=())
def _neighbour_attention_backward(
    grad_out: Tensor,
    centre: Tensor,
    neighbour: Tensor,
    score: Tensor,
    weight: Tensor,
    table: Tensor,
    count: Tensor,
    winner: Tensor,
    backend: str,
) -> list[Tensor]:
    implementation = get("neighbour_attention", backend)
    inputs = _dense(centre, neighbour, score, weight, table.long(), count.long())
    with torch.autocast(centre.device.type, enabled=False):
        if implementation.backward is not None:
            return list(implementation.backward(grad_out.contiguous(), *inputs, winner))
        return gradients(lambda *floats: implementation.function(*floats, *inputs[4:]), inputs[:4], grad_out)


@_neighbour_attention_backward.register_fake
def _(
    grad_out: Tensor,
    centre: Tensor,
    neighbour: Tensor,
    score: Tensor,
    weight: Tensor,
    table: Tensor,
    count: Tensor,
    winner: Tensor,
    backend: str,
) -> list[Tensor]:
    floats = centre, neighbour, score, weight
    return [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in floats]


def _setup(ctx, inputs, output):  # type: ignore[no-untyped-def]
    *tensors, _, ctx.backend = inputs
    ctx.save_for_backward(*tensors, output[1])


def _backward(ctx, grad_out, _):  # type: ignore[no-untyped-def]
    grads = _neighbour_attention_backward(grad_out, *ctx.saved_tensors, ctx.backend)
    return *grads, None, None, None, None


_neighbour_attention.register_autograd(_backward, setup_context=_setup)


def _dense(*tensors: Tensor) -> list[Tensor]:
    return [tensor.contiguous() for tensor in tensors]


def _no_winner(centre: Tensor) -> Tensor:
    return centre.new_empty((0, *centre.shape[1:]), dtype=torch.int16)


def reference(centre: Tensor, neighbour: Tensor, score: Tensor, weight: Tensor, table: Tensor, count: Tensor) -> Tensor:
    """As the formula says; takes memory for every edge."""
    y = F.relu(centre[:, None] + neighbour[table])
    coefficient = F.leaky_relu(score[:, None] + (y * weight).sum(-1), SLOPE)
    a = coefficient.masked_fill(~_is_real(count, table.size(1))[..., None], -torch.inf).softmax(1)
    alone = (count == 0)[:, None, None]
    attended = torch.where(alone, 0.0, (torch.where(alone[..., None], 0.0, a[..., None]) * y).sum(1))
    return torch.stack([attended, torch.where(alone, 0.0, y.max(1).values)], dim=1)


def torch_forward(
    centre: Tensor,
    neighbour: Tensor,
    score: Tensor,
    weight: Tensor,
    table: Tensor,
    count: Tensor,
    training: bool,
) -> tuple[Tensor, Tensor]:
    """The same over some hundred points at a time, so that no tensor of all edges ever exists."""
    out = centre.new_empty(centre.size(0), 2, *centre.shape[1:])
    winner = torch.empty_like(centre if training else centre[:0], dtype=torch.int16)
    for start, stop in chunks(table, weight.numel()):
        y, a, _ = _attention(centre, neighbour, score, weight, table, count, start, stop)
        lonely = (count[start:stop] == 0)[:, None, None]
        torch.sum(a.unsqueeze(-1) * y, 1, out=out[start:stop, 0])
        largest = y.max(1)
        out[start:stop, 1] = largest.values.masked_fill_(lonely, 0.0)
        if training:
            winner[start:stop] = largest.indices.masked_fill_(lonely, -1)
    return out, winner


def torch_backward(
    grad_out: Tensor,
    centre: Tensor,
    neighbour: Tensor,
    score: Tensor,
    weight: Tensor,
    table: Tensor,
    count: Tensor,
    winner: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Computes each chunk again."""
    # Sums over many points would stand still in half precision.
    total = torch.float32 if centre.dtype in (torch.float16, torch.bfloat16) else centre.dtype
    grad_neighbour, grad_weight = torch.zeros_like(neighbour, dtype=total), torch.zeros_like(weight, dtype=total)
    grad_centre, grad_score = torch.empty_like(centre), torch.empty_like(score)
    slot = torch.arange(table.size(1), device=table.device, dtype=winner.dtype)[:, None, None]
    for start, stop in chunks(table, weight.numel()):
        y, a, slope = _attention(centre, neighbour, score, weight, table, count, start, stop)
        of_sum, of_largest = grad_out[start:stop, None].unbind(2)
        of_a = (y * of_sum).sum(-1)
        of_score = a * (of_a - (a * of_a).sum(1, keepdim=True)) * slope
        grad_score[start:stop] = of_score.sum(1)
        grad_weight += (of_score.unsqueeze(-1) * y).sum((0, 1), dtype=total)
        grad = a.unsqueeze(-1) * of_sum
        grad.addcmul_(of_score.unsqueeze(-1), weight)
        grad.addcmul_((slot == winner[start:stop, None]).to(grad.dtype), of_largest)
        grad.mul_(y > 0)
        torch.sum(grad, 1, out=grad_centre[start:stop])
        add_rows_(grad_neighbour, table[start:stop].reshape(-1), grad.flatten(0, 1).to(total))
    return grad_centre, grad_neighbour.to(centre.dtype), grad_score, grad_weight.to(weight.dtype)


def _attention(
    centre: Tensor,
    neighbour: Tensor,
    score: Tensor,
    weight: Tensor,
    table: Tensor,
    count: Tensor,
    start: int,
    stop: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Of a chunk's edges: features [n, k, H, F], weights [n, k, H], and slopes of the LeakyReLU [n, k, H]."""
    y = neighbour.index_select(0, table[start:stop].reshape(-1)).view(stop - start, -1, *weight.shape)
    y = torch.relu_(y.add_(centre[start:stop, None]))
    z = (y * weight).sum(-1).add_(score[start:stop, None])
    slope = (z > 0).to(z.dtype).mul_(1 - SLOPE).add_(SLOPE)
    z = z.mul_(slope).masked_fill_(~_is_real(count[start:stop], table.size(1))[..., None], -torch.inf)
    a = z.softmax(1).masked_fill_((count[start:stop] == 0)[:, None, None], 0.0)
    return y, a, slope


def _is_real(count: Tensor, k: int) -> Tensor:
    return torch.arange(k, device=count.device) < count[:, None]


register_backend("neighbour_attention", "reference", reference)
register_backend("neighbour_attention", "torch", torch_forward, backward=torch_backward, devices=("cpu", "cuda"))
