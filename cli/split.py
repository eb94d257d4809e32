"""``panoptag split``."""

from __future__ import annotations

from panoptag_pyg.errors import ConfigError


def split() -> None:
    """Not there yet."""
    raise ConfigError("panoptag split isn't there yet")
