"""Which event files are meant by a file, a folder, a glob or a manifest."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from panoptag_pyg.errors import EventFileError

PathLike = str | os.PathLike[str]

#: Name of a manifest inside its folder.
MANIFEST = "manifest.json"


def find_files(paths: PathLike | Sequence[PathLike], manifests: bool = True) -> list[Path]:
    """The event files meant by a file, a folder, a manifest, a glob, or a list of these; sorted within each.

    Args:
        paths: a folder means the files of its ``manifest.json``, in their order, or else its ``*.h5``.
        manifests: whether manifests count; without them a folder means its ``*.h5`` in any case. Default ``True``.

    Raises:
        EventFileError: if one of them names nothing, or a manifest is no good.
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    files: list[Path] = []
    for path in paths:
        if manifests and is_manifest(path):
            from panoptag_pyg.events.manifest import Manifest  # imports this module

            manifest = Manifest.load(path)
            found = [manifest.path_of(entry) for entry in manifest.files]
            problem = "names no file"
        elif os.path.isdir(path):
            found = sorted(Path(path).glob("*.h5"))
            problem = "has no *.h5 file; make one with panoptag simulate"
        elif os.path.exists(path) or not glob.has_magic(str(path)):
            found = [Path(path)]  # EventFile says what is wrong with it
        else:
            found = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
            problem = "matches no file"
        if not found:
            raise EventFileError(f"{path} {problem}")
        files += found
    if not files:
        raise EventFileError("no event file was named; give a file, a folder or a glob")
    return files


def is_manifest(path: PathLike) -> bool:
    """Whether ``path`` names a manifest: a ``.json`` file, or a folder with ``manifest.json``."""
    return os.fspath(path).endswith(".json") or os.path.isfile(os.path.join(path, MANIFEST))


def manifest_path(path: PathLike) -> Path:
    """``path`` itself if it ends in ``.json``, else ``manifest.json`` in it."""
    path = Path(path)
    return path if path.suffix == ".json" else path / MANIFEST


def total_bytes(paths: Sequence[PathLike]) -> int:
    """Size of all files together; those that are missing count 0."""
    return sum(os.path.getsize(path) for path in paths if os.path.isfile(path))
