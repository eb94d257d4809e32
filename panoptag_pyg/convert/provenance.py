"""What a converted file says of where it comes from, and what its maker is told."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

#: HDF5 keeps an attribute of up to 64 kB.
_LONGEST_ATTRIBUTE = 60_000
_SOFTWARE = ("panoptag-pyg", "uproot", "awkward", "numpy", "h5py")


@dataclass(frozen=True)
class Converted:
    """What a conversion made.

    Attributes:
        path: the file.
        num_events, num_pfos, num_jets: what is in it.
        notes: what was missing or changed on the way, a sentence each.
    """

    path: Path
    num_events: int
    num_pfos: int
    num_jets: int
    notes: tuple[str, ...] = ()


def listed(names: Sequence[str], most: int = 3) -> str:
    """``"a, b, c and 97 more"``.

    Args:
        names: of files, say.
        most: how many are named. Default 3.
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def provenance(
    format_name: str, files: Sequence[tuple[Path, int]], options: Mapping[str, Any], command: str | None = None
) -> dict[str, Any]:
    """Attributes of a converted file.

    Args:
        format_name: what was converted, such as ``"nanoaod"``.
        files: each file and its number of events.
        options: how; those that are ``None`` are left out.
        command: command line. Default ``None``.
    """
    named: list[dict[str, Any]] = [{"path": str(path), "events": events} for path, events in files]
    if len(json.dumps(named)) > _LONGEST_ATTRIBUTE:
        named = [{"files": len(files), "events": sum(events for _, events in files)}]
    software = {}
    for package in _SOFTWARE:
        try:
            software[package] = version(package)
        except PackageNotFoundError:  # not needed for this format
            continue
    converted: dict[str, Any] = {"format": format_name, "files": named}
    converted |= {name: value for name, value in options.items() if value is not None}
    attributes = {"converted": converted, "software": software}
    return attributes if command is None else {**attributes, "command": command}
