"""``panoptag validate``."""

from __future__ import annotations

from panoptag_pyg.errors import ConfigError


def validate() -> None:
    """Not there yet."""
    raise ConfigError("panoptag validate isn't there yet")
