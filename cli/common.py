"""What several verbs share: refusing to overwrite, and results as a file for machines."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from panoptag_pyg.errors import ConfigError


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Stop before any work is done if the result would replace a file.

    Args:
        path: the file that a verb is about to write.
        overwrite: whether the user said ``--overwrite``.

    Raises:
        ConfigError: when ``path`` exists and ``overwrite`` is false, or its folder doesn't exist.
    """
    if path.exists() and not overwrite:
        raise ConfigError(f"'{path}' exists already; choose another name or say --overwrite")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"the folder '{path.absolute().parent}' for '{path.name}' does not exist; make it first")


def write_text(path: Path, text: str) -> None:
    """Write ``text`` so that ``path`` is the old or the new file, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2) + "\n")
