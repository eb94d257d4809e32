"""What an object is to another of the same event: where it lies in its coordinates, and whether it is part of it.

How many pairs there are is known only when the lengths are, so this is an operation of torch's own, into which
``torch.compile`` doesn't look.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from panoptag_pyg.ops.ragged import batch_from_ptr, complete_edges

#: What :func:`relations` gives of each pair, in this order.
RELATIONS = ("delta_eta", "delta_phi", "ln_delta_r", "ln_pt_ratio", "member")
#: ΔR below this counts as this, so that its logarithm stays finite; far below the distance of two particles.
MIN_DELTA_R = 1e-3


def relations(
    query: tuple[Tensor, Tensor],
    key: tuple[Tensor, Tensor],
    query_ptr: Tensor,
    key_ptr: Tensor,
    members: Tensor,
) -> Tensor:
    r"""Relation of every query (a jet) to every key (a PFO) of the same event.

    .. math::
        \Delta\eta = \eta_j - \eta_i, \quad \Delta\phi = \phi_j - \phi_i \text{ wrapped to } [-\pi, \pi), \quad
        \ln \Delta R, \quad \ln (p_{T,j} / p_{T,i}), \quad 1 \text{ if } j \text{ is a member of } i \text{, else } 0

    There are no gradients. ΔR is at least 0.001.

    Args:
        query: (η, φ) and ln pT of the queries i.
        key: the same of the keys j.
        query_ptr: first query of each event.
        key_ptr: first key of each event.
        members: row 0 queries, row 1 keys: which key is a member of which query, such as a jet's constituents.

    Shapes:
        query [J, 2] and [J], key [P, 2] and [P], ptr [B+1], members [2, N] → [E, 5], pairs sorted by query, then key;
        E = Σ over events of (queries × keys).
    """
    with torch.no_grad():
        return _relations(*query, *key, query_ptr, key_ptr, members)


@torch.library.custom_op("panoptag_pyg::relations", mutates_args=())
def _relations(
    query_pos: Tensor,
    query_ln_pt: Tensor,
    key_pos: Tensor,
    key_ln_pt: Tensor,
    query_ptr: Tensor,
    key_ptr: Tensor,
    members: Tensor,
) -> Tensor:
    query, key = complete_edges(query_ptr, key_ptr)
    delta_eta, delta_phi = _differences(query_pos, key_pos, query, key)
    delta_r = torch.hypot(delta_eta, delta_phi).clamp(min=MIN_DELTA_R)
    ratio = key_ln_pt.index_select(0, key) - query_ln_pt.index_select(0, query)
    member = torch.zeros_like(ratio)
    member[pair_place(members, query_ptr, key_ptr)] = 1
    return torch.stack([delta_eta, delta_phi, delta_r.log(), ratio, member], dim=1)


@_relations.register_fake
def _(query_pos: Tensor, query_ln_pt: Tensor, key_pos: Tensor, *_: Tensor) -> Tensor:
    return query_pos.new_empty(torch.library.get_ctx().new_dynamic_size(), len(RELATIONS))


@torch.library.custom_op("panoptag_pyg::pairs_within", mutates_args=())
def pairs_within(delta_r: float, query_pos: Tensor, key_pos: Tensor, query_ptr: Tensor, key_ptr: Tensor) -> Tensor:
    """Pairs of a query and a key of the same event that are nearer than ΔR, with Δφ wrapped; sorted by query, then key.

    Args:
        delta_r: the limit, which is not within.
        query_pos: (η, φ) of the queries.
        key_pos: (η, φ) of the keys.
        query_ptr: first query of each event.
        key_ptr: first key of each event.

    Shapes:
        query_pos [J, 2], key_pos [P, 2], ptr [B+1] → [2, N], row 0 queries, row 1 keys.
    """
    pairs = complete_edges(query_ptr, key_ptr)
    near = torch.hypot(*_differences(query_pos, key_pos, pairs[0], pairs[1])) < delta_r
    return pairs[:, near]


@pairs_within.register_fake
def _(delta_r: float, query_pos: Tensor, key_pos: Tensor, query_ptr: Tensor, key_ptr: Tensor) -> Tensor:
    return query_ptr.new_empty(2, torch.library.get_ctx().new_dynamic_size(), dtype=torch.long)


def _differences(query_pos: Tensor, key_pos: Tensor, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Δη, and Δφ wrapped, of each pair."""
    delta_eta, delta_phi = (key_pos.index_select(0, key) - query_pos.index_select(0, query)).unbind(1)
    return delta_eta, torch.remainder(delta_phi + math.pi, 2 * math.pi) - math.pi


def pair_place(pairs: Tensor, query_ptr: Tensor, key_ptr: Tensor) -> Tensor:
    """Where some pairs stand among all pairs of the same event, sorted by query, then key.

    Args:
        pairs: row 0 queries, row 1 keys, of the same event.
        query_ptr: first query of each event.
        key_ptr: first key of each event.

    Shapes:
        pairs [2, N], ptr [B+1] → [N].
    """
    event = batch_from_ptr(query_ptr, int(query_ptr[-1]))
    degree = key_ptr.diff()[event]
    first = degree.cumsum(0) - degree - key_ptr[:-1][event]
    return first[pairs[0]] + pairs[1]
