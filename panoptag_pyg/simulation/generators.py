"""Where events come from: PYTHIA alone, or PYTHIA after hard events made elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.simulation.particles import GeneratedEvents
from panoptag_pyg.simulation.pythia import Pythia

if TYPE_CHECKING:
    from panoptag_pyg.simulation.pipeline import SimulationConfig


class Generator(Protocol):
    """A source of whole events, block by block; block n is the same whatever was asked for before it."""

    def generate(self, block: int, num_events: int) -> GeneratedEvents:
        """The first ``num_events`` events of a block."""
        ...


def make_generator(config: SimulationConfig) -> Generator:
    """The generator that a configuration asks for.

    Raises:
        ConfigError: it asks for two at once, or for one that there isn't.
        PanopTagError: PYTHIA can't start with these settings.
    """
    if config.matrix_element is not None and config.lhe is not None:
        raise ConfigError(
            f"the process card takes its events from the matrix element '{config.matrix_element}' and --lhe from "
            f"{config.lhe}; choose one"
        )
    if config.matrix_element is not None:
        raise ConfigError(f"unknown matrix element '{config.matrix_element}'")
    if config.lhe is not None:
        raise ConfigError(f"{config.lhe}: Les Houches events can't be read yet")
    return Pythia(list(config.settings), config.seed)
