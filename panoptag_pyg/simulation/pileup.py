"""Pileup: minimum-bias collisions on top of every event."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.simulation.particles import Particles


@dataclass(frozen=True)
class Pileup:
    """How much pileup there is and where it comes from."""

    @classmethod
    def parse(cls, text: str) -> Pileup:
        """The pileup that ``--pileup`` asks for."""
        raise ConfigError(f"pileup '{text}' can't be simulated yet")

    def overlay(self, particles: Particles, seed: int, block: int) -> tuple[Particles, np.ndarray]:
        """The particles with those of pileup, and the collisions in each event [B]."""
        raise NotImplementedError
