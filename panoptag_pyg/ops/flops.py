"""FLOPs of our operations, for :class:`torch.utils.flop_counter.FlopCounterMode`, which can't look into them.

Multiplications and additions of the cheapest known formulation, on real points only: matrix products and distances. Not
counted: activations, normalisations, softmax, selection of neighbours, reductions. A backward pass counts twice its
forward pass (the gradients of inputs and of weights); what is computed a second time to save memory isn't counted.

A new operation registers its formula with :func:`formula`; the torch operations within it aren't seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

import panoptag_pyg.ops.pair_embedding_training  # noqa: F401  registers its operation

#: Of one distance in two dimensions: two differences, one wrapped, two squares, one sum.
DISTANCE_2D = 6
#: Operations that only reduce, normalise, select or move numbers.
WITHOUT = frozenset(
    {
        *("segment_reduce", "segment_softmax", "event_ptrs"),
        *("pair_index", "mirror_pairs", "transpose_pairs", "leading_rows", "unwrapped_neighbours"),
    }
)

Formula = Callable[..., int]


def formula(name: str) -> Callable[[Formula], Formula]:
    """Decorator: the function says how many FLOPs a call of ``torch.ops.panoptag_pyg.NAME`` has, from its arguments.

    Args:
        name: of the operation. If there is a ``NAME_backward``, write its formula too.
    """

    def decorate(function: Formula) -> Formula:
        packet = getattr(torch.ops.panoptag_pyg, name)
        register_flop_formula(packet, get_raw=True)(lambda *args, out_val=None, **kwargs: function(*args, **kwargs))
        return function

    return decorate


def pairs(a_ptr: Tensor, b_ptr: Tensor) -> int:
    """How many pairs of rows of two sets are of the same event: Σ n_a n_b.

    Args:
        a_ptr: first row of each event in one set [B + 1].
        b_ptr: in the other [B + 1].
    """
    return int((a_ptr.diff().double() * b_ptr.diff().double()).sum())


def distance_flops(dim: int) -> int:
    """FLOPs of one distance between points of ``dim`` coordinates; from three on as a matrix product."""
    return DISTANCE_2D if dim == 2 else 2 * dim


@formula("neighbour_table")
def neighbour_table_flops(x: Tensor, k: int, ptr: Tensor, *_: Any) -> int:
    """All distances within each event."""
    return pairs(ptr, ptr) * distance_flops(x.size(1))


@formula("cross_neighbour_table")
def cross_neighbour_table_flops(x: Tensor, y: Tensor, k: int, x_ptr: Tensor, y_ptr: Tensor, *_: Any) -> int:
    """All distances from one set to the other."""
    return pairs(x_ptr, y_ptr) * distance_flops(x.size(1))


@formula("knn_graph")
def knn_graph_flops(
    x: Tensor, k: int, batch: Tensor | None, ptr: Tensor | None, batch_size: int | None, *_: Any
) -> int:
    """As :func:`neighbour_table_flops`."""
    bounds = _bounds(x, batch, ptr)
    return pairs(bounds, bounds) * distance_flops(x.size(1))


def _knn_flops(
    x: Tensor,
    y: Tensor,
    limit: float,
    batch_x: Tensor | None,
    batch_y: Tensor | None,
    ptr_x: Tensor | None,
    ptr_y: Tensor | None,
    *_: Any,
) -> int:
    x_ptr, y_ptr = _bounds(x, batch_x, ptr_x), _bounds(y, batch_y, ptr_y)
    common = min(len(x_ptr), len(y_ptr))  # the last events may be empty in one of them
    return pairs(x_ptr[:common], y_ptr[:common]) * distance_flops(x.size(1))


formula("knn")(_knn_flops)
formula("radius")(_knn_flops)


@formula("edge_conv")
def edge_conv_flops(x: Tensor, table: Tensor, parameters: Sequence[Tensor], *_: Any) -> int:
    """EdgeConv with its first layer factored over points: W·[x_j − x_i, x_i] = A x_j + (B − A) x_i."""
    weights = [parameter for parameter in parameters if parameter.dim() == 2]
    over_points = 2 * len(x) * weights[0].numel()
    return over_points + sum(2 * table.numel() * weight.numel() for weight in weights[1:])


@formula("edge_conv_backward")
def _edge_conv_backward_flops(grad: Tensor, x: Tensor, table: Tensor, parameters: Sequence[Tensor], *_: Any) -> int:
    return 2 * edge_conv_flops(x, table, parameters)


@formula("ragged_attention")
def ragged_attention_flops(q: Tensor, k: Tensor, v: Tensor, q_ptr: Tensor | None, k_ptr: Tensor, *_: Any) -> int:
    """q·k and weights·v of all pairs within each event, of all heads."""
    count = len(q) * len(k) if q_ptr is None else pairs(q_ptr, k_ptr)
    return 2 * count * q.size(1) * (q.size(2) + v.size(2))


@formula("ragged_attention_backward")
def _ragged_attention_backward_flops(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    log_sum: Tensor,
    q_ptr: Tensor | None,
    k_ptr: Tensor,
    *_: Any,
) -> int:
    return 2 * ragged_attention_flops(q, k, v, q_ptr, k_ptr)


@formula("norm_linear")
def norm_linear_flops(x: Tensor, norm_weight: Tensor, norm_bias: Tensor, weight: Tensor, *_: Any) -> int:
    """The matrix product."""
    return 2 * len(x) * weight.numel()


@formula("norm_linear_backward")
def _norm_linear_backward_flops(
    grad: Tensor, x: Tensor, norm_weight: Tensor, norm_bias: Tensor, weight: Tensor, *_: Any
) -> int:
    return 2 * norm_linear_flops(x, norm_weight, norm_bias, weight)


@formula("pair_attention")
def pair_attention_flops(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: Tensor | None, ptr: Tensor, *_: Any
) -> int:
    """As :func:`ragged_attention_flops`; the bias is only added."""
    return ragged_attention_flops(q, k, v, ptr, ptr)


@formula("pair_attention_backward")
def _pair_attention_backward_flops(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: Tensor | None, ptr: Tensor, *_: Any
) -> int:
    return 2 * pair_attention_flops(q, k, v, bias, scale, ptr)


@formula("relations")
def relations_flops(
    q_pos: Tensor, q_pt: Tensor, k_pos: Tensor, k_pt: Tensor, q_ptr: Tensor, k_ptr: Tensor, *_: Any
) -> int:
    """A distance and a difference of logarithms for each pair."""
    return pairs(q_ptr, k_ptr) * (DISTANCE_2D + 1)


@formula("pairs_within")
def pairs_within_flops(delta_r: float, q_pos: Tensor, k_pos: Tensor, q_ptr: Tensor, k_ptr: Tensor) -> int:
    """All distances within each event."""
    return pairs(q_ptr, k_ptr) * DISTANCE_2D


@formula("relation_attention")
def relation_attention_flops(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, r: Tensor, q_ptr: Tensor, k_ptr: Tensor, *_: Any
) -> int:
    """As :func:`ragged_attention_flops`, and the weights of all heads times what each pair says."""
    return ragged_attention_flops(q, k, v, q_ptr, k_ptr) + 2 * pairs(q_ptr, k_ptr) * q.size(1) * r.size(1)


@formula("relation_attention_backward")
def _relation_attention_backward_flops(
    grad_y: Tensor,
    grad_mixed: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    r: Tensor,
    weight: Tensor,
    q_ptr: Tensor,
    k_ptr: Tensor,
    *_: Any,
) -> int:
    return 2 * relation_attention_flops(q, k, v, bias, r, q_ptr, k_ptr)


@formula("pair_embedding")
def pair_embedding_flops(
    momentum: Tensor,
    ptr: Tensor,
    parameters: Sequence[Tensor],
    activation: str,
    last_activation: bool,
    self_pairs: bool,
    *_: Any,
) -> int:
    """The MLP on every unordered pair of a set: (j, i) has the value of (i, j)."""
    rows, itself = pairs(ptr, ptr), len(momentum)
    unordered = (rows - itself) // 2 + (itself if self_pairs else 0)
    return sum(2 * unordered * parameter.numel() for parameter in parameters if parameter.dim() == 2)


@formula("pair_embedding_backward")
def _pair_embedding_backward_flops(
    grad: Tensor, momentum: Tensor, ptr: Tensor, parameters: Sequence[Tensor], *how: Any
) -> int:
    return 2 * pair_embedding_flops(momentum, ptr, parameters, *how)


@formula("weighted_neighbours")
def weighted_neighbours_flops(features: Tensor, weight: Tensor, table: Tensor, count: Tensor, *_: Any) -> int:
    """Σ_j w_ij f_j: one product and one sum for each edge and feature."""
    return 2 * int(count.sum()) * features.size(1)


@formula("weighted_neighbours_backward")
def _weighted_neighbours_backward_flops(grad: Tensor, *arguments: Any) -> int:
    return 2 * weighted_neighbours_flops(*arguments)


@formula("neighbour_attention")
def neighbour_attention_flops(
    centre: Tensor, neighbour: Tensor, score: Tensor, weight: Tensor, table: Tensor, count: Tensor, *_: Any
) -> int:
    """w·y and Σ_j a_ij y_ij for each edge, of all heads."""
    return 4 * int(count.sum()) * weight.numel()


@formula("neighbour_attention_backward")
def _neighbour_attention_backward_flops(grad: Tensor, *arguments: Any) -> int:
    return 2 * neighbour_attention_flops(*arguments)


@formula("pair_embedding_training")
def _pair_embedding_training_flops(
    momentum: Tensor, ptr: Tensor, parameters: Sequence[Tensor], running: Any, step: float, eps: float, *how: Any
) -> int:
    return pair_embedding_flops(momentum, ptr, parameters, *how)


@formula("pair_embedding_training_backward")
def _pair_embedding_training_backward_flops(grad: Tensor, *arguments: Any) -> int:
    return 2 * _pair_embedding_training_flops(*arguments)


def _bounds(x: Tensor, batch: Tensor | None, ptr: Tensor | None) -> Tensor:
    from panoptag_pyg.ops.ragged import ptr_from_batch

    if ptr is not None:
        return ptr
    return torch.tensor([0, len(x)]) if batch is None else ptr_from_batch(batch)
