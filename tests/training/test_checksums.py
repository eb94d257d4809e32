"""Checksums of a run's data: of a manifest, or read in the background; kept, stopped, unreadable."""

from __future__ import annotations

import hashlib
import json
import os

from helpers.learnable import write_learnable

from panoptag_pyg.events import EventDataset
from panoptag_pyg.events.manifest import Manifest
from panoptag_pyg.training import checksums as checksums_module
from panoptag_pyg.training.checksums import Checksums


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def found(path):
    return json.loads(path.read_text())


def files_in(folder, number=2):
    folder.mkdir()
    return [write_learnable(folder / f"{n}.h5", 5 + n, seed=n) for n in range(number)]


def test_files_are_read_in_the_background(tmp_path):
    a, b = files_in(tmp_path / "data")
    out = tmp_path / "checksums.json"
    checksums = Checksums(out, {"training": EventDataset([a, b]).files, "validation": EventDataset([b]).files})
    checksums.start()
    assert [entry["path"] for entry in found(out)["files"]] == [str(a), str(b)]
    checksums.finish()
    result = found(out)
    for entry, path, uses in zip(result["files"], (a, b), (["training"], ["training", "validation"]), strict=True):
        assert entry["sha256"] == sha256(path)
        assert (entry["bytes"], entry["used_for"], entry["from"]) == (path.stat().st_size, uses, "file")
    assert result["sha256"] == Manifest.of([a, b]).sha256


def test_a_manifest_is_believed_and_nothing_is_read(tmp_path, monkeypatch):
    files_in(tmp_path / "data")
    manifest = Manifest.of(tmp_path / "data")
    manifest.save(tmp_path / "data")
    monkeypatch.setattr(checksums_module, "file_sha256", None)  # would fail if it were called
    out = tmp_path / "checksums.json"
    checksums = Checksums(out, {"training": EventDataset(tmp_path / "data").files})
    checksums.start()
    checksums.finish()
    result = found(out)
    assert [entry["sha256"] for entry in result["files"]] == [entry.sha256 for entry in manifest.files]
    assert {entry["from"] for entry in result["files"]} == {"manifest"}
    assert result["sha256"] == manifest.sha256


def test_a_stopped_run_leaves_what_it_does_not_know_and_a_resumed_one_keeps_the_rest(tmp_path, monkeypatch):
    a, b = files_in(tmp_path / "data")
    out = tmp_path / "checksums.json"
    read = checksums_module.file_sha256
    asked = []

    def spied(path, advance):
        asked.append(str(path))
        return read(path, advance)

    monkeypatch.setattr(checksums_module, "file_sha256", spied)
    stopped = Checksums(out, {"training": EventDataset([a, b]).files})
    stopped._stop.set()  # before the first piece
    stopped.start()
    stopped.finish(wait=False)
    assert found(out)["sha256"] is None
    assert [entry["sha256"] for entry in found(out)["files"]] == [None, None]

    for _ in range(2):
        asked.clear()
        resumed = Checksums(out, {"training": EventDataset([a, b]).files})
        resumed.start()
        resumed.finish()
    assert asked == []  # the second time all is known
    os.utime(a, ns=(1, 1))
    resumed = Checksums(out, {"training": EventDataset([a, b]).files})
    resumed.start()
    resumed.finish()
    assert asked == [str(a)]
    assert found(out)["files"][0]["sha256"] == sha256(a)


def test_a_file_that_is_taken_away_stays_unknown(tmp_path):
    a, b = files_in(tmp_path / "data")
    dataset = EventDataset([a, b])
    b.unlink()
    checksums = Checksums(tmp_path / "checksums.json", {"training": dataset.files})
    checksums.start()
    checksums.finish()
    assert [entry["sha256"] for entry in found(tmp_path / "checksums.json")["files"]] == [sha256(a), None]


def test_a_damaged_json_is_written_anew(tmp_path):
    (a,) = files_in(tmp_path / "data", 1)
    out = tmp_path / "checksums.json"
    out.write_text("{")
    checksums = Checksums(out, {"training": EventDataset(a).files})
    checksums.start()
    checksums.finish()
    assert found(out)["files"][0]["sha256"] == sha256(a)
