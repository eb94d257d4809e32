"""Layer normalisation and a linear layer in one: what a set transformer's blocks do before and after attention.

A backend is a pair of functions on plain, contiguous tensors of one dtype::

    forward(x [N, D], norm_weight [D], norm_bias [D], weight [W, D], bias [W], residual, training) → out [N, W], active
    backward(grad_out [N, W], x, norm_weight, norm_bias, weight, active, residual)
        → grad_x, grad_norm_weight, grad_norm_bias, grad_weight, grad_bias

``active`` [N, W] is what GELU is applied to, kept for the backward pass; [0, W] where there is none.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptag_pyg.ops.ragged import compute_dtype
from panoptag_pyg.ops.recompute import gradients
from panoptag_pyg.ops.registry import choose, get, register_backend

NORM_EPS = 1e-5


def norm_linear(
    x: Tensor,
    norm: tuple[Tensor, Tensor],
    linear: tuple[Tensor, Tensor],
    residual: bool = False,
    backend: str = "auto",
) -> Tensor:
    r"""Linear layer of a layer normalisation, optionally through GELU and added to its input.

    .. math::
        y = W \, \mathrm{LN}(x) + b \qquad\text{or, with a residual,}\qquad
        y = x + \mathrm{GELU}\big(W \, \mathrm{LN}(x) + b\big)

    Args:
        x: rows.
        norm: weight and bias of the layer normalisation (ε = 1e-5).
        linear: weight and bias of the linear layer, as :class:`torch.nn.Linear` keeps them.
        residual: the second form; needs W = D. Default ``False``.
        backend: ``"auto"`` (default), or a name of ``ops.available("norm_linear")``.

    Shapes:
        x [N, D], norm [D] and [D], linear [W, D] and [W] → [N, W].

    Raises:
        ValueError: for shapes that don't fit.
        ConfigError: for a backend that doesn't exist or can't be used here, with the reason.

    Source: Xiong et al., *On Layer Normalization in the Transformer Architecture*, arXiv:2002.04745, figure 1b.
    """
    weight, bias = linear
    if x.dim() != 2 or weight.size(1) != x.size(1) or (residual and weight.size(0) != x.size(1)):
        raise ValueError(f"x [N, D] doesn't fit a weight [W, D]: {list(x.shape)} and {list(weight.shape)}")
    dtype = compute_dtype(x)
    x, *parameters = (tensor.to(dtype) for tensor in (x, *norm, weight, bias))
    training = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *parameters))
    name = choose(
        "norm_linear", backend, x.device.type, dtype=dtype, training=training, dim=x.size(1), width=weight.size(0)
    )
    return _norm_linear(x, *parameters, residual, training, name)[0]


@torch.library.custom_op("panoptag_pyg::norm_linear", mutates_args=())
def _norm_linear(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    weight: Tensor,
    bias: Tensor,
    residual: bool,
    training: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    implementation = get("norm_linear", backend)
    tensors = [tensor.contiguous() for tensor in (x, norm_weight, norm_bias, weight, bias)]
    with torch.autocast(x.device.type, enabled=False):
        if implementation.backward is not None:
            return implementation.function(*tensors, residual, training)
        return implementation.function(*tensors, residual), x.new_empty(0, weight.size(0))


@_norm_linear.register_fake
def _(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    weight: Tensor,
    bias: Tensor,
    residual: bool,
    training: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    keeps = residual and training and get("norm_linear", backend).backward is not None
    return x.new_empty(x.size(0), weight.size(0)), x.new_empty(x.size(0) if keeps else 0, weight.size(0))


@torch.library.custom_op("panoptag_pyg::norm_linear_backward", mutates_args=())
def _norm_linear_backward(
    grad_out: Tensor,
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    weight: Tensor,
    bias: Tensor,
    active: Tensor,
    residual: bool,
    backend: str,
) -> list[Tensor]:
    implementation = get("norm_linear", backend)
    tensors = [tensor.contiguous() for tensor in (x, norm_weight, norm_bias, weight)]
    with torch.autocast(x.device.type, enabled=False):
        if implementation.backward is not None:
            return list(implementation.backward(grad_out.contiguous(), *tensors, active, residual))
        return gradients(lambda *t: implementation.function(*t, residual), [*tensors, bias], grad_out)


@_norm_linear_backward.register_fake
def _(
    grad_out: Tensor,
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    weight: Tensor,
    bias: Tensor,
    active: Tensor,
    residual: bool,
    backend: str,
) -> list[Tensor]:
    tensors = (x, norm_weight, norm_bias, weight, bias)
    return [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in tensors]


def _setup(ctx, inputs, output):  # type: ignore[no-untyped-def]
    *tensors, ctx.residual, _, ctx.backend = inputs
    ctx.save_for_backward(*tensors, output[1])


def _backward(ctx, grad_out, _):  # type: ignore[no-untyped-def]
    return *_norm_linear_backward(grad_out, *ctx.saved_tensors, ctx.residual, ctx.backend), None, None, None


_norm_linear.register_autograd(_backward, setup_context=_setup)


def reference(
    x: Tensor, norm_weight: Tensor, norm_bias: Tensor, weight: Tensor, bias: Tensor, residual: bool
) -> Tensor:
    """Written to be read."""
    y = F.linear(F.layer_norm(x, x.shape[-1:], norm_weight, norm_bias, NORM_EPS), weight, bias)
    return x + F.gelu(y) if residual else y


def torch_forward(
    x: Tensor, norm_weight: Tensor, norm_bias: Tensor, weight: Tensor, bias: Tensor, residual: bool, training: bool
) -> tuple[Tensor, Tensor]:
    """The same, keeping what GELU is applied to."""
    y = F.linear(F.layer_norm(x, x.shape[-1:], norm_weight, norm_bias, NORM_EPS), weight, bias)
    if not residual:
        return y, y.new_empty(0, y.size(1))
    return F.gelu(y).add_(x), y if training else y.new_empty(0, y.size(1))


def torch_backward(
    grad_out: Tensor,
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    weight: Tensor,
    active: Tensor,
    residual: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Normalises again instead of keeping the normalised rows."""
    normed, mean, deviation = torch.native_layer_norm(x, x.shape[-1:], norm_weight, norm_bias, NORM_EPS)
    grad = torch.ops.aten.gelu_backward(grad_out, active) if residual else grad_out
    grad_x, grad_norm_weight, grad_norm_bias = torch.ops.aten.native_layer_norm_backward(
        grad @ weight, x, x.shape[-1:], mean, deviation, norm_weight, norm_bias, (True, True, True)
    )
    if residual:
        grad_x = grad_x + grad_out
    return grad_x, grad_norm_weight, grad_norm_bias, grad.t() @ normed, grad.sum(0)


register_backend("norm_linear", "reference", reference)
register_backend("norm_linear", "torch", torch_forward, backward=torch_backward, devices=("cpu", "cuda"))
