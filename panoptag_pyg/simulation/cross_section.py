"""The cross section of what is simulated, so that samples of several processes can be normalised."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

from panoptag_pyg.simulation.generators import hard_events
from panoptag_pyg.simulation.les_houches_file import LesHouchesFile
from panoptag_pyg.simulation.pythia import Pythia

if TYPE_CHECKING:
    from panoptag_pyg.simulation.pipeline import SimulationConfig

#: Hard processes that the estimate is made of; its error is about 1 %.
NUM_EVENTS = 2500


def cross_section(config: SimulationConfig) -> tuple[float, float]:
    """Cross section in pb and its statistical error, the same for any number of events and workers.

    PYTHIA's own comes from 2,500 hard processes without showers, made for this alone: the counts of a simulation's
    blocks would depend on how these are spread over workers. It is of leading order, and includes the branching ratios
    of decays that the settings choose. That of hard events from outside is what their source says.

    Args:
        config: what is simulated.

    Raises:
        ConfigError: a setting doesn't exist.
        PanopTagError: PYTHIA can't start with the settings; a file of events is damaged.
    """
    source = hard_events(config)
    if source is None:
        return _of_pythia(config.settings, config.seed)
    if isinstance(source, LesHouchesFile):
        return source.cross_section
    # A matrix element's processes come from the same integrals, so that their errors go together.
    return math.fsum(p.cross_section for p in source.processes), math.fsum(p.error for p in source.processes)


@lru_cache(maxsize=16)
def _of_pythia(settings: tuple[str, ...], seed: int) -> tuple[float, float]:
    return Pythia([*settings, "PartonLevel:all = off"], seed).cross_section(NUM_EVENTS)
