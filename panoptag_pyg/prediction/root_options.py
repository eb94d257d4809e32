"""How ROOT files are read when they are tagged directly: the converters' options, asked for as ``KEY=VALUE``."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from panoptag_pyg.convert.delphes_options import DelphesOptions
from panoptag_pyg.convert.nanoaod_options import NanoaodOptions
from panoptag_pyg.errors import ConfigError, suggest

#: Options of each format, by the names that the converters have for them.
DELPHES_KEYS = tuple(DelphesOptions.model_fields)
NANOAOD_KEYS = tuple(entry.name for entry in fields(NanoaodOptions))
#: What words say on a command line.
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class RootOptions:
    """How ROOT files are read.

    Attributes:
        values: what was asked for, by the names that the converters have for it. Default: nothing, which is as they do
            without options.
    """

    values: dict[str, Any] = field(default_factory=dict)

    @property
    def delphes(self) -> DelphesOptions:
        """How DELPHES files are read.

        Raises:
            ConfigError: a value doesn't fit.
        """
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in self.values.items()}
        return DelphesOptions.parse({key: values[key] for key in DELPHES_KEYS if key in values}, "--root")

    @property
    def nanoaod(self) -> NanoaodOptions:
        """How CMS PFNano files are read.

        Raises:
            ConfigError: a value doesn't fit.
        """
        return NanoaodOptions(**{key: self.values[key] for key in NANOAOD_KEYS if key in self.values})

    @classmethod
    def parse(cls, settings: Iterable[str]) -> RootOptions:
        """The options that ``KEY=VALUE`` settings ask for.

        Keys are the options of ``panoptag convert delphes`` and ``panoptag convert nanoaod``, with ``_`` or ``-``:
        ``jets=file``, ``jet_radius=0.8``, ``pfo_branches=EFlowTrack,EFlowPhoton``. What both formats know holds for
        both.

        Args:
            settings: texts of the form ``KEY=VALUE``.

        Raises:
            ConfigError: an unknown key, a value that doesn't fit, or a key without a value.
        """
        values: dict[str, Any] = {}
        known = sorted({*DELPHES_KEYS, *NANOAOD_KEYS})
        for text in settings:
            name, equals, raw = text.partition("=")
            key = name.strip().replace("-", "_")
            if not equals or not raw.strip():
                raise ConfigError(f"--root {text}: should look like KEY=VALUE, for example --root jets=file")
            if key not in known:
                raise ConfigError(f"--root {text}: there is no option '{key}'{suggest(key, known)}")
            values[key] = _parse(key, raw.strip())
        return cls(values)

    def refuse_unused(self, formats: Iterable[str]) -> None:
        """Refuse options that none of the files has a use for.

        Args:
            formats: the files' formats, ``"delphes"`` or ``"nanoaod"``.

        Raises:
            ConfigError: naming the first such option.
        """
        keys = {"delphes": DELPHES_KEYS, "nanoaod": NANOAOD_KEYS}
        found = set(formats)
        used = {key for name in found for key in keys[name]}
        for key in self.values:
            if key not in used:
                what = "CMS PFNano" if key in NANOAOD_KEYS else "DELPHES"
                raise ConfigError(f"--root {key} is for {what} files, and none is given; leave it out")


def _parse(key: str, raw: str) -> Any:
    if key == "pfo_branches":
        return tuple(name.strip() for name in raw.split(",") if name.strip())
    if key == "puppi":
        if raw.lower() not in _WORDS:
            raise ConfigError(f"--root {key}={raw}: expected true or false")
        return _WORDS[raw.lower()]
    if key in ("jet_radius", "jet_min_pt", "jet_max_abs_eta", "seed"):
        try:
            value = tomllib.loads(f"value = {raw}")["value"]
        except tomllib.TOMLDecodeError:
            value = None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ConfigError(f"--root {key}={raw}: expected a number")
        return value if key == "seed" else float(value)
    return raw
