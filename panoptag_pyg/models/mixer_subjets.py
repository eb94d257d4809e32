"""MLP-Mixer over a jet's constituents and over its subjets, joined by cross-attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg.errors import ConfigError, NoAttentionError, suggest
from panoptag_pyg.events.features import CONSTITUENT_FEATURES, JET_FEATURES
from panoptag_pyg.events.jets import CONTAINS, JetView, jet_view
from panoptag_pyg.models.base import Embeddings, Tagger
from panoptag_pyg.models.registry import register_tagger
from panoptag_pyg.models.subjets import SUBJET_FEATURES, subjet_features
from panoptag_pyg.nn import MLP, FeatureNormalisation
from panoptag_pyg.nn.masked_mixer import MaskedMixerLayer
from panoptag_pyg.nn.token_grid import leading_rows, take_grid

#: Algorithms whose subjets ``panoptag prepare`` writes into event files.
SUBJETS = ("cambridge", "antikt", "hdbscan")

_LOG_PT = CONSTITUENT_FEATURES.index("log_pt")


@register_tagger("mixer_subjets", paper="arXiv:2404.14677")
class MixerSubjets(Tagger):
    r"""MLP-Mixer over a jet's leading constituents and over its subjets, joined by cross-attention.

    .. math::
        X = \mathrm{Mixer}^L(W f + b), \quad S = \mathrm{Mixer}^L(W' s + b'), \quad
        Z = X + \mathrm{Attention}\big(\mathrm{LN}(X), \mathrm{LN}'(S)\big), \quad
        \text{logits} = \mathrm{MLP}\big(\mathrm{mean}_i\, \mathrm{LN}''(Z_i)\big)

    An MLP across tokens has a weight for each place, so each jet is a grid of fixed size: its constituents of
    highest pT in falling order, which makes the tagger independent of the order in the file (up to equal
    pT). Empty places are 0 before and after each mixing, ask nothing, are not asked and are not in the mean; a jet
    without subjets reads nothing from them.

    The defaults have 86,371 parameters for the published 86 thousand. That number leaves the sizes open; ours are 64
    constituents and 8 subjets of width 56, two mixer layers for each with inner widths of M and 2·56, and constituents
    that ask the subjets once. Setting empty places to 0 is ours too.

    Args:
        dim: width. Default 56.
        num_constituents: places for constituents. Default 64.
        num_subjets: places for subjets. Default 8.
        num_layers: mixer layers for constituents, and as many for subjets. Default 2.
        token_expansion: inner width of the MLPs across tokens, in tokens. Default 1.
        channel_expansion: inner width of the MLPs across channels, in ``dim``. Default 2.
        num_heads: heads of the cross-attention; divides ``dim``. Default 4.
        subjets: ``"cambridge"`` (default), ``"antikt"`` or ``"hdbscan"``.
        num_classes: C. Default 3: light, c, b.
        use_jet_features: give the last MLP the jet's own features too. Default ``False``.
        jet_features: their names, in their order. Default: pt, eta, phi, mass.

    Shapes:
        a batch with ``"constituent/subjet_cambridge"`` (or the like) → logits [J, C].

    Raises:
        ConfigError: for an unknown algorithm, or widths that don't fit.

    Source: Hammad, Nojiri, *Streamlined jet tagging network assisted by jet prong structure*, arXiv:2404.14677;
    Tolstikhin et al., *MLP-Mixer*, arXiv:2105.01601.
    """

    needs = frozenset({"constituents", "constituent/subjet_cambridge"})

    def __init__(
        self,
        dim: int = 56,
        num_constituents: int = 64,
        num_subjets: int = 8,
        num_layers: int = 2,
        token_expansion: int = 1,
        channel_expansion: int = 2,
        num_heads: int = 4,
        subjets: str = "cambridge",
        num_classes: int = 3,
        use_jet_features: bool = False,
        jet_features: Sequence[str] = JET_FEATURES,
    ) -> None:
        super().__init__()
        if subjets not in SUBJETS:
            raise ConfigError(f"there are no subjets '{subjets}'{suggest(subjets, SUBJETS)}")
        if dim < 1 or num_heads < 1 or dim % num_heads:
            raise ConfigError(f"num_heads must divide dim, got dim={dim} and num_heads={num_heads}")
        if num_constituents < 1 or num_subjets < 1:
            raise ConfigError(
                f"num_constituents and num_subjets must be at least 1, got {num_constituents} and {num_subjets}"
            )
        self.subjets = subjets
        self.needs = frozenset({"constituents", f"constituent/subjet_{subjets}"})
        self.num_constituents, self.num_subjets, self.num_heads = num_constituents, num_subjets, num_heads
        self.constituent_normalisation = FeatureNormalisation(CONSTITUENT_FEATURES)
        self.subjet_normalisation = FeatureNormalisation(SUBJET_FEATURES)
        self.jet_normalisation = FeatureNormalisation(tuple(jet_features)) if use_jet_features else None
        self.constituent_embed = nn.Linear(len(CONSTITUENT_FEATURES), dim)
        self.subjet_embed = nn.Linear(len(SUBJET_FEATURES), dim)
        expansions = token_expansion, channel_expansion
        self.constituent_mixer, self.subjet_mixer = (
            nn.ModuleList(MaskedMixerLayer(places, dim, *expansions) for _ in range(num_layers))
            for places in (num_constituents, num_subjets)
        )
        self.constituent_norm, self.subjet_norm, self.norm = (nn.LayerNorm(dim) for _ in range(3))
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))
        width = dim + (len(jet_features) if use_jet_features else 0)
        self.head = MLP([width, dim, num_classes])
        self.dim, self.num_classes = width, num_classes

    def reset_parameters(self) -> None:
        """Draw all weights anew; the normalisation stays."""
        for layer in self.children():
            for part in layer if isinstance(layer, nn.ModuleList) else [layer]:
                if not isinstance(part, FeatureNormalisation):
                    part.reset_parameters()  # type: ignore[operator]

    def fit_normalisation(self, batch: HeteroData) -> None:
        """Take mean and deviation of the features from training jets and their subjets."""
        jets = jet_view(batch)
        self.constituent_normalisation.fit(jets.x)
        features, taken = self._subjets(batch, jets)
        if bool(taken.any()):
            self.subjet_normalisation.fit(features[taken])
        if self.jet_normalisation is not None:
            self.jet_normalisation.fit(batch["jet"].x)

    def embed(self, batch: HeteroData, return_attention: bool = False) -> Embeddings:
        """Mean token of each jet.

        Raises:
            ConfigError: if attention is asked for, or the batch has no constituents or subjets.
        """
        if return_attention:
            raise NoAttentionError("a tagger of single jets has no attention over the event to return")
        jets = jet_view(batch)
        rows, taken = leading_rows(jets.x[:, _LOG_PT], jets.jet, jets.ptr, self.num_constituents)
        x = take_grid(self.constituent_embed(self.constituent_normalisation(jets.x)), rows)
        features, found = self._subjets(batch, jets)
        s = self.subjet_embed(self.subjet_normalisation(features)) * found.unsqueeze(-1)
        for layer in self.constituent_mixer:
            x = layer(x, taken)
        for layer in self.subjet_mixer:
            s = layer(s, found)
        x = self.norm(x + self._read_subjets(x, s, found)) * taken.unsqueeze(-1)
        z = x.sum(1) / taken.sum(1, keepdim=True).clamp(min=1)
        if self.jet_normalisation is not None:
            z = torch.cat([z, self.jet_normalisation(batch["jet"].x).to(z.dtype)], dim=1)
        return Embeddings(z)

    def _subjets(self, batch: HeteroData, jets: JetView) -> tuple[Tensor, Tensor]:
        name = f"subjet_{self.subjets}"
        if name not in batch[CONTAINS]:
            raise ConfigError(
                f"the batch has no {name} of the jets' constituents; read the events with "
                f"EventDataset(..., fields=['constituent/{name}']), from files that panoptag prepare has added it to"
            )
        return subjet_features(jets, batch[CONTAINS][name], batch["jet"].pos, self.num_subjets)

    def _read_subjets(self, x: Tensor, s: Tensor, found: Tensor) -> Tensor:
        """Attention of the constituents [J, M, dim] to the subjets [J, S, dim] that there are."""
        x, s = self.constituent_norm(x), self.subjet_norm(s)
        q, k, v = (
            layer(tokens).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for layer, tokens in ((self.q, x), (self.k, s), (self.v, s))
        )
        # A jet without subjets asks its first, empty place, and the answer is dropped: a softmax over nothing is NaN.
        asked = found | (torch.arange(self.num_subjets, device=found.device) == 0)
        y = F.scaled_dot_product_attention(q, k, v, asked[:, None, None, :])
        y = self.out(y.transpose(1, 2).flatten(2))
        return y * found.any(1)[:, None, None]

    def __repr__(self) -> str:
        parameters = sum(p.numel() for p in self.parameters())
        return (
            f"MixerSubjets({self.q.in_features}, {self.num_constituents} constituents, "
            f"{self.num_subjets} {self.subjets} subjets, {parameters:,} parameters)"
        )
