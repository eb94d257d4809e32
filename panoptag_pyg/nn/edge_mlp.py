"""What an edge network is made of, and so which quick way of computing it gives the same result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn

from panoptag_pyg.nn.mlp import MLP
from panoptag_pyg.ops.edge_convolution import NORM_EPS

_LINEAR = (nn.Linear, pyg.Linear)
_NORM = (nn.LayerNorm, pyg.LayerNorm)
_ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Hardswish, nn.Identity),
)
_ROW_BY_ROW_IN_EVALUATION = (nn.BatchNorm1d, nn.Dropout)


def layers_of(network: object) -> list[nn.Module] | None:
    """The layers that a network applies one after another; ``None`` where that can't be known.

    Hooks see inputs and outputs that the quick ways never compute, so a network with hooks counts as unknown.
    """
    if not isinstance(network, nn.Module) or _is_hooked(network):
        return None
    if type(network) is nn.Sequential:
        parts = [layers_of(child) for child in network]
        return None if any(p is None for p in parts) else [layer for p in parts for layer in p or ()]
    if type(network) is MLP:
        return _interleaved(network.linears, network.norms or [None] * (len(network.channels) - 2), nn.GELU())
    if type(network) is pyg.MLP:
        return _layers_of_pyg_mlp(network)
    return [_plain(network) or nn.Identity()]


def first_linear(layers: Sequence[nn.Module] | None, in_dim: int) -> tuple[Tensor, Tensor | None] | None:
    """Weight and bias of the first layer, where that is a linear one of the right width."""
    if not layers or type(layers[0]) not in _LINEAR:
        return None
    weight: Tensor = layers[0].weight  # type: ignore[assignment]
    if isinstance(weight, nn.parameter.UninitializedParameter) or weight.dim() != 2 or weight.size(1) != in_dim:
        return None
    return weight, layers[0].bias  # type: ignore[return-value]


def fused_parameters(
    layers: Sequence[nn.Module] | None, in_dim: int
) -> tuple[list[tuple[Tensor, Tensor]], list[tuple[Tensor, Tensor]]] | None:
    """(linears, norms) for :func:`panoptag_pyg.ops.edge_conv`; ``None`` for what it can't express.

    It can: linear, then any number of (LayerNorm, GELU, linear). The halves of the first weight are swapped, from
    PyG's [x_i, x_j − x_i] to the operation's [x_j − x_i, x_i].
    """
    first = first_linear(layers, in_dim)
    if first is None or layers is None or len(layers) % 3 != 1:
        return None
    linears, norms = [], []
    for layer in layers[::3]:
        if type(layer) not in _LINEAR:
            return None
        weight: Tensor = layer.weight  # type: ignore[assignment]
        linears.append((weight, weight.new_zeros(len(weight)) if layer.bias is None else layer.bias))
    for norm, activation in zip(layers[1::3], layers[2::3], strict=True):
        if not _is_plain_norm(norm) or type(activation) is not nn.GELU or activation.approximate != "none":
            return None
        norms.append((norm.weight, norm.bias))
    at_point, at_difference = first[0].chunk(2, dim=1)
    linears[0] = torch.cat([at_difference, at_point], dim=1), linears[0][1]
    return linears, norms  # type: ignore[return-value]


def is_row_by_row(layers: Sequence[nn.Module]) -> bool:
    """Whether every edge is transformed alone, whatever the other edges are."""
    return all(_is_row_by_row(layer) for layer in layers)


def apply(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    """One layer after another."""
    for layer in layers:
        x = layer(x)
    return x


def _is_row_by_row(layer: nn.Module) -> bool:
    if type(layer) is pyg.LayerNorm:
        return layer.mode == "node"
    if type(layer) in _ROW_BY_ROW_IN_EVALUATION:
        return not layer.training and getattr(layer, "running_mean", layer) is not None
    return type(layer) in (*_LINEAR, nn.LayerNorm, *_ACTIVATIONS)


def _is_plain_norm(layer: nn.Module) -> bool:
    if type(layer) not in _NORM or layer.weight is None or layer.bias is None or layer.eps != NORM_EPS:
        return False
    return layer.weight.dim() == 1 and getattr(layer, "mode", "node") == "node"  # type: ignore[union-attr, operator]


def _layers_of_pyg_mlp(network: pyg.MLP) -> list[nn.Module] | None:
    if network.training and any(network.dropout):
        return None
    activation = nn.Identity() if network.act is None else network.act
    if not isinstance(activation, nn.Module):
        return None
    norms = [_plain(norm) for norm in network.norms]
    return _interleaved(network.lins, norms, activation, network.act_first)


def _plain(layer: nn.Module) -> nn.Module | None:
    """PyG's wrappers taken off: torch's BatchNorm, and ``None`` for no norm at all."""
    if type(layer) is pyg.BatchNorm:
        return layer.module  # type: ignore[return-value]
    return None if type(layer) is nn.Identity else layer


def _interleaved(
    linears: Iterable[nn.Module],
    norms: Iterable[nn.Module | None],
    activation: nn.Module,
    activation_first: bool = False,
) -> list[nn.Module]:
    """Linear layers with the rest between them; after the last one too, if there are as many norms."""
    between = [[activation] if norm is None else [norm, activation] for norm in norms]
    if activation_first:
        between = [layers[::-1] for layers in between]
    return [layer for i, linear in enumerate(linears) for layer in (linear, *(between[i] if i < len(between) else ()))]


def _is_hooked(network: nn.Module) -> bool:
    return any(
        m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks
        for m in network.modules()
    )
