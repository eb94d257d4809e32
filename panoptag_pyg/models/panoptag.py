"""PanopTag: encode an event's PFOs once, then tag all its jets as queries to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg.backbones import build_backbone, config_class
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events.features import JET_FEATURES, PFO_FEATURES
from panoptag_pyg.events.jets import momentum
from panoptag_pyg.models.base import Embeddings, Tagger, encode, event_ptr
from panoptag_pyg.models.decoders import build_decoder
from panoptag_pyg.models.registry import register_tagger
from panoptag_pyg.nn import MLP, FeatureNormalisation
from panoptag_pyg.ops import Attention
from panoptag_pyg.ops.relations import pairs_within

#: What ``model(batch, return_attention=True)`` returns.
PanopTagOutput = tuple[Tensor, Attention]


@register_tagger("panoptag", paper="arXiv:2601.16417")
class PanopTag(Tagger):
    r"""Tag all jets of each event in one pass.

    .. math::
        H = \mathrm{encoder}(\text{PFOs}), \quad Z^0 = \mathrm{MLP}(\text{jet kinematics}), \quad
        Z^{l+1} = \mathrm{MAB}(Z^l, H), \quad \text{logits} = \mathrm{MLP}(Z^L)

    The defaults are the paper's size: 3,415,043 parameters, with what the paper leaves open (depth of the
    MLPs, number of decoder layers) chosen to give its 3.42 million. The model takes the batch's raw features and
    normalises them itself; call :meth:`fit_normalisation` once before training.

    Jets attend to all PFOs of their event, or to those within ``decoder_delta_r``; where the batch has edges
    ``("jet", "attends", "pfo")``, along those.

    Args:
        dim: width. Default 256.
        num_heads: attention heads; divides ``dim``. Default 32.
        k: neighbours of each PFO in the local stage. Default 20.
        num_inducing: inducing points of each ISAB. Default 48.
        num_local_layers: EdgeConv layers. Default 2.
        num_global_layers: ISAB layers. Default 3.
        num_decoder_layers: decoder layers. Default 4.
        num_classes: C. Default 3: light, c, b.
        wrap_phi: wrap Δφ when neighbours are found; the paper doesn't. Default ``True``.
        backbone: name of the event encoder, or a module ``(x, pos, ptr, max_length) → [P, out_dim]``.
            Default ``"panoptag"``.
        backbone_options: options of the encoder's config; win over the arguments above.
        decoder: name of the jet query decoder, or a module called as
            :class:`~panoptag_pyg.models.decoders.CrossAttentionDecoder`. Default ``"cross_attention"``, the
            paper's; ``"geometric"`` lets each head look at a scale in (η, φ) that it learns.
        decoder_delta_r: jets attend to the PFOs within this ΔR of their axis alone (Δφ wrapped). Default: to all of
            their event. The encoder has seen the whole event either way.
        pfo_features: names of the PFO features, in their order. Default: the 14 of the paper.
        jet_features: names of the jet features, in their order. Default: pt, eta, phi, mass.

    Shapes:
        a :class:`~torch_geometric.data.HeteroData` with ``"pfo"`` (x [P, 14], pos [P, 2], ptr [B+1]) and ``"jet"``
        (x [J, 4], pos [J, 2], ptr [B+1]) → logits [J, C].

    Raises:
        ConfigError: for an unknown backbone or option, or widths that don't fit.

    Source: Qureshi, Bullard, Schwartzman, *PanopTag*, arXiv:2601.16417.
    """

    embeds_pfos = True

    def __init__(
        self,
        dim: int = 256,
        num_heads: int = 32,
        k: int = 20,
        num_inducing: int = 48,
        num_local_layers: int = 2,
        num_global_layers: int = 3,
        num_decoder_layers: int = 4,
        num_classes: int = 3,
        wrap_phi: bool = True,
        backbone: str | nn.Module = "panoptag",
        backbone_options: Mapping[str, Any] | None = None,
        decoder: str | nn.Module = "cross_attention",
        decoder_delta_r: float | None = None,
        pfo_features: tuple[str, ...] = PFO_FEATURES,
        jet_features: tuple[str, ...] = JET_FEATURES,
    ) -> None:
        super().__init__()
        sizes = {
            "dim": dim,
            "num_heads": num_heads,
            "k": k,
            "num_inducing": num_inducing,
            "num_local_layers": num_local_layers,
            "num_global_layers": num_global_layers,
            "num_decoder_layers": num_decoder_layers,
            "num_classes": num_classes,
        }
        for name, size in sizes.items():
            if not isinstance(size, int) or isinstance(size, bool):
                raise ConfigError(f"'{name}' should be a whole number, not {size!r}")
        if dim < 1 or num_heads < 1 or dim % num_heads:
            raise ConfigError(f"num_heads must divide dim, got dim={dim} and num_heads={num_heads}")
        if decoder_delta_r is not None and not decoder_delta_r > 0:
            raise ConfigError(f"decoder_delta_r should be above 0, not {decoder_delta_r}; leave it out for no limit")
        self.pfo_normalisation = FeatureNormalisation(pfo_features)
        self.jet_normalisation = FeatureNormalisation(jet_features)
        if isinstance(backbone, str):
            shared = {
                "dim": dim,
                "num_heads": num_heads,
                "k": k,
                "num_inducing": num_inducing,
                "num_local_layers": num_local_layers,
                "num_global_layers": num_global_layers,
                "wrap_phi": wrap_phi,
            }
            fields = config_class(backbone).model_fields
            options = {key: value for key, value in shared.items() if key in fields}
            options.update(backbone_options or {})
            backbone = build_backbone(backbone, len(pfo_features), **options)
        if backbone.out_dim != dim:
            raise ConfigError(f"the backbone gives {backbone.out_dim} numbers per PFO, but dim is {dim}")
        self.backbone = backbone
        self.jet_embed = MLP([len(jet_features), dim, dim])
        if isinstance(decoder, str):
            decoder = build_decoder(decoder, dim, num_heads, num_decoder_layers)
        self.decoder = decoder
        self.decoder_delta_r = decoder_delta_r
        self.head = MLP([dim, dim, num_classes])
        self.dim, self.num_classes = dim, num_classes

    def reset_parameters(self) -> None:
        """Draw all weights anew; the normalisation stays."""
        for layer in (self.backbone, self.jet_embed, self.decoder, self.head):
            if layer is not None:
                layer.reset_parameters()  # type: ignore[operator]

    def fit_normalisation(self, batch: HeteroData) -> None:
        """Take mean and deviation of the features from training events."""
        self.pfo_normalisation.fit(batch["pfo"].x)
        self.jet_normalisation.fit(batch["jet"].x)

    def drop_jets(self) -> None:
        """Take off the jet queries and their decoder."""
        self.jet_embed = self.decoder = None  # type: ignore[assignment]

    def embed_pfos(self, batch: HeteroData) -> Tensor:
        """Embedding of each PFO in its event: [P, dim]."""
        pfo = batch["pfo"]
        x = self.pfo_normalisation(pfo.x)
        return encode(self.backbone, x, pfo.pos, event_ptr(pfo), pfo.get("max_length"), momentum(pfo.x))

    def embed(self, batch: HeteroData, return_attention: bool = False) -> Embeddings:
        """Embedding of each jet and PFO, before the head; and the last layer's attention if asked for.

        Args:
            batch: events, as :class:`~panoptag_pyg.events.EventLoader` or PyG batch them, or a single one.
            return_attention: also return the last decoder layer's
                :class:`~panoptag_pyg.ops.attention.Attention`. Default ``False``.

        Raises:
            ValueError: if the batch has different numbers of events for PFOs and jets.
        """
        pfo, jet = batch["pfo"], batch["jet"]
        pfo_ptr, jet_ptr = event_ptr(pfo), event_ptr(jet)
        if pfo_ptr.numel() != jet_ptr.numel():
            raise ValueError(
                f"the batch has {pfo_ptr.numel() - 1} events of PFOs but {jet_ptr.numel() - 1} of jets: "
                "give both node types a ptr"
            )
        edges = ("jet", "attends", "pfo")
        edge_index = batch[edges].edge_index if edges in batch.edge_types else None
        if edge_index is None and self.decoder_delta_r is not None:
            edge_index = pairs_within(self.decoder_delta_r, jet.pos, pfo.pos, jet_ptr, pfo_ptr)
        lengths = (jet.get("max_length"), pfo.get("max_length"))
        h = self.embed_pfos(batch)
        if self.decoder is None:
            return Embeddings(h.new_zeros(0, self.dim), h)
        z = self.jet_embed(self.jet_normalisation(jet.x))
        positions = (jet.pos, pfo.pos)
        z, attention = self.decoder(z, h, jet_ptr, pfo_ptr, positions, edge_index, lengths, return_attention)
        return Embeddings(z, h, attention)

    def __repr__(self) -> str:
        parameters = sum(p.numel() for p in self.parameters())
        return f"PanopTag({self.backbone!r}, {self.decoder!r}, {self.num_classes} classes, {parameters:,} parameters)"
