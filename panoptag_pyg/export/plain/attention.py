"""Attention within each set in plain ATen: scores of all pairs of a set at once, those of empty places left out."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from panoptag_pyg.export.plain.layout import Layout, layout_of
from panoptag_pyg.export.plain.registry import plain

#: Score of an empty place: its exponential is exactly 0 beside any other, and a set of empty places alone has no NaN.
EMPTY = -1e30


@plain("ragged_attention")
def ragged_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_ptr: Tensor | None,
    k_ptr: Tensor,
    max_q: int | None,
    max_k: int | None,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """See :func:`panoptag_pyg.ops.ragged_attention`."""
    keys = layout_of(k_ptr, k.size(0))
    queries = None if q_ptr is None else layout_of(q_ptr, q.size(0))
    score = _scores(q[None] if queries is None else queries.pad(q), keys.pad(k))
    weight = torch.where(keys.real[:, None, None], score, EMPTY).softmax(-1)
    # Values in empty places are 0, so a query without keys gets 0.
    y = _heads_last(weight @ _heads_first(keys.pad(v)))
    y = y.flatten(0, 1) if queries is None else queries.unpad(y)
    return y, y


@plain("pair_attention")
def pair_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    scale: Tensor | None,
    ptr: Tensor,
    max_length: int | None,
    backend: str,
) -> Tensor:
    """See :func:`panoptag_pyg.ops.pair_attention`."""
    layout = layout_of(ptr, q.size(0))
    score = _scores(layout.pad(q), layout.pad(k)) + _squares(bias, layout, layout)
    weight = torch.where(layout.real[:, None, None], score, EMPTY).softmax(-1)
    return layout.unpad(_heads_last(weight @ _heads_first(layout.pad(v))))


@plain("relation_attention")
def relation_attention(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, r: Tensor, q_ptr: Tensor, k_ptr: Tensor, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`panoptag_pyg.ops.relation_attention`."""
    queries, keys = layout_of(q_ptr, q.size(0)), layout_of(k_ptr, k.size(0))
    score = _scores(queries.pad(q), keys.pad(k)) + _squares(bias, queries, keys)
    present = keys.real[:, None, None] & (score > EMPTY)
    score = torch.where(present, score, EMPTY)
    weight = torch.where(present, score.softmax(-1), 0.0)
    y = queries.unpad(_heads_last(weight @ _heads_first(keys.pad(v))))
    # For every query, heads × keys times keys × values of the pair.
    of_pairs = r.view(keys.real.size(0), queries.width, keys.width, r.size(1))
    mixed = queries.unpad(weight.transpose(1, 2) @ of_pairs)
    return y, mixed, weight.permute(0, 2, 3, 1).flatten(0, 2)


def _heads_first(x: Tensor) -> Tensor:
    return x.transpose(1, 2)


def _heads_last(x: Tensor) -> Tensor:
    return x.transpose(1, 2)


def _scores(q: Tensor, k: Tensor) -> Tensor:
    """[S or 1, Q, H, d], [S, K, H, d] → [S, H, Q, K]."""
    return (_heads_first(q) * (1 / math.sqrt(q.size(-1)))) @ k.permute(0, 2, 3, 1)


def _squares(bias: Tensor, queries: Layout, keys: Layout) -> Tensor:
    """Bias of all pairs, [S · Q · K, H] → [S, H, Q, K]."""
    return bias.view(keys.real.size(0), queries.width, keys.width, bias.size(1)).permute(0, 3, 1, 2)
