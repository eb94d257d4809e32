"""Many files as one data set: what a manifest spares, how few files are open, and files that have changed."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.events import assert_same_graphs, events_of, random_block, write_events

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events import EventDataset, EventFile, EventFileWriter, EventLoader
from panoptag_pyg.events.manifest import Manifest
from panoptag_pyg.events.many_files import MAX_OPEN, OpenFiles


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Five files of two processes and three sources, with different optional columns; no manifest."""
    for number, count in enumerate((30, 0, 71, 1, 22)):
        block = random_block(rng, rng.poisson(15, count), rng.poisson(3, count), 2)
        if len(block.constituents):
            block.constituent = {"subjet_antikt": (np.arange(len(block.constituents)) % 3).astype(np.int16)}
        write_events(
            tmp_path / f"f{number}.h5",
            block,
            ["ttbar", "ZH"] if number % 2 else ["ZH", "ttbar"],
            attributes={"seed": number % 3, "jets": {"radius": 0.4 if number < 4 else 1.0}},
            unknown=("jet/truth_pt",) if number == 2 else (),
        )
    return tmp_path


def both(folder: Path, **options: object) -> tuple[EventDataset, EventDataset]:
    plain = EventDataset(folder, **options)  # type: ignore[arg-type]
    Manifest.of(folder).save()
    return plain, EventDataset(folder, **options)  # type: ignore[arg-type]


def test_a_manifest_changes_nothing_but_the_effort(folder: Path, rng: np.random.Generator) -> None:
    plain, listed = both(folder, fields=["constituents", "constituent/subjet_antikt"])
    assert len(listed) == len(plain) == 124
    assert listed.processes == plain.processes
    assert listed.sources == plain.sources
    assert repr(listed) == repr(plain)
    order = rng.permutation(124)
    for indices in (None, order, order[:7], []):
        assert events_of(listed.read_block(indices)) == events_of(plain.read_block(indices))
    for one, other in ((listed, plain), (listed[order[:40]], plain[order[:40]]), (listed[5:5], plain[5:5])):
        assert one.num_pfos().tolist() == other.num_pfos().tolist()
        assert one.num_jets().tolist() == other.num_jets().tolist()
        assert one.num_pfos().dtype == np.int64
        assert one.class_counts().tolist() == other.class_counts().tolist()
        assert one.file_of_events().tolist() == other.file_of_events().tolist()
    for file, entry in zip(plain.files, listed.files, strict=True):
        for name in ("path", "num_events", "num_pfos", "num_jets", "num_constituents", "processes", "sources"):
            assert getattr(file, name) == getattr(entry, name)
        assert file.constituent_columns == entry.constituent_columns
        assert file.attributes == entry.attributes
        assert file.jet_radius == entry.jet_radius
        for column in ("jet/truth_pt", "pfo/pt", "event/source", "constituent/subjet_antikt"):
            assert file.has(column) == entry.has(column), column
    assert_same_graphs(listed[50], plain[50])
    listed.files[0].check()


def test_class_counts_with_limits_and_repeated_events(folder: Path) -> None:
    plain, listed = both(folder, max_jets=2)
    flavour = plain.read_block().jet["flavour"]
    expected = [int((flavour == c).sum()) for c in range(3)]
    assert plain.class_counts().tolist() == listed.class_counts().tolist() == expected
    twice = EventDataset(folder)[[3, 3, 99, 0, 99]]
    flavour = twice.read_block().jet["flavour"]
    assert twice.class_counts().tolist() == [int((flavour == c).sum()) for c in range(3)]


def test_files_are_opened_when_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Manifest.of(folder).save()
    opened: list[str] = []
    true_open = h5py.File

    def spy(path: Path, *arguments: object, **options: object) -> h5py.File:
        opened.append(Path(path).name)
        return true_open(path, *arguments, **options)

    monkeypatch.setattr(h5py, "File", spy)
    dataset = EventDataset(folder, fields=["constituent/subjet_antikt"])
    assert len(dataset) == 124
    assert dataset.processes == ["ZH", "ttbar"]
    assert dataset.class_counts().sum() == sum(sum(file.entry.class_counts[:3]) for file in dataset.files)
    assert not dataset.files[2].has("jet/truth_pt")
    assert opened == []
    dataset.get_batch([31, 40])
    assert opened == ["f2.h5"]
    dataset.num_pfos()
    assert sorted(opened) == [f"f{n}.h5" for n in range(5)]


def test_few_files_stay_open(folder: Path) -> None:
    Manifest.of(folder).save()
    for paths in (folder, [folder / f"f{n}.h5" for n in range(5)]):
        dataset = EventDataset(paths)
        dataset._opened.limit = 2
        whole = events_of(dataset.read_block())
        dataset.num_jets()
        assert sum(file._handle is not None for file in dataset.files) <= 2
        assert events_of(dataset[::-1].read_block()) == whole[::-1]
    assert OpenFiles().limit == MAX_OPEN < 1024


def test_more_files_than_a_process_may_open(tmp_path: Path, rng: np.random.Generator) -> None:
    pytest.importorskip("resource")
    content = write_events(tmp_path / "f.h5", random_block(rng, [3, 2], [1, 1])).read_bytes()
    (tmp_path / "f.h5").unlink()
    for number in range(115):
        (tmp_path / f"f{number:03d}.h5").write_bytes(content)
    code = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (110, 110))
from panoptag_pyg.events import EventDataset, EventLoader
dataset = EventDataset(sys.argv[1])
print(sum(len(batch.event_id) for batch in EventLoader(dataset, batch_size=50, shuffle=True)))
"""
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
        assert done.stdout.split() == ["230"], done.stderr
        if not (tmp_path / "manifest.json").exists():
            Manifest.of(tmp_path).save()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loaders_read_listed_files(folder: Path, num_workers: int) -> None:
    plain, listed = both(folder)
    options = {"batch_size": 10, "shuffle": True, "num_workers": num_workers}
    for one, other in zip(EventLoader(plain, **options), EventLoader(listed, **options), strict=True):
        assert_same_graphs(one, other)


def test_datasets_go_to_other_processes(folder: Path) -> None:
    for dataset in both(folder):
        whole = events_of(dataset.read_block())
        again = pickle.loads(pickle.dumps(dataset))
        assert all(file._handle is None for file in again.files)
        assert events_of(again.read_block()) == whole
        assert events_of(again[[120, 3]].read_block()) == [whole[120], whole[3]]


def test_files_that_changed_are_refused(folder: Path, rng: np.random.Generator) -> None:
    path = Manifest.of(folder).save()
    write_events(folder / "f2.h5", random_block(rng, [3], [1]), ["ZH", "ttbar"], overwrite=True)
    dataset = EventDataset(folder)
    dataset.read_block([0])
    with pytest.raises(EventFileError, match=r"f2\.h5 has [\d,]+ bytes, its manifest says"):
        dataset.read_block([40])
    (folder / "f2.h5").unlink()
    with pytest.raises(EventFileError, match=r"f2\.h5 is missing, though its manifest names it"):
        EventDataset(folder).num_pfos()
    values = json.loads(path.read_text())
    values["files"][0]["num_events"] += 1
    values["num_events"] += 1
    path.write_text(json.dumps(values))
    with pytest.raises(EventFileError, match=r"f0\.h5 has changed: 30 events with \d+ PFOs, its manifest says 31"):
        EventDataset(folder).read_block([3])


def test_a_file_of_the_same_size_that_lacks_a_column(folder: Path) -> None:
    Manifest.of(folder).save()
    content = (folder / "f0.h5").read_bytes()
    (folder / "f0.h5").write_bytes(content.replace(b"\0eta\0", b"\0etx\0"))
    with pytest.raises(EventFileError, match=r"f0\.h5: column pfo/eta is missing"):
        EventDataset(folder).read_block([3])


def test_files_that_the_manifest_does_not_know_are_refused(folder: Path, rng: np.random.Generator) -> None:
    Manifest.of(folder).save()
    write_events(folder / "new.h5", random_block(rng, [3], [1]))
    with pytest.raises(EventFileError, match=r"new\.h5 is not in the manifest of its folder"):
        EventDataset(folder)
    Manifest.of(folder).save()  # finds files anew
    assert len(EventDataset(folder)) == 125


def test_manifests_and_files_together(folder: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    Manifest.of(folder).save()
    extra = write_events(tmp_path / "other" / "x.h5", random_block(rng, [3, 4], [1, 0]), ["tW"])
    dataset = EventDataset([extra, folder / "manifest.json"])
    assert len(dataset) == 126
    assert dataset.processes == ["tW", "ZH", "ttbar"]
    alone = EventDataset(extra).read_block()
    assert dataset.read_block([0, 1]).pfo["pt"].tolist() == alone.pfo["pt"].tolist()


def test_missing_columns_of_constituents_are_known_without_opening(folder: Path, rng: np.random.Generator) -> None:
    write_events(folder / "g.h5", random_block(rng, [30], [3]))
    Manifest.of(folder).save()
    with pytest.raises(EventFileError, match=r"g\.h5 lacks the column constituent/subjet_antikt"):
        EventDataset(folder, fields=["constituent/subjet_antikt"])


def test_damaged_values_are_named_when_classes_are_counted(folder: Path) -> None:
    with h5py.File(folder / "f2.h5", "a") as handle:
        handle["jet/flavour"][5] = 7
    with pytest.raises(EventFileError, match=r"f2\.h5: event \d+: jet/flavour is 7, expected at most 2"):
        EventDataset(folder).class_counts()


def test_columns_alone(folder: Path) -> None:
    file = EventFile(folder / "f2.h5")
    block = file.read()
    assert file.column("jet/pt", 3, 9).tolist() == block.jet["pt"][3:9].tolist()
    assert file.column("event/id").tolist() == block.event["id"].tolist()
    assert file.column("jet/truth_pt").tolist() == [0] * file.num_jets
    assert file.column("constituent/subjet_antikt").tolist() == block.constituent["subjet_antikt"].tolist()
    with EventFileWriter(folder / "empty.h5", ["ttbar"]):
        pass
    assert EventFile(folder / "empty.h5").column("pfo/pt").tolist() == []
