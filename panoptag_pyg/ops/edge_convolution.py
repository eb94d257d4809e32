"""EdgeConv on a neighbour table: an MLP on every edge and the maximum over each point's edges.

A backend is a pair of functions on plain tensors, contiguous and of one dtype. Its parameters are a flat list:
weight [w, 2 D] and bias of the first linear layer, then for each further layer the weight and bias of the layer
normalisation before it, and its own weight and bias::

    forward(x [P, D], table [P, k], parameters, training) → out [P, W], winner [P, W] int16
    backward(grad_out [P, W], x, table, parameters, winner) → [grad_x, *grad_parameters]

``winner`` is the slot of the first largest entry, or [0, W] when not training. A backend without ``backward`` is one
differentiable function ``(x, table, parameters) → out``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptag_pyg.ops import edge_convolution_torch
from panoptag_pyg.ops.ragged import compute_dtype
from panoptag_pyg.ops.recompute import gradients
from panoptag_pyg.ops.registry import choose, get, register_backend

#: ``eps`` of the layer normalisations inside the edge MLP.
NORM_EPS = edge_convolution_torch.NORM_EPS


def edge_conv(
    x: Tensor,
    table: Tensor,
    linears: Sequence[tuple[Tensor, Tensor]],
    norms: Sequence[tuple[Tensor, Tensor]],
    backend: str = "auto",
) -> Tensor:
    r"""Edge convolution with a multi-layer MLP.

    .. math::
        y_i = \max_{j \in \mathcal{N}(i)} \mathrm{MLP}\big([x_j - x_i,\; x_i]\big), \qquad
        \mathrm{MLP} = W_L \circ \mathrm{GELU} \circ \mathrm{LN}_{L-1} \circ \dots \circ \mathrm{LN}_1 \circ W_1

    The maximum's gradient goes to the first of equal entries.

    Args:
        x: features of the points.
        table: neighbours of each point; a repeated one changes nothing.
        linears: (weight, bias) of each linear layer, as :class:`torch.nn.Linear` keeps them; the first
            takes 2 D inputs.
        norms: (weight, bias) of the layer normalisation after each linear layer but the last.
        backend: ``"auto"`` (default), or a name of ``ops.available("edge_conv")``.

    Shapes:
        x [P, D], table [P, k] → [P, width of the last layer].

    Raises:
        ValueError: for shapes that don't fit.
        ConfigError: for a backend that doesn't exist or can't be used here, with the reason.

    Source: Wang et al., *Dynamic Graph CNN*, arXiv:1801.07829, eq. 8; Qu and Gouskos, *ParticleNet*,
    arXiv:1902.08570.
    """
    if x.dim() != 2 or table.dim() != 2 or x.size(0) != table.size(0) or table.size(1) < 1:
        raise ValueError(f"x must be [P, D] and table [P, k], k ≥ 1, got {list(x.shape)} and {list(table.shape)}")
    if len(norms) != len(linears) - 1 or linears[0][0].size(1) != 2 * x.size(1):
        raise ValueError(
            f"an edge MLP of {len(linears)} linear layers on {x.size(1)} features has {len(linears) - 1} norms and "
            f"takes {2 * x.size(1)} inputs, got {len(norms)} and {linears[0][0].size(1)}"
        )
    dtype = compute_dtype(x)
    flat = [*linears[0]]
    for norm, linear in zip(norms, linears[1:], strict=True):
        flat += [*norm, *linear]
    x, parameters = x.to(dtype), [parameter.to(dtype) for parameter in flat]
    training = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *parameters))
    name = choose(
        "edge_conv",
        backend,
        x.device.type,
        dtype=dtype,
        training=training,
        k=table.size(1),
        dim=x.size(1),
        widths=tuple(weight.size(0) for weight, _ in linears),
    )
    return _edge_conv(x, table, parameters, training, name)[0]


@torch.library.custom_op("panoptag_pyg::edge_conv", mutates_args=())
def _edge_conv(
    x: Tensor, table: Tensor, parameters: list[Tensor], training: bool, backend: str
) -> tuple[Tensor, Tensor]:
    implementation = get("edge_conv", backend)
    x, table, parameters = x.contiguous(), table.long().contiguous(), [p.contiguous() for p in parameters]
    with torch.autocast(x.device.type, enabled=False):
        if implementation.backward is not None:
            return implementation.function(x, table, parameters, training)
        return implementation.function(x, table, parameters), _no_winner(x, parameters)


@_edge_conv.register_fake
def _(x: Tensor, table: Tensor, parameters: list[Tensor], training: bool, backend: str) -> tuple[Tensor, Tensor]:
    out = x.new_empty(x.size(0), parameters[-1].size(0))
    pair = get("edge_conv", backend).backward is not None
    return out, torch.empty_like(out, dtype=torch.int16) if training and pair else _no_winner(x, parameters)


@torch.library.custom_op("panoptag_pyg::edge_conv_backward", mutates_args=())
def _edge_conv_backward(
    grad_out: Tensor, x: Tensor, table: Tensor, parameters: list[Tensor], winner: Tensor, backend: str
) -> list[Tensor]:
    implementation = get("edge_conv", backend)
    x, table, parameters = x.contiguous(), table.long().contiguous(), [p.contiguous() for p in parameters]
    with torch.autocast(x.device.type, enabled=False):
        if implementation.backward is not None:
            return list(implementation.backward(grad_out.contiguous(), x, table, parameters, winner))
        return gradients(lambda x, *p: implementation.function(x, table, list(p)), [x, *parameters], grad_out)


@_edge_conv_backward.register_fake
def _(
    grad_out: Tensor, x: Tensor, table: Tensor, parameters: list[Tensor], winner: Tensor, backend: str
) -> list[Tensor]:
    return [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in (x, *parameters)]


def _setup(ctx, inputs, output):  # type: ignore[no-untyped-def]
    x, table, parameters, _, ctx.backend = inputs
    ctx.save_for_backward(x, table, output[1], *parameters)


def _backward(ctx, grad_out, _):  # type: ignore[no-untyped-def]
    x, table, winner, *parameters = ctx.saved_tensors
    grad_x, *grads = _edge_conv_backward(grad_out, x, table, parameters, winner, ctx.backend)
    return grad_x, None, grads, None, None


_edge_conv.register_autograd(_backward, setup_context=_setup)


def _no_winner(x: Tensor, parameters: list[Tensor]) -> Tensor:
    return x.new_empty((0, parameters[-1].size(0)), dtype=torch.int16)


def reference(x: Tensor, table: Tensor, parameters: list[Tensor]) -> Tensor:
    """As the papers write it: concatenate, MLP on every edge, maximum. Takes memory for every edge."""
    centre = x[:, None, :].expand(-1, table.size(1), -1)
    h = F.linear(torch.cat([x[table] - centre, centre], dim=-1), *parameters[:2])
    for i in range(2, len(parameters), 4):
        norm_weight, norm_bias, weight, bias = parameters[i : i + 4]
        h = F.linear(F.gelu(F.layer_norm(h, h.shape[-1:], norm_weight, norm_bias, NORM_EPS)), weight, bias)
    return h.max(1).values


register_backend("edge_conv", "reference", reference)
register_backend(
    "edge_conv",
    "torch",
    edge_convolution_torch.forward,
    backward=edge_convolution_torch.backward,
    devices=("cpu", "cuda"),
)
