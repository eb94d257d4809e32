"""Multi-head attention from ragged queries to ragged keys of the same event."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from panoptag_pyg.ops import attention_torch
from panoptag_pyg.ops.ragged import complete_edges
from panoptag_pyg.ops.registry import find, register_backend
from panoptag_pyg.ops.segment import segment_softmax, segment_sum


class Attention(NamedTuple):
    """Attention weights on the edges of a bipartite graph; they sum to 1 over each query's edges.

    Attributes:
        edge_index: [2, E]; row 0 the query (a jet), row 1 the key (a PFO), both as rows of the batch.
        weight: [E, H], one column per head.
    """

    edge_index: Tensor
    weight: Tensor


@torch.compiler.disable
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

    Source: Vaswani et al., arXiv:1706.03762, eq. 1; shared queries: Lee et al., arXiv:1810.00825, eq. 9.
    """
    dtype = v.dtype if q.dtype == k.dtype == v.dtype else torch.promote_types(q.dtype, k.dtype)
    q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    with torch.autocast(q.device.type, enabled=False):
        return find("ragged_attention", backend, q.device)(q, k, v, q_ptr, k_ptr, max_q, max_k)


@torch.compiler.disable
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
    score = (q[query] * k[key]).sum(-1) / math.sqrt(q.size(-1))
    return segment_softmax(score, query, len(q))


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
register_backend("ragged_attention", "torch", attention_torch.event_by_event, devices=("cpu",))
