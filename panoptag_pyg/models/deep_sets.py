"""PFN and EFN: a jet as the sum of what a network says of each constituent."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg import ops
from panoptag_pyg.errors import ConfigError, NoAttentionError
from panoptag_pyg.events.features import CONSTITUENT_FEATURES, JET_FEATURES
from panoptag_pyg.events.jets import JetView, jet_view
from panoptag_pyg.models.base import Embeddings, Tagger
from panoptag_pyg.models.registry import register_tagger
from panoptag_pyg.nn import FeatureNormalisation
from panoptag_pyg.ops.ragged import take_rows

_LOG_PT = CONSTITUENT_FEATURES.index("log_pt")


@register_tagger("pfn", paper="arXiv:1810.05165")
class PFN(Tagger):
    r"""Particle Flow Network: Deep Sets on all features of a jet's constituents.

    .. math:: \text{logits} = F\Big(\sum_i \Phi(f_i)\Big)

    Φ and F are MLPs with ReLU after every layer, as published; a last linear layer gives the logits. Without
    constituents the sum is 0.

    Args:
        phi_sizes: widths of Φ's layers. Default (100, 100, 256).
        f_sizes: widths of F's layers. Default (100, 100, 100).
        num_classes: C. Default 3: light, c, b.
        use_jet_features: give F the jet's own features too. Default ``False``.
        jet_features: their names, in their order. Default: pt, eta, phi, mass.

    Shapes:
        a batch with ``"constituents"`` → logits [J, C].

    Raises:
        ConfigError: for sizes that are no widths.

    Source: Komiske, Metodiev, Thaler, *Energy Flow Networks*, arXiv:1810.05165, eq. 1.2 and section 4.2.
    """

    needs = frozenset({"constituents"})
    #: Which features of a constituent Φ sees.
    inputs: tuple[str, ...] = CONSTITUENT_FEATURES

    def __init__(
        self,
        phi_sizes: Sequence[int] = (100, 100, 256),
        f_sizes: Sequence[int] = (100, 100, 100),
        num_classes: int = 3,
        use_jet_features: bool = False,
        jet_features: Sequence[str] = JET_FEATURES,
    ) -> None:
        super().__init__()
        self.normalisation = FeatureNormalisation(self.inputs)
        self.jet_normalisation = FeatureNormalisation(tuple(jet_features)) if use_jet_features else None
        further = len(jet_features) if use_jet_features else 0
        self.phi = _relu_mlp("phi_sizes", len(self.inputs), phi_sizes)
        self.f = _relu_mlp("f_sizes", phi_sizes[-1] + further, f_sizes)
        self.head = nn.Linear(f_sizes[-1], num_classes)
        self.dim, self.num_classes = f_sizes[-1], num_classes

    def reset_parameters(self) -> None:
        """Draw all weights anew; the normalisation stays."""
        for layer in (*self.phi, *self.f, self.head):
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()

    def fit_normalisation(self, batch: HeteroData) -> None:
        """Take mean and deviation of the features from training jets."""
        self.normalisation.fit(self._seen(jet_view(batch)))
        if self.jet_normalisation is not None:
            self.jet_normalisation.fit(batch["jet"].x)

    def embed(self, batch: HeteroData, return_attention: bool = False) -> Embeddings:
        """What F's last hidden layer says of each jet.

        Raises:
            ConfigError: if attention is asked for, or the batch has no constituents.
        """
        if return_attention:
            raise NoAttentionError("a sum over constituents has no attention to return")
        jets = jet_view(batch)
        z = ops.segment_reduce(self._terms(jets), jets.ptr, "sum")
        if self.jet_normalisation is not None:
            z = torch.cat([z, self.jet_normalisation(batch["jet"].x).to(z.dtype)], dim=1)
        return Embeddings(self.f(z))

    def _seen(self, jets: JetView) -> Tensor:
        return jets.x

    def _terms(self, jets: JetView) -> Tensor:
        """What is summed over each jet's constituents [N, dim]."""
        x = self.normalisation(self._seen(jets))
        return self.phi(x).to(x.dtype)  # under autocast too, sums want more digits than bfloat16 has

    def __repr__(self) -> str:
        parameters = sum(p.numel() for p in self.parameters())
        return f"{type(self).__name__}(phi={_widths(self.phi)}, f={_widths(self.f)}, {parameters:,} parameters)"


@register_tagger("efn", paper="arXiv:1810.05165")
class EFN(PFN):
    r"""Energy Flow Network: angles alone, weighted with the momentum shares; safe against soft and collinear emission.

    .. math::
        \text{logits} = F\Big(\sum_i z_i\, \Phi(\Delta\eta_i, \Delta\varphi_i)\Big), \qquad
        z_i = \frac{p_{T,i}}{\sum_k p_{T,k}}

    A constituent split into two in the same direction gives the same sum, and a soft one changes it in proportion to
    its pT: a calculation in perturbative QCD can be compared with the tagger. The features of the jet itself
    are left out by default. pt, eta, phi, mass and the angularities with κ = 1, α > 0 would keep the safety, but
    multiplicity and pTD² wouldn't.

    Args:
        phi_sizes: widths of Φ's layers. Default (100, 100, 256).
        f_sizes: widths of F's layers. Default (100, 100, 100).
        num_classes: C. Default 3: light, c, b.
        use_jet_features: give F the jet's own features too. Default ``False``.
        jet_features: their names, in their order. Default: pt, eta, phi, mass.

    Shapes:
        a batch with ``"constituents"`` → logits [J, C].

    Raises:
        ConfigError: for sizes that are no widths.

    Source: Komiske, Metodiev, Thaler, *Energy Flow Networks*, arXiv:1810.05165, eq. 1.1 and section 4.2.
    """

    inputs = CONSTITUENT_FEATURES[:2]

    def _seen(self, jets: JetView) -> Tensor:
        return jets.pos

    def _terms(self, jets: JetView) -> Tensor:
        terms = super()._terms(jets)
        pt = jets.x[:, _LOG_PT].to(self.normalisation.mean.dtype).exp()
        total = ops.segment_reduce(pt, jets.ptr, "sum")
        return terms * (pt / take_rows(total, jets.jet)).unsqueeze(1)


def _relu_mlp(name: str, width: int, sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers, each followed by ReLU."""
    if not sizes or any(not isinstance(size, int) or isinstance(size, bool) or size < 1 for size in sizes):
        raise ConfigError(f"'{name}' should be a list of widths of 1 or more, not {list(sizes)}")
    layers: list[nn.Module] = []
    for before, after in pairwise((width, *sizes)):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers)


def _widths(mlp: nn.Sequential) -> list[int]:
    return [layer.out_features for layer in mlp if isinstance(layer, nn.Linear)]
