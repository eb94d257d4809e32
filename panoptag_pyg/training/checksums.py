"""``checksums.json``: which bytes a run was trained on, found out in the background while it trains."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events.file import EventFile
from panoptag_pyg.events.manifest import file_sha256
from panoptag_pyg.events.many_files import ListedFile
from panoptag_pyg.output import write_json


class Checksums:
    """SHA-256 of each event file of a run, written into its folder.

    Of a file that a manifest lists its checksum is taken. All others are read by a thread, one after the other, while
    the run trains: about a second for each gigabyte. A run that ends before that waits for it; one that is stopped
    doesn't, and leaves ``null`` in place of what it doesn't know. A resumed run keeps what was found for files whose
    size and time of change are still the same.

    Args:
        path: the JSON to write.
        uses: what the files are for, ``"training"`` or ``"validation"``, and the files.
    """

    def __init__(self, path: Path, uses: dict[str, Sequence[EventFile]]) -> None:
        self.path = path
        self._entries: dict[str, dict[str, Any]] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        earlier = _earlier(path)
        for use, files in uses.items():
            for file in files:
                name = str(file.path)
                entry = self._entries.setdefault(name, _entry(file, earlier.get(name)))
                entry["used_for"].append(use)

    def start(self) -> None:
        """Write what is known, and begin to read what isn't."""
        self._write()
        if any(entry["sha256"] is None for entry in self._entries.values()):
            self._thread = threading.Thread(target=self._read, name="panoptag-checksums", daemon=True)
            self._thread.start()

    def finish(self, wait: bool = True) -> None:
        """Write all that is known.

        Args:
            wait: for files not read yet; else they stay unknown. Default ``True``.
        """
        if not wait:
            self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self._write()

    def _read(self) -> None:
        for name, entry in self._entries.items():
            if entry["sha256"] is None:
                try:
                    entry["sha256"] = file_sha256(name, self._advance)
                except _Stopped:
                    return
                except EventFileError:  # taken away meanwhile: training will say so if it needs it
                    continue

    def _advance(self, num_bytes: int) -> None:
        if self._stop.is_set():
            raise _Stopped

    def _write(self) -> None:
        files = list(self._entries.values())
        known = [entry["sha256"] for entry in files]
        # Made as a manifest's: names and order don't matter.
        whole = None if None in known else hashlib.sha256("\n".join(sorted(known)).encode()).hexdigest()
        write_json(self.path, {"sha256": whole, "files": files})


class _Stopped(Exception):
    """The run doesn't wait for the rest."""


def _entry(file: EventFile, earlier: dict[str, Any] | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"path": str(file.path), "used_for": []}
    if isinstance(file, ListedFile):
        return {**entry, "bytes": file.entry.bytes, "sha256": file.entry.sha256, "from": "manifest"}
    try:
        status = Path(file.path).stat()
    except OSError:
        return {**entry, "bytes": None, "changed_ns": None, "sha256": None, "from": "file"}
    entry |= {"bytes": status.st_size, "changed_ns": status.st_mtime_ns, "sha256": None, "from": "file"}
    if earlier is not None and all(earlier.get(key) == entry[key] for key in ("bytes", "changed_ns")):
        entry["sha256"] = earlier.get("sha256")
    return entry


def _earlier(path: Path) -> dict[str, dict[str, Any]]:
    """What an earlier part of the run has written, by file; empty if that can't be used."""
    try:
        return {entry["path"]: entry for entry in json.loads(path.read_text(encoding="utf-8"))["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
