"""Write TOML. The standard library only reads it, and a recipe needs no more than this."""

from __future__ import annotations

import json
import math
import re
from typing import Any

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(values: dict[str, Any]) -> str:
    """``values`` as a TOML document that ``tomllib`` reads back to an equal dictionary.

    ``None`` has no form in TOML: such keys are left out.

    Args:
        values: strings, booleans, numbers, lists of these, and dictionaries of all that.

    Raises:
        TypeError: for any other type, or ``None`` inside a list.
    """
    return "\n".join(_table(values, ())).strip("\n") + "\n"


def _table(values: dict[str, Any], path: tuple[str, ...]) -> list[str]:
    present = {key: value for key, value in values.items() if value is not None}
    plain = {key: value for key, value in present.items() if not isinstance(value, dict)}
    tables = {key: value for key, value in present.items() if isinstance(value, dict)}
    lines = []
    if path and (plain or not tables):
        lines = ["", f"[{'.'.join(map(_key, path))}]"]
    lines += [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    for key, value in tables.items():
        lines += _table(value, (*path, key))
    return lines


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    # JSON's escapes are TOML's, except that TOML also wants DEL escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _string(value)
        case int():
            return str(value)
        case float():
            # repr may give 1e-06, which TOML reads; whole floats keep their point, so they stay floats.
            return repr(value) if math.isfinite(value) else str(value)
        case list() | tuple():
            return f"[{', '.join(map(_value, value))}]"
        case dict():
            return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None) + "}"
    raise TypeError(f"TOML has no form for {type(value).__name__} {value!r}")
