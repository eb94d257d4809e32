"""Mean and maximum of weighted neighbours: how GravNet gathers.

A backend is a pair of functions on plain, contiguous tensors of one dtype::

    forward(features [P, F], weight [P, k], table [P, k], count [P], training) → out [P, 2 F], winner [P, F] int16
    backward(grad_out [P, 2 F], features, weight, table, count, winner) → grad_features, grad_weight

``winner`` is the slot of the first largest entry, or [0, F] when not training. A backend without ``backward`` is one
differentiable function ``(features, weight, table, count) → out``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from panoptag_pyg.ops.ragged import add_rows_
from panoptag_pyg.ops.recompute import gradients
from panoptag_pyg.ops.registry import choose, get, register_backend

#: Elements of one intermediate [points of a chunk, k, F], as in :mod:`panoptag_pyg.ops.edge_convolution_torch`.
CHUNK = 1 << 17
DEVICE_CHUNK = 1 << 26


def weighted_neighbours(
    features: Tensor, weight: Tensor, table: Tensor, count: Tensor, backend: str = "auto"
) -> Tensor:
    r"""Mean and maximum of the neighbours' features, each times its edge's weight.

    .. math::
        y_i = \Big[\frac{1}{n_i} \sum_{j \in \mathcal{N}(i)} w_{ij} f_j,\;
        \max_{j \in \mathcal{N}(i)} w_{ij} f_j\Big]

    A point without neighbours gets 0. The maximum's gradient goes to the first of equal entries.

    Args:
        features: f, of the points.
        weight: w, of every slot of the table; slots that repeat the nearest neighbour must have its weight.
        table: neighbours of each point, see :func:`panoptag_pyg.ops.neighbour_table`.
        count: how many of a point's slots are real, see :func:`panoptag_pyg.ops.neighbour_count`.
        backend: ``"auto"`` (default), or a name of ``ops.available("weighted_neighbours")``.

    Shapes:
        features [P, F], weight [P, k], table [P, k], count [P] → [P, 2 F].

    Raises:
        ValueError: for shapes that don't fit.
        ConfigError: for a backend that doesn't exist or can't be used here, with the reason.

    Source: Qasim et al., *Learning representations of irregular particle-detector geometry with distance-weighted
    graph networks*, arXiv:1902.07987, section 3.
    """
    if features.dim() != 2 or table.dim() != 2 or weight.shape != table.shape or features.size(0) != table.size(0):
        shapes = list(features.shape), list(weight.shape), list(table.shape)
        raise ValueError(f"features must be [P, F], weight and table [P, k], got {shapes[0]}, {shapes[1]}, {shapes[2]}")
    dtype = torch.promote_types(features.dtype, weight.dtype)
    features, weight = features.to(dtype), weight.to(dtype)
    training = torch.is_grad_enabled() and (features.requires_grad or weight.requires_grad)
    sizes = {"k": table.size(1), "dim": features.size(1)}
    name = choose("weighted_neighbours", backend, features.device.type, dtype=dtype, training=training, **sizes)
    return _weighted_neighbours(features, weight, table, count, training, name)[0]


@torch.library.custom_op("panoptag_pyg::weighted_neighbours", mutates_args=())
def _weighted_neighbours(
    features: Tensor, weight: Tensor, table: Tensor, count: Tensor, training: bool, backend: str
) -> tuple[Tensor, Tensor]:
    implementation = get("weighted_neighbours", backend)
    tensors = features.contiguous(), weight.contiguous(), table.long().contiguous(), count.long().contiguous()
    with torch.autocast(features.device.type, enabled=False):
        if implementation.backward is not None:
            return implementation.function(*tensors, training)
        return implementation.function(*tensors), _no_winner(features)


@_weighted_neighbours.register_fake
def _(
    features: Tensor, weight: Tensor, table: Tensor, count: Tensor, training: bool, backend: str
) -> tuple[Tensor, Tensor]:
    out = features.new_empty(features.size(0), 2 * features.size(1))
    pair = get("weighted_neighbours", backend).backward is not None
    winner = torch.empty_like(features, dtype=torch.int16, memory_format=torch.contiguous_format)
    return out, winner if training and pair else _no_winner(features)


@torch.library.custom_op("panoptag_pyg::weighted_neighbours_backward", mutates_args=())
def _weighted_neighbours_backward(
    grad_out: Tensor, features: Tensor, weight: Tensor, table: Tensor, count: Tensor, winner: Tensor, backend: str
) -> tuple[Tensor, Tensor]:
    implementation = get("weighted_neighbours", backend)
    features, weight = features.contiguous(), weight.contiguous()
    table, count = table.long().contiguous(), count.long().contiguous()
    with torch.autocast(features.device.type, enabled=False):
        if implementation.backward is not None:
            return implementation.backward(grad_out.contiguous(), features, weight, table, count, winner)
        function = lambda f, w: implementation.function(f, w, table, count)  # noqa: E731
        grads = gradients(function, [features, weight], grad_out)
        return grads[0], grads[1]


@_weighted_neighbours_backward.register_fake
def _(
    grad_out: Tensor, features: Tensor, weight: Tensor, table: Tensor, count: Tensor, winner: Tensor, backend: str
) -> tuple[Tensor, Tensor]:
    return features.new_empty(features.shape), weight.new_empty(weight.shape)


def _setup(ctx, inputs, output):  # type: ignore[no-untyped-def]
    *tensors, _, ctx.backend = inputs
    ctx.save_for_backward(*tensors, output[1])


def _backward(ctx, grad_out, _):  # type: ignore[no-untyped-def]
    grads = _weighted_neighbours_backward(grad_out, *ctx.saved_tensors, ctx.backend)
    return *grads, None, None, None, None


_weighted_neighbours.register_autograd(_backward, setup_context=_setup)


def _no_winner(features: Tensor) -> Tensor:
    return features.new_empty((0, features.size(1)), dtype=torch.int16)


def reference(features: Tensor, weight: Tensor, table: Tensor, count: Tensor) -> Tensor:
    """As the formula says; takes memory for every edge."""
    messages = weight[..., None] * features[table]
    real = torch.arange(table.size(1), device=table.device) < count[:, None]
    mean = (messages * real[..., None]).sum(1) / count.clamp(min=1)[:, None]
    return torch.cat([mean, messages.max(1).values * (count > 0)[:, None]], dim=1)


def torch_forward(
    features: Tensor, weight: Tensor, table: Tensor, count: Tensor, training: bool
) -> tuple[Tensor, Tensor]:
    """The same over some hundred points at a time, so that no tensor of all edges ever exists."""
    num_points, width = features.shape
    out = features.new_empty(num_points, 2 * width)
    winner = torch.empty(num_points if training else 0, width, dtype=torch.int16, device=features.device)
    share = _shares(weight, count)
    for start, stop in chunks(table, width):
        gathered = features.index_select(0, table[start:stop].reshape(-1)).view(stop - start, -1, width)
        torch.bmm(share[start:stop, None, :], gathered, out=out[start:stop, None, :width])
        largest = gathered.mul_(weight[start:stop, :, None]).max(1)
        out[start:stop, width:] = largest.values * (count[start:stop, None] > 0)
        if training:
            winner[start:stop] = largest.indices
    return out, winner


def torch_backward(
    grad_out: Tensor, features: Tensor, weight: Tensor, table: Tensor, count: Tensor, winner: Tensor
) -> tuple[Tensor, Tensor]:
    """Gathers each chunk again."""
    width = features.size(1)
    # Sums over many points would stand still in half precision.
    total = torch.float32 if features.dtype in (torch.float16, torch.bfloat16) else features.dtype
    grad_features, grad_weight = torch.zeros_like(features, dtype=total), torch.empty_like(weight)
    share, real = _shares(weight, count), (count > 0).to(grad_out.dtype)[:, None]
    slot = torch.arange(table.size(1), device=table.device, dtype=winner.dtype)[:, None]
    inverse = 1 / count.clamp(min=1).to(weight.dtype)
    for start, stop in chunks(table, width):
        index = table[start:stop].reshape(-1)
        gathered = features.index_select(0, index).view(stop - start, -1, width)
        of_mean, of_largest = grad_out[start:stop, None].split(width, dim=2)
        of_winner = (slot == winner[start:stop, None]) * (of_largest * real[start:stop, None])
        grad = share[start:stop, :, None] * of_mean + weight[start:stop, :, None] * of_winner
        add_rows_(grad_features, index, grad.flatten(0, 1).to(total))
        mean_part = (gathered @ of_mean.mT).squeeze(2) * inverse[start:stop, None]
        mean_part *= _is_real(count[start:stop], table.size(1))
        grad_weight[start:stop] = mean_part + of_winner.mul_(gathered).sum(2)
    return grad_features.to(features.dtype), grad_weight


def chunks(table: Tensor, width: int) -> list[tuple[int, int]]:
    """First and last point of each chunk."""
    elements = CHUNK if table.device.type == "cpu" else DEVICE_CHUNK
    points = max(1, elements // max(1, table.size(1) * width))
    return [(start, min(start + points, len(table))) for start in range(0, len(table), points)]


def _is_real(count: Tensor, k: int) -> Tensor:
    return torch.arange(k, device=count.device) < count[:, None]


def _shares(weight: Tensor, count: Tensor) -> Tensor:
    """Each slot's factor in the mean."""
    return weight * _is_real(count, weight.size(1)) / count.clamp(min=1)[:, None].to(weight.dtype)


register_backend("weighted_neighbours", "reference", reference)
register_backend("weighted_neighbours", "torch", torch_forward, backward=torch_backward, devices=("cpu", "cuda"))
