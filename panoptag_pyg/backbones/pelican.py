"""PELICAN as an event encoder: all pairs of the leading PFOs, and the rest reading their nearest among these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from panoptag_pyg import ops
from panoptag_pyg.backbones.invariants import LorentzConfig, invariant_columns, invariants_of
from panoptag_pyg.backbones.registry import register_backbone
from panoptag_pyg.nn import MLP
from panoptag_pyg.nn.minkowski import dot, rest_energy, rest_frame_directions, signed_log, with_beams
from panoptag_pyg.nn.pair_layers import PairsToParticles
from panoptag_pyg.nn.pelican import PelicanTrunk
from panoptag_pyg.ops.ragged import take_rows
from panoptag_pyg.ops.ragged_pairs import leading_rows


class PelicanConfig(LorentzConfig):
    """Options of PELICAN; widths of the blocks are the paper's."""

    message_dim: int = Field(60, ge=2, description="channels of a pair between the blocks")
    hidden_dim: int = Field(35, ge=1, description="channels of a pair after each message")
    scalar_dim: int = Field(10, ge=1, description="of the first channels, those that the invariant features get")
    num_layers: int = Field(5, ge=1, description="blocks")
    dropout: float = Field(0.25, ge=0, lt=1, description="after each message")
    mean_size: float = Field(49.0, gt=0, description="a typical number of particles, for the scale of sums")
    factorised: bool = Field(True, description="factorised weights of the 15 maps")
    max_particles: int | None = Field(64, ge=2, description="leading PFOs that all pairs are made of; all if absent")
    rank_by: Literal["pt", "rest_energy"] = Field(
        "pt", description="what leads: pT, or the energy in the event's rest frame, which no boost changes"
    )
    num_readers: int = Field(8, ge=1, description="leading PFOs that each other one reads from")

    @model_validator(mode="after")
    def _channels_left(self) -> PelicanConfig:
        if self.scalar_dim >= self.message_dim:
            raise ValueError(f"scalar_dim ({self.scalar_dim}) must be smaller than message_dim ({self.message_dim})")
        return self


@register_backbone("pelican", PelicanConfig, paper="arXiv:2211.00454")
class PelicanBackbone(nn.Module):
    r"""PELICAN: permutation-equivariant maps of the pairwise Minkowski products.

    .. math::
        h_i = \mathrm{Eq}_{2 \to 1}\big(\mathrm{trunk}(p, s)\big)_i \quad (i \text{ leading}), \qquad
        h_i = \mathrm{MLP}(s_i)
        + \tfrac{1}{k} \sum_{j \in \mathrm{kNN}(i)} \mathrm{MLP}\big(h_j, \psi(p_i \cdot p_j)\big) \quad (\text{others})

    All pairs of 300 PFOs are 90,000, some 370 MB while training; so only the ``max_particles`` leading ones of an
    event get PELICAN's pairs, 64² = 4,096 of them and some 17 MB. Each other PFO reads its k nearest leading ones, in
    the angle in the event's rest frame, which is the same in every frame. The whole is as invariant as the choice of
    who leads: ``rank_by="rest_energy"`` is Lorentz-invariant, ``"pt"`` is kept by rotations about the beam line and
    boosts along it, and where no event has more than ``max_particles``, nothing is chosen.

    Args:
        in_dim: number of PFO features.
        dim: width of the output. Default 256.
        scalar_columns: columns of x taken as invariants s. Default: all but (η, φ, ln pT, ln E).
        beams: join (1, 0, 0, ±1) to each event's leading particles. Default ``False``.
        message_dim: channels between the blocks. Default 60.
        hidden_dim: channels after each message. Default 35.
        scalar_dim: channels of the scalars. Default 10.
        num_layers: blocks. Default 5.
        dropout: after each message. Default 0.25.
        mean_size: n̄. Default 49.
        factorised: factorised weights of the 15 maps. Default ``True``.
        max_particles: leading PFOs; ``None``: all are. Default 64.
        rank_by: ``"pt"`` (default) or ``"rest_energy"``.
        num_readers: k. Default 8.

    Shapes:
        x [P, in_dim], pos [P, 2] (not used), ptr [B+1], momentum [P, 4] (E, px, py, pz) → [P, dim].

    Raises:
        ConfigError: for a column that x doesn't have.

    Source: Bogatskiy et al., arXiv:2211.00454. The path of the others is ours.
    """

    needs = frozenset({"momentum"})

    def __init__(
        self,
        in_dim: int,
        dim: int = 256,
        scalar_columns: Sequence[int] | None = None,
        beams: bool = False,
        message_dim: int = 60,
        hidden_dim: int = 35,
        scalar_dim: int = 10,
        num_layers: int = 5,
        dropout: float = 0.25,
        mean_size: float = 49.0,
        factorised: bool = True,
        max_particles: int | None = 64,
        rank_by: str = "pt",
        num_readers: int = 8,
    ) -> None:
        super().__init__()
        self.in_dim, self.out_dim, self.beams = in_dim, dim, beams
        self.max_particles, self.rank_by, self.num_readers = max_particles, rank_by, num_readers
        self.columns = invariant_columns(in_dim, scalar_columns)
        sizes = (message_dim, hidden_dim, scalar_dim, num_layers, dropout, mean_size, factorised)
        self.trunk = PelicanTrunk(len(self.columns) + beams, *sizes)
        self.gather = PairsToParticles(hidden_dim, dim, mean_size)
        self.alone = MLP([len(self.columns), dim, dim]) if max_particles is not None and self.columns else None
        self.read = MLP([dim + 1, dim, dim]) if max_particles is not None else None

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in (self.trunk, self.gather, self.alone, self.read):
            if layer is not None:
                layer.reset_parameters()  # type: ignore[operator]

    def forward(
        self, x: Tensor, pos: Tensor, ptr: Tensor, max_length: int | None = None, *, momentum: Tensor
    ) -> Tensor:
        scalars, p = invariants_of(x, self.columns), momentum.double()
        if self.max_particles is None or self.read is None:
            return self._of_pairs(p, scalars, ptr)
        key = p[:, 1].square() + p[:, 2].square() if self.rank_by == "pt" else rest_energy(p, ptr)
        first, first_ptr, second, second_ptr = leading_rows(key.detach(), ptr, self.max_particles)
        leading = self._of_pairs(take_rows(p, first), take_rows(scalars, first), first_ptr)
        direction = rest_frame_directions(p, ptr)
        table = ops.cross_neighbour_table(
            take_rows(direction, first), take_rows(direction, second), self.num_readers, first_ptr, second_ptr
        )
        product = signed_log(dot(take_rows(p, second)[:, None], take_rows(take_rows(p, first), table)))
        said = torch.cat([take_rows(leading, table), product[..., None].to(leading.dtype)], dim=-1)
        others = self.read(said).mean(1)
        if self.alone is not None:
            others = others + self.alone(take_rows(scalars, second))
        out = leading.new_zeros(x.size(0), self.out_dim)
        return out.index_copy(0, first, leading).index_copy(0, second, others.to(out.dtype))

    def _of_pairs(self, p: Tensor, scalars: Tensor, ptr: Tensor) -> Tensor:
        rows = None
        if self.beams:
            p, scalars, ptr, rows = with_beams(p, scalars, ptr)
        h = self.gather(*self.trunk(p, scalars, ptr)).to(scalars.dtype)
        return h if rows is None else take_rows(h, rows)

    def __repr__(self) -> str:
        leading = "all" if self.max_particles is None else f"{self.max_particles} leading in {self.rank_by}"
        return f"PelicanBackbone({self.in_dim}, {self.out_dim}, {len(self.trunk.mixings)} blocks, {leading})"
