"""The decoder of panoptag_plus: each jet reads its own constituents, the event as related to it, and the other jets."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from panoptag_pyg import ops
from panoptag_pyg.events.jets import JetView
from panoptag_pyg.nn import MAB
from panoptag_pyg.nn.relation import JetAttention, RelationEmbedding, RelationMAB
from panoptag_pyg.ops import RELATIONS, Attention
from panoptag_pyg.ops.ragged import complete_edges, take_rows

_LN_DELTA_R, _MEMBER = RELATIONS.index("ln_delta_r"), RELATIONS.index("member")


class Event(NamedTuple):
    """What there is to read.

    Attributes:
        pfos: the event encoder's embeddings [P, dim].
        constituents: embeddings of the jets' constituents [N, dim].
        view: whose constituents they are.
        jet_place: (η, φ) [J, 2] and ln pT [J] of the jets.
        pfo_place: the same of the PFOs.
        jet_ptr: first jet of each event.
        pfo_ptr: first PFO of each event.
        max_jets: most jets in one event, where known.
        told: jets that may read what isn't theirs [J]. ``None``: all.
    """

    pfos: Tensor | None
    constituents: Tensor | None
    view: JetView
    jet_place: tuple[Tensor, Tensor]
    pfo_place: tuple[Tensor, Tensor]
    jet_ptr: Tensor
    pfo_ptr: Tensor
    max_jets: int | None
    told: Tensor | None


class PlusDecoder(nn.Module):
    """Layers of reading; which readings there are is a matter of switches.

    Args:
        dim: width.
        num_heads: attention heads.
        num_layers: L.
        constituents: jets read their own constituents.
        event: jets read the event's PFOs.
        jets: jets read each other.
        relation_bias: scores have a bias from the relation.
        relation_values: values have a part from the relation of jet and PFO.
        relation_dim: functions of the relation that are learnt.
        delta_r: PFOs farther from a jet's axis aren't read. Default: all are.

    Shapes:
        z [J, dim], an :class:`Event` → [J, dim].
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        num_layers: int,
        *,
        constituents: bool,
        event: bool,
        jets: bool,
        relation_bias: bool,
        relation_values: bool,
        relation_dim: int,
        delta_r: float | None = None,
    ) -> None:
        super().__init__()
        self.delta_r = delta_r
        self.event_relation: RelationEmbedding | None = None
        self.jet_relation: RelationEmbedding | None = None
        if event and (relation_bias or relation_values):
            self.event_relation = RelationEmbedding(relation_dim)
        if jets and relation_bias:
            self.jet_relation = RelationEmbedding(relation_dim)
        width = len(RELATIONS) + relation_dim
        layers = range(num_layers)
        self.own = nn.ModuleList(MAB(dim, num_heads) for _ in layers if constituents)
        self.event = nn.ModuleList(
            RelationMAB(dim, num_heads, width, relation_bias, relation_values) for _ in layers if event
        )
        self.jets = nn.ModuleList(JetAttention(dim, num_heads, width, relation_bias) for _ in layers if jets)
        self.num_layers = num_layers

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in (self.event_relation, self.jet_relation, *self.own, *self.event, *self.jets):
            if layer is not None:
                layer.reset_parameters()  # type: ignore[operator]

    def forward(self, z: Tensor, event: Event, return_attention: bool = False) -> tuple[Tensor, Attention | None]:
        """Read layer by layer.

        Args:
            z: embedding of the jets' kinematics.
            event: what there is to read.
            return_attention: also return the last layer's weights. Default ``False``.
        """
        r, blocked = self._to_pfos(event)
        between = self._between_jets(event)
        told = None if event.told is None else event.told[:, None]
        own_ptr = torch.arange(z.size(0) + 1, device=z.device)
        attention = None
        for number in range(self.num_layers):
            wanted = return_attention and number == self.num_layers - 1
            if len(self.own):
                lengths = (1, event.view.max_length)
                read = self.own[number](
                    z, event.constituents, own_ptr, event.view.ptr, None, lengths, wanted and not len(self.event)
                )
                if isinstance(read, tuple):
                    read, of_rows = read
                    edges = torch.stack([of_rows.edge_index[0], event.view.pfo[of_rows.edge_index[1]]])
                    attention = Attention(edges, of_rows.weight)
                z = read
            if len(self.event):
                read, weight = self.event[number](z, event.pfos, r, event.jet_ptr, event.pfo_ptr, blocked)
                # A jet that isn't told of its event skips this reading, unless its constituents are all it reads here.
                z = read if told is None or not len(self.own) else torch.where(told, read, z)
                if wanted:
                    attention = _on_edges(event, weight, blocked)
            if len(self.jets):
                read = self.jets[number](z, between, event.jet_ptr, event.max_jets)
                z = read if told is None else torch.where(told, read, z)
        return z, attention

    def _to_pfos(self, event: Event) -> tuple[Tensor, Tensor | None]:
        """Embedded relation of every jet to every PFO of its event, and which of these pairs are left out."""
        if not len(self.event):
            return event.jet_place[0].new_zeros(0, 0), None
        members = torch.stack([event.view.jet, event.view.pfo])
        relations = ops.relations(event.jet_place, event.pfo_place, event.jet_ptr, event.pfo_ptr, members)
        blocked = None
        if self.delta_r is not None:
            blocked = relations[:, _LN_DELTA_R].exp() >= self.delta_r
        if event.told is not None and not len(self.own):
            per_jet = event.pfo_ptr.diff()[ops.batch_from_ptr(event.jet_ptr, event.told.size(0))]
            told = torch.repeat_interleave(event.told, per_jet, output_size=relations.size(0))
            untold = ~told & (relations[:, _MEMBER] == 0)
            blocked = untold if blocked is None else blocked | untold
        return relations if self.event_relation is None else self.event_relation(relations), blocked

    def _between_jets(self, event: Event) -> Tensor | None:
        """Embedded relation of every jet to every jet of its event, itself included."""
        if self.jet_relation is None:
            return None
        jets = torch.arange(event.jet_place[1].size(0), device=event.jet_ptr.device)
        place, ptr = event.jet_place, event.jet_ptr
        return self.jet_relation(ops.relations(place, place, ptr, ptr, torch.stack([jets, jets])))

    def __repr__(self) -> str:
        parts = [name for name in ("own", "event", "jets") if len(getattr(self, name))]
        return f"PlusDecoder({self.num_layers} layers: {', '.join(parts)})"


def _on_edges(event: Event, weight: Tensor, blocked: Tensor | None) -> Attention:
    edges = complete_edges(event.jet_ptr, event.pfo_ptr)
    if blocked is None:
        return Attention(edges, weight)
    kept = (~blocked).nonzero().flatten()
    return Attention(edges[:, kept], take_rows(weight, kept))
