"""LorentzNet: message passing on Minkowski products, on the graph of an event or of one jet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from panoptag_pyg import ops
from panoptag_pyg.backbones.invariants import LorentzConfig, invariant_columns, invariants_of
from panoptag_pyg.backbones.registry import register_backbone
from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.nn.lorentz_block import LorentzBlock
from panoptag_pyg.nn.minkowski import rest_frame_directions, with_beams
from panoptag_pyg.ops.ragged_pairs import complete_graph

GRAPHS = ("rest_frame_knn", "knn", "full")


class LorentzNetConfig(LorentzConfig):
    """Options of LorentzNet; the defaults are the paper's size."""

    hidden_dim: int = Field(72, ge=1, description="width of the blocks")
    num_layers: int = Field(6, ge=1, description="blocks")
    step: float = Field(5e-3, ge=0, description="c: how far a block moves the four-vectors")
    graph: Literal["rest_frame_knn", "knn", "full"] = Field(
        "rest_frame_knn", description="who talks to whom: nearest in the event's rest frame, nearest in (η, φ), or all"
    )
    k: int = Field(20, ge=1, description="neighbours of each PFO, unless the graph is full")
    wrap_phi: bool = Field(True, description="wrap Δφ where neighbours are found in (η, φ)")


@register_backbone("lorentznet", LorentzNetConfig, paper="arXiv:2201.08187")
class LorentzNetBackbone(nn.Module):
    r"""LorentzNet: Lorentz-invariant messages from Minkowski products of the four-momenta.

    .. math::
        h^0 = W s, \qquad (h^{l+1}, x^{l+1}) = \mathrm{LGEB}_l(h^l, x^l, s), \qquad x^0 = p

    See :class:`~panoptag_pyg.nn.lorentz_block.LorentzBlock`. The output h is the same in every frame if the graph is:
    ``"full"`` is, at a cost of n² edges; so is ``"rest_frame_knn"``, each particle's k nearest in the angle in the
    event's rest frame. ``"knn"`` in (η, φ) is kept by rotations about the beam line and, for massless particles, by
    boosts along it: η of a massive particle moves by another amount than its neighbour's.

    Memory: some 20 kB an edge at the published width while training: 120 MB for an event of 300 PFOs with 20
    neighbours each, and 1.8 GB with all 90,000 edges of the full graph, which is for single jets.

    Args:
        in_dim: number of PFO features.
        dim: width of the output. Default 256.
        scalar_columns: columns of x taken as invariants s. Default: all but (η, φ, ln pT, ln E).
        beams: join (1, 0, 0, ±1) to each event's particles; as their neighbours only if ``graph="full"``, which
            it needs. Default ``False``.
        hidden_dim: width of the blocks. Default 72.
        num_layers: blocks. Default 6.
        step: c of the coordinates' update. Default 5e-3.
        graph: ``"rest_frame_knn"`` (default), ``"knn"`` or ``"full"``, the paper's.
        k: neighbours. Default 20.
        wrap_phi: wrap Δφ in (η, φ). Default ``True``.

    Shapes:
        x [P, in_dim], pos [P, 2], ptr [B+1], momentum [P, 4] (E, px, py, pz) → [P, dim].

    Raises:
        ConfigError: for an unknown graph, beams on another graph than the full one, or a column x doesn't have.

    Source: Gong et al., arXiv:2201.08187. On a graph of neighbours it is ours.
    """

    needs = frozenset({"momentum"})

    def __init__(
        self,
        in_dim: int,
        dim: int = 256,
        scalar_columns: Sequence[int] | None = None,
        beams: bool = False,
        hidden_dim: int = 72,
        num_layers: int = 6,
        step: float = 5e-3,
        graph: str = "rest_frame_knn",
        k: int = 20,
        wrap_phi: bool = True,
    ) -> None:
        super().__init__()
        if graph not in GRAPHS:
            raise ConfigError(f"there is no graph '{graph}'{suggest(graph, GRAPHS)}")
        if beams and graph != "full":
            raise ConfigError(f"beams need graph = 'full', as they are nobody's neighbours in '{graph}'")
        self.in_dim, self.out_dim, self.beams, self.graph, self.k = in_dim, dim, beams, graph, k
        self.metric = "wrapped_phi" if wrap_phi else "euclidean"
        self.columns = invariant_columns(in_dim, scalar_columns)
        num_scalars = len(self.columns) + beams
        if num_scalars == 0:
            raise ConfigError("LorentzNet needs at least one invariant to start from; give scalar_columns or beams")
        self.embed = nn.Linear(num_scalars, hidden_dim)
        self.blocks = nn.ModuleList(
            LorentzBlock(hidden_dim, num_scalars, step, moves=layer < num_layers - 1) for layer in range(num_layers)
        )
        self.out = nn.Identity() if dim == hidden_dim else nn.Linear(hidden_dim, dim)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in (self.embed, *self.blocks, self.out):
            if not isinstance(layer, nn.Identity):
                layer.reset_parameters()  # type: ignore[operator]

    def forward(
        self, x: Tensor, pos: Tensor, ptr: Tensor, max_length: int | None = None, *, momentum: Tensor
    ) -> Tensor:
        return self.out(self.scalars_and_vectors(x, pos, ptr, momentum)[0])

    def scalars_and_vectors(self, x: Tensor, pos: Tensor, ptr: Tensor, momentum: Tensor) -> tuple[Tensor, Tensor]:
        """The last block's invariants [P, hidden_dim] and four-vectors [P, 4], which turn with the event.

        Arguments as of a backbone.
        """
        scalars, p = invariants_of(x, self.columns), momentum.double()
        rows = None
        if self.beams:
            p, scalars, ptr, rows = with_beams(p, scalars, ptr)
        edge_index, edge_ptr = self._edges(p, pos, ptr)
        h = self.embed(scalars).to(scalars.dtype)
        for block in self.blocks:
            h, p = block(h, p, scalars, edge_index, edge_ptr)
        if rows is not None:
            h, p = ops.ragged.take_rows(h, rows), ops.ragged.take_rows(p, rows)
        return h, p

    def _edges(self, p: Tensor, pos: Tensor, ptr: Tensor) -> tuple[Tensor, Tensor]:
        others = ops.ragged.take_rows(ptr.diff(), ops.batch_from_ptr(ptr, p.size(0))) - 1
        if self.graph == "full":
            edge_index = complete_graph(ptr)
        else:
            others = others.clamp(max=self.k)
            where, metric = (pos, self.metric) if self.graph == "knn" else (rest_frame_directions(p, ptr), "euclidean")
            edge_index = ops.knn_graph(where, self.k, ptr=ptr, metric=metric, flow="target_to_source")
        return edge_index, torch.cat([ptr.new_zeros(1), others.cumsum(0)])

    def __repr__(self) -> str:
        near = "" if self.graph == "full" else f", k={self.k}"
        return f"LorentzNetBackbone({self.in_dim}, {self.out_dim}, {len(self.blocks)} blocks, {self.graph}{near})"
