"""Name → tagger."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.models.panoptag import PanopTag

_TAGGERS: dict[str, Callable[..., nn.Module]] = {"panoptag": PanopTag}


def register_tagger(name: str, cls: Callable[..., nn.Module]) -> None:
    """Make ``build_tagger(name, **options)`` call ``cls(**options)``."""
    _TAGGERS[name] = cls


def tagger_names() -> list[str]:
    """Names of all taggers."""
    return sorted(_TAGGERS)


def build_tagger(name: str = "panoptag", **options: Any) -> nn.Module:
    """Build a tagger by name.

    Args:
        name: a name of :func:`tagger_names`. Default ``"panoptag"``.
        options: the tagger's own arguments.

    Raises:
        ConfigError: for an unknown name or option, with the nearest one, or a value that doesn't fit.
    """
    if name not in _TAGGERS:
        raise ConfigError(f"there is no tagger '{name}'{suggest(name, _TAGGERS)}")
    known = inspect.signature(_TAGGERS[name]).parameters
    for key in options:
        if key not in known:
            raise ConfigError(f"tagger '{name}' has no option '{key}'{suggest(key, known)}")
    return _TAGGERS[name](**options)
