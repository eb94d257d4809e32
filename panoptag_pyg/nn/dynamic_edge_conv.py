"""PyG's DynamicEdgeConv on our neighbours: needs neither pyg-lib nor torch-cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Optional, Union

import torch
from torch import Tensor
from torch_geometric.nn import MessagePassing
from torch_geometric.typing import OptTensor, PairOptTensor, PairTensor

from panoptag_pyg import ops
from panoptag_pyg.nn import edge_mlp
from panoptag_pyg.nn.edge_conv import EdgeConv, chunked_max, factored, fused, is_max
from panoptag_pyg.ops.event_bounds import event_ptrs


class DynamicEdgeConv(EdgeConv):
    r"""EdgeConv on the k nearest neighbours in feature space; a drop-in for PyG's layer of that name.

    .. math:: y_i = \mathrm{aggr}_{j \in \mathrm{kNN}(i)}\, h\big([x_i,\; x_j - x_i]\big)

    As in PyG, a point is one of its own k neighbours. Where ``aggr="max"``, the k neighbours are a table, so the
    maximum needs no scatter: by :func:`panoptag_pyg.ops.edge_conv` where that can express h (linear layers with
    LayerNorm and GELU between), else chunk by chunk. The edges' gradients flow to the features, not to the choice
    of neighbours.

    Args:
        nn: h, a module that takes [E, 2 D] to [E, out].
        k: number of neighbours.
        aggr: how the messages of a point are joined. Default ``"max"``.
        num_workers: taken for compatibility, and ignored: threads are those of torch. Default 1.
        **kwargs: those of :class:`torch_geometric.nn.MessagePassing`.

    Shapes:
        x [P, D], or ([P, D], [Q, D]) if bipartite, batch [P], or ([P], [Q]), ascending → [P, out], or [Q, out].

    Raises:
        ValueError: for x that isn't two-dimensional, or a batch that isn't sorted.

    Source: Wang et al., *Dynamic Graph CNN*, arXiv:1801.07829.
    """

    propagate = MessagePassing.propagate  # see EdgeConv

    def __init__(  # type: ignore[no-untyped-def]
        self, nn: Callable[[Tensor], Tensor], k: int, aggr: str = "max", num_workers: int = 1, **kwargs
    ) -> None:
        super().__init__(nn, aggr, flow="source_to_target", **kwargs)
        self.k = k
        self.num_workers = num_workers

    def forward(  # type: ignore[override]
        self,
        x: Union[Tensor, PairTensor],  # noqa: UP007  # for TorchScript
        batch: Union[OptTensor, Optional[PairTensor]] = None,  # noqa: UP007, UP045
    ) -> Tensor:
        if isinstance(x, Tensor):
            x = (x, x)
        if x[0].dim() != 2:
            raise ValueError("DynamicEdgeConv takes x [P, D]; static graphs [B, P, D] aren't supported")
        b: PairOptTensor = (None, None)
        if isinstance(batch, Tensor):
            b = (batch, batch)
        elif isinstance(batch, tuple):
            assert batch is not None
            b = (batch[0], batch[1])
        if not torch.jit.is_scripting():
            out = self._on_table(x[0], x[1], b[0], b[1])
            if out is not None:
                return out
        edges = torch.ops.panoptag_pyg.knn(x[0], x[1], self.k, b[0], b[1], None, None, None, "euclidean", "auto")
        edge_index = edges.flip([0])
        if not torch.jit.is_scripting():
            out = self._quick(x[0], x[1], edge_index)
            if out is not None:
                return out
        # propagate_type: (x: PairTensor)
        return self.propagate(edge_index, x=x)

    def _on_table(
        self, source: Tensor, target: Tensor, batch_x: Tensor | None, batch_y: Tensor | None
    ) -> Tensor | None:
        """The result, if the maximum over a table gives it."""
        layers = self._layers() if is_max(self) else None
        first = edge_mlp.first_linear(layers, 2 * source.size(1))
        if layers is None or first is None or not edge_mlp.is_row_by_row(layers) or len(source) == 0:
            return None
        ptr_x, ptr_y = event_ptrs(source, target, batch_x, batch_y)
        if source is target and batch_x is batch_y:
            table = ops.neighbour_table(source, self.k, ptr_x, loop=True)
            out = fused(source, table, layers)
            return chunked_max(*factored(source, target, *first), table, layers[1:]) if out is None else out
        table = ops.cross_neighbour_table(source, target, self.k, ptr_x, ptr_y)
        out = chunked_max(*factored(source, target, *first), table.clamp(min=0), layers[1:])
        return torch.where(table[:, :1] < 0, 0.0, out)  # as PyG has it for points without neighbours

    def __repr__(self) -> str:
        return f"{type(self).__name__}(nn={self.nn}, k={self.k})"
