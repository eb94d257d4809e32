"""Any encoder as a tagger of single jets: each jet a set of its own, of which nothing else of the event is seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg import ops
from panoptag_pyg.backbones import build_backbone, config_class
from panoptag_pyg.errors import ConfigError, NoAttentionError, suggest
from panoptag_pyg.events.features import CONSTITUENT_FEATURES, JET_FEATURES
from panoptag_pyg.events.jets import JetView, jet_view
from panoptag_pyg.models.base import Embeddings, Tagger, encode
from panoptag_pyg.models.registry import register_tagger
from panoptag_pyg.nn import MLP, FeatureNormalisation

POOLINGS = ("mean", "sum", "max")


@register_tagger("single_jet")
class SingleJetTagger(Tagger):
    r"""Tag each jet by its own constituents, seen by any event encoder.

    .. math::
        h_i = \mathrm{encoder}(\text{constituents of jet } j)_i, \quad
        z_j = \mathrm{pool}_i\, h_i, \quad \text{logits} = \mathrm{MLP}(z_j)

    Jets without constituents pool to 0.

    Args:
        backbone: name of the encoder, or a module ``(x, pos, ptr, max_length) → [N, out_dim]``; it gets
            (Δη, Δφ) to the jet's axis for positions. Default ``"deepsets"``.
        dim: width. Default 128.
        pooling: ``"mean"`` (default), ``"sum"`` or ``"max"`` over the constituents.
        num_classes: C. Default 3: light, c, b.
        dropout: of the pooled embedding. Default 0.
        backbone_options: options of the encoder's config.
        use_jet_features: join the jet's own features to the pooled ones. Default ``False``.
        jet_features: names of the jet features, in their order. Default: pt, eta, phi, mass.

    Shapes:
        a batch with ``"constituents"`` → logits [J, C].

    Raises:
        ConfigError: for an unknown encoder, option or pooling, or widths that don't fit.
    """

    needs = frozenset({"constituents"})

    def __init__(
        self,
        backbone: str | nn.Module = "deepsets",
        dim: int = 128,
        pooling: str = "mean",
        num_classes: int = 3,
        dropout: float = 0.0,
        backbone_options: Mapping[str, Any] | None = None,
        use_jet_features: bool = False,
        jet_features: tuple[str, ...] = JET_FEATURES,
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ConfigError(f"there is no pooling '{pooling}'{suggest(pooling, POOLINGS)}")
        self.constituent_normalisation = FeatureNormalisation(CONSTITUENT_FEATURES)
        if isinstance(backbone, str):
            options = {"dim": dim} if "dim" in config_class(backbone).model_fields else {}
            backbone = build_backbone(backbone, len(CONSTITUENT_FEATURES), **{**options, **(backbone_options or {})})
        if backbone.out_dim != dim:
            raise ConfigError(f"the backbone gives {backbone.out_dim} numbers per constituent, but dim is {dim}")
        self.backbone = backbone
        self.pooling = pooling
        self.jet_normalisation = FeatureNormalisation(tuple(jet_features)) if use_jet_features else None
        width = dim + (len(jet_features) if use_jet_features else 0)
        self.dropout = nn.Dropout(dropout)
        self.head = MLP([width, dim, num_classes])
        self.dim, self.num_classes = width, num_classes

    def reset_parameters(self) -> None:
        """Draw all weights anew; the normalisation stays."""
        for layer in (self.backbone, self.head):
            layer.reset_parameters()  # type: ignore[operator]

    def fit_normalisation(self, batch: HeteroData) -> None:
        """Take mean and deviation of the features from training jets."""
        self.constituent_normalisation.fit(jet_view(batch).x)
        if self.jet_normalisation is not None:
            self.jet_normalisation.fit(batch["jet"].x)

    def embed(self, batch: HeteroData, return_attention: bool = False) -> Embeddings:
        """Pooled embedding of each jet [J, dim].

        Raises:
            ConfigError: if attention is asked for, or the batch has no constituents.
        """
        if return_attention:
            raise NoAttentionError("a tagger of single jets has no attention over the event to return")
        jets = jet_view(batch)
        z = self.pool(self.encode(jets), jets)
        if self.jet_normalisation is not None:
            z = torch.cat([z, self.jet_normalisation(batch["jet"].x).to(z.dtype)], dim=1)
        return Embeddings(self.dropout(z))

    def encode(self, jets: JetView) -> Tensor:
        """Embedding of each constituent in its jet [N, dim]."""
        x = self.constituent_normalisation(jets.x)
        return encode(self.backbone, x, jets.pos, jets.ptr, jets.max_length, jets.momentum)

    def pool(self, h: Tensor, jets: JetView) -> Tensor:
        """Embedding of each jet [J, dim]."""
        return ops.segment_reduce(h, jets.ptr, self.pooling)

    def __repr__(self) -> str:
        parameters = sum(p.numel() for p in self.parameters())
        return f"{type(self).__name__}({self.backbone!r}, {self.pooling}, {parameters:,} parameters)"
