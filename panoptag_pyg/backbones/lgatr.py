"""L-GATr, the geometric-algebra transformer of the package ``lgatr``, on ragged events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from panoptag_pyg.backbones import lgatr_attention
from panoptag_pyg.backbones.invariants import LorentzConfig, invariant_columns, invariants_of
from panoptag_pyg.backbones.registry import register_backbone
from panoptag_pyg.errors import require_extra


class LGATrConfig(LorentzConfig):
    """Options of L-GATr; the defaults are the size of its paper's top tagger."""

    num_vector_channels: int = Field(16, ge=1, description="multivector channels")
    num_scalar_channels: int = Field(32, ge=1, description="scalar channels")
    num_layers: int = Field(12, ge=1, description="transformer blocks")
    num_attention_heads: int = Field(8, ge=1, description="heads of the encoder, not the decoder's num_heads")
    time_reference: bool = Field(False, description="show the network the time axis, which leaves only rotations")
    momentum_scale: float = Field(20.0, gt=0, description="GeV by which momenta are divided")
    dropout: float = Field(0.0, ge=0, lt=1, description="in each block")


@register_backbone("lgatr", LGATrConfig, paper="arXiv:2411.00446")
class LGATrBackbone(nn.Module):
    r"""L-GATr: a transformer of Lorentz multivectors, from the package lgatr.

    .. math:: h = W \big[\langle\text{multivectors}\rangle_0, \text{scalars}\big], \qquad
        (\text{multivectors}, \text{scalars}) = \mathrm{LGATr}(p / 20\,\mathrm{GeV}, s)

    Every PFO attends to all of its event through :func:`panoptag_pyg.ops.ragged_attention`, so neither masks nor
    padding are needed. Multivectors have the precision of the weights, so a float32 model is invariant only as far as
    float32 carries its products.

    With ``beams``, the plane across the beam line is a constant input, a bivector: rotations about the beam line **and
    boosts along it** keep it. With ``time_reference`` so is (1, 0, 0, 0), which only rotations keep.

    Args:
        in_dim: number of PFO features.
        dim: width of the output. Default 256.
        scalar_columns: columns of x taken as invariants s. Default: all but (η, φ, ln pT, ln E).
        beams: give the plane across the beam line. Default ``False``.
        num_vector_channels: multivector channels. Default 16.
        num_scalar_channels: scalar channels. Default 32.
        num_layers: blocks. Default 12.
        num_attention_heads: heads. Default 8.
        time_reference: give the time axis. Default ``False``.
        momentum_scale: GeV by which momenta are divided. Default 20.
        dropout: in each block. Default 0.

    Shapes:
        x [P, in_dim], pos [P, 2] (not used), ptr [B+1], momentum [P, 4] (E, px, py, pz) → [P, dim].

    Raises:
        MissingExtraError: if the package ``lgatr`` isn't installed, with the pip command.
        ConfigError: for a column that x doesn't have.

    Source: Brehmer et al., arXiv:2411.00446; Spinner et al., arXiv:2405.14806; https://github.com/heidelberg-hepml/lgatr.
    """

    needs = frozenset({"momentum"})
    extra = "lgatr"

    def __init__(
        self,
        in_dim: int,
        dim: int = 256,
        scalar_columns: Sequence[int] | None = None,
        beams: bool = False,
        num_vector_channels: int = 16,
        num_scalar_channels: int = 32,
        num_layers: int = 12,
        num_attention_heads: int = 8,
        time_reference: bool = False,
        momentum_scale: float = 20.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        lgatr = require_extra("lgatr", "lgatr")
        lgatr_attention.install()
        self.in_dim, self.out_dim, self.momentum_scale = in_dim, dim, momentum_scale
        self.columns = invariant_columns(in_dim, scalar_columns)
        plane = "xyplane" if beams else None
        references = lgatr.get_spurions(beam_spurion=plane, add_time_spurion=time_reference, beam_mirror=False)
        self.register_buffer("references", references, persistent=False)
        self._sizes: dict[str, Any] = {
            "num_blocks": num_layers,
            "in_mv_channels": 1 + len(references),
            "out_mv_channels": num_vector_channels,
            "hidden_mv_channels": num_vector_channels,
            "in_s_channels": len(self.columns),
            "out_s_channels": num_scalar_channels,
            "hidden_s_channels": num_scalar_channels,
            "attention": {"num_heads": num_attention_heads},
            "mlp": {},
            "dropout_prob": dropout or None,
        }
        self.net = lgatr.LGATr(**self._sizes)
        self.out = nn.Linear(num_vector_channels + num_scalar_channels, dim)

    references: Tensor

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        fresh = type(self.net)(**self._sizes)
        self.net.load_state_dict(fresh.state_dict())
        self.out.reset_parameters()

    def forward(
        self, x: Tensor, pos: Tensor, ptr: Tensor, max_length: int | None = None, *, momentum: Tensor
    ) -> Tensor:
        multivectors, scalars = self.multivectors_and_scalars(x, ptr, max_length, momentum)
        return self.out(torch.cat([multivectors[..., 0], scalars], dim=-1))

    def multivectors_and_scalars(
        self, x: Tensor, ptr: Tensor, max_length: int | None, momentum: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The last block's multivectors [P, channels, 16], which turn with the event, and its scalars [P, channels].

        Arguments as of a backbone.
        """
        if torch.compiler.is_exporting():
            # Products of the package ask whether there is one row, and the graph would refuse that: never one here.
            x, momentum = (nn.functional.pad(rows, (0, 0, 0, 2)) for rows in (x, momentum))
            multivectors, scalars = self._transform(x, torch.cat([ptr, ptr[-1:] + 2]), None, momentum)
            return multivectors[:-2], scalars[:-2]
        return self._transform(x, ptr, max_length, momentum)

    def _transform(self, x: Tensor, ptr: Tensor, max_length: int | None, momentum: Tensor) -> tuple[Tensor, Tensor]:
        p = (momentum.double() / self.momentum_scale).to(self.out.weight.dtype)
        references = self.references.to(p.dtype).expand(p.size(0), -1, -1)
        # The 16 components: scalar, vector, bivector, axial vector, pseudoscalar.
        inputs = torch.cat([nn.functional.pad(p, (1, 11))[:, None, :], references], dim=1)
        scalars = invariants_of(x, self.columns).to(p.dtype) if self.columns else None
        return self.net(inputs, scalars, backend=lgatr_attention.NAME, ptr=ptr, max_length=max_length)

    def __repr__(self) -> str:
        return f"LGATrBackbone({self.in_dim}, {self.out_dim}, {len(self.net.blocks)} blocks)"
