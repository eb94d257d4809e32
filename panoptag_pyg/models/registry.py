"""Name → tagger; a backbone's name means PanopTag with that encoder; others add theirs by entry point or file."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from torch import nn

from panoptag_pyg.backbones import backbone_names, config_class, is_backbone
from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.plugins import load_entry_points, load_plugin_files

#: An entry point of this group is a module or function whose loading registers taggers.
ENTRY_POINT_GROUP = "panoptag_pyg.taggers"


class TaggerInfo(NamedTuple):
    """What tables say of a tagger.

    Attributes:
        name: what recipes call it.
        summary: one line.
        paper: where it was published, such as ``"arXiv:2601.16417"``; empty where it wasn't.
        needs: fields of the batch beyond the usual ones.
        build: the class or function that makes it.
    """

    name: str
    summary: str
    paper: str
    needs: frozenset[str]
    build: Callable[..., nn.Module]


_Factory = TypeVar("_Factory", bound=Callable[..., nn.Module])
_TAGGERS: dict[str, TaggerInfo] = {}
_plugins_loaded = False


def register_tagger(name: str, *, paper: str = "") -> Callable[[_Factory], _Factory]:
    """Decorator of a class or function: ``build_tagger(name, **options)`` then calls it with ``options``.

    Args:
        name: what recipes call it.
        paper: where it was published. Default: nowhere.
    """

    def decorate(build: _Factory) -> _Factory:
        summary = (inspect.getdoc(build) or "").partition("\n")[0].rstrip(".")
        _TAGGERS[name] = TaggerInfo(name, summary, paper, getattr(build, "needs", frozenset()), build)
        return build

    return decorate


def tagger_names() -> list[str]:
    """Names of all taggers, those of other packages and files included."""
    global _plugins_loaded
    if not _plugins_loaded:
        _plugins_loaded = True
        load_entry_points(ENTRY_POINT_GROUP)
    load_plugin_files()
    return sorted(_TAGGERS)


def tagger_info(name: str) -> TaggerInfo:
    """What tables say of a tagger.

    Raises:
        ConfigError: for an unknown name, with the nearest one.
    """
    names = tagger_names()
    if name not in names:
        raise ConfigError(f"there is no tagger '{name}'{suggest(name, names)}")
    return _TAGGERS[name]


def build_tagger(name: str = "panoptag", **options: Any) -> nn.Module:
    """Build a tagger by name.

    Args:
        name: a name of :func:`tagger_names`; or that of a backbone that isn't a tagger's too, for PanopTag with this
            encoder. Default ``"panoptag"``.
        options: the tagger's own arguments; where it takes a ``backbone``, options of that encoder's config too.

    Raises:
        ConfigError: for an unknown name or option, with the nearest one, or a value that doesn't fit.
    """
    names = tagger_names()
    if name not in names:
        if not is_backbone(name):
            raise ConfigError(f"there is no tagger '{name}'{suggest(name, {*names, *backbone_names()})}")
        if "backbone" in options:
            raise ConfigError(f"'{name}' is a backbone already; leave out backbone = {options['backbone']!r}")
        name, options = "panoptag", {**options, "backbone": name}
    build = _TAGGERS[name].build
    known = list(inspect.signature(build).parameters)
    options = _to_backbone(options, known, inspect.signature(build).parameters)
    for key in options:
        if key not in known:
            raise ConfigError(f"tagger '{name}' has no option '{key}'{suggest(key, known)}")
    return build(**options)


def _to_backbone(options: dict[str, Any], known: list[str], parameters: Any) -> dict[str, Any]:
    """Move options that only the encoder knows into ``backbone_options``."""
    if "backbone_options" not in known:
        return options
    backbone = options.get("backbone", parameters["backbone"].default)
    if not isinstance(backbone, str):
        return options
    fields = config_class(backbone).model_fields
    moved = {key: value for key, value in options.items() if key not in known and key in fields}
    if not moved:
        return options
    kept = {key: value for key, value in options.items() if key not in moved}
    return {**kept, "backbone_options": {**moved, **(options.get("backbone_options") or {})}}
