"""EdgeConv alone: PanopTag's local stage without the global one."""

from __future__ import annotations

from pydantic import Field

from panoptag_pyg.backbones.panoptag import PanopTagBackbone
from panoptag_pyg.backbones.registry import BackboneConfig, register_backbone


class EdgeConvConfig(BackboneConfig):
    """Options of the EdgeConv encoder."""

    num_layers: int = Field(3, ge=1, description="EdgeConv layers")
    k: int = Field(20, ge=1, description="neighbours of each PFO")
    edge_mlp_layers: int = Field(3, ge=1, description="linear layers in each EdgeConv's MLP")
    wrap_phi: bool = Field(True, description="measure position distances with Δφ wrapped to [-π, π]")


@register_backbone("edgeconv", EdgeConvConfig, paper="arXiv:1801.07829")
class EdgeConvBackbone(PanopTagBackbone):
    r"""EdgeConv on the nearest neighbours, found anew by every layer in what the layer before made.

    .. math::
        x^0 = \mathrm{MLP}(f), \qquad
        x_i^{l+1} = x_i^l + \max_{j \in \mathcal{N}_l(i)} \mathrm{MLP}_l\big([x_j^l - x_i^l,\; x_i^l]\big)

    N_0 are the k nearest in (η, φ), the later ones those in x^l. What a PFO hears of reaches as far as its neighbours'
    neighbours do; nothing is about the whole event. It is PanopTag's encoder without its ISAB layers.

    Args:
        in_dim: number of PFO features.
        dim: width. Default 256.
        num_layers: EdgeConv layers. Default 3, as ParticleNet's.
        k: neighbours. Default 20.
        edge_mlp_layers: linear layers in each EdgeConv's MLP. Default 3.
        wrap_phi: wrap Δφ when neighbours are found in (η, φ). Default ``True``.

    Shapes:
        x [P, in_dim], pos [P, 2] (η, φ), ptr [B+1] → [P, dim].

    Source: Wang et al., *Dynamic Graph CNN*, arXiv:1801.07829; Qu and Gouskos, *ParticleNet*, arXiv:1902.08570.
    """

    def __init__(
        self,
        in_dim: int,
        dim: int = 256,
        num_layers: int = 3,
        k: int = 20,
        edge_mlp_layers: int = 3,
        wrap_phi: bool = True,
    ) -> None:
        super().__init__(
            in_dim,
            dim,
            k=k,
            num_local_layers=num_layers,
            num_global_layers=0,
            edge_mlp_layers=edge_mlp_layers,
            wrap_phi=wrap_phi,
        )

    def __repr__(self) -> str:
        return f"EdgeConvBackbone({self.in_dim}, {self.out_dim}, k={self.k}, num_layers={len(self.local_layers)})"
