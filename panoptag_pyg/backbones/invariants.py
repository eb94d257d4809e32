"""What a Lorentz-equivariant encoder may take from the features: those that no boost or rotation changes."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field
from torch import Tensor

from panoptag_pyg.backbones.registry import BackboneConfig
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events.features import PFO_FEATURES

#: Columns of η, φ, ln pT, ln E (or Δη, Δφ, ln pT, ln E): what the four-momentum says already, in one frame's terms.
NUM_KINEMATIC = PFO_FEATURES.index("charge")


class LorentzConfig(BackboneConfig):
    """Options that the Lorentz-equivariant encoders share."""

    scalar_columns: tuple[int, ...] | None = Field(
        None, strict=False, description="columns of x taken as invariants; all after the four kinematic ones if absent"
    )
    beams: bool = Field(False, description="show the network the beam line, which leaves only rotations about it")


def invariant_columns(in_dim: int, columns: Sequence[int] | None) -> list[int]:
    """Columns of x that are taken for invariants: given ones, or all but the kinematic ones.

    Args:
        in_dim: columns of x.
        columns: what was asked for. Default: from charge on.

    Raises:
        ConfigError: for a column that x doesn't have.
    """
    chosen = list(range(NUM_KINEMATIC, in_dim)) if columns is None else list(columns)
    for column in chosen:
        if not 0 <= column < in_dim:
            raise ConfigError(f"scalar_columns has {column}, but there are {in_dim} features: 0 to {in_dim - 1}")
    return chosen


def invariants_of(x: Tensor, columns: Sequence[int]) -> Tensor:
    """Those columns: x [P, d_in] → [P, S]."""
    return x[:, list(columns)]
