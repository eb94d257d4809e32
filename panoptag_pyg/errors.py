"""Errors that a user can mend: one sentence that says what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType


class PanopTagError(Exception):
    """Something that the user can mend; the CLI prints the sentence alone and exits with code 2."""


class EventFileError(PanopTagError, ValueError):
    """An event file that is missing, cut short, of another version, or holds values no event can have."""


class ConversionError(PanopTagError, ValueError):
    """A file of another format that is missing, damaged, or lacks what its conversion needs."""


class ConfigError(PanopTagError, ValueError):
    """A recipe, card, name or option that does not exist or doesn't fit."""


class NoAttentionError(ConfigError):
    """A tagger was asked what its jets attend to, and nothing in it attends to anything."""


class CheckpointError(PanopTagError, RuntimeError):
    """A checkpoint that is unsafe, damaged, or doesn't fit its recipe."""


class MissingExtraError(PanopTagError, ImportError):
    """An optional package that isn't installed."""


def suggest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'ttbar'? (known: …)"``: the end of a sentence about an unknown name.

    Args:
        name: what was asked for.
        known: what there is.
    """
    names = sorted(known)
    by_lower = {known_name.lower(): known_name for known_name in names}
    near = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.4)
    hint = f"; did you mean '{by_lower[near[0]]}'?" if near else ""
    return f"{hint} (known: {', '.join(names)})"


def require_extra(module: str, extra: str) -> ModuleType:
    """Import ``module``, or say which pip command brings it.

    Args:
        module: the module to import, such as ``"fastjet"``.
        extra: this package's extra that installs it, such as ``"simulation"``.

    Raises:
        MissingExtraError: when ``module`` isn't installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"this needs the package '{module}', which is not installed: pip install 'panoptag-pyg[{extra}]'"
        ) from error
