"""Trained taggers that come with the package: named where a run is, and what ``panoptag predict`` takes if none is."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from panoptag_pyg.training.hub_folder import is_hub_folder

#: The one that is taken where none is named: it tags flavour, on any events with constituents.
DEFAULT_TAGGER = "panoptag_near_flavour"


def shipped_taggers() -> tuple[str, ...]:
    """Names of the trained taggers that come with the package; ``load_tagger`` takes them."""
    folder = _folder()
    return tuple(sorted(path.name for path in folder.iterdir() if is_hub_folder(path))) if folder.is_dir() else ()


def shipped_tagger(name: str | os.PathLike[str]) -> Path | None:
    """The folder of a shipped tagger.

    Args:
        name: its name.

    Returns:
        its ``config.json``, ``model.safetensors`` and model card's folder; ``None`` if there is none of that name.
    """
    return _folder() / str(name) if str(name) in shipped_taggers() else None


def _folder() -> Path:
    return Path(str(resources.files("panoptag_pyg.data"))) / "taggers"
