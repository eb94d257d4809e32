"""Self-attention within each set of a ragged batch, with a bias for every head and pair.

A backend is a pair of functions on plain, contiguous tensors of one dtype (``bias`` and ``scale`` of the same); ``ptr``
is int64::

    forward(q [P, H, d], k [P, H, d], v [P, H, d], bias [N, H], scale [N, H] | None, ptr, max_length | None) → out
    backward(grad_out [P, H, d], q, k, v, bias, scale, ptr, max_length) → grad_q, grad_k, grad_v, grad_bias

``scale`` multiplies the weights: what dropout leaves of them. A backend without ``backward`` is one differentiable
function. N = Σ n², pairs sorted by query, then key, as :func:`panoptag_pyg.ops.pair_index` has them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptag_pyg.ops import pair_attention_torch
from panoptag_pyg.ops.ragged import complete_edges
from panoptag_pyg.ops.recompute import gradients
from panoptag_pyg.ops.registry import choose, get, register_backend
from panoptag_pyg.ops.segment import segment_softmax, segment_sum


def pair_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    ptr: Tensor,
    max_length: int | None = None,
    dropout: float = 0.0,
    backend: str = "auto",
) -> Tensor:
    r"""Scaled dot-product self-attention within each set, with an additive bias on the scores.

    .. math::
        y_i = \sum_{j \in \text{set of } i} a_{ij} v_j, \qquad
        a_{ij} = \mathrm{softmax}_j \big(q_i \cdot k_j / \sqrt{d_h} + b_{ij}\big)

    Memory grows with the number of pairs, not with the longest set: N numbers per head, besides the inputs. It is
    quickest where sets of equal length stand together (sorted by length): they need no reordering.

    Args:
        q: queries.
        k: keys.
        v: values.
        bias: of each pair, sorted by query, then key, as :func:`panoptag_pyg.ops.pair_index` gives them.
        ptr: first point of each set, and P at the end.
        max_length: points of the longest set; spares a GPU one synchronisation. Default: looked up when needed.
        dropout: probability that a weight is set to 0 (the others grow to make up); as in torch's attention.
            Default 0.
        backend: ``"auto"`` (default), or a name of ``ops.available("pair_attention")``.

    Shapes:
        q, k, v [P, H, d], bias [N, H], N = Σ n², ptr [B+1] → [P, H, d].

    Raises:
        ValueError: for shapes that don't fit.
        ConfigError: for a backend that doesn't exist or can't be used here, with the reason.

    Source: Qu, Li, Qian, *Particle Transformer for Jet Tagging*, arXiv:2202.03772, eq. 4.
    """
    if q.dim() != 3 or q.shape != k.shape or q.shape != v.shape or bias.dim() != 2 or bias.size(1) != q.size(1):
        shapes = ", ".join(str(list(tensor.shape)) for tensor in (q, k, v, bias))
        raise ValueError(f"q, k and v must be [P, H, d] and bias [N, H], got {shapes}")
    dtype = v.dtype if q.dtype == k.dtype == v.dtype else torch.promote_types(q.dtype, k.dtype)
    q, k, v, bias = (tensor.to(dtype) for tensor in (q, k, v, bias))
    scale = F.dropout(torch.ones_like(bias), dropout) if dropout > 0 else None
    name = choose("pair_attention", backend, q.device.type, dtype=dtype, num_heads=q.size(1), dim=q.size(2))
    return _pair_attention(q, k, v, bias, scale, ptr, max_length, name)


@torch.library.custom_op("panoptag_pyg::pair_attention", mutates_args=())
def _pair_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    scale: Tensor | None,
    ptr: Tensor,
    max_length: int | None,
    backend: str,
) -> Tensor:
    _check_pairs(bias, ptr)
    inputs = _prepared(q, k, v, bias, scale, ptr)
    with torch.autocast(q.device.type, enabled=False):
        return get("pair_attention", backend).function(*inputs, max_length)


@_pair_attention.register_fake
def _(q: Tensor, *_: Any) -> Tensor:
    return q.new_empty(q.shape)


@torch.library.custom_op("panoptag_pyg::pair_attention_backward", mutates_args=())
def _pair_attention_backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    scale: Tensor | None,
    ptr: Tensor,
    max_length: int | None,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    implementation = get("pair_attention", backend)
    q, k, v, bias, scale, ptr = _prepared(q, k, v, bias, scale, ptr)
    with torch.autocast(q.device.type, enabled=False):
        if implementation.backward is not None:
            return implementation.backward(grad_out.contiguous(), q, k, v, bias, scale, ptr, max_length)

        def forward(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
            return implementation.function(q, k, v, bias, scale, ptr, max_length)

        grads = gradients(forward, [q, k, v, bias], grad_out)
        return grads[0], grads[1], grads[2], grads[3]


@_pair_attention_backward.register_fake
def _(
    grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, *_: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape), bias.new_empty(bias.shape)


def _setup(ctx, inputs, output):  # type: ignore[no-untyped-def]
    *tensors, ctx.max_length, ctx.backend = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, grad_out):  # type: ignore[no-untyped-def]
    grads = _pair_attention_backward(grad_out, *ctx.saved_tensors, ctx.max_length, ctx.backend)
    return *grads, None, None, None, None


_pair_attention.register_autograd(_backward, setup_context=_setup)


def _prepared(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: Tensor | None, ptr: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor]:
    scale = None if scale is None else scale.contiguous()
    return q.contiguous(), k.contiguous(), v.contiguous(), bias.contiguous(), scale, ptr.long().contiguous()


def _check_pairs(bias: Tensor, ptr: Tensor) -> None:
    if ptr.device.type != "cpu":
        return
    wanted = int(ptr.diff().square().sum())
    if len(bias) != wanted:
        raise ValueError(f"bias must have a row for each of the {wanted} pairs of the same set, got {len(bias)}")


def reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    scale: Tensor | None,
    ptr: Tensor,
    max_length: int | None = None,
) -> Tensor:
    """Segment softmax over all pairs: written to be read."""
    query, key = complete_edges(ptr, ptr)
    score = (q[query] * k[key]).sum(-1) / math.sqrt(q.size(-1)) + bias
    weight = segment_softmax(score, query, len(q))
    weight = weight if scale is None else weight * scale
    return segment_sum(weight[..., None] * v[key], query, len(q))


register_backend("pair_attention", "reference", reference)
register_backend("pair_attention", "padded", pair_attention_torch.padded, devices=("cuda",))
register_backend(
    "pair_attention",
    "torch",
    pair_attention_torch.forward,
    backward=pair_attention_torch.backward,
    devices=("cpu",),
)
