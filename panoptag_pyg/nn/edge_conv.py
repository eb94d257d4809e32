"""PyG's EdgeConv, quicker: the first linear layer over points instead of edges, and fused where it can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Union

import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg
from torch import Tensor, nn
from torch_geometric.nn.aggr import MaxAggregation
from torch_geometric.typing import Adj, PairTensor

from panoptag_pyg import ops
from panoptag_pyg.nn import edge_mlp
from panoptag_pyg.ops.ragged import take_rows

#: Elements of one intermediate [edges of a chunk, width], as in :mod:`panoptag_pyg.ops.edge_convolution_torch`.
CHUNK = 1 << 17
DEVICE_CHUNK = 1 << 26


class EdgeConv(pyg.EdgeConv):
    r"""The edge convolution; a drop-in for :class:`torch_geometric.nn.EdgeConv` that gives the same result.

    .. math:: y_i = \mathrm{aggr}_{j \in \mathcal{N}(i)}\, h\big([x_i,\; x_j - x_i]\big)

    Where h begins with a linear layer, that one is computed over points: with :math:`W_1 = [A, B]` it is
    :math:`(A - B) x_i + B x_j`. Where every point has k edges, side by side as :func:`panoptag_pyg.ops.knn_graph`
    writes them, h is linear layers with LayerNorm and GELU between, and ``aggr="max"``, all of it is
    :func:`panoptag_pyg.ops.edge_conv`. Everything else, sparse adjacency, hooks, explanations and TorchScript
    included, is left to PyG.

    Args:
        nn: h, a module that takes [E, 2 D] to [E, out].
        aggr: how the messages of a point are joined: ``"max"`` (default), ``"mean"``, ``"add"``, or any of PyG's.
        **kwargs: those of :class:`torch_geometric.nn.MessagePassing`.

    Shapes:
        x [P, D], or ([P, D], [Q, D]) if bipartite, edge_index [2, E] → [P, out], or [Q, out].

    Source: Wang et al., *Dynamic Graph CNN*, arXiv:1801.07829, eq. 8.
    """

    # PyG swaps this method of a class on its first use, and would take the swapped one of a parent for the original.
    propagate = pyg.MessagePassing.propagate

    def __init__(self, nn: Callable[[Tensor], Tensor], aggr: str = "max", **kwargs) -> None:  # type: ignore[no-untyped-def]
        super().__init__(nn, aggr, **kwargs)

    def forward(self, x: Union[Tensor, PairTensor], edge_index: Adj) -> Tensor:  # noqa: UP007  # for TorchScript
        if isinstance(x, Tensor):
            x = (x, x)
        if not torch.jit.is_scripting():
            out = self._quick(x[0], x[1], edge_index)
            if out is not None:
                return out
        # propagate_type: (x: PairTensor)
        return self.propagate(edge_index, x=x)

    def _quick(self, source: Tensor, target: Tensor, edge_index: Adj) -> Tensor | None:
        """The result, if there is a quicker way to it than along every edge."""
        layers = self._layers()
        first = edge_mlp.first_linear(layers, 2 * source.size(-1))
        if layers is None or first is None or type(edge_index) is not Tensor or edge_index.layout != torch.strided:
            return None
        j, i = edge_index if self.flow == "source_to_target" else edge_index.flip(0)
        if source is target and (table := self._table(i, j, source)) is not None:
            out = fused(source, table, layers)
            if out is not None:
                return out
        if not torch.compiler.is_compiling() and source.size(-2) + target.size(-2) > 2 * len(i):
            return None  # so few edges that it is less work along them
        at_source, at_target = factored(source, target, *first)
        hidden = at_target.index_select(-2, i) + at_source.index_select(-2, j)
        messages = edge_mlp.apply(layers[1:], hidden)
        return self.aggr_module(messages, i, dim_size=target.size(-2), dim=self.node_dim)

    def _layers(self) -> list[nn.Module] | None:
        """Those of the network, unless somebody looks at, or changes, what happens inside PyG's message passing."""
        hooks = (
            *(self._propagate_forward_pre_hooks, self._propagate_forward_hooks),
            *(self._message_forward_pre_hooks, self._message_forward_hooks),
            *(self._aggregate_forward_pre_hooks, self._aggregate_forward_hooks),
        )
        changed = any(
            getattr(type(self), name) is not getattr(pyg.EdgeConv, name)
            for name in ("message", "aggregate", "update", "message_and_aggregate")
        )
        observed = any(hooks) or changed or bool(self.explain) or self.decomposed_layers > 1
        return None if observed else edge_mlp.layers_of(self.nn)

    def _table(self, i: Tensor, j: Tensor, x: Tensor) -> Tensor | None:
        """[P, k], if every point has k edges, side by side."""
        if x.dim() != 2 or len(x) == 0 or not is_max(self) or torch.compiler.is_compiling():
            return None
        k, rest = divmod(len(i), len(x))
        if rest or k == 0:
            return None
        rows = torch.arange(len(x), device=i.device)[:, None]
        return j.view(-1, k) if bool((i.view(-1, k) == rows).all()) else None


def is_max(conv: pyg.MessagePassing) -> bool:
    """Whether it takes the maximum over edges."""
    return type(conv.aggr_module) is MaxAggregation


def fused(x: Tensor, table: Tensor, layers: Sequence[nn.Module]) -> Tensor | None:
    """By :func:`panoptag_pyg.ops.edge_conv`, if that can express the layers."""
    parameters = edge_mlp.fused_parameters(layers, 2 * x.size(-1))
    return None if parameters is None else ops.edge_conv(x, table, *parameters)


def factored(source: Tensor, target: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """The first linear layer over points: its parts at the neighbour and at the centre, which add up."""
    at_point, at_difference = weight.chunk(2, dim=1)
    return F.linear(source, at_difference), F.linear(target, at_point - at_difference, bias)


def chunked_max(at_source: Tensor, at_target: Tensor, table: Tensor, layers: Sequence[nn.Module]) -> Tensor:
    """Layers after the first on every edge of a table [Q, k], and the maximum, some hundred points at a time."""
    num_rows, k = table.shape
    elements = CHUNK if table.device.type == "cpu" else DEVICE_CHUNK
    rows = num_rows if torch.compiler.is_compiling() else max(1, elements // (k * at_source.size(1)))
    parts = []
    for start in range(0, max(num_rows, 1), max(rows, 1)):
        index = table[start : start + rows]
        hidden = take_rows(at_source, index) + at_target[start : start + rows, None]
        messages = edge_mlp.apply(layers, hidden.flatten(0, 1))
        parts.append(messages.view(*index.shape, messages.size(-1)).amax(1))
    return parts[0] if len(parts) == 1 else torch.cat(parts)
