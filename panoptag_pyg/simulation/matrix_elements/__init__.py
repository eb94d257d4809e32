"""Hard processes that PYTHIA lacks, from matrix elements of our own; a process card names one as ``matrix_element``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.simulation.les_houches import HardEvents
from panoptag_pyg.simulation.matrix_elements.top_w_events import TopWEvents

#: Name of a matrix element → what makes its source of events from PYTHIA's settings and the seed.
MATRIX_ELEMENTS: dict[str, Callable[[Sequence[str], int], HardEvents]] = {"tW": TopWEvents}

__all__ = ["MATRIX_ELEMENTS", "TopWEvents", "make_matrix_element"]


def make_matrix_element(name: str, settings: Sequence[str], seed: int) -> HardEvents:
    """The source of events that a process card names.

    Args:
        name: such as ``"tW"``.
        settings: lines ``"Key = value"`` of PYTHIA settings.
        seed: any whole number ≥ 0.

    Raises:
        ConfigError: there is no such matrix element, or the settings don't allow it.
        MissingExtraError: pythia8mc isn't installed.
    """
    if name not in MATRIX_ELEMENTS:
        raise ConfigError(f"unknown matrix element '{name}'{suggest(name, MATRIX_ELEMENTS)}")
    return _made(name, tuple(settings), seed)


@lru_cache(maxsize=4)
def _made(name: str, settings: tuple[str, ...], seed: int) -> HardEvents:
    # A source takes a second or two to integrate its cross section, and is asked for more than once in a simulation.
    return MATRIX_ELEMENTS[name](settings, seed)
