"""Options of every encoder that has attention heads."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from panoptag_pyg.backbones.registry import BackboneConfig


class HeadsConfig(BackboneConfig):
    """A width that is shared out among heads."""

    num_heads: int = Field(32, ge=1, description="attention heads; divides dim")

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> Self:
        if self.dim % self.num_heads:
            raise ValueError(f"num_heads must divide dim, got dim={self.dim} and num_heads={self.num_heads}")
        return self
