"""Name → backbone: a class and a pydantic config per name; other packages add theirs by entry point."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, TypeVar

from pydantic import Field
from torch import nn

from panoptag_pyg.config import StrictConfig, validate
from panoptag_pyg.errors import ConfigError, suggest

#: An entry point of this group is a module or function whose loading registers backbones.
ENTRY_POINT_GROUP = "panoptag_pyg.backbones"


class BackboneConfig(StrictConfig):
    """What every backbone can be told; each backbone's own config adds its options."""

    dim: int = Field(256, ge=1, description="width of the PFO embeddings")


_Class = TypeVar("_Class", bound=type[nn.Module])
_BACKBONES: dict[str, tuple[Callable[..., nn.Module], type[BackboneConfig]]] = {}
_plugins_loaded = False


def register_backbone(name: str, config: type[BackboneConfig]) -> Callable[[_Class], _Class]:
    """Class decorator: ``build_backbone(name, in_dim, **options)`` then makes the class.

    The class is called as ``cls(in_dim, **config.model_dump())`` and has ``out_dim`` and
    ``forward(x, pos, ptr, max_length=None)``.

    Args:
        name: what recipes call it.
        config: its options, checked before it is built.
    """

    def decorate(cls: _Class) -> _Class:
        _BACKBONES[name] = (cls, config)
        return cls

    return decorate


def backbone_names() -> list[str]:
    """Names of all backbones, those of other packages included."""
    global _plugins_loaded
    if not _plugins_loaded:
        _plugins_loaded = True
        for entry in entry_points(group=ENTRY_POINT_GROUP):
            loaded = entry.load()
            if callable(loaded) and not isinstance(loaded, type):
                loaded()
    return sorted(_BACKBONES)


def config_class(name: str) -> type[BackboneConfig]:
    """The pydantic config of a backbone.

    Raises:
        ConfigError: for an unknown name, with the nearest one.
    """
    names = backbone_names()
    if name not in names:
        raise ConfigError(f"there is no backbone '{name}'{suggest(name, names)}")
    return _BACKBONES[name][1]


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
    return _BACKBONES[name][0](in_dim, **config.model_dump())
