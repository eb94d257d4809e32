"""Where events come from: PYTHIA alone, or PYTHIA after hard events made elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.simulation.external import ExternalPythia
from panoptag_pyg.simulation.les_houches import HardEvents
from panoptag_pyg.simulation.les_houches_file import LesHouchesFile
from panoptag_pyg.simulation.matrix_elements import make_matrix_element
from panoptag_pyg.simulation.particles import GeneratedEvents
from panoptag_pyg.simulation.pythia import Pythia

if TYPE_CHECKING:
    from panoptag_pyg.simulation.pipeline import SimulationConfig


class Generator(Protocol):
    """A source of whole events, block by block; block n is the same whatever was asked for before it."""

    def generate(self, block: int, num_events: int) -> GeneratedEvents:
        """The first ``num_events`` events of a block."""
        ...


def hard_events(config: SimulationConfig) -> HardEvents | None:
    """The source of hard events that a configuration names; ``None`` where PYTHIA makes them itself.

    Raises:
        ConfigError: it names two at once, or one that there isn't.
        LesHouchesFileError: the file of events isn't there or isn't one.
    """
    if config.matrix_element is not None and config.lhe is not None:
        raise ConfigError(
            f"the process card takes its events from the matrix element '{config.matrix_element}' and --lhe from "
            f"{config.lhe}; choose one"
        )
    if config.matrix_element is not None:
        return make_matrix_element(config.matrix_element, config.settings, config.seed)
    return None if config.lhe is None else LesHouchesFile(config.lhe)


def make_generator(config: SimulationConfig) -> Generator:
    """The generator that a configuration asks for.

    Raises:
        ConfigError: it asks for two at once, or for one that there isn't.
        LesHouchesFileError: the file of events isn't there or isn't one.
        PanopTagError: PYTHIA can't start with these settings.
    """
    source, settings = hard_events(config), list(config.settings)
    if source is None:
        return Pythia(settings, config.seed)
    # A file's events are what they are; a matrix element gives another one for one that fails.
    return ExternalPythia(source, settings, config.seed, replace_failures=config.lhe is None)
