"""Single-jet taggers that give the same answer in every frame: LorentzNet, PELICAN and L-GATr on one jet."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg.backbones.invariants import invariant_columns, invariants_of
from panoptag_pyg.errors import ConfigError, NoAttentionError
from panoptag_pyg.events.features import CONSTITUENT_FEATURES
from panoptag_pyg.events.jets import JetView, jet_view
from panoptag_pyg.models.base import Embeddings, Tagger
from panoptag_pyg.models.registry import register_tagger
from panoptag_pyg.models.single_jet import SingleJetTagger
from panoptag_pyg.nn import MLP, FeatureNormalisation
from panoptag_pyg.nn.minkowski import rest_energy, with_beams
from panoptag_pyg.nn.pair_layers import SLOPE, PairsToSet
from panoptag_pyg.nn.pelican import PelicanTrunk
from panoptag_pyg.ops.ragged import take_rows
from panoptag_pyg.ops.ragged_pairs import leading_rows


@register_tagger("lorentznet", paper="arXiv:2201.08187")
class LorentzNetTagger(SingleJetTagger):
    r"""LorentzNet on one jet: all pairs of constituents, by their Minkowski products.

    :class:`~panoptag_pyg.backbones.LorentzNetBackbone` on the full graph of each jet, mean over the constituents, and a
    head of two layers. With two invariants per constituent and two classes, as in the paper's top tagging, it has the
    paper's 224 thousand parameters.

    Args:
        dim: width. Default 72.
        num_layers: blocks. Default 6.
        num_classes: C. Default 3: light, c, b.
        step: c of the coordinates' update. Default 5e-3.
        dropout: of the pooled embedding. Default 0.2.
        beams: join the beams (1, 0, 0, ±1) to each jet; then only rotations about the beam line leave the logits as
            they are. Default ``False``.
        graph: ``"full"`` (default), ``"rest_frame_knn"`` or ``"knn"``.
        k: neighbours, unless the graph is full. Default 20.
        scalar_columns: features taken as invariants. Default: charge, particle ID and impact parameters.
        pooling: ``"mean"`` (default), ``"sum"`` or ``"max"``.

    Shapes:
        a batch with ``"constituents"`` → logits [J, C].

    Source: Gong et al., arXiv:2201.08187. The paper's mean includes the beams; here they only send messages.
    """

    def __init__(
        self,
        dim: int = 72,
        num_layers: int = 6,
        num_classes: int = 3,
        step: float = 5e-3,
        dropout: float = 0.2,
        beams: bool = False,
        graph: str = "full",
        k: int = 20,
        scalar_columns: tuple[int, ...] | None = None,
        pooling: str = "mean",
    ) -> None:
        options = {
            "hidden_dim": dim,
            "num_layers": num_layers,
            "step": step,
            "beams": beams,
            "graph": graph,
            "k": k,
            "scalar_columns": scalar_columns,
        }
        super().__init__("lorentznet", dim, pooling, num_classes, dropout, options)


@register_tagger("lgatr", paper="arXiv:2411.00446")
class LGATrTagger(SingleJetTagger):
    r"""L-GATr on one jet: a transformer of Lorentz multivectors (package lgatr).

    :class:`~panoptag_pyg.backbones.LGATrBackbone` on each jet, mean over the constituents, and a head of two layers;
    the paper reads a token of the whole jet instead of the mean.

    Args:
        dim: width of the constituents' embeddings. Default 64.
        num_vector_channels: multivector channels. Default 16.
        num_scalar_channels: scalar channels. Default 32.
        num_layers: blocks. Default 12.
        num_attention_heads: heads. Default 8.
        num_classes: C. Default 3: light, c, b.
        dropout: of the pooled embedding. Default 0.
        beams: give the plane across the beam line, which leaves boosts along it and rotations about it.
            Default ``False``.
        time_reference: give the time axis, which leaves rotations. Default ``False``.
        scalar_columns: features taken as invariants. Default: charge, particle ID and impact parameters.
        pooling: ``"mean"`` (default), ``"sum"`` or ``"max"``.

    Shapes:
        a batch with ``"constituents"`` → logits [J, C].

    Raises:
        MissingExtraError: if the package ``lgatr`` isn't installed, with the pip command.

    Source: Brehmer et al., arXiv:2411.00446.
    """

    extra = "lgatr"

    def __init__(
        self,
        dim: int = 64,
        num_vector_channels: int = 16,
        num_scalar_channels: int = 32,
        num_layers: int = 12,
        num_attention_heads: int = 8,
        num_classes: int = 3,
        dropout: float = 0.0,
        beams: bool = False,
        time_reference: bool = False,
        scalar_columns: tuple[int, ...] | None = None,
        pooling: str = "mean",
    ) -> None:
        options = {
            "num_vector_channels": num_vector_channels,
            "num_scalar_channels": num_scalar_channels,
            "num_layers": num_layers,
            "num_attention_heads": num_attention_heads,
            "beams": beams,
            "time_reference": time_reference,
            "scalar_columns": scalar_columns,
        }
        super().__init__("lgatr", dim, pooling, num_classes, dropout, options)


@register_tagger("pelican", paper="arXiv:2211.00454")
class PelicanTagger(Tagger):
    r"""PELICAN on one jet: permutation-equivariant maps of all pairwise Minkowski products.

    .. math::
        z = \mathrm{Eq}_{2 \to 0}(\mathrm{trunk}(p, s)), \qquad \text{logits} = W\, \mathrm{LeakyReLU}(z) + b

    The widths are those of the published 48 k configuration (the paper counts 45 k for its own); the LeakyReLU between
    the last two linear maps is ours, as they would be one without it.

    Args:
        message_dim: channels of a pair between the blocks. Default 60.
        hidden_dim: channels of a pair after each message. Default 35.
        scalar_dim: channels that the invariant features get. Default 10.
        num_layers: blocks. Default 5.
        dim: width of z. Default 60.
        num_classes: C. Default 3: light, c, b.
        dropout: after each message and of z. Default 0.25.
        mean_size: n̄, a typical number of constituents. Default 49, that of the paper's jets.
        factorised: factorised weights of the 15 maps. Default ``True``.
        beams: join the beams (1, 0, 0, ±1) to each jet; then only rotations about the beam line leave the logits as
            they are. Default ``False``.
        max_particles: constituents of each jet that are looked at, ``None``: all. Default 80, as in the paper.
        rank_by: which these are: leading in ``"pt"`` (default) or ``"rest_energy"``, the energy in the jet's rest
            frame, which no boost changes.
        scalar_columns: features taken as invariants. Default: charge, particle ID and impact parameters.

    Shapes:
        a batch with ``"constituents"`` → logits [J, C].

    Raises:
        ConfigError: for sizes that don't fit, an unknown ranking, or a column that isn't there.

    Source: Bogatskiy et al., arXiv:2211.00454.
    """

    needs = frozenset({"constituents"})

    def __init__(
        self,
        message_dim: int = 60,
        hidden_dim: int = 35,
        scalar_dim: int = 10,
        num_layers: int = 5,
        dim: int = 60,
        num_classes: int = 3,
        dropout: float = 0.25,
        mean_size: float = 49.0,
        factorised: bool = True,
        beams: bool = False,
        max_particles: int | None = 80,
        rank_by: str = "pt",
        scalar_columns: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        if scalar_dim >= message_dim:
            raise ConfigError(f"scalar_dim ({scalar_dim}) must be smaller than message_dim ({message_dim})")
        if rank_by not in ("pt", "rest_energy"):
            raise ConfigError(f"rank_by must be 'pt' or 'rest_energy', not {rank_by!r}")
        self.constituent_normalisation = FeatureNormalisation(CONSTITUENT_FEATURES)
        self.columns = invariant_columns(len(CONSTITUENT_FEATURES), scalar_columns)
        self.beams, self.max_particles, self.rank_by = beams, max_particles, rank_by
        sizes = (message_dim, hidden_dim, scalar_dim, num_layers, dropout, mean_size, factorised)
        self.trunk = PelicanTrunk(len(self.columns) + beams, *sizes)
        self.gather = PairsToSet(hidden_dim, dim, mean_size)
        self.dropout = nn.Dropout(dropout)
        self.head = MLP([dim, num_classes])
        self.dim, self.num_classes = dim, num_classes

    def reset_parameters(self) -> None:
        """Draw all weights anew; the normalisation stays."""
        for layer in (self.trunk, self.gather, self.head):
            layer.reset_parameters()  # type: ignore[operator]

    def fit_normalisation(self, batch: HeteroData) -> None:
        """Take mean and deviation of the features from training jets."""
        self.constituent_normalisation.fit(jet_view(batch).x)

    def embed(self, batch: HeteroData, return_attention: bool = False) -> Embeddings:
        """Embedding of each jet [J, dim].

        Raises:
            ConfigError: if attention is asked for, or the batch has no constituents.
        """
        if return_attention:
            raise NoAttentionError("a tagger of single jets has no attention over the event to return")
        z = self.gather(*self.trunk(*self._particles(jet_view(batch))))
        return Embeddings(self.dropout(F.leaky_relu(z, SLOPE)))

    def _particles(self, jets: JetView) -> tuple[Tensor, Tensor, Tensor]:
        """Momenta, invariants and ptr of the constituents that are looked at."""
        x = invariants_of(self.constituent_normalisation(jets.x), self.columns)
        p, ptr = jets.momentum.double(), jets.ptr
        if self.max_particles is not None:
            key = p[:, 1].square() + p[:, 2].square() if self.rank_by == "pt" else rest_energy(p, ptr)
            rows, ptr, _, _ = leading_rows(key.detach(), ptr, self.max_particles)
            p, x = take_rows(p, rows), take_rows(x, rows)
        if self.beams:
            p, x, ptr, _ = with_beams(p, x, ptr)
        return p, x, ptr

    def __repr__(self) -> str:
        parameters = sum(p.numel() for p in self.parameters())
        return f"PelicanTagger({self.trunk!r}, {self.dim}, {parameters:,} parameters)"
