"""``Manifest``: what a folder of event files holds, with checksums, so that thousands of files need not be opened."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, PrivateAttr, ValidationError

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events.file_entry import (
    Advance,
    FileEntry,
    PathLike,
    ProcessCounts,
    describe_file,
    file_sha256,
    relative_path,
)
from panoptag_pyg.events.files import MANIFEST, find_files, manifest_path, total_bytes
from panoptag_pyg.output import write_text

FORMAT_NAME = "panoptag-manifest"
FORMAT_VERSION = 1

__all__ = ["FileEntry", "Manifest", "ProcessCounts", "describe_file", "file_sha256", "total_bytes"]


class Manifest(BaseModel):
    """The event files of a data set: their places, counts, checksums and shared attributes.

    Attributes:
        files: one entry per file, in the order in which a dataset counts their events.
        attributes: what all files share: cards, seed, command, software, ….
    """

    files: tuple[FileEntry, ...]
    attributes: dict[str, Any] = {}
    _folder: Path = PrivateAttr(default_factory=Path)

    @property
    def folder(self) -> Path:
        """The folder that the files' paths start from."""
        return self._folder

    @property
    def num_events(self) -> int:
        """Events of all files."""
        return sum(entry.num_events for entry in self.files)

    @property
    def processes(self) -> list[str]:
        """Names of all files' processes, in order of appearance."""
        return list(dict.fromkeys(name for entry in self.files for name in entry.processes))

    @property
    def by_process(self) -> dict[str, ProcessCounts]:
        """Counts of each process over all files."""
        total = {name: ProcessCounts() for name in self.processes}
        for entry in self.files:
            for name, counts in entry.by_process.items():
                total[name] = total.get(name, ProcessCounts()) + counts
        return total

    @property
    def sha256(self) -> str:
        """One checksum for the whole set: SHA-256 over the files' own, sorted; names and order don't matter."""
        return self.sha256_of(self.files)

    @staticmethod
    def sha256_of(entries: Iterable[FileEntry]) -> str:
        """One checksum for some of the files, made as :attr:`sha256` is."""
        return hashlib.sha256("\n".join(sorted(entry.sha256 for entry in entries)).encode()).hexdigest()

    def path_of(self, entry: FileEntry) -> Path:
        """Where a file lies."""
        return self._folder / entry.path

    def attributes_of(self, entry: FileEntry) -> dict[str, Any]:
        """All attributes of a file: its own and the shared ones."""
        return {**self.attributes, **entry.attributes}

    @classmethod
    def load(cls, path: PathLike) -> Manifest:
        """Read a manifest.

        Args:
            path: the file, or the folder that holds ``manifest.json``.

        Raises:
            EventFileError: if it is missing, no manifest, of another version, or contradicts itself.
        """
        path = manifest_path(path)
        values = _read(path)
        try:
            manifest = cls.model_validate({name: values[name] for name in cls.model_fields if name in values})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise EventFileError(f"{path}: {where}: {first['msg'][:1].lower()}{first['msg'][1:]}; {_RENEW}") from None
        manifest._folder = path.parent
        if values.get("num_events") != manifest.num_events:
            raise EventFileError(
                f"{path}: num_events is {values.get('num_events')}, but its files have {manifest.num_events}; {_RENEW}"
            )
        _refuse_twice(manifest.files, str(path))
        return manifest

    @classmethod
    def of(cls, paths: PathLike | Sequence[PathLike], advance: Advance = lambda n: None) -> Manifest:
        """Describe event files: read their headers, count, hash every byte.

        Args:
            paths: a file, several, a folder (its ``*.h5``), or a glob.
            advance: called with the number of bytes done each time; :func:`total_bytes` says how many there are.
                Default: nothing.

        Raises:
            EventFileError: naming the file that is missing or damaged.
        """
        found = find_files(paths, manifests=False)
        folder = Path(os.path.commonpath([path.parent.absolute() for path in found]))
        if isinstance(paths, (str, os.PathLike)) and os.path.isdir(paths):
            folder = Path(paths)
        return cls.gather([describe_file(path, folder, advance) for path in found], folder)

    @classmethod
    def renew(cls, folder: PathLike, advance: Advance = lambda n: None) -> Manifest:
        """Describe a folder as it is now: its ``*.h5``, or else the manifests of the folders in it, put together.

        Args:
            folder: the folder. Of a manifest that it has, only what files don't tell themselves is kept, such as the
                command line that made them.
            advance: as for :meth:`of`.

        Raises:
            EventFileError: if there is neither, or a file is damaged.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise EventFileError(f"{folder} is not a folder; a manifest describes the event files of a folder")
        inner = sorted(path for path in folder.glob("*/" + MANIFEST))
        if inner and not any(folder.glob("*.h5")):
            return cls.merge([cls.load(path) for path in inner], folder)
        manifest = cls.of(folder, advance)
        with suppress(EventFileError):
            for name, value in cls.load(folder).attributes.items():
                if not any(name in manifest.attributes_of(entry) for entry in manifest.files):
                    manifest.attributes[name] = value
        return manifest

    @classmethod
    def gather(cls, entries: Iterable[FileEntry], folder: PathLike) -> Manifest:
        """The manifest of entries as :func:`describe_file` makes them; what all their attributes share is told once.

        Args:
            entries: the files, with all of their attributes.
            folder: what their paths are relative to.

        Raises:
            EventFileError: if a file is named twice.
        """
        entries = tuple(entries)
        _refuse_twice(entries, str(folder))
        first = entries[0].attributes if entries else {}
        shared = {
            name: value
            for name, value in first.items()
            if all(name in entry.attributes and entry.attributes[name] == value for entry in entries)
        }
        own = [{name: v for name, v in entry.attributes.items() if name not in shared} for entry in entries]
        files = tuple(entry.model_copy(update={"attributes": rest}) for entry, rest in zip(entries, own, strict=True))
        manifest = cls.model_construct(files=files, attributes=shared)
        manifest._folder = Path(folder)
        return manifest

    @classmethod
    def merge(cls, manifests: Sequence[Manifest], folder: PathLike) -> Manifest:
        """One manifest of several ones' files, which stay where they are.

        Args:
            manifests: in the order in which their events shall count.
            folder: where the new one shall stand; paths become relative to it.

        Raises:
            EventFileError: if two of them name the same file.
        """
        return cls.gather(
            (
                entry.model_copy(
                    update={
                        "path": relative_path(manifest.path_of(entry), Path(folder)),
                        "attributes": manifest.attributes_of(entry),
                    }
                )
                for manifest in manifests
                for entry in manifest.files
            ),
            folder,
        )

    def save(self, path: PathLike | None = None) -> Path:
        """Write it, whole or not at all, in place of an older one.

        Args:
            path: the file, or the folder for ``manifest.json``. Default: the files' folder. If it stands elsewhere,
                paths are rewritten relative to that.

        Raises:
            OutputError: if it can't be written.
        """
        path = manifest_path(self._folder if path is None else path)
        here = self if path.parent.absolute() == self._folder.absolute() else Manifest.merge([self], path.parent)
        head = {
            "format": FORMAT_NAME,
            "version": FORMAT_VERSION,
            "processes": here.processes,
            "num_events": here.num_events,
            "sha256": here.sha256,
        }
        # One line a file: thousands of them stay readable, and a diff shows which have changed.
        files = ",\n".join(json.dumps(entry.model_dump(mode="json"), sort_keys=False) for entry in here.files)
        parts = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in head.items()]
        parts += [f' "files": [\n{files}\n ]', f' "attributes": {json.dumps(here.attributes)}']
        write_text(path, "{\n" + ",\n".join(parts) + "\n}\n")
        return path

    def verify(self, advance: Advance = lambda n: None) -> None:
        """Compare every file's size, then every file's checksum, with what was written down.

        Args:
            advance: called with the number of bytes hashed each time; their sum is the total of the entries' ``bytes``.
                Default: nothing.

        Raises:
            EventFileError: naming the first file that is missing or has changed.
        """
        for entry in self.files:
            self.check_size(entry)
        for entry in self.files:
            found = file_sha256(self.path_of(entry), advance)
            if found != entry.sha256:
                raise EventFileError(
                    f"{self.path_of(entry)} has changed: its SHA-256 is {found[:12]}…, its manifest says "
                    f"{entry.sha256[:12]}…; copy it again, or {_RENEW}"
                )

    def refuse_strangers(self) -> None:
        """Refuse a folder with ``*.h5`` that the manifest doesn't name: their events would be left out in silence.

        Raises:
            EventFileError: naming the first.
        """
        known = {entry.path for entry in self.files}
        for path in sorted(self._folder.glob("*.h5")):
            if path.name not in known and not path.name.startswith("."):
                raise EventFileError(f"{path} is not in the manifest of its folder; move it away, or {_RENEW}")

    def check_size(self, entry: FileEntry) -> None:
        """Refuse a file that is missing or of another size; costs no reading.

        Raises:
            EventFileError: saying so.
        """
        path = self.path_of(entry)
        try:
            size = path.stat().st_size
        except OSError:
            raise EventFileError(
                f"{path} is missing, though its manifest names it; copy it again, or {_RENEW}"
            ) from None
        if size != entry.bytes:
            raise EventFileError(
                f"{path} has {size:,} bytes, its manifest says {entry.bytes:,}; copy it again, or {_RENEW}"
            )


_RENEW = "renew the manifest with panoptag inspect FOLDER --write-manifest"


def _refuse_twice(files: Sequence[FileEntry], source: str) -> None:
    seen: set[str] = set()
    for entry in files:
        if entry.path in seen:
            raise EventFileError(f"{source}: {entry.path} is named twice; name it once")
        seen.add(entry.path)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EventFileError(f"{path}: no such file; panoptag inspect FOLDER --write-manifest makes one") from None
    except OSError as error:
        raise EventFileError(f"{path} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise EventFileError(f"{path} is not JSON or is cut short ({error}); {_RENEW}") from None
    found = values.get("format") if isinstance(values, dict) else None
    if found != FORMAT_NAME:
        raise EventFileError(f"{path} is no manifest (its 'format' is {found!r}, expected {FORMAT_NAME!r}); {_RENEW}")
    if values.get("version") != FORMAT_VERSION:
        raise EventFileError(
            f"{path} has manifest version {values.get('version')}, this panoptag-pyg reads version {FORMAT_VERSION}; "
            f"install the release that wrote it, or {_RENEW}"
        )
    return values
