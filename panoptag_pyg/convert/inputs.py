"""Input files of a converter: which ones are meant, and a name for each that stays the same for ever."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from panoptag_pyg.errors import ConversionError

#: Bytes at either end of a file that its fingerprint is made of: the whole of a large file would take minutes.
_FINGERPRINT_BYTES = 64 * 1024


def find_inputs(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], endings: Sequence[str] = (".root",)
) -> list[Path]:
    """The files meant by a file, a folder, a glob, or a list of these; sorted within each.

    Args:
        paths: what was asked for.
        endings: how the files of a folder end that are meant. Default ``(".root",)``.

    Raises:
        ConversionError: if one of them names nothing, isn't on this machine, or is named twice.
    """
    files: list[Path] = []
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        text = os.fspath(path)
        if "://" in text:
            raise ConversionError(f"{text} is a remote address, expected a file on this machine: copy it here first")
        if os.path.isdir(text):
            found = sorted(file for file in Path(text).iterdir() if file.name.endswith(tuple(endings)))
            problem = f"has no *{' or *'.join(endings)} file"
        elif os.path.exists(text) or not glob.has_magic(text):
            found, problem = [Path(text)], ""
            if not os.path.exists(text):
                raise ConversionError(f"{text} doesn't exist; give a file, a folder or a glob")
        else:
            found, problem = sorted(Path(match) for match in glob.glob(text, recursive=True)), "matches no file"
        if not found:
            raise ConversionError(f"{text} {problem}")
        files += found
    if not files:
        raise ConversionError("no file was named; give a file, a folder or a glob")
    seen: set[Path] = set()
    for file in files:
        if file.resolve() in seen:
            raise ConversionError(f"{file} is named twice; its events would be in the output twice")
        seen.add(file.resolve())
    return files


def source_name(format_name: str, path: Path) -> str:
    """``"<format> <file name> <8 hex digits>"``: a name for a file's events, the same wherever the file lies.

    The digits are of the SHA-256 over the first and last 64 kB and the size.

    Args:
        format_name: what kind of file it is, such as ``"delphes"``.
        path: the file.

    Raises:
        ConversionError: if it can't be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest.update(file.read(_FINGERPRINT_BYTES))
            file.seek(max(0, size - _FINGERPRINT_BYTES))
            digest.update(file.read(_FINGERPRINT_BYTES))
    except OSError as error:
        raise ConversionError(f"{path} can't be read: {error.strerror or error}") from error
    digest.update(str(size).encode())
    return f"{format_name} {path.name} {digest.hexdigest()[:8]}"
