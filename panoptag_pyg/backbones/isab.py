"""The set transformer's induced attention alone: PanopTag's global stage without the local one."""

from __future__ import annotations

from pydantic import Field

from panoptag_pyg.backbones.heads import HeadsConfig
from panoptag_pyg.backbones.panoptag import PanopTagBackbone
from panoptag_pyg.backbones.registry import register_backbone


class ISABConfig(HeadsConfig):
    """Options of the ISAB encoder."""

    num_layers: int = Field(3, ge=1, description="ISAB layers")
    num_inducing: int = Field(48, ge=1, description="inducing points of each ISAB")


@register_backbone("isab", ISABConfig, paper="arXiv:1810.00825")
class ISABBackbone(PanopTagBackbone):
    r"""Attention to learned points that have attended to the event, in time linear in its PFOs.

    .. math::
        x = \mathrm{MLP}(f), \qquad h = x + \mathrm{ISAB}_L \circ \dots \circ \mathrm{ISAB}_1(x), \qquad
        \mathrm{ISAB}(X) = \mathrm{MAB}\big(X, \mathrm{MAB}(I, X)\big)

    Every PFO hears of the whole event; nothing looks at its neighbours in particular. It is PanopTag's encoder without
    its EdgeConv layers.

    Args:
        in_dim: number of PFO features.
        dim: width. Default 256.
        num_layers: ISAB layers. Default 3.
        num_heads: attention heads. Default 32.
        num_inducing: inducing points I. Default 48.

    Shapes:
        x [P, in_dim], pos [P, 2] (not used), ptr [B+1] → [P, dim].

    Source: Lee et al., *Set Transformer*, arXiv:1810.00825, eq. 9 and 10.
    """

    def __init__(
        self, in_dim: int, dim: int = 256, num_layers: int = 3, num_heads: int = 32, num_inducing: int = 48
    ) -> None:
        super().__init__(
            in_dim, dim, num_heads, num_inducing=num_inducing, num_local_layers=0, num_global_layers=num_layers
        )

    def __repr__(self) -> str:
        return f"ISABBackbone({self.in_dim}, {self.out_dim}, num_layers={len(self.global_layers)})"
