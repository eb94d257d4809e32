"""Attention between two sets of an event: bipartite attention, and the set transformer's MAB and ISAB."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from panoptag_pyg import ops
from panoptag_pyg.ops import Attention


class BipartiteAttention(MessagePassing):
    r"""Multi-head attention from target nodes to source nodes, along given edges or to a whole event.

    .. math::
        y_i = \sum_{j \in \mathcal{N}(i)} \mathrm{softmax}_j
        \Big(\frac{(W_q x_i + b_q) \cdot (W_k s_j + b_k)}{\sqrt{d / H}}\Big)\, (W_v s_j + b_v)

    per head. With ``edge_index`` any bipartite graph is taken (PyG message passing, softmax over each target's
    edges); without, all sources of the same event, through :func:`panoptag_pyg.ops.ragged_attention`. The
    two agree where the edges are complete. A target without sources gets 0.

    Args:
        dim: width of targets, sources and output.
        num_heads: heads; must divide ``dim``.
        backend: a name of ``ops.available("ragged_attention")``. Default ``"auto"``.

    Shapes:
        target [J, dim], source [P, dim], target_ptr [B+1], source_ptr [B+1]; edge_index [2, E] (row 0
        targets, row 1 sources) → [J, dim].

    Raises:
        ValueError: if ``num_heads`` doesn't divide ``dim``.
    """

    def __init__(self, dim: int, num_heads: int, backend: str = "auto") -> None:
        # Edges point from the node that asks to the node that answers; messages flow against them.
        super().__init__(aggr="sum", flow="target_to_source", node_dim=0)
        if dim % num_heads:
            raise ValueError(f"num_heads must divide dim, got dim={dim} and num_heads={num_heads}")
        self.dim, self.num_heads, self.backend = dim, num_heads, backend
        self.q, self.k, self.v = (nn.Linear(dim, dim) for _ in range(3))

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for linear in (self.q, self.k, self.v):
            linear.reset_parameters()

    def forward(
        self,
        target: Tensor,
        source: Tensor,
        target_ptr: Tensor | None = None,
        source_ptr: Tensor | None = None,
        edge_index: Tensor | None = None,
        max_lengths: tuple[int | None, int | None] = (None, None),
        return_attention: bool = False,
        positions: tuple[Tensor, Tensor] | None = None,
        norms: tuple[nn.LayerNorm, nn.LayerNorm] | None = None,
    ) -> Tensor | tuple[Tensor, Attention]:
        """Attend; ``target_ptr=None`` with a ``source_ptr`` means that all events share the targets.

        Args:
            target: those that ask.
            source: those that answer.
            target_ptr: first target of each event.
            source_ptr: first source of each event; not needed with ``edge_index``.
            edge_index: edges to attend along. Default: all pairs of the same event.
            max_lengths: most targets and sources in one event, where known.
            return_attention: also return the weights. Default ``False``.
            positions: (η, φ) of targets [J, 2] and sources [P, 2], for attention that depends on them.
            norms: layer normalisations of targets and sources before their projections. Default: none.

        Raises:
            ValueError: without edges and without the ``ptr`` that would say which pairs to attend along.
        """
        if edge_index is None and source_ptr is None:
            raise ValueError("attention needs either edge_index, or target_ptr and source_ptr")
        q, k, v = self.project(target, source, positions, norms)
        if edge_index is None and source_ptr is not None and not return_attention:
            y = ops.ragged_attention(q, k, v, target_ptr, source_ptr, *max_lengths, backend=self.backend)
            return self._joined_heads(y)
        if edge_index is None:
            if target_ptr is None or source_ptr is None:
                raise ValueError("attention weights need the targets of each event, not shared ones")
            edge_index = ops.complete_edges(target_ptr, source_ptr)
        weight = ops.attention_weights(q, k, edge_index)
        y = self._joined_heads(self.propagate(edge_index, v=v, weight=weight, size=(q.size(0), v.size(0))))
        return (y, Attention(edge_index, weight)) if return_attention else y

    def project(
        self,
        target: Tensor,
        source: Tensor,
        positions: tuple[Tensor, Tensor] | None = None,
        norms: tuple[nn.LayerNorm, nn.LayerNorm] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [J, H, e], keys and values [P, H, e]; the first d / H columns of a value are what it says.

        A subclass may append columns to all three: their products join the scores.

        Args:
            target: those that ask [J, dim].
            source: those that answer [P, dim].
            positions: (η, φ) of targets [J, 2] and sources [P, 2]; not used here.
            norms: layer normalisations of targets and sources. Default: none.
        """
        # Keys and values as one product, which reads the sources once.
        weight, bias = torch.cat([self.k.weight, self.v.weight]), torch.cat([self.k.bias, self.v.bias])
        if norms is None:
            q, both = self.q(target), F.linear(source, weight, bias)
        else:
            target_norm, source_norm = norms
            q = ops.norm_linear(target, (target_norm.weight, target_norm.bias), (self.q.weight, self.q.bias))
            both = ops.norm_linear(source, (source_norm.weight, source_norm.bias), (weight, bias))
        k, v = both.view(-1, 2, self.num_heads, self.dim // self.num_heads).unbind(1)
        return q.view(-1, *k.shape[1:]), k, v

    def _joined_heads(self, y: Tensor) -> Tensor:
        return y[..., : self.dim // self.num_heads].flatten(1)

    def message(self, v_j: Tensor, weight: Tensor) -> Tensor:
        """Value of the source times the edge's weight: [E, H, d / H]."""
        return weight[..., None] * v_j

    def aggregate(
        self, inputs: Tensor, index: Tensor, ptr: Tensor | None = None, dim_size: int | None = None
    ) -> Tensor:
        """Sum over each target's edges, in the same order on every run."""
        return ops.segment_sum(inputs, index, inputs.size(0) if dim_size is None else dim_size)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.dim}, num_heads={self.num_heads})"


class MAB(nn.Module):
    r"""Multi-head attention block: attention and a one-layer feed-forward, each with a residual connection.

    .. math::
        z = x + \mathrm{Attention}(\mathrm{LN}_q(x), \mathrm{LN}_s(s)), \qquad
        \mathrm{MAB}(x, s) = z + \mathrm{GELU}(W_o \mathrm{LN}_o(z) + b_o)

    As in the set transformer's published code, there are four d × d matrices (q, k, v and the feed-forward o) and
    no projection of the attention's output. Layer normalisation comes before each of them, and the first
    residual carries ``x`` itself: the order that Xiong et al. (arXiv:2002.04745) find to train without a long warm-up.

    Args:
        dim: width.
        num_heads: attention heads.
        attention: the attention layer. Default: :class:`BipartiteAttention`.

    Shapes:
        x [Q, dim], source [P, dim] → [Q, dim]; [B·M, dim] for x [M, dim] shared by all events.

    Source: Lee et al., *Set Transformer*, arXiv:1810.00825, eq. 6 and 7.
    """

    def __init__(self, dim: int, num_heads: int, attention: BipartiteAttention | None = None) -> None:
        super().__init__()
        self.attention = BipartiteAttention(dim, num_heads) if attention is None else attention
        self.query_norm, self.source_norm, self.output_norm = (nn.LayerNorm(dim) for _ in range(3))
        self.o = nn.Linear(dim, dim)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in (self.attention, self.query_norm, self.source_norm, self.output_norm, self.o):
            layer.reset_parameters()

    def forward(
        self,
        x: Tensor,
        source: Tensor,
        ptr: Tensor | None,
        source_ptr: Tensor,
        edge_index: Tensor | None = None,
        max_lengths: tuple[int | None, int | None] = (None, None),
        return_attention: bool = False,
        positions: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor | tuple[Tensor, Attention]:
        """See :meth:`BipartiteAttention.forward` for the arguments."""
        y = self.attention(
            x,
            source,
            ptr,
            source_ptr,
            edge_index,
            max_lengths,
            return_attention,
            positions,
            (self.query_norm, self.source_norm),
        )
        if return_attention:
            y, attention = y
        if ptr is None and edge_index is None:
            num_events = source_ptr.numel() - 1
            z = (x + y.view(num_events, *x.shape)).flatten(0, 1)
        else:
            z = x + y
        norm, linear = self.output_norm, self.o
        z = ops.norm_linear(z, (norm.weight, norm.bias), (linear.weight, linear.bias), residual=True)
        return (z, attention) if return_attention else z

    def __repr__(self) -> str:
        return f"MAB({self.attention.dim}, num_heads={self.attention.num_heads})"


class ISAB(nn.Module):
    r"""Induced set attention block: each point attends to M summaries of its event, in time linear in P.

    .. math:: H = \mathrm{MAB}(I, X), \qquad \mathrm{ISAB}(X) = \mathrm{MAB}(X, H)

    Args:
        dim: width.
        num_heads: attention heads.
        num_inducing: M, learned inducing points, shared by all events.

    Shapes:
        x [P, dim], ptr [B+1] → [P, dim].

    Source: Lee et al., arXiv:1810.00825, eq. 9 and 10.
    """

    def __init__(self, dim: int, num_heads: int, num_inducing: int) -> None:
        super().__init__()
        self.inducing = nn.Parameter(torch.empty(num_inducing, dim))
        self.gather = MAB(dim, num_heads)
        self.spread = MAB(dim, num_heads)
        nn.init.xavier_uniform_(self.inducing)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        nn.init.xavier_uniform_(self.inducing)
        self.gather.reset_parameters()
        self.spread.reset_parameters()

    def forward(self, x: Tensor, ptr: Tensor, max_length: int | None = None) -> Tensor:
        num_inducing = len(self.inducing)
        summary = self.gather(self.inducing, x, None, ptr, max_lengths=(num_inducing, max_length))
        summary_ptr = torch.arange(ptr.numel(), device=ptr.device) * num_inducing
        return self.spread(x, summary, ptr, summary_ptr, max_lengths=(max_length, num_inducing))

    def __repr__(self) -> str:
        attention = self.gather.attention
        return f"ISAB({attention.dim}, num_heads={attention.num_heads}, num_inducing={len(self.inducing)})"
