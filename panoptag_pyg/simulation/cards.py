"""Cards: TOML files that say which process is simulated and what the detector does; checked before anything runs."""

from __future__ import annotations

import math
import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from panoptag_pyg.errors import ConfigError, suggest

_LOWEST_PT = "PhaseSpace:pTHatMin"
#: ``QCD_pt30to50``: a shipped card, and bounds of the hard process's pT in GeV.
_BIN = re.compile(r"(?P<card>\w+?)_pt(?P<low>\d+(?:\.\d+)?)to(?P<high>\d+(?:\.\d+)?|[Ii]nf)")
#: Folder of the shipped cards and samples.
DATA_FOLDER = Path(str(files("panoptag_pyg.data")))


class Card(BaseModel):
    """A part of a card; a key that it doesn't know is an error which names the nearest one that it does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for key in values:
                if key not in cls.model_fields:
                    raise ValueError(f"unknown key '{key}'{suggest(str(key), cls.model_fields)}")
        return values

    @classmethod
    def parse(cls, values: dict[str, Any], source: str) -> Self:
        """Build the card from TOML's dictionary.

        Args:
            values: what the file holds.
            source: what to call it in an error, such as its path.

        Raises:
            ConfigError: a key is unknown or missing, or its value isn't legal.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            message = first["msg"].removeprefix("Value error, ")
            raise ConfigError(f"{source}: {where + ': ' if where else ''}{message}") from None


def shipped(folder: str) -> dict[str, Path]:
    """Name → path of the cards that come with the package in ``data/<folder>``."""
    return {path.stem: path for path in sorted((DATA_FOLDER / folder).glob("*.toml"))}


def is_path(name: str | Path) -> bool:
    """Whether a card is named by its path, and not by the name of a shipped one."""
    return str(name).endswith(".toml") or "/" in str(name)


def read_card(name: str | Path, folder: str, kind: str) -> tuple[dict[str, Any], str]:
    """Read a shipped card by name or a user's card by path.

    Args:
        name: a shipped card's name, or a path that ends in ``.toml`` or holds a ``/``.
        folder: folder of the shipped cards inside ``data/``.
        kind: what to call such a card in an error, such as ``"process"``.

    Returns:
        The TOML's dictionary and the path as text.

    Raises:
        ConfigError: there is no such card, or it isn't TOML.
    """
    text = str(name)
    if is_path(name):
        path = Path(text)
        if not path.is_file():
            raise ConfigError(f"{path}: there is no such {kind} card")
    else:
        known = shipped(folder)
        if text not in known:
            raise ConfigError(f"unknown {kind} '{text}'{suggest(text, known)}; a card of yours is given by its path")
        path = known[text]
    return _read_toml(path), str(path)


def read_layered_card(name: str | Path, folder: str, kind: str) -> tuple[dict[str, Any], str]:
    """:func:`read_card` for cards that may build on another one, which their key ``base`` names.

    The card's values win over its base's: tables are merged key by key, anything else is replaced. A base is a shipped
    card's name, or a path beside the card that names it; it may have a base itself.

    Raises:
        ConfigError: as from :func:`read_card`, or cards that build on each other in a circle.
    """
    values, source = read_card(name, folder, kind)
    seen = [Path(source).resolve()]
    while "base" in values:
        base = values.pop("base")
        if not isinstance(base, str):
            raise ConfigError(f"{source}: base: expected a card's name or path, not {base!r}")
        if is_path(base):
            base = str(seen[-1].parent / base)
        try:
            below, path = read_card(base, folder, kind)
        except ConfigError as error:
            raise ConfigError(f"{source}: base: {error}") from None
        if Path(path).resolve() in seen:
            raise ConfigError(f"{source}: base: {path} builds on itself; name another card")
        seen.append(Path(path).resolve())
        values = _merged(below, values)
    return values, source


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {
        key: _merged(below[key], value) if isinstance(value, dict) and isinstance(below.get(key), dict) else value
        for key, value in above.items()
    }
    return {**below, **both}


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from None


class ProcessCard(Card):
    """What PYTHIA simulates.

    Attributes:
        name: name of the process, as stored in files.
        description: one line for people.
        settings: lines ``"Key = value"`` of PYTHIA 8 settings, in the order in which they are given to it.
        matrix_element: name of a matrix element of this package's own that gives PYTHIA the hard events. Default
            ``None``: PYTHIA makes them.
    """

    name: str
    description: str = ""
    settings: tuple[str, ...]
    matrix_element: str | None = None

    @classmethod
    def load(cls, name: str | Path) -> ProcessCard:
        """Read the card of a process that ships (``"ttbar"``, …) or of your own (a path to a TOML file).

        ``"QCD_pt30to50"`` is the shipped card ``QCD`` where PYTHIA's hard process has a pT of 30 to 50 GeV, and so for
        every shipped card with a lowest pT, and any bounds; ``"QCD_pt1000toInf"`` has no upper one.

        Raises:
            ConfigError: there is no such card, or it isn't legal.
        """
        found = _BIN.fullmatch(str(name))
        if found and str(name) not in shipped("processes") and not is_path(name):
            return cls.load(found["card"]).in_bin(float(found["low"]), float(found["high"]), str(name))
        values, source = read_card(name, "processes", "process")
        return cls.parse(values, source)

    def in_bin(self, low: float, high: float, name: str) -> ProcessCard:
        """The same process between two values of the hard process's pT.

        Args:
            low: lowest pT in GeV.
            high: highest pT in GeV; infinity for none.
            name: what to call it.

        Raises:
            ConfigError: this process has no pT to cut on, or there is nothing between the bounds.
        """
        others = tuple(line for line in self.settings if line.partition("=")[0].strip() != _LOWEST_PT)
        if len(others) == len(self.settings):
            raise ConfigError(f"{name}: the process {self.name} has no bins in pT; only those with {_LOWEST_PT} have")
        if not 0 < low < high:
            raise ConfigError(f"{name}: expected bounds that rise, in GeV, such as {self.name}_pt30to50")
        highest = [f"PhaseSpace:pTHatMax = {high:g}"] if math.isfinite(high) else []
        settings = (*others, f"{_LOWEST_PT} = {low:g}", *highest)
        bounds = f"pT of {low:g} to {high:g} GeV" if highest else f"pT above {low:g} GeV"
        description = re.sub(r"pT above [\d.]+ GeV", bounds, self.description)
        if bounds not in description:
            description = f"{description}; {bounds}" if description else bounds
        return self.model_copy(update={"name": name, "settings": settings, "description": description})
