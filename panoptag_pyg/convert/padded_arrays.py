"""Rows of padded arrays, a chunk at a time, from HDF5, ``.npz`` or ``.npy``; nothing is ever unpickled."""

from __future__ import annotations

import json
import math
import zipfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from panoptag_pyg.convert.column_map import Array
from panoptag_pyg.errors import ConfigError, ConversionError, suggest

#: How files may end.
ENDINGS = (".h5", ".hdf5", ".npz", ".npy")
#: Attributes of a dataset that may name its last axis.
_FEATURE_ATTRIBUTES = ("features", "feature_names", "columns")


class PaddedFile:
    """The arrays of one file, read row by row in order.

    Args:
        path: an HDF5 file, an ``.npz`` or an ``.npy``.
        arrays: where arrays stand that aren't the dataset of their name.
        names: all arrays that are asked for.
        source: what an error calls the map.

    Attributes:
        num_rows: rows of every array.

    Raises:
        ConversionError: the file is missing, damaged or of another kind; an array isn't there, holds no numbers, or has
            another number of rows than the others.
    """

    def __init__(self, path: Path, arrays: dict[str, Array], names: list[str], source: str) -> None:
        self.path = path
        self._stack = ExitStack()
        try:
            store = self._open()
            self._readers = {name: _Reader(path, name, arrays.get(name, Array()), store, source) for name in names}
            rows = {name: reader.num_rows for name, reader in self._readers.items()}
            self.num_rows = next(iter(rows.values()))
            for name, count in rows.items():
                if count != self.num_rows:
                    raise ConversionError(
                        f"{path}: array '{name}' has {count} rows where '{next(iter(rows))}' has {self.num_rows}; "
                        "arrays that belong together need equal lengths"
                    )
            if self.num_rows == 0:
                raise ConversionError(f"{path}: its arrays are empty, expected at least one row; leave this file out")
        except BaseException:
            self.close()
            raise

    def row_size(self) -> int:
        """Numbers in a row of all arrays."""
        return sum(reader.row_size for reader in self._readers.values())

    def read(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Rows of every array; those of an ``.npz`` can only be read in order.

        Raises:
            ConversionError: the file is damaged there.
        """
        return {name: reader.read(start, stop) for name, reader in self._readers.items()}

    def pick(self, chunk: dict[str, np.ndarray], source: str) -> np.ndarray:
        """``ARRAY`` or ``ARRAY.FEATURE`` of a chunk.

        Raises:
            ConversionError: there is no such feature.
        """
        name, _, feature = source.partition(".")
        return self._readers[name].feature(chunk[name], feature)

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def __enter__(self) -> PaddedFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _open(self) -> Any:
        path = self.path
        if not path.is_file():
            raise ConversionError(f"{path} is no file; give an HDF5 file, an .npz or an .npy")
        if path.stat().st_size == 0:
            raise ConversionError(f"{path} is empty; copy or make it again")
        try:
            if h5py.is_hdf5(path):
                return self._stack.enter_context(h5py.File(path, "r"))
            if zipfile.is_zipfile(path):
                return self._stack.enter_context(zipfile.ZipFile(path))
            with open(path, "rb") as file:
                if file.read(6) == b"\x93NUMPY":
                    return np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ConversionError(
                f"{path} can't be opened ({reason}); is it cut short? copy or make it again"
            ) from error
        problem = "is cut short or damaged" if path.suffix in ENDINGS else "is of another kind"
        raise ConversionError(f"{path} {problem}, expected an HDF5 file, an .npz or an .npy; copy or make it again")


class _Reader:
    """One array."""

    def __init__(self, path: Path, name: str, array: Array, store: Any, source: str) -> None:
        self.path, self.name, self.array = path, name, array
        self._npz: _ZipRows | None = None
        self.names: list[str] | None = array.features
        key = array.path or name
        if isinstance(store, h5py.File):
            self.data = store.get(key)
            if not isinstance(self.data, h5py.Dataset):
                datasets: list[str] = []
                store.visititems(lambda n, item: datasets.append(n) if isinstance(item, h5py.Dataset) else None)
                self._absent(key, datasets, source)
            self.names = self.names or _attribute_names(self.data)
        elif isinstance(store, zipfile.ZipFile):
            members = [n.removesuffix(".npy") for n in store.namelist() if n.endswith(".npy")]
            if key not in members:
                self._absent(key, members, source)
            self.data = self._npz = _ZipRows(path, store, key)
        else:
            self.data = store
        dtype, shape = self.data.dtype, self.data.shape
        if array.field is not None:
            if array.field not in (dtype.names or ()):
                raise ConversionError(
                    f"{path}: array '{name}' has no field '{array.field}'{suggest(array.field, dtype.names or ())}; "
                    f"mend {source}"
                )
            shape, dtype = (*shape, *dtype[array.field].shape), dtype[array.field].base
        if dtype.names is not None:
            self.names = self.names or list(dtype.names)
            bad = [n for n in dtype.names if dtype[n].kind not in "biuf"]
            self.is_compound = True
        else:
            bad = [] if dtype.kind in "biuf" else [str(dtype)]
            self.is_compound = False
        if len(shape) == 0 or (bad and not self.is_compound):
            raise ConversionError(f"{path}: array '{name}' holds {dtype} of shape {shape}, expected rows of numbers")
        self.num_rows = shape[0]
        row = self._row_shape(tuple(shape[1:]), source)
        self.shape = row
        self.row_size = math.prod(shape[1:]) * (len(dtype.names) if self.is_compound else 1)
        if array.features is not None and (not row or row[-1] != len(array.features)):
            raise ConversionError(
                f"{path}: array '{name}' has rows of shape {row}, but {source} names {len(array.features)} features"
            )

    def _row_shape(self, row: tuple[int, ...], source: str) -> tuple[int, ...]:
        if self.array.columns is not None:
            first, last = self.array.columns
            if not row or not 0 <= first < last <= row[-1]:
                raise ConversionError(
                    f"{self.path}: array '{self.name}' has rows of shape {row}, but {source} takes columns {first} to "
                    f"{last}"
                )
            row = (*row[:-1], last - first)
        if self.array.shape is not None:
            if math.prod(row) != math.prod(self.array.shape):
                raise ConversionError(
                    f"{self.path}: array '{self.name}' has {math.prod(row)} numbers in a row, which can't take the "
                    f"shape {self.array.shape} of {source}"
                )
            row = tuple(self.array.shape)
        return row

    def _absent(self, key: str, known: list[str], source: str) -> None:
        raise ConversionError(f"{self.path} has no array '{key}'{suggest(key, known[:12])}; mend {source}")

    def read(self, start: int, stop: int) -> np.ndarray:
        try:
            rows = np.asarray(self.data[start:stop])
        except ConversionError:
            raise
        except (OSError, RuntimeError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ConversionError(
                f"{self.path}: rows {start} to {stop} of array '{self.name}' can't be read: the file is damaged; copy "
                "or make it again"
            ) from error
        if self.array.field is not None:
            rows = rows[self.array.field]
        if self.array.columns is not None:
            rows = rows[..., slice(*self.array.columns)]
        return rows.reshape(len(rows), *self.shape)

    def feature(self, rows: np.ndarray, feature: str) -> np.ndarray:
        if not feature:
            return rows
        if self.is_compound:
            if feature not in (rows.dtype.names or ()):
                self._no_feature(feature)
            return rows[feature]
        index = None
        if self.names is not None and feature in self.names:
            index = self.names.index(feature)
        elif feature.isdigit():
            index = int(feature)
        if index is None or rows.ndim < 2 or index >= rows.shape[-1]:
            self._no_feature(feature)
        return rows[..., index]

    def _no_feature(self, feature: str) -> None:
        if self.names:
            there = f"has no feature '{feature}'{suggest(feature, self.names)}"
        elif not self.shape:
            there = f"has one number in a row and no features: name it without '.{feature}'"
        else:
            there = f"has features 0 to {self.shape[-1] - 1} and no names, so there is no '{feature}'"
        raise ConversionError(f"{self.path}: array '{self.name}' {there}")


class _ZipRows:
    """An array inside an ``.npz``, read from front to back without unpacking all of it."""

    def __init__(self, path: Path, store: zipfile.ZipFile, key: str) -> None:
        self._path, self._store, self._key = path, store, key
        self._file: IO[bytes] | None = None
        self._next = 0
        self._open()

    def _open(self) -> None:
        try:
            self._file = self._store.open(f"{self._key}.npy")
            version = np.lib.format.read_magic(self._file)  # type: ignore[arg-type]
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            self.shape, self._fortran, self.dtype = read(self._file)  # type: ignore[arg-type]
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ConversionError(
                f"{self._path}: array '{self._key}' can't be read: the file is damaged; copy or make it again"
            ) from error
        if self.dtype.hasobject:
            raise ConversionError(
                f"{self._path}: array '{self._key}' holds Python objects, which are never unpickled here; save it as "
                "numbers"
            )
        self._next = 0
        self._whole: np.ndarray | None = None

    def __getitem__(self, rows: slice) -> np.ndarray:
        if self._fortran:  # columns first: its rows lie all over the file
            if self._whole is None:
                self._whole = self._take(math.prod(self.shape)).reshape(self.shape, order="F")
            return self._whole[rows]
        start, stop, _ = rows.indices(self.shape[0])
        if start < self._next:
            self._open()
        row = math.prod(self.shape[1:])
        while self._next < start:
            self._take(min(1_000, start - self._next) * row)
            self._next += min(1_000, start - self._next)
        values = self._take((stop - start) * row).reshape(stop - start, *self.shape[1:])
        self._next = stop
        return values

    def _take(self, count: int) -> np.ndarray:
        assert self._file is not None
        size = count * self.dtype.itemsize
        data = self._file.read(size)
        if len(data) < size:
            raise EOFError
        return np.frombuffer(data, self.dtype)


def _attribute_names(dataset: h5py.Dataset) -> list[str] | None:
    """Names of the last axis that stand beside the dataset."""
    for attribute in _FEATURE_ATTRIBUTES:
        found = dataset.attrs.get(attribute)
        if isinstance(found, bytes):
            found = found.decode(errors="replace")
        if isinstance(found, str):
            try:
                found = json.loads(found)
            except ValueError:
                found = [name.strip() for name in found.split(",")]
        if isinstance(found, (list, np.ndarray)):
            return [name.decode() if isinstance(name, bytes) else str(name) for name in found]
    return None


def array_names(sources: list[str]) -> list[str]:
    """The arrays of ``ARRAY`` and ``ARRAY.FEATURE``, each once.

    Raises:
        ConfigError: an empty name.
    """
    names = list(dict.fromkeys(source.partition(".")[0] for source in sources))
    if "" in names:
        raise ConfigError("a source of the column map has no array: write ARRAY or ARRAY.FEATURE")
    return names
