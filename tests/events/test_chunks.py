"""Slices of HDF5 columns that are decompressed outside HDF5, against HDF5's own."""

from __future__ import annotations

import builtins
import importlib
import sys
import zlib

import h5py
import numpy as np
import pytest

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events import EventFile, chunks
from panoptag_pyg.events.chunks import SliceReader

from helpers.events import random_block, write_events  # isort: skip

WRITTEN = {"shuffle": True, "compression": "gzip", "compression_opts": 1}


def bounds(rng, length):
    """Slices that begin and end on chunks, beside them, and anywhere; empty ones and single entries too."""
    edges = [0, 1, 36, 37, 38, 74, length - 1, length, *rng.integers(0, length + 1, 20)]
    return [(low, high) for low in edges for high in edges if 0 <= low <= high <= length]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int16", "int32", "int64"])
@pytest.mark.parametrize("length", [1, 37, 113])
def test_slices_are_those_of_hdf5(rng, tmp_path, dtype, length):
    values = (rng.normal(size=length) * 50).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("x", data=values, chunks=(37,), maxshape=(None,), **WRITTEN)
        reader = SliceReader(dataset)
        assert reader._chunk == 37
        assert (len(reader), reader.dtype) == (length, np.dtype(dtype))
        for low, high in bounds(rng, length):
            piece = reader.read(low, high)
            assert piece.dtype == np.dtype(dtype)
            np.testing.assert_array_equal(piece, values[low:high])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (37,)},
        {"compression": "gzip"},
        {"compression": "lzf", "shuffle": True},
        {"shuffle": True, "compression": "gzip", "fletcher32": True},
    ],
)
def test_other_datasets_are_left_to_hdf5(rng, tmp_path, options):
    values = rng.normal(size=113)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        reader = SliceReader(file.create_dataset("x", data=values, **options))
        assert reader._chunk is None
        np.testing.assert_array_equal(reader.read(5, 90), values[5:90])
    with h5py.File(tmp_path / "b.h5", "w") as file:  # the other byte order
        reader = SliceReader(file.create_dataset("x", data=values.astype(">f8"), chunks=(37,), **WRITTEN))
        np.testing.assert_array_equal(reader.read(5, 90), values[5:90])


def test_chunks_that_are_missing_or_skipped_a_filter(rng, tmp_path):
    values = rng.normal(size=111)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("x", (111,), "float64", chunks=(37,), fillvalue=3.5, **WRITTEN)
        dataset[:37] = values[:37]
        shuffled = values[37:74].view(np.uint8).reshape(37, 8).T.copy()
        dataset.id.write_direct_chunk((37,), shuffled.tobytes(), filter_mask=2)  # not deflated
        np.testing.assert_array_equal(SliceReader(dataset).read(3, 111), [*values[3:74], *[3.5] * 37])


def test_a_damaged_chunk_is_told(rng, tmp_path):
    path = write_events(tmp_path / "a.h5", random_block(rng, [40, 30], [2, 1]))
    with h5py.File(path, "r+") as file:
        dataset = file["pfo/pt"]
        _, raw = dataset.id.read_direct_chunk((0,))
        for broken in (bytes(raw)[: len(raw) // 2], b"\x00" * len(raw), zlib.compress(b"too short")):
            dataset.id.write_direct_chunk((0,), broken)
            with pytest.raises(OSError, match="a chunk"):
                SliceReader(dataset).read(0, 70)
    with pytest.raises(EventFileError, match=r"a\.h5: events 0 to 2 can't be read; the file is damaged"):
        EventFile(path).read()


def test_zlib_does_it_where_isal_is_missing(rng, tmp_path, monkeypatch):
    path = write_events(tmp_path / "a.h5", random_block(rng, [40, 30], [2, 1]))
    expected = EventFile(path).read()
    original = builtins.__import__

    def refuse(name, *rest):
        if name.startswith("isal"):
            raise ImportError(name)
        return original(name, *rest)

    for name in [name for name in sys.modules if name.startswith("isal")]:
        monkeypatch.delitem(sys.modules, name)
    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", refuse)
        importlib.reload(chunks)
    try:
        assert chunks.zlib is zlib
        monkeypatch.setattr("panoptag_pyg.events.file.SliceReader", chunks.SliceReader)
        np.testing.assert_array_equal(EventFile(path).read().pfo["pt"], expected.pfo["pt"])
    finally:
        importlib.reload(chunks)
