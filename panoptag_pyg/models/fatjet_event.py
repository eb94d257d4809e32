"""Signal or background: a whole event judged by its two leading large-R jets, inside and out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg.errors import ConfigError, NoAttentionError
from panoptag_pyg.events.features import CONSTITUENT_FEATURES, JET_FEATURES
from panoptag_pyg.events.jets import JetView, jet_view
from panoptag_pyg.models.base import Embeddings, Tagger, event_ptr
from panoptag_pyg.models.registry import register_tagger
from panoptag_pyg.nn import MAB, MLP, FeatureNormalisation
from panoptag_pyg.ops.ragged import batch_from_ptr, take_rows

#: What is known of a fat jet or of the sum of two: mass, direction, pT, energy (GeV) and polar angle.
TOKEN_FEATURES = ("mass", "eta", "phi", "pt", "energy", "theta")
#: Tokens of an event: jet 1, jet 2, and their sum.
NUM_TOKENS = 3
_JETS = 2
#: pT below this (GeV) gives the direction that this would give, so that an empty sum stays finite.
_MIN_PT = 1e-3


class _Pairs(NamedTuple):
    """The two leading jets of each event.

    Attributes:
        rows: their rows among the batch's jets, 0 where there is none [B, 2].
        taken: whether the event has them [B, 2].
        rank: place of each jet in its event by falling pT [J].
        event: event of each jet [J].
    """

    rows: Tensor
    taken: Tensor
    rank: Tensor
    event: Tensor


@register_tagger("fatjet_event", paper="arXiv:2401.00452")
class FatJetEvent(Tagger):
    r"""Classify whole events by their two leading large-R jets: constituents and kinematics joined by cross-attention.

    .. math::
        h_i = \mathrm{MAB}^{L_c}(\text{constituents of each jet})_i, \qquad
        t = \mathrm{MAB}^{L_t}(\mathrm{MLP}(p_1), \mathrm{MLP}(p_2), \mathrm{MLP}(p_1 + p_2)), \qquad
        z = \mathrm{MAB}^{L_x}(t, h), \qquad \text{logits} = \mathrm{MLP}(z_1, z_2, z_{12})

    The constituents of a jet attend to each other; an event's three tokens, fat jet 1, fat jet 2 and their sum (the
    candidate for a resonance), hold (m, η, φ, pT, E, θ) and attend to each other, then to the constituents of both
    jets. Jet 1 is the one of higher pT.

    A jet that isn't there has a learnt token instead: with one jet the sum is that jet, with none all three tokens are
    learnt ones. Further jets of the event aren't looked at; ``max_jets = 2`` in a recipe's ``[data]`` spares the work
    on them. The paper gives the idea and no single size; widths and depths here are ours.

    Args:
        dim: width. Default 64.
        num_heads: attention heads; divides ``dim``. Default 4.
        num_constituent_layers: layers of self-attention among a jet's constituents. Default 3.
        num_token_layers: layers of self-attention among the tokens. Default 2.
        num_cross_layers: layers of cross-attention from tokens to constituents. Default 1.
        dropout: of the embedding before the head. Default 0.
        num_classes: C. Default 2: background, signal.

    Shapes:
        a batch with ``"constituents"`` → logits [B, C].

    Raises:
        ConfigError: if ``num_heads`` doesn't divide ``dim``, or there is no layer of cross-attention.

    Source: Hammad, Moretti, Nojiri, *Multi-scale cross-attention transformer encoder for event classification*,
    arXiv:2401.00452.
    """

    needs = frozenset({"constituents"})
    level = "event"

    def __init__(
        self,
        dim: int = 64,
        num_heads: int = 4,
        num_constituent_layers: int = 3,
        num_token_layers: int = 2,
        num_cross_layers: int = 1,
        dropout: float = 0.0,
        num_classes: int = 2,
    ) -> None:
        super().__init__()
        if dim < 1 or num_heads < 1 or dim % num_heads:
            raise ConfigError(f"num_heads must divide dim, got dim={dim} and num_heads={num_heads}")
        if num_cross_layers < 1:
            raise ConfigError(f"num_cross_layers must be at least 1, not {num_cross_layers}: else nobody sees the jets")
        self.constituent_normalisation = FeatureNormalisation(CONSTITUENT_FEATURES)
        self.token_normalisation = FeatureNormalisation(TOKEN_FEATURES, {"energy": "log"})
        self.constituent_embed = MLP([len(CONSTITUENT_FEATURES), dim, dim])
        self.token_embed = MLP([len(TOKEN_FEATURES), dim, dim])
        #: Says of a constituent which jet it is from, of a token which one it is, and what stands for a jet not there.
        self.jet_place = nn.Parameter(torch.empty(_JETS, dim))
        self.token_place = nn.Parameter(torch.empty(NUM_TOKENS, dim))
        self.missing = nn.Parameter(torch.empty(NUM_TOKENS, dim))
        self.constituent_layers = nn.ModuleList(MAB(dim, num_heads) for _ in range(num_constituent_layers))
        self.token_layers = nn.ModuleList(MAB(dim, num_heads) for _ in range(num_token_layers))
        self.cross_layers = nn.ModuleList(MAB(dim, num_heads) for _ in range(num_cross_layers))
        self.dropout = nn.Dropout(dropout)
        self.head = MLP([NUM_TOKENS * dim, dim, num_classes])
        self.dim, self.num_classes = NUM_TOKENS * dim, num_classes
        self._draw_places()

    def _draw_places(self) -> None:
        for place in (self.jet_place, self.token_place, self.missing):
            nn.init.normal_(place, std=0.5)

    def reset_parameters(self) -> None:
        """Draw all weights anew; the normalisation stays."""
        layers = (*self.constituent_layers, *self.token_layers, *self.cross_layers)
        for layer in (self.constituent_embed, self.token_embed, *layers, self.head):
            layer.reset_parameters()  # type: ignore[operator]
        self._draw_places()

    def fit_normalisation(self, batch: HeteroData) -> None:
        """Take mean and deviation of constituents, and of the tokens that are there, from training events."""
        self.constituent_normalisation.fit(jet_view(batch).x)
        features, there = self._tokens(batch, self._pairs(batch))
        self.token_normalisation.fit(features[there])

    def embed(self, batch: HeteroData, return_attention: bool = False) -> Embeddings:
        """Embedding of each event [B, 3 · dim].

        Raises:
            ConfigError: if attention is asked for, or the batch has no constituents.
        """
        if return_attention:
            raise NoAttentionError("'fatjet_event' answers for events and has no attention of jets to return")
        jets, pairs = jet_view(batch), self._pairs(batch)
        h = self._encode_constituents(jets, pairs)
        features, there = self._tokens(batch, pairs)
        num_events = features.size(0)
        t = self.token_embed(self.token_normalisation(features.flatten(0, 1))).view(num_events, NUM_TOKENS, -1)
        t = torch.where(there.unsqueeze(-1), t, self.missing.to(t.dtype)) + self.token_place.to(t.dtype)
        t = t.flatten(0, 1)
        token_ptr = torch.arange(num_events + 1, device=t.device) * NUM_TOKENS
        for layer in self.token_layers:
            t = layer(t, t, token_ptr, token_ptr, max_lengths=(NUM_TOKENS, NUM_TOKENS))
        # Each event is cut in two: the two leading jets' constituents, which its tokens ask, and the others', whom
        # nobody asks. So no row has to be dropped, and no size depends on the data.
        part = 2 * pairs.event + (pairs.rank >= _JETS).long()
        part = part[jets.jet]
        order = torch.argsort(part, stable=True)
        parts = torch.arange(2 * num_events + 1, device=t.device)
        source_ptr = torch.searchsorted(part[order], parts)
        asking_ptr = (parts + 1) // 2 * NUM_TOKENS
        h = take_rows(h, order)
        for layer in self.cross_layers:
            t = layer(t, h, asking_ptr, source_ptr, max_lengths=(NUM_TOKENS, None))
        return Embeddings(self.dropout(t.view(num_events, self.dim)))

    def _encode_constituents(self, jets: JetView, pairs: _Pairs) -> Tensor:
        """Embedding of each constituent in its jet [N, dim]."""
        h = self.constituent_embed(self.constituent_normalisation(jets.x))
        place = pairs.rank.clamp(max=_JETS - 1)[jets.jet]
        h = h + take_rows(self.jet_place, place).to(h.dtype)
        for layer in self.constituent_layers:
            h = layer(h, h, jets.ptr, jets.ptr, max_lengths=(jets.max_length, jets.max_length))
        return h

    def _pairs(self, batch: HeteroData) -> _Pairs:
        jet = batch["jet"]
        ptr, num_jets = event_ptr(jet), jet.x.size(0)
        event = batch_from_ptr(ptr, num_jets)
        by_pt = torch.argsort(jet.x[:, JET_FEATURES.index("pt")], descending=True, stable=True)
        order = by_pt[torch.argsort(event[by_pt], stable=True)]
        rank = torch.empty_like(order).scatter(0, order, torch.arange(num_jets, device=ptr.device) - ptr[event])
        place = torch.arange(_JETS, device=ptr.device)
        taken = place < ptr.diff().unsqueeze(1)
        # One row more, which stands for no jet, keeps the lookup legal without jets.
        order = torch.cat([order, order.new_zeros(1)])
        rows = order[torch.where(taken, ptr[:-1].unsqueeze(1) + place, num_jets)]
        return _Pairs(rows, taken, rank, event)

    def _tokens(self, batch: HeteroData, pairs: _Pairs) -> tuple[Tensor, Tensor]:
        """Features of jet 1, jet 2 and their sum [B, 3, 6], and which of them are there [B, 3]."""
        x = batch["jet"].x[:, : len(JET_FEATURES)]
        x = torch.cat([x, x.new_zeros(1, x.size(1))])
        rows = torch.where(pairs.taken, pairs.rows, x.size(0) - 1)
        pt, eta, phi, mass = take_rows(x, rows).unbind(-1)
        px, py, pz = pt * phi.cos(), pt * phi.sin(), pt * eta.sinh()
        energy = torch.sqrt((pt * eta.cosh()) ** 2 + mass**2)
        momentum = torch.stack([energy, px, py, pz], dim=-1)
        momentum = torch.cat([momentum, momentum.sum(1, keepdim=True)], dim=1)
        there = torch.cat([pairs.taken, pairs.taken[:, :1]], dim=1)
        return _features(momentum), there

    def __repr__(self) -> str:
        layers = f"{len(self.constituent_layers)} + {len(self.token_layers)} + {len(self.cross_layers)} layers"
        parameters = sum(p.numel() for p in self.parameters())
        width = self.dim // NUM_TOKENS
        return f"FatJetEvent(dim {width}, {layers}, {self.num_classes} classes, {parameters:,} parameters)"


def _features(momentum: Tensor) -> Tensor:
    """:data:`TOKEN_FEATURES` of momenta (E, px, py, pz): [..., 4] → [..., 6]."""
    energy, px, py, pz = momentum.unbind(-1)
    pt = torch.hypot(px, py)
    mass = (energy**2 - pt**2 - pz**2).clamp(min=0).sqrt()
    eta = torch.asinh(pz / pt.clamp(min=_MIN_PT))
    return torch.stack([mass, eta, torch.atan2(py, px), pt, energy, torch.atan2(pt, pz)], dim=-1)
