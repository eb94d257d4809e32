"""Layers on rows and on tables of neighbours in plain ATen."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from panoptag_pyg.export.plain.registry import plain
from panoptag_pyg.ops.edge_convolution import NORM_EPS as EDGE_NORM_EPS
from panoptag_pyg.ops.neighbour_attention import reference as attention_of_neighbours
from panoptag_pyg.ops.norm_linear import reference as normed_and_linear
from panoptag_pyg.ops.weighted_neighbours import reference as mean_and_maximum


@plain("norm_linear")
def norm_linear(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    weight: Tensor,
    bias: Tensor,
    residual: bool,
    training: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """See :func:`panoptag_pyg.ops.norm_linear`."""
    y = normed_and_linear(x, norm_weight, norm_bias, weight, bias, residual)
    return y, y


@plain("edge_conv")
def edge_conv(
    x: Tensor, table: Tensor, parameters: list[Tensor], training: bool, backend: str
) -> tuple[Tensor, Tensor]:
    """See :func:`panoptag_pyg.ops.edge_conv`; the first layer is computed over points, the others over edges."""
    at_difference, at_centre = parameters[0].chunk(2, dim=1)
    of_neighbour = F.linear(x, at_difference)
    of_centre = F.linear(x, at_centre - at_difference, parameters[1])
    h = of_neighbour[table] + of_centre[:, None]
    for i in range(2, len(parameters), 4):
        norm_weight, norm_bias, weight, bias = parameters[i : i + 4]
        h = F.gelu(F.layer_norm(h, h.shape[-1:], norm_weight, norm_bias, EDGE_NORM_EPS))
        h = F.linear(h, weight, bias)
    y = h.amax(1)
    return y, y


@plain("weighted_neighbours")
def weighted_neighbours(
    features: Tensor, weight: Tensor, table: Tensor, count: Tensor, training: bool, backend: str
) -> tuple[Tensor, Tensor]:
    """See :func:`panoptag_pyg.ops.weighted_neighbours`."""
    y = mean_and_maximum(features, weight, table, count)
    return y, y


@plain("neighbour_attention")
def neighbour_attention(
    centre: Tensor,
    neighbour: Tensor,
    score: Tensor,
    weight: Tensor,
    table: Tensor,
    count: Tensor,
    training: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """See :func:`panoptag_pyg.ops.neighbour_attention`."""
    y = attention_of_neighbours(centre, neighbour, score, weight, table, count)
    return y, y
