"""Multi-head attention from ragged queries to ragged keys of the same event.

A backend is a pair of functions on plain tensors of one dtype, whose last dimension is contiguous (keys and values may
be halves of one product); each ``ptr`` is contiguous int64::

    forward(q [Q, H, d], k [P, H, d], v [P, H, d], q_ptr | None, k_ptr, max_q | None, max_k | None) → out, log_sum
    backward(grad_out, q, k, v, out, log_sum, q_ptr | None, k_ptr, max_q | None, max_k | None) → grad_q, grad_k, grad_v

``out`` is [Q, H, d], or [B·M, H, d] for shared queries (``q_ptr=None``); ``log_sum`` [rows of out, H], float32 (float64
for float64), is the log of the sum of exponentials of the scaled scores, −∞ where there are no keys. ``grad_out`` is
contiguous. A backend without ``backward`` is one differentiable function that returns ``out``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from panoptag_pyg.ops import attention_torch
from panoptag_pyg.ops.ragged import complete_edges, take_rows
from panoptag_pyg.ops.recompute import gradients
from panoptag_pyg.ops.registry import choose, get, register_backend
from panoptag_pyg.ops.segment import segment_softmax, segment_sum


class Attention(NamedTuple):
    """Attention weights on the edges of a bipartite graph; they sum to 1 over each query's edges.

    Attributes:
        edge_index: [2, E]; row 0 the query (a jet), row 1 the key (a PFO), both as rows of the batch.
        weight: [E, H], one column per head.
    """

    edge_index: Tensor
    weight: Tensor


def ragged_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_ptr: Tensor | None,
    k_ptr: Tensor,
    max_q: int | None = None,
    max_k: int | None = None,
    backend: str = "auto",
) -> Tensor:
    r"""Scaled dot-product attention within each event; a query whose event has no keys gets 0.

    .. math::
        y_i = \sum_{j \in \text{event of } i} a_{ij} v_j, \qquad
        a_{ij} = \mathrm{softmax}_j \big(q_i \cdot k_j / \sqrt{d_h}\big)

    Args:
        q: queries. With ``q_ptr=None`` all events share them (a set transformer's inducing points), and
            the result holds M rows for every event.
        k: keys.
        v: values.
        q_ptr: first query of each event, or ``None`` for shared queries.
        k_ptr: first key of each event.
        max_q: most queries in an event; spares a GPU one synchronisation. Default: looked up when needed.
        max_k: most keys in an event; likewise.
        backend: ``"auto"`` (default), or a name of ``ops.available("ragged_attention")``.

    Shapes:
        q [Q, H, d], k [P, H, d], v [P, H, d], q_ptr [B+1], k_ptr [B+1] → [Q, H, d], or [B·M, H, d] for
        shared queries [M, H, d].

    Raises:
        ValueError: for shapes that don't fit.
        ConfigError: for a backend that doesn't exist or can't be used here, with the reason.

    Source: Vaswani et al., arXiv:1706.03762, eq. 1; shared queries: Lee et al., arXiv:1810.00825, eq. 9.
    """
    if q.dim() != 3 or k.dim() != 3 or k.shape != v.shape or q.shape[1:] != k.shape[1:]:
        raise ValueError(
            f"q must be [Q, H, d], k and v [P, H, d], got {list(q.shape)}, {list(k.shape)} and {list(v.shape)}"
        )
    if q_ptr is not None and q_ptr.shape != k_ptr.shape:
        raise ValueError(f"q_ptr and k_ptr must both be [B+1], got {list(q_ptr.shape)} and {list(k_ptr.shape)}")
    dtype = v.dtype if q.dtype == k.dtype == v.dtype else torch.promote_types(q.dtype, k.dtype)
    q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    name = choose(
        "ragged_attention",
        backend,
        q.device.type,
        dtype=dtype,
        training=torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad),
        num_heads=q.size(1),
        dim=q.size(2),
        shared=q_ptr is None,
    )
    return _ragged_attention(q, k, v, q_ptr, k_ptr, max_q, max_k, name)[0]


@torch.library.custom_op("panoptag_pyg::ragged_attention", mutates_args=())
def _ragged_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_ptr: Tensor | None,
    k_ptr: Tensor,
    max_q: int | None,
    max_k: int | None,
    backend: str,
) -> tuple[Tensor, Tensor]:
    implementation = get("ragged_attention", backend)
    q, k, v = _dense_rows(q), _dense_rows(k), _dense_rows(v)
    q_ptr, k_ptr = None if q_ptr is None else q_ptr.long().contiguous(), k_ptr.long().contiguous()
    with torch.autocast(q.device.type, enabled=False):
        result = implementation.function(q, k, v, q_ptr, k_ptr, max_q, max_k)
    return result if implementation.backward is not None else (result, _no_log_sum(q))


@_ragged_attention.register_fake
def _(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_ptr: Tensor | None,
    k_ptr: Tensor,
    max_q: int | None,
    max_k: int | None,
    backend: str,
) -> tuple[Tensor, Tensor]:
    rows = q.size(0) if q_ptr is not None else q.size(0) * (k_ptr.size(0) - 1)
    pair = get("ragged_attention", backend).backward is not None
    log_sum = q.new_empty(rows, q.size(1), dtype=_log_sum_dtype(q)) if pair else _no_log_sum(q)
    return q.new_empty(rows, q.size(1), q.size(2)), log_sum


@torch.library.custom_op("panoptag_pyg::ragged_attention_backward", mutates_args=())
def _ragged_attention_backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    log_sum: Tensor,
    q_ptr: Tensor | None,
    k_ptr: Tensor,
    max_q: int | None,
    max_k: int | None,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    implementation = get("ragged_attention", backend)
    q, k, v, grad_out = _dense_rows(q), _dense_rows(k), _dense_rows(v), grad_out.contiguous()
    q_ptr, k_ptr = None if q_ptr is None else q_ptr.long().contiguous(), k_ptr.long().contiguous()
    where = (q_ptr, k_ptr, max_q, max_k)
    with torch.autocast(q.device.type, enabled=False):
        if implementation.backward is not None:
            return implementation.backward(grad_out, q, k, v, out, log_sum, *where)
        grads = gradients(lambda q, k, v: implementation.function(q, k, v, *where), [q, k, v], grad_out)
        return grads[0], grads[1], grads[2]


@_ragged_attention_backward.register_fake
def _(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    log_sum: Tensor,
    q_ptr: Tensor | None,
    k_ptr: Tensor,
    max_q: int | None,
    max_k: int | None,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _setup(ctx, inputs, output):  # type: ignore[no-untyped-def]
    *tensors, ctx.max_q, ctx.max_k, ctx.backend = inputs
    ctx.save_for_backward(*tensors, *output)


def _backward(ctx, grad_out, _):  # type: ignore[no-untyped-def]
    q, k, v, q_ptr, k_ptr, out, log_sum = ctx.saved_tensors
    where = (q_ptr, k_ptr, ctx.max_q, ctx.max_k, ctx.backend)
    return *_ragged_attention_backward(grad_out, q, k, v, out, log_sum, *where), None, None, None, None, None


_ragged_attention.register_autograd(_backward, setup_context=_setup)


def _dense_rows(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _log_sum_dtype(q: Tensor) -> torch.dtype:
    return torch.float64 if q.dtype == torch.float64 else torch.float32


def _no_log_sum(q: Tensor) -> Tensor:
    return q.new_empty((0, q.size(1)), dtype=_log_sum_dtype(q))


def attention_weights(q: Tensor, k: Tensor, edge_index: Tensor) -> Tensor:
    r"""Weights of attention along given edges.

    Args:
        q: queries.
        k: keys.
        edge_index: row 0 queries, row 1 keys.

    Shapes:
        q [Q, H, d], k [P, H, d], edge_index [2, E] → [E, H].
    """
    query, key = edge_index
    score = (take_rows(q, query) * take_rows(k, key)).sum(-1) / math.sqrt(q.size(-1))
    return segment_softmax(score, query, q.size(0))


def reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_ptr: Tensor | None,
    k_ptr: Tensor,
    max_q: int | None = None,
    max_k: int | None = None,
) -> Tensor:
    """Segment softmax over all (query, key) edges: written to be read, and to take any set of edges."""
    if q_ptr is None:
        num_events = k_ptr.numel() - 1
        q_ptr = torch.arange(num_events + 1, device=q.device) * len(q)
        q = q.repeat(num_events, 1, 1)
    edge_index = complete_edges(q_ptr, k_ptr)
    weight = attention_weights(q, k, edge_index)
    return segment_sum(weight[..., None] * v[edge_index[1]], edge_index[0], len(q))


register_backend("ragged_attention", "reference", reference)
register_backend("ragged_attention", "padded", attention_torch.padded, devices=("cuda",))
register_backend(
    "ragged_attention", "torch", attention_torch.forward, backward=attention_torch.backward, devices=("cpu",)
)
