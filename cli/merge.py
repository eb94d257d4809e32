"""``panoptag merge``."""

from __future__ import annotations

from panoptag_pyg.errors import ConfigError


def merge() -> None:
    """Not there yet."""
    raise ConfigError("panoptag merge isn't there yet")
