"""JetViT: a transformer with a class token on a jet's constituents, joined with what is known of the whole jet."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg.errors import ConfigError, NoAttentionError
from panoptag_pyg.events.features import CONSTITUENT_FEATURES, JET_FEATURES
from panoptag_pyg.events.jets import JetView, jet_view
from panoptag_pyg.models.base import Embeddings, Tagger
from panoptag_pyg.models.registry import register_tagger
from panoptag_pyg.nn import MLP, FeatureNormalisation, TransformerBlock
from panoptag_pyg.nn.class_token import prepend_class_token
from panoptag_pyg.nn.token_combiner import TokenCombiner
from panoptag_pyg.ops.ragged import take_rows
from panoptag_pyg.ops.ranks import segment_rank

_LOG_PT = CONSTITUENT_FEATURES.index("log_pt")


@register_tagger("jetvit")
class JetViT(Tagger):
    r"""Vision transformer of a jet: its constituents read by a class token, combined with the jet's own features.

    .. math::
        x_i = W f_i + b + p_{\mathrm{rank}(i)}, \qquad
        c = \mathrm{MLP}\big(\mathrm{LN}(\mathrm{Transformer}(c_0, x_1, \dots, x_n)_0)\big), \qquad
        t = \mathrm{MLP}(\text{jet features}), \\
        \text{logits} = \mathrm{MLP}\big(w_c\, \hat c + w_t\, \hat t\,\big)

    with :math:`\hat c` and :math:`\hat t` brought to mean 0 and variance 1, so that
    :meth:`combiner_weights` says how much each side matters. Position p is learned for each rank in pT;
    constituents beyond the table share its last entry. Without it the constituents are a set, and their order in pT
    (their order among equal pT too) doesn't matter. Sets stay ragged: a jet's class token is one more row of it, and
    a jet without constituents has this row alone.

    The talk that the tagger is known from gives no sizes; the defaults are ours.

    Args:
        dim: width. Default 128.
        num_heads: attention heads; divides ``dim``. Default 8.
        num_layers: transformer blocks. Default 4.
        expansion: width of the blocks' hidden layers, in units of ``dim``. Default 4.
        use_position: learn a position for each rank in pT. Default ``True``.
        num_positions: ranks with a position of their own. Default 64.
        dropout: in the blocks, after attention and feed-forward. Default 0.
        num_classes: C. Default 3: light, c, b.
        use_jet_features: combine with the jet's own features. Default ``True``.
        jet_features: their names, in their order. Default: pt, eta, phi, mass.

    Shapes:
        a batch with ``"constituents"`` → logits [J, C].

    Raises:
        ConfigError: for widths that don't fit.

    Source: Dosovitskiy et al., *An Image is Worth 16x16 Words*, arXiv:2010.11929, for the class token and the learned
    positions.
    """

    needs = frozenset({"constituents"})

    def __init__(
        self,
        dim: int = 128,
        num_heads: int = 8,
        num_layers: int = 4,
        expansion: int = 4,
        use_position: bool = True,
        num_positions: int = 64,
        dropout: float = 0.0,
        num_classes: int = 3,
        use_jet_features: bool = True,
        jet_features: Sequence[str] = JET_FEATURES,
    ) -> None:
        super().__init__()
        if dim < 1 or num_heads < 1 or dim % num_heads:
            raise ConfigError(f"num_heads must divide dim, got dim={dim} and num_heads={num_heads}")
        if use_position and num_positions < 1:
            raise ConfigError(f"num_positions must be at least 1, got {num_positions}; use_position turns it off")
        self.constituent_normalisation = FeatureNormalisation(CONSTITUENT_FEATURES)
        self.constituent_embed = nn.Linear(len(CONSTITUENT_FEATURES), dim)
        self.class_token = nn.Parameter(torch.empty(dim))
        self.position = nn.Parameter(torch.empty(num_positions, dim)) if use_position else None
        self.blocks = nn.ModuleList(TransformerBlock(dim, num_heads, expansion, dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(dim)
        self.class_mlp = MLP([dim, dim, dim])
        if use_jet_features:
            self.jet_normalisation = FeatureNormalisation(tuple(jet_features))
            self.jet_mlp = MLP([len(jet_features), dim, dim])
            self.combiner = TokenCombiner(("constituents", "jet"))
        self.use_jet_features = use_jet_features
        self.head = MLP([dim, dim, num_classes])
        self.dim, self.num_heads, self.num_classes = dim, num_heads, num_classes
        self._draw_tokens()

    def reset_parameters(self) -> None:
        """Draw all weights anew; the normalisation stays."""
        for name, layer in self.named_children():
            if name == "blocks":
                for block in self.blocks:
                    block.reset_parameters()  # type: ignore[operator]
            elif not isinstance(layer, FeatureNormalisation):
                layer.reset_parameters()  # type: ignore[operator]
        self._draw_tokens()

    def _draw_tokens(self) -> None:
        nn.init.normal_(self.class_token, std=0.02)
        if self.position is not None:
            nn.init.normal_(self.position, std=0.02)

    def fit_normalisation(self, batch: HeteroData) -> None:
        """Take mean and deviation of the features from training jets."""
        self.constituent_normalisation.fit(jet_view(batch).x)
        if self.use_jet_features:
            self.jet_normalisation.fit(batch["jet"].x)

    def embed(self, batch: HeteroData, return_attention: bool = False) -> Embeddings:
        """The combined token of each jet.

        Raises:
            ConfigError: if attention is asked for, or the batch has no constituents.
        """
        if return_attention:
            raise NoAttentionError("a tagger of single jets has no attention over the event to return")
        token = self.class_mlp(self.norm(self._read(jet_view(batch))))
        if self.use_jet_features:
            token = self.combiner(token, self.jet_mlp(self.jet_normalisation(batch["jet"].x)))
        return Embeddings(token)

    def _read(self, jets: JetView) -> Tensor:
        """What the class token of each jet has read [J, dim]."""
        x = self.constituent_embed(self.constituent_normalisation(jets.x))
        if self.position is not None:
            rank = segment_rank(jets.x[:, _LOG_PT], jets.jet, jets.ptr)
            x = x + take_rows(self.position, rank.clamp(max=self.position.size(0) - 1))
        sets = prepend_class_token(x, self.class_token, jets.ptr, jets.jet, jets.max_length)
        x = sets.x
        for block in self.blocks:
            x = block(x, sets.ptr, sets.max_length)
        return sets.class_tokens(x)

    def combiner_weights(self) -> dict[str, float]:
        """Shares of the two sides in the combined token: ``"constituents"`` and ``"jet"``; they sum to 1.

        Empty without jet features.
        """
        return self.combiner.weights() if self.use_jet_features else {}

    def report(self) -> dict[str, float]:
        """The combiner's weights, for :func:`~panoptag_pyg.evaluation.evaluate`."""
        return {f"combiner weight of the {name}": share for name, share in self.combiner_weights().items()}

    def __repr__(self) -> str:
        parameters = sum(p.numel() for p in self.parameters())
        position = "no position" if self.position is None else f"{self.position.size(0)} positions"
        return (
            f"JetViT({self.dim}, num_heads={self.num_heads}, {len(self.blocks)} blocks, {position}, "
            f"{parameters:,} parameters)"
        )
