"""Files of scores and answers: what is said once about all rows, and columns that rows are appended to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np

from panoptag_pyg import __version__

#: HDF5 keeps attributes of up to 64 kB; thousands of source files are longer, and become a dataset.
LONGEST_ATTRIBUTE = 60_000
#: Bytes of a chunk, and rows of it at most.
CHUNK_BYTES, CHUNK_ROWS = 1 << 18, 16384
#: Ends of the paths of columns whose bits are as good as random: compressing them takes time and saves a tenth.
INCOMPRESSIBLE = ("/logits", "/probabilities", "/embedding", "/weight")


@dataclass(frozen=True)
class Header:
    """What a file says once.

    Attributes:
        format: name of the format.
        version: of the format.
        texts: further root attributes; what isn't a string is kept as JSON.
        groups: attributes of groups, by path.
        columns: unit and meaning of columns, by path.
    """

    format: str
    version: int
    texts: dict[str, Any]
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    columns: dict[str, tuple[str, str]] = field(default_factory=dict)

    def write(self, file: h5py.File, num_events: int) -> None:
        """Put it into a file.

        Args:
            file: open for writing.
            num_events: events that the rows belong to, those without any too.
        """
        file.attrs["format"] = self.format
        file.attrs["version"] = self.version
        file.attrs["software"] = f"panoptag-pyg {__version__}"
        file.attrs["num_events"] = num_events
        for name, value in self.texts.items():
            put_text(file, name, value if isinstance(value, str) else json.dumps(value))
        for path, attributes in self.groups.items():
            group = file.require_group(path)
            for name, value in attributes.items():
                group.attrs[name] = value if isinstance(value, str) else json.dumps(value)


class ColumnFile:
    """Appends rows to the columns of an HDF5 file, each of which is made when its first rows come.

    Args:
        file: open for writing.
        meanings: unit and meaning of columns, by path. Default: none.
        compress: shuffle and deflate what compresses, as event files are. Default ``True``.
    """

    def __init__(
        self, file: h5py.File, meanings: Mapping[str, tuple[str, str]] | None = None, compress: bool = True
    ) -> None:
        self._file = file
        self._meanings = meanings or {}
        self._compress = compress
        self._columns: dict[str, h5py.Dataset] = {}

    def append(self, columns: Mapping[str, np.ndarray]) -> None:
        """Add rows.

        Args:
            columns: by path, each [N] or [N, …]; later calls have the same type and shape of a row.
        """
        for path, values in columns.items():
            if path not in self._columns:
                self._columns[path] = self._make(path, values)
            dataset = self._columns[path]
            if len(values):
                start = len(dataset)
                dataset.resize(start + len(values), axis=0)
                dataset[start:] = values

    def _make(self, path: str, values: np.ndarray) -> h5py.Dataset:
        row = values.shape[1:]
        size = max(values.dtype.itemsize * int(np.prod(row, dtype=np.int64)), 1)
        options: dict[str, Any] = {}
        if self._compress and not path.endswith(INCOMPRESSIBLE):
            options = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        dataset = self._file.create_dataset(
            path,
            shape=(0, *row),
            maxshape=(None, *row),
            dtype=values.dtype,
            chunks=(max(1, min(CHUNK_ROWS, CHUNK_BYTES // size)), *row),
            **options,
        )
        dataset.attrs["unit"], dataset.attrs["meaning"] = self._meanings.get(path, ("", ""))
        return dataset


def put_text(file: h5py.File, name: str, text: str) -> None:
    """Keep a text as an attribute, or as a dataset of bytes where it is too long for one."""
    data = text.encode()
    if len(data) <= LONGEST_ATTRIBUTE:
        file.attrs[name] = text
    else:
        file.create_dataset(name, data=np.frombuffer(data, dtype=np.uint8))


def get_text(file: h5py.File, name: str) -> str:
    """What :func:`put_text` kept.

    Raises:
        KeyError: if there is no such text.
    """
    return str(file.attrs[name]) if name in file.attrs else file[name][:].tobytes().decode()
