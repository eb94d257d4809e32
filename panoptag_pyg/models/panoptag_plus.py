"""PanopTag plus what its paper leaves out: jets read their own constituents, the event and each other, as related."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg import ops
from panoptag_pyg.backbones import build_backbone, config_class
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events.features import CONSTITUENT_FEATURES, JET_FEATURES, PFO_FEATURES
from panoptag_pyg.events.jets import JetView, jet_view, momentum
from panoptag_pyg.models.angles import AngleFeatures
from panoptag_pyg.models.base import Embeddings, Tagger, encode, event_ptr
from panoptag_pyg.models.plus_decoder import Event, PlusDecoder
from panoptag_pyg.models.registry import register_tagger
from panoptag_pyg.nn import MLP, FeatureNormalisation
from panoptag_pyg.nn.constituent_encoder import ConstituentEncoder
from panoptag_pyg.ops.ragged import add_rows_, take_rows

#: What is known of a constituent: the 14 of single-jet taggers, and its place and share in logarithms.
_CONSTITUENT_NAMES = (*CONSTITUENT_FEATURES, "ln_delta_r", "ln_pt_ratio")
_LOG_PT = PFO_FEATURES.index("log_pt")
#: A jet's pT below this (GeV) counts as this, so that its logarithm stays finite.
_MIN_PT = 1e-3


@register_tagger("panoptag_plus")
class PanopTagPlus(Tagger):
    r"""PanopTag with the single-jet taggers' view of a jet built in, each piece of it a switch.

    Pieces that gained nothing on processes that nobody trained on are off by default: the study in ``docs/physics.md``
    has a row for each.

    .. math::
        H = \mathrm{encoder}(\text{PFOs}), \quad
        C = \mathrm{transformer}(\text{constituents about their jet's axis}, H), \quad
        Z^0 = \mathrm{MLP}(\text{jet kinematics})

    .. math::
        Z' = \mathrm{MAB}(Z^l, C_\text{own}), \quad Z'' = \mathrm{RelationMAB}(Z', H), \quad
        Z^{l+1} = \mathrm{JetAttention}(Z''), \quad \text{logits} = \mathrm{MLP}(Z^L)

    Args:
        dim: width. Default 64.
        num_heads: attention heads; divides ``dim``. Default 8.
        k: neighbours of each PFO in the event encoder's local stage. Default 10.
        num_inducing: inducing points of each ISAB. Default 16.
        num_local_layers: EdgeConv layers. Default 1.
        num_global_layers: ISAB layers, by which every PFO knows of the whole event. Default 0.
        num_decoder_layers: L. Default 2.
        num_classes: C. Default 3: light, c, b.
        relation_bias: scores of jets and PFOs, and of jets and jets, get a learned bias from their relation: Δη,
            Δφ, ln ΔR, ln of the pT ratio, membership in the jet. Default ``False``.
        relation_values: what a jet reads of a PFO gets a learned linear function of the same, so that it sees the PFO
            in coordinates about its own axis. Default ``False``.
        relation_dim: functions of the relation that are learnt. Default 16.
        jet_attention: jets of an event read each other in each decoder layer. Default ``False``.
        constituent_layers: blocks of a transformer over each jet's own constituents; 0 takes that whole stage off.
            Default 3.
        pair_dims: hidden widths of that transformer's bias from pairs of constituents; empty: no bias. Default (32,).
        ffn_ratio: width of its feed-forward networks over ``dim``. Default 2.
        share_constituents: heads for PFOs (auxiliary losses) see that transformer's embedding of a constituent, added
            to the event encoder's; ``False``: only the latter. Default ``True``.
        context: what of the event a jet may read: ``"event"``, all of it; a number: the decoder's attention is limited
            to PFOs within this ΔR of the jet's axis; ``"jet"``: nothing but the jet's constituents. Default 0.8.
        context_dropout: in training, the probability that a jet must do with its own constituents: it reads neither the
            event nor other jets. Default 0.
        angles: φ of PFOs and jets among the features: ``"raw"``: as a number; ``"sin_cos"``; ``"relative"`` (default):
            left out, so that turning the event changes nothing.
        edge_geometry: edges of the event encoder's first EdgeConv see Δη and wrapped Δφ. Default ``True``.
        wrap_phi: wrap Δφ when neighbours are found. Default ``True``.
        dropout: in the transformer over constituents. Default 0.
        backbone: name of the event encoder, or a module ``(x, pos, ptr, max_length) → [P, dim]``. Default
            ``"panoptag"``.
        backbone_options: options of the encoder's config; win over the arguments above.
        jet_features: names of the jet features, in their order. Default: pt, eta, phi, mass.

    Shapes:
        a batch with ``"constituents"`` → logits [J, C].

    Raises:
        ConfigError: for values that don't fit.

    Source: this project, after Qureshi et al., arXiv:2601.16417; relations: Shaw et al., arXiv:1803.02155; the
    transformer over constituents: Qu, Li, Qian, arXiv:2202.03772.
    """

    needs = frozenset({"constituents"})
    embeds_pfos = True

    def __init__(
        self,
        dim: int = 64,
        num_heads: int = 8,
        k: int = 10,
        num_inducing: int = 16,
        num_local_layers: int = 1,
        num_global_layers: int = 0,
        num_decoder_layers: int = 2,
        num_classes: int = 3,
        relation_bias: bool = False,
        relation_values: bool = False,
        relation_dim: int = 16,
        jet_attention: bool = False,
        constituent_layers: int = 3,
        pair_dims: Sequence[int] = (32,),
        ffn_ratio: int = 2,
        share_constituents: bool = True,
        context: str | float = 0.8,
        context_dropout: float = 0.0,
        angles: str = "relative",
        edge_geometry: bool = True,
        wrap_phi: bool = True,
        dropout: float = 0.0,
        backbone: str | nn.Module = "panoptag",
        backbone_options: Mapping[str, Any] | None = None,
        jet_features: tuple[str, ...] = JET_FEATURES,
    ) -> None:
        super().__init__()
        if dim < 1 or num_heads < 1 or dim % num_heads:
            raise ConfigError(f"num_heads must divide dim, got dim={dim} and num_heads={num_heads}")
        if num_decoder_layers < 1:
            raise ConfigError(f"num_decoder_layers must be at least 1, not {num_decoder_layers}: else no jet reads")
        delta_r = _delta_r(context)
        if context == "jet" and constituent_layers < 1:
            raise ConfigError('context = "jet" needs constituent_layers of at least 1: else no jet reads anything')
        if not 0 <= context_dropout < 1:
            raise ConfigError(f"context_dropout is a probability below 1, not {context_dropout}")
        self.jet_features, self.share_constituents = tuple(jet_features), share_constituents
        self.context_dropout = context_dropout
        self.pfo_inputs = AngleFeatures(PFO_FEATURES, angles)
        self.jet_inputs = AngleFeatures(self.jet_features, angles)
        self.backbone: nn.Module | None = None
        if context != "jet":
            shared = {
                "dim": dim,
                "num_heads": num_heads,
                "k": k,
                "num_inducing": num_inducing,
                "num_local_layers": num_local_layers,
                "num_global_layers": num_global_layers,
                "edge_geometry": edge_geometry,
                "wrap_phi": wrap_phi,
            }
            self.backbone = _backbone(backbone, len(self.pfo_inputs.names), shared, backbone_options)
        self.constituent_normalisation = FeatureNormalisation(_CONSTITUENT_NAMES)
        self.constituents: ConstituentEncoder | None = None
        if constituent_layers > 0:
            self.constituents = ConstituentEncoder(
                len(_CONSTITUENT_NAMES),
                dim,
                num_heads,
                constituent_layers,
                pair_dims,
                ffn_ratio,
                dropout,
                event=context != "jet",
            )
        self.jet_embed = MLP([len(self.jet_inputs.names), dim, dim])
        self.decoder = PlusDecoder(
            dim,
            num_heads,
            num_decoder_layers,
            constituents=constituent_layers > 0,
            event=context != "jet",
            jets=jet_attention and context != "jet",
            relation_bias=relation_bias,
            relation_values=relation_values,
            relation_dim=relation_dim,
            delta_r=delta_r,
        )
        self.head = MLP([dim, dim, num_classes])
        self.dim, self.num_classes = dim, num_classes

    def reset_parameters(self) -> None:
        """Draw all weights anew; the normalisation stays."""
        for layer in (self.backbone, self.constituents, self.jet_embed, self.decoder, self.head):
            if layer is not None:
                layer.reset_parameters()  # type: ignore[operator]

    def fit_normalisation(self, batch: HeteroData) -> None:
        """Take means and deviations of the features from training events and their jets."""
        self.pfo_inputs.fit(batch["pfo"].x)
        self.jet_inputs.fit(batch["jet"].x)
        self.constituent_normalisation.fit(self._constituent_features(jet_view(batch), batch))

    def drop_jets(self) -> None:
        """Take off the jet queries and their decoder."""
        self.jet_embed = self.decoder = None  # type: ignore[assignment]
        if not self.share_constituents:
            self.constituents = None

    def embed(self, batch: HeteroData, return_attention: bool = False) -> Embeddings:
        """Embedding of each jet and PFO, before the head; and the last layer's attention if asked for.

        Args:
            batch: events with constituents, as :class:`~panoptag_pyg.events.EventLoader` or PyG batch them, or a single
                one.
            return_attention: also return the last decoder layer's
                :class:`~panoptag_pyg.ops.attention.Attention` to the event's PFOs. Default ``False``.

        Raises:
            ConfigError: if the batch has no constituents.
            ValueError: if the batch has different numbers of events for PFOs and jets.
        """
        pfo, jet, view = batch["pfo"], batch["jet"], jet_view(batch)
        pfo_ptr, jet_ptr = event_ptr(pfo), event_ptr(jet)
        if pfo_ptr.numel() != jet_ptr.numel():
            raise ValueError(
                f"the batch has {pfo_ptr.numel() - 1} events of PFOs but {jet_ptr.numel() - 1} of jets: "
                "give both node types a ptr"
            )
        told = self._told(jet.x)
        h = self._of_event(batch, pfo_ptr)
        c = None if self.constituents is None else self._of_jets(self.constituents, view, batch, h, told)
        pfos = pfo.x.new_zeros(pfo.x.size(0), self.dim) if h is None else h
        if c is not None and self.share_constituents:
            pfos = add_rows_(pfos.clone(), view.pfo, c.to(pfos.dtype))
        if self.decoder is None:
            return Embeddings(pfos.new_zeros(0, self.dim), pfos)
        event = Event(
            h,
            c,
            view,
            (jet.pos, self._log_pt(batch)),
            (pfo.pos, pfo.x[:, _LOG_PT]),
            jet_ptr,
            pfo_ptr,
            jet.get("max_length"),
            told,
        )
        z, attention = self.decoder(self.jet_embed(self.jet_inputs(jet.x)), event, return_attention)
        return Embeddings(z, pfos, attention)

    def _told(self, jets: Tensor) -> Tensor | None:
        """Which jets may read what isn't theirs [J]; ``None``: all."""
        if not self.training or self.context_dropout == 0:
            return None
        return torch.rand(jets.size(0), device=jets.device) >= self.context_dropout

    def _of_event(self, batch: HeteroData, ptr: Tensor) -> Tensor | None:
        if self.backbone is None:
            return None
        pfo = batch["pfo"]
        x = self.pfo_inputs(pfo.x)
        return encode(self.backbone, x, pfo.pos, ptr, pfo.get("max_length"), momentum(pfo.x))

    def _of_jets(
        self, encoder: ConstituentEncoder, view: JetView, batch: HeteroData, h: Tensor | None, told: Tensor | None
    ) -> Tensor:
        x = self.constituent_normalisation(self._constituent_features(view, batch))
        own = None if h is None else take_rows(h, view.pfo)
        told = None if told is None else told[view.jet, None]
        return encoder(x, view.momentum, view.ptr, view.max_length, own, told)

    def _constituent_features(self, view: JetView, batch: HeteroData) -> Tensor:
        log_delta_r = torch.hypot(view.pos[:, 0], view.pos[:, 1]).clamp(min=ops.MIN_DELTA_R).log()
        log_ratio = view.x[:, _LOG_PT] - self._log_pt(batch)[view.jet]
        return torch.cat([view.x, log_delta_r[:, None], log_ratio[:, None]], dim=1)

    def _log_pt(self, batch: HeteroData) -> Tensor:
        return batch["jet"].x[:, self.jet_features.index("pt")].clamp(min=_MIN_PT).log()

    def __repr__(self) -> str:
        parameters = sum(p.numel() for p in self.parameters())
        return (
            f"PanopTagPlus({self.backbone!r}, {self.constituents!r}, {self.decoder!r}, {self.num_classes} classes, "
            f"{parameters:,} parameters)"
        )


def _delta_r(context: str | float) -> float | None:
    """The radius that the decoder's attention is limited to, if it is."""
    if isinstance(context, int | float) and not isinstance(context, bool) and context > 0:
        return float(context)
    if context not in ("event", "jet"):
        raise ConfigError(f'context should be "event", "jet" or a ΔR above 0, not {context!r}')
    return None


def _backbone(
    backbone: str | nn.Module, in_dim: int, shared: Mapping[str, Any], options: Mapping[str, Any] | None
) -> nn.Module:
    """The event encoder, built where it is given by its name."""
    if isinstance(backbone, str):
        fields = config_class(backbone).model_fields
        known = {key: value for key, value in shared.items() if key in fields}
        backbone = build_backbone(backbone, in_dim, **{**known, **(options or {})})
    if backbone.out_dim != shared["dim"]:
        raise ConfigError(f"the backbone gives {backbone.out_dim} numbers per PFO, but dim is {shared['dim']}")
    return backbone
