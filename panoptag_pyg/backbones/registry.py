"""Name → backbone: a class and a pydantic config per name; others add theirs by entry point or file."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from pydantic import Field
from torch import nn

from panoptag_pyg.config import StrictConfig, validate
from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.plugins import load_entry_points, load_plugin_files

#: An entry point of this group is a module or function whose loading registers backbones.
ENTRY_POINT_GROUP = "panoptag_pyg.backbones"


class BackboneConfig(StrictConfig):
    """What every backbone can be told; each backbone's own config adds its options."""

    dim: int = Field(256, ge=1, description="width of the PFO embeddings")


_Class = TypeVar("_Class", bound=type[nn.Module])


class BackboneInfo(NamedTuple):
    """What tables say of a backbone.

    Attributes:
        name: what recipes call it.
        summary: one line.
        paper: where it was published; empty where it wasn't.
        needs: what it is called with beyond x, pos and ptr: ``"momentum"`` or nothing.
        config: its options.
        build: its class.
    """

    name: str
    summary: str
    paper: str
    needs: frozenset[str]
    config: type[BackboneConfig]
    build: Callable[..., nn.Module]


_BACKBONES: dict[str, BackboneInfo] = {}
_FAMILIES: dict[str, tuple[str, Callable[[str], BackboneInfo]]] = {}
_plugins_loaded = False


def register_backbone(name: str, config: type[BackboneConfig], *, paper: str = "") -> Callable[[_Class], _Class]:
    """Class decorator: ``build_backbone(name, in_dim, **options)`` then makes the class.

    The class is called as ``cls(in_dim, **config.model_dump())`` and has ``out_dim`` and
    ``forward(x, pos, ptr, max_length=None)``; with a class attribute ``needs = frozenset({"momentum"})`` it is also
    given ``momentum``, (E, px, py, pz) in GeV [P, 4], by keyword. A class attribute ``extra`` names the extra of this
    package that it needs, for tables.

    Args:
        name: what recipes call it.
        config: its options, checked before it is built.
        paper: where it was published. Default: nowhere.
    """

    def decorate(cls: _Class) -> _Class:
        summary = (inspect.getdoc(cls) or "").partition("\n")[0].rstrip(".")
        _BACKBONES[name] = BackboneInfo(name, summary, paper, getattr(cls, "needs", frozenset()), config, cls)
        return cls

    return decorate


def register_backbone_family(prefix: str, meaning: str, resolve: Callable[[str], BackboneInfo]) -> None:
    """Make ``prefix:NAME`` a backbone for every NAME that ``resolve`` knows.

    Args:
        prefix: what stands before the colon.
        meaning: what ``prefix:NAME`` is, in a few words for an error.
        resolve: NAME → what there is of that name; raises ConfigError for one that there isn't.
    """
    _FAMILIES[prefix] = (meaning, resolve)


def backbone_names() -> list[str]:
    """Names of all backbones, those of other packages and files included."""
    global _plugins_loaded
    if not _plugins_loaded:
        _plugins_loaded = True
        load_entry_points(ENTRY_POINT_GROUP)
    load_plugin_files()
    return sorted(_BACKBONES)


def is_backbone(name: str) -> bool:
    """Whether :func:`build_backbone` knows the name, or the family before its colon."""
    return name in backbone_names() or (name.partition(":")[0] in _FAMILIES and ":" in name)


def backbone_info(name: str) -> BackboneInfo:
    """What tables say of a backbone.

    Raises:
        ConfigError: for an unknown name, with the nearest one.
    """
    names = backbone_names()
    prefix, colon, rest = name.partition(":")
    if colon and prefix in _FAMILIES:
        return _FAMILIES[prefix][1](rest)
    if name not in names:
        families = "".join(f"; {key}:NAME for {meaning}" for key, (meaning, _) in _FAMILIES.items())
        raise ConfigError(f"there is no backbone '{name}'{suggest(name, names)}{families}")
    return _BACKBONES[name]


def config_class(name: str) -> type[BackboneConfig]:
    """The pydantic config of a backbone.

    Raises:
        ConfigError: for an unknown name, with the nearest one.
    """
    return backbone_info(name).config


def build_backbone(name: str, in_dim: int, **options: Any) -> nn.Module:
    """Build an event encoder.

    Args:
        name: a name of :func:`backbone_names`.
        in_dim: number of PFO features.
        options: fields of the backbone's config.

    Raises:
        ConfigError: for an unknown name or option, with the nearest one, or a value that doesn't fit.
    """
    config = validate(config_class(name), options, f"backbone '{name}'")
    return backbone_info(name).build(in_dim, **config.model_dump())
