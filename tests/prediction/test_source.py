"""Files of any name are told apart by their content; blocks begin anywhere and stay small."""

from __future__ import annotations

import gzip

import h5py
import numpy as np
import pytest
from helpers.events import random_block, write_events

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events import EventBlock
from panoptag_pyg.events.manifest import Manifest
from panoptag_pyg.prediction import own_files
from panoptag_pyg.prediction.source import SourceOptions, file_format, open_sources


@pytest.fixture
def block(rng):
    return random_block(rng, rng.integers(0, 30, 23), rng.integers(0, 4, 23))


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_blocks_from_any_event(tmp_path, rng, block, step):
    (source,) = open_sources(write_events(tmp_path / "a.h5", block, unknown={"jet/flavour"}))
    assert (source.num_events, list(source.processes)) == (23, ["ttbar"])
    assert "jet/flavour" in source.unknown
    start = int(rng.integers(0, 23))
    pieces = list(source.blocks(start, step))
    assert max(piece.num_events for piece in pieces) <= step
    joined = EventBlock.concatenate(pieces)
    assert np.array_equal(joined.pfo["pt"], block.pfo["pt"][block.pfo_offsets[start] :])
    assert np.array_equal(joined.event["id"], block.event["id"][start:])
    assert list(source.blocks(23)) == []


def test_blocks_of_large_events_are_small(tmp_path, block, monkeypatch):
    monkeypatch.setattr(own_files, "BLOCK_PFOS", 25)
    (source,) = open_sources(write_events(tmp_path / "a.h5", block))
    pieces = list(source.blocks())
    assert all(piece.num_pfos <= 25 or piece.num_events == 1 for piece in pieces)
    assert sum(piece.num_events for piece in pieces) == 23


def test_columns_that_are_not_needed_are_not_read(tmp_path, block):
    (source,) = open_sources(write_events(tmp_path / "a.h5", block), SourceOptions(frozenset({"jet/pt"})))
    (piece,) = source.blocks()
    assert np.array_equal(piece.jet["pt"], block.jet["pt"])
    assert not piece.pfo["pt"].any()


def test_values_that_are_not_finite_pass_but_damage_does_not(tmp_path, block):
    path = write_events(tmp_path / "a.h5", block)
    with h5py.File(path, "r+") as file:
        file["pfo/d0"][3], file["jet/pt"][0] = np.nan, np.inf
    (source,) = open_sources(path)
    (piece,) = source.blocks()
    bad = {int(block.pfo_event[3]), int(block.jet_event[0])}
    assert set(np.flatnonzero(~piece.finite_events()).tolist()) == bad
    with h5py.File(path, "r+") as file:
        file["pfo/pt"][5] = -1
    with pytest.raises(EventFileError, match=f"event {block.pfo_event[5]}: pfo/pt is -1"):
        list(open_sources(path)[0].blocks())


def test_many_files_in_order(tmp_path, block):
    (tmp_path / "deep").mkdir()
    names = ["b.h5", "a.h5", "c.dat"]
    for number, name in enumerate(names):
        write_events(tmp_path / "deep" / name, block.select(np.arange(number + 1)))
    deep = tmp_path / "deep"
    found = open_sources([deep, str(deep / "*.dat"), deep / "b.h5"])
    assert [source.path.name for source in found] == ["a.h5", "b.h5", "c.dat", "b.h5"]
    (deep / "c.dat").unlink()
    Manifest.of(deep).save()
    listed = open_sources(deep)
    assert [source.num_events for source in listed] == [2, 1]
    assert sum(piece.num_events for source in listed for piece in source.blocks()) == 3


def test_what_is_no_source(tmp_path):
    (tmp_path / "empty.h5").touch()
    (tmp_path / "text.h5").write_text("hello, world")
    (tmp_path / "zip.root").write_bytes(gzip.compress(b"x" * 1000))
    (tmp_path / "folder").mkdir()
    for name, what in (
        ("missing.h5", "no such file"),
        ("empty.h5", "is empty"),
        ("text.h5", "neither an HDF5 nor a ROOT file"),
        ("zip.root", "neither an HDF5 nor a ROOT file"),
        ("folder", "no .*h5"),
        ("*.none", "matches no file"),
    ):
        with pytest.raises(EventFileError, match=what):
            open_sources(str(tmp_path / name))
    with pytest.raises(EventFileError, match="no file"):
        open_sources([])


def test_formats(tmp_path, block):
    assert file_format(write_events(tmp_path / "a.root", block)) == "hdf5"
    late = tmp_path / "late.h5"
    late.write_bytes(bytes(1024) + (tmp_path / "a.root").read_bytes())
    assert file_format(late) == "hdf5"
    (tmp_path / "b.h5").write_bytes(b"root\x00\x00" + bytes(100))
    assert file_format(tmp_path / "b.h5") == "root"
