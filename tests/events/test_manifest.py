"""Manifests: what they tell of files, how they are written, merged, verified and refused."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.events import random_block, write_events

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events import EventFile
from panoptag_pyg.events.manifest import Manifest, describe_file
from panoptag_pyg.output import OutputError

NAMES = ("a.h5", "b.h5", "c.h5")


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    for name, number in zip(NAMES, (7, 0, 40), strict=True):
        block = random_block(rng, rng.poisson(20, number), rng.poisson(3, number), 2)
        write_events(
            tmp_path / "data" / name,
            block,
            ["ttbar", "ZH"] if name != "c.h5" else ["ZH", "tW"],
            attributes={"setup": "paper", "card": {"jets": {"radius": 0.4}}, "seed": ord(name[0])},
            unknown=("jet/truth_pt",) if name == "b.h5" else (),
        )
    return tmp_path / "data"


def test_counts_are_those_of_the_events(folder: Path) -> None:
    manifest = Manifest.of(folder)
    assert [entry.path for entry in manifest.files] == list(NAMES)
    assert manifest.num_events == 47
    assert manifest.processes == ["ttbar", "ZH", "tW"]
    for entry in manifest.files:
        file = EventFile(folder / entry.path)
        block = file.read()
        assert (entry.num_events, entry.num_pfos, entry.num_jets) == (file.num_events, file.num_pfos, file.num_jets)
        assert entry.num_constituents == file.num_constituents
        assert entry.bytes == (folder / entry.path).stat().st_size
        assert entry.sha256 == hashlib.sha256((folder / entry.path).read_bytes()).hexdigest()
        process = block.event["process"]
        flavour = block.jet["flavour"]
        for number, name in enumerate(file.processes):
            counts = entry.by_process[name]
            mine = process == number
            assert counts.num_events == mine.sum()
            assert counts.num_pfos == np.diff(block.pfo_offsets)[mine].sum()
            assert counts.num_jets == np.diff(block.jet_offsets)[mine].sum()
            jets = process[block.jet_event] == number
            assert counts.class_counts == tuple((flavour[jets] == c).sum() for c in (0, 1, 2, -1))
        assert entry.class_counts == tuple((flavour == c).sum() for c in (0, 1, 2, -1))
    assert manifest.files[1].absent == ("jet/truth_pt",)
    assert "jet/truth_pt" not in manifest.files[0].absent


def test_counts_of_long_files_are_read_in_pieces(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = describe_file(folder / "c.h5")
    monkeypatch.setattr("panoptag_pyg.events.file_entry._EVENTS_AT_ONCE", 7)
    assert describe_file(folder / "c.h5") == whole


def test_shared_attributes_are_told_once(folder: Path) -> None:
    manifest = Manifest.of(folder)
    assert manifest.attributes == {"setup": "paper", "card": {"jets": {"radius": 0.4}}}
    assert [entry.attributes for entry in manifest.files] == [{"seed": ord(name[0])} for name in NAMES]
    for entry in manifest.files:
        assert manifest.attributes_of(entry) == EventFile(folder / entry.path).attributes


def test_written_and_read_again(folder: Path) -> None:
    manifest = Manifest.of(folder)
    assert manifest.save() == folder / "manifest.json"
    for path in (folder, folder / "manifest.json", str(folder)):
        again = Manifest.load(path)
        assert again.files == manifest.files
        assert again.attributes == manifest.attributes
        assert again.folder == folder
    values = json.loads((folder / "manifest.json").read_text())
    assert values["format"] == "panoptag-manifest"
    assert values["processes"] == ["ttbar", "ZH", "tW"]
    assert values["num_events"] == 47
    assert values["files"][0]["path"] == "a.h5"
    again.verify()


def test_a_manifest_elsewhere_finds_its_files(folder: Path, tmp_path: Path) -> None:
    manifest = Manifest.of(folder)
    manifest.save(tmp_path / "other" / "deep.json")
    again = Manifest.load(tmp_path / "other" / "deep.json")
    assert [entry.path for entry in again.files] == [f"../data/{name}" for name in NAMES]
    again.verify()
    back = Manifest.merge([again], folder)
    assert back.files == manifest.files
    assert back.attributes == manifest.attributes


def test_merging_tells_everything_again(folder: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    block = random_block(rng, rng.poisson(20, 3), rng.poisson(3, 3))
    write_events(tmp_path / "more" / "a.h5", block, attributes={"setup": "realistic", "seed": 1})
    one, two = Manifest.of(folder), Manifest.of(tmp_path / "more")
    both = Manifest.merge([one, two], tmp_path)
    assert [entry.path for entry in both.files] == ["data/a.h5", "data/b.h5", "data/c.h5", "more/a.h5"]
    assert both.attributes == {}
    assert both.attributes_of(both.files[3]) == {"setup": "realistic", "seed": 1}
    assert both.attributes_of(both.files[0]) == one.attributes_of(one.files[0])
    both.verify()
    with pytest.raises(EventFileError, match=r"data/a\.h5 is named twice"):
        Manifest.merge([one, one], tmp_path)


def test_checksum_of_the_set_ignores_names_and_order(folder: Path) -> None:
    before = Manifest.of(folder).sha256
    (folder / "a.h5").rename(folder / "z.h5")
    assert Manifest.of(folder).sha256 == before
    (folder / "b.h5").unlink()
    assert Manifest.of(folder).sha256 != before


def test_verify_names_what_is_missing_longer_or_changed(folder: Path) -> None:
    manifest = Manifest.of(folder)
    hashed: list[int] = []
    manifest.verify(hashed.append)
    assert sum(hashed) == sum(entry.bytes for entry in manifest.files)
    content = (folder / "c.h5").read_bytes()
    middle = len(content) // 2
    (folder / "c.h5").write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    with pytest.raises(EventFileError, match=r"c\.h5 has changed: its SHA-256 is"):
        manifest.verify()
    (folder / "b.h5").write_bytes((folder / "b.h5").read_bytes() + b"\0")
    with pytest.raises(EventFileError, match=r"b\.h5 has [\d,]+ bytes, its manifest says"):
        manifest.verify()
    (folder / "a.h5").unlink()
    with pytest.raises(EventFileError, match=r"a\.h5 is missing"):
        manifest.verify()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: "no json", "is not JSON or is cut short"),
        (lambda v: [v], "is no manifest"),
        (lambda v: {**v, "format": "other"}, "its 'format' is 'other', expected 'panoptag-manifest'"),
        (lambda v: {**v, "version": 2}, "has manifest version 2, this panoptag-pyg reads version 1"),
        (lambda v: {**v, "num_events": 3}, "num_events is 3, but its files have 47"),
        (lambda v: {k: x for k, x in v.items() if k != "files"}, "files: field required"),
        (lambda v: {**v, "files": [{**v["files"][0], "num_events": -1}]}, "files.0.num_events: input should be"),
        (lambda v: {**v, "files": [{**v["files"][0], "sha256": "x"}]}, "files.0.sha256: string should match"),
        (lambda v: {**v, "files": [v["files"][0]] * 2, "num_events": 14}, "a.h5 is named twice"),
    ],
)
def test_no_manifest_is_one_sentence(folder: Path, change: object, words: str) -> None:
    path = Manifest.of(folder).save()
    values = change(json.loads(path.read_text()))  # type: ignore[operator]
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    with pytest.raises(EventFileError) as error:
        Manifest.load(folder)
    assert words in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_and_cut_manifests(folder: Path) -> None:
    with pytest.raises(EventFileError, match=r"manifest\.json: no such file"):
        Manifest.load(folder)
    path = Manifest.of(folder).save()
    path.write_text(path.read_text()[:-40])
    with pytest.raises(EventFileError, match="cut short"):
        Manifest.load(folder)


def test_an_older_manifest_stays_where_writing_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Manifest.of(folder).save()
    before = path.read_text()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OutputError, match="the disk is full"):
        Manifest.of(folder).save()
    monkeypatch.undo()
    assert path.read_text() == before
    assert sorted(p.name for p in folder.iterdir()) == [*NAMES, "manifest.json"]


def test_damaged_files_are_not_described(folder: Path) -> None:
    (folder / "c.h5").write_bytes((folder / "c.h5").read_bytes()[:3000])
    with pytest.raises(EventFileError, match=r"c\.h5 is cut short"):
        Manifest.of(folder)


def test_describing_needs_no_torch() -> None:
    code = "import sys; import panoptag_pyg.events.manifest; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_renewing_keeps_what_files_do_not_tell(folder: Path, rng: np.random.Generator) -> None:
    manifest = Manifest.of(folder)
    manifest.attributes.update(command="panoptag simulate …", setup="wrong")
    manifest.save()
    write_events(folder / "d.h5", random_block(rng, [3], [1]), attributes={"setup": "paper", "seed": 9})
    again = Manifest.renew(folder)
    assert [entry.path for entry in again.files] == [*NAMES, "d.h5"]
    assert again.attributes == {"setup": "paper", "command": "panoptag simulate …"}
    (folder / "manifest.json").write_text("{")
    assert Manifest.renew(folder).attributes == {"setup": "paper"}


def test_renewing_puts_the_manifests_of_folders_together(folder: Path) -> None:
    with pytest.raises(EventFileError, match=r"has no \*\.h5 file"):
        Manifest.renew(folder.parent)
    Manifest.of(folder).save()
    Manifest.renew(folder.parent).save()
    together = Manifest.load(folder.parent)
    assert [entry.path for entry in together.files] == [f"data/{name}" for name in NAMES]
    assert together.folder == folder.parent
    together.verify()
