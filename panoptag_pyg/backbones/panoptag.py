"""PanopTag's event encoder: local EdgeConv stage, global ISAB stage."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from panoptag_pyg import ops
from panoptag_pyg.backbones.registry import BackboneConfig, register_backbone
from panoptag_pyg.nn import ISAB, MLP, FusedEdgeConv
from panoptag_pyg.nn.geometric_edge_conv import GeometricEdgeConv


class PanopTagConfig(BackboneConfig):
    """Options of the PanopTag encoder; the defaults are the paper's size."""

    num_heads: int = Field(32, ge=1, description="attention heads; divides dim")
    k: int = Field(20, ge=1, description="neighbours of each PFO in the local stage")
    num_inducing: int = Field(48, ge=1, description="inducing points of each ISAB")
    num_local_layers: int = Field(2, ge=0, description="EdgeConv layers")
    num_global_layers: int = Field(3, ge=0, description="ISAB layers")
    edge_mlp_layers: int = Field(3, ge=1, description="linear layers in each EdgeConv's MLP")
    wrap_phi: bool = Field(True, description="measure position distances with Δφ wrapped to [-π, π]")
    edge_geometry: bool = Field(False, description="edges of the first EdgeConv see Δη and wrapped Δφ; not the paper's")


@register_backbone("panoptag", PanopTagConfig, paper="arXiv:2601.16417")
class PanopTagBackbone(nn.Module):
    r"""The event encoder of PanopTag.

    .. math::
        x^0 = \mathrm{MLP}(f), \quad x^{l+1} = x^l + \mathrm{EdgeConv}_l(x^l), \quad
        g = \mathrm{ISAB}_3 \circ \mathrm{ISAB}_2 \circ \mathrm{ISAB}_1 (x^L), \quad h = x^L + g

    The first EdgeConv finds neighbours in (eta, phi), each later one in the features that it receives.

    Args:
        in_dim: number of PFO features.
        dim: width. Default 256.
        num_heads: attention heads. Default 32.
        k: neighbours. Default 20.
        num_inducing: inducing points. Default 48.
        num_local_layers: EdgeConv layers. Default 2.
        num_global_layers: ISAB layers. Default 3.
        edge_mlp_layers: linear layers in each EdgeConv's MLP; the paper leaves it open. Default 3.
        wrap_phi: wrap Δφ when neighbours are found in (eta, phi); the paper doesn't. Default ``True``.
        edge_geometry: edges of the first EdgeConv see Δη and wrapped Δφ. Not the paper's. Default ``False``.

    Shapes:
        x [P, in_dim], pos [P, 2] (eta, phi), ptr [B+1] → [P, dim].

    Source: Qureshi et al., *PanopTag*, arXiv:2601.16417.
    """

    def __init__(
        self,
        in_dim: int,
        dim: int = 256,
        num_heads: int = 32,
        k: int = 20,
        num_inducing: int = 48,
        num_local_layers: int = 2,
        num_global_layers: int = 3,
        edge_mlp_layers: int = 3,
        wrap_phi: bool = True,
        edge_geometry: bool = False,
    ) -> None:
        super().__init__()
        self.in_dim, self.out_dim, self.k = in_dim, dim, k
        self.metric = "wrapped_phi" if wrap_phi else "euclidean"
        self.embed = MLP([in_dim, dim, dim])
        kinds = [GeometricEdgeConv if edge_geometry and i == 0 else FusedEdgeConv for i in range(num_local_layers)]
        self.local_layers = nn.ModuleList(kind(dim, dim, edge_mlp_layers) for kind in kinds)
        self.global_layers = nn.ModuleList(ISAB(dim, num_heads, num_inducing) for _ in range(num_global_layers))

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in (self.embed, *self.local_layers, *self.global_layers):
            layer.reset_parameters()

    def forward(self, x: Tensor, pos: Tensor, ptr: Tensor, max_length: int | None = None) -> Tensor:
        x = self.embed(x)
        for i, layer in enumerate(self.local_layers):
            if i == 0:
                table = ops.neighbour_table(pos, self.k, ptr, self.metric)
            else:
                table = ops.neighbour_table(x, self.k, ptr)
            x = x + (layer(x, table, pos) if isinstance(layer, GeometricEdgeConv) else layer(x, table))
        embedding = x
        for layer in self.global_layers:
            embedding = layer(embedding, ptr, max_length)
        return x + embedding if len(self.global_layers) else x

    def __repr__(self) -> str:
        parts = [f"{self.in_dim}, {self.out_dim}", f"k={self.k}"]
        parts += [f"local={len(self.local_layers)}", f"global={len(self.global_layers)}"]
        return f"PanopTagBackbone({', '.join(parts)})"
