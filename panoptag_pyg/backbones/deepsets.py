"""Deep Sets: each PFO embedded by itself; what interaction between PFOs adds is measured against this."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from panoptag_pyg.backbones.registry import BackboneConfig, register_backbone
from panoptag_pyg.nn import MLP


class DeepSetsConfig(BackboneConfig):
    """Options of the Deep Sets encoder."""

    num_layers: int = Field(3, ge=1, description="linear layers of the per-PFO MLP")


@register_backbone("deepsets", DeepSetsConfig, paper="arXiv:1703.06114")
class DeepSetsBackbone(nn.Module):
    r"""One MLP on every PFO alone; only the decoder's attention then brings the PFOs of a jet together.

    .. math:: h_i = \mathrm{MLP}(f_i)

    Args:
        in_dim: number of PFO features.
        dim: width of the embeddings. Default 256.
        num_layers: linear layers, with layer normalisation and GELU between them. Default 3.

    Shapes:
        x [P, in_dim], pos [P, 2] (not used), ptr [B+1] → [P, dim].

    Source: Zaheer et al., *Deep Sets*, arXiv:1703.06114; Komiske et al., *Energy Flow Networks*, arXiv:1810.05165.
    """

    def __init__(self, in_dim: int, dim: int = 256, num_layers: int = 3) -> None:
        super().__init__()
        self.out_dim = dim
        self.mlp = MLP([in_dim, *[dim] * num_layers], norm=True)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        self.mlp.reset_parameters()

    def forward(self, x: Tensor, pos: Tensor, ptr: Tensor, max_length: int | None = None) -> Tensor:
        return self.mlp(x)

    def __repr__(self) -> str:
        return f"DeepSetsBackbone({self.mlp.channels})"
