"""Merging: every value as it was, names counted anew, what doesn't belong together refused, shards, shuffles."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers.events import events_of, random_block, write_events
from helpers.sourced import CARD, make, named

from panoptag_pyg.errors import ConfigError, EventFileError
from panoptag_pyg.events import EventBlock, EventDataset, EventFile
from panoptag_pyg.events.hashing import event_hash, shuffle_key
from panoptag_pyg.events.manifest import Manifest
from panoptag_pyg.events.merge import merge
from panoptag_pyg.output import OutputError


@pytest.fixture
def files(tmp_path: Path, rng: np.random.Generator) -> list[Path]:
    subjets = ("subjet_antikt", "subjet_cambridge")
    return [
        make(tmp_path / "a.h5", rng, 40, ("ttbar", "ZH"), ("t 1", "z 1"), columns=subjets),
        make(tmp_path / "b.h5", rng, 0, ("tW",), ("w 1",)),
        make(tmp_path / "c.h5", rng, 65, ("ZH", "tW"), ("w 1", "z 2", "t 2"), columns=subjets[:1]),
    ]


def test_everything_as_it_was(files: list[Path], tmp_path: Path) -> None:
    done = merge(files, tmp_path / "out.h5", command="panoptag merge")
    assert (done.num_files, done.num_events) == (3, 105)
    out = EventFile(tmp_path / "out.h5")
    assert out.processes == ["ttbar", "ZH", "tW"]
    assert out.sources == ["t 1", "z 1", "w 1", "z 2", "t 2"]
    assert named(tmp_path / "out.h5") == [event for path in files for event in named(path)]
    assert out.constituent_columns == ("subjet_antikt",)
    expected = [EventFile(path).read().constituent["subjet_antikt"].tolist() for path in (files[0], files[2])]
    assert out.read().constituent["subjet_antikt"].tolist() == expected[0] + expected[1]
    assert done.notes == (f"constituent/subjet_cambridge is left out: {files[2]} lacks it",)
    out.check()


def test_small_blocks_change_nothing(files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    merge(files, tmp_path / "whole.h5")
    for events, pfos in ((7, 10**6), (1000, 40), (1, 1)):
        monkeypatch.setattr("panoptag_pyg.events.joining.BLOCK_EVENTS", events)
        monkeypatch.setattr("panoptag_pyg.events.joining.BLOCK_PFOS", pfos)
        merge(files, tmp_path / "pieces.h5", overwrite=True)
        assert named(tmp_path / "pieces.h5") == named(tmp_path / "whole.h5")


def test_provenance(files: list[Path], tmp_path: Path, rng: np.random.Generator) -> None:
    shared = {"setup": "paper", "detector_card": CARD}
    files = [
        make(tmp_path / f"{n}.h5", rng, 3, sources=(f"s {n}",), attributes={**shared, "seed": n // 2}) for n in range(4)
    ]
    merge(files, tmp_path / "out.h5", command="panoptag merge x")
    attributes = EventFile(tmp_path / "out.h5").attributes
    assert {name: attributes[name] for name in shared} == shared
    assert "seed" not in attributes
    (step,) = attributes["merged"]
    assert step["command"] == "panoptag merge x"
    assert [(group["attributes"], group["events"]) for group in step["inputs"]] == [({"seed": 0}, 6), ({"seed": 1}, 6)]
    assert step["inputs"][1]["files"] == [str(files[2]), str(files[3])]
    more = make(tmp_path / "more.h5", rng, 2, sources=("s 9",), attributes={**shared, "seed": 9})
    merge([tmp_path / "out.h5", more], tmp_path / "again.h5")
    (step,) = EventFile(tmp_path / "again.h5").attributes["merged"]
    assert step["inputs"][0]["attributes"]["merged"][0]["command"] == "panoptag merge x"
    merge(tmp_path / "again.h5", tmp_path / "copy.h5")
    assert len(EventFile(tmp_path / "copy.h5").attributes["merged"]) == 2


def test_provenance_of_very_many_files_is_shortened(tmp_path: Path, rng: np.random.Generator) -> None:
    shared = {"setup": "paper", "detector_card": CARD}
    for n in range(30):
        attributes = {**shared, "note": f"{n}" * 1500}
        make(tmp_path / "in" / f"{n:02d}.h5", rng, 2, sources=(f"source {n} " + "x" * 3000,), attributes=attributes)
    merge(tmp_path / "in", tmp_path / "out.h5")
    out = EventFile(tmp_path / "out.h5")
    assert out.attributes["merged"][0]["inputs"] == [{"files": 30, "events": 60, "processes": ["ttbar"]}]
    assert len(out.sources) == 30  # 90 kB: more than an attribute holds
    assert named(tmp_path / "out.h5") == [e for n in range(30) for e in named(tmp_path / "in" / f"{n:02d}.h5")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"setup": "realistic"}, 'setup is "realistic" in the one, "paper" in the other'),
        ({"label": "delphes"}, 'label is "delphes" in the one, unknown in the other'),
        ({"jets": {"radius": 1.0}}, 'jets is {"radius": 1.0} in the one, unknown in the other'),
        (
            {"detector_card": {"name": "x", "jets": {"radius": 1.0, "min_pt": 20.0}}},
            "detector_card.jets.radius is 1.0 in the one, 0.4 in the other",
        ),
    ],
)
def test_what_was_made_differently_is_refused(
    change: dict, words: str, files: list[Path], tmp_path: Path, rng: np.random.Generator
) -> None:
    attributes = {"setup": "paper", "detector_card": CARD, **change}
    other = make(tmp_path / "d.h5", rng, 5, sources=("d",), attributes=attributes)
    with pytest.raises(EventFileError) as error:
        merge([*files, other], tmp_path / "out.h5")
    assert f"{other} and {files[0]} were made differently: {words}; leave one out" in str(error.value)
    assert not (tmp_path / "out.h5").exists()
    done = merge([*files, other], tmp_path / "out.h5", force=True)
    assert any(words in note for note in done.notes)
    assert len(EventFile(tmp_path / "out.h5")) == 110
    assert next(iter(change)) not in EventFile(tmp_path / "out.h5").attributes


def test_a_card_of_another_name_is_no_difference(files: list[Path], tmp_path: Path, rng: np.random.Generator) -> None:
    attributes = {"setup": "paper", "detector_card": {**CARD, "name": "mine", "description": "words"}}
    other = make(tmp_path / "d.h5", rng, 5, sources=("d",), attributes=attributes)
    assert merge([*files, other], tmp_path / "out.h5").num_events == 110


def test_events_that_are_there_twice(files: list[Path], tmp_path: Path, rng: np.random.Generator) -> None:
    with pytest.raises(EventFileError) as error:
        merge([*files, files[0]], tmp_path / "out.h5")
    found = EventFile(files[0])
    name = found.sources[found.column("event/source")[0]]
    sentence = f"event 0 of {files[0]} is event 0 of {files[0]} once more: event 0 of '{name}' (40 such events)"
    assert sentence in str(error.value)
    done = merge([files[2], files[0], files[2]], tmp_path / "out.h5", drop_duplicates=True)
    assert done.num_events == 105
    assert "65 events that came twice are left out" in done.notes
    assert named(tmp_path / "out.h5") == [*named(files[2]), *named(files[0])]
    inside = make(tmp_path / "d.h5", rng, 30, sources=("d",))
    block = EventFile(inside).read()
    block.event["id"] = rng.integers(0, 9, 30)
    write_events(inside, block, sources=("d",), attributes={"setup": "paper", "detector_card": CARD}, overwrite=True)
    merge(inside, tmp_path / "out.h5", drop_duplicates=True, overwrite=True)
    first = [event for n, event in enumerate(named(inside)) if event["event"]["id"] not in block.event["id"][:n]]
    assert named(tmp_path / "out.h5") == first


def test_files_that_do_not_name_their_source(tmp_path: Path, rng: np.random.Generator) -> None:
    paths = [
        write_events(tmp_path / f"{n}.h5", random_block(rng, [3, 2, 4], [1, 1, 2]), unknown=("event/source",))
        for n in range(2)
    ]
    with pytest.raises(EventFileError, match=r"'ttbar seed=unknown' \(3 such events\).*--name-sources"):
        merge(paths, tmp_path / "out.h5")
    assert merge(paths, tmp_path / "out.h5", name_sources=True).num_events == 6
    sources = EventFile(tmp_path / "out.h5").sources
    assert sources == [f"ttbar content={entry.sha256[:16]}" for entry in Manifest.of(paths).files]
    with pytest.raises(EventFileError, match="once more"):
        merge([*paths, paths[1]], tmp_path / "again.h5", name_sources=True)
    Manifest.of(paths).save(tmp_path)
    (tmp_path / "out.h5").unlink()
    merge(tmp_path, tmp_path / "out.h5", name_sources=True)
    assert EventFile(tmp_path / "out.h5").sources == sources


def test_columns_that_some_files_lack(files: list[Path], tmp_path: Path, rng: np.random.Generator) -> None:
    lacking = ("jet/truth_pt", "jet/flavour", "event/source")
    other = make(tmp_path / "d.h5", rng, 5, sources=("d",), unknown=lacking)
    done = merge([*files, other], tmp_path / "out.h5")
    assert f"jet/truth_pt is left out: {other} lack it" in done.notes
    assert f"jet/flavour is -1 (unknown) where it isn't known: {other} lack it" in done.notes
    out = EventFile(tmp_path / "out.h5")
    assert not out.has("jet/truth_pt")
    assert out.has("event/source")
    assert out.sources[-1] == "d"
    known = np.concatenate([EventFile(path).read().jet["flavour"] for path in files])
    assert out.read().jet["flavour"][: len(known)].tolist() == known.tolist()
    assert (out.read().jet["flavour"][len(known) :] == -1).all()
    alone = merge(other, tmp_path / "alone.h5")
    assert alone.notes == ()
    assert not EventFile(tmp_path / "alone.h5").has("jet/flavour")


@pytest.mark.parametrize("shards", [1, 4, 9])
def test_shards(files: list[Path], tmp_path: Path, shards: int) -> None:
    merge(files, tmp_path / "one.h5")
    done = merge(files, tmp_path / "out", shards=shards)
    assert done.path == tmp_path / "out"
    manifest = Manifest.load(tmp_path / "out")
    manifest.verify()
    assert [entry.path for entry in manifest.files] == [f"events-{n:05d}.h5" for n in range(shards)]
    sizes = [entry.num_events for entry in manifest.files]
    assert sum(sizes) == 105
    assert max(sizes) - min(sizes) <= 1
    dataset = EventDataset(tmp_path / "out")
    assert events_of(dataset.read_block()) == events_of(EventFile(tmp_path / "one.h5").read())
    back = merge(tmp_path / "out", tmp_path / "back.h5")
    assert back.num_events == 105
    assert named(tmp_path / "back.h5") == named(tmp_path / "one.h5")


def test_more_shards_than_events(tmp_path: Path, rng: np.random.Generator) -> None:
    path = make(tmp_path / "a.h5", rng, 4, columns=("subjet_antikt",))
    merge(path, tmp_path / "out", shards=6)
    assert sorted(entry.num_events for entry in Manifest.load(tmp_path / "out").files) == [0, 0, 1, 1, 1, 1]
    merge(tmp_path / "out", tmp_path / "back.h5")
    assert named(tmp_path / "back.h5") == named(path)


def test_shuffle_is_a_permutation_that_depends_on_the_events_alone(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge(files, tmp_path / "plain.h5")
    merge(files, tmp_path / "one.h5", shuffle=3)
    plain, mixed = named(tmp_path / "plain.h5"), named(tmp_path / "one.h5")
    keys = [(event["event"]["source"], event["event"]["id"]) for event in plain]
    out = EventFile(tmp_path / "plain.h5")
    order = np.argsort(
        shuffle_key(event_hash(out.sources, out.column("event/source"), out.column("event/id")), 3), kind="stable"
    )
    assert mixed == [plain[n] for n in order]
    assert Counter(map(str, mixed)) == Counter(map(str, plain))
    assert [(e["event"]["source"], e["event"]["id"]) for e in mixed] != keys
    monkeypatch.setattr("panoptag_pyg.events.shuffling.BUCKET_PFOS", 100)
    merge(list(reversed(files)), tmp_path / "two", shards=4, shuffle=3)
    dataset = EventDataset(tmp_path / "two")
    source, event_id = dataset.event_keys()
    again = [(dataset.sources[s], i) for s, i in zip(source.tolist(), event_id.tolist(), strict=True)]
    assert again == [(event["event"]["source"], event["event"]["id"]) for event in mixed]
    merge(files, tmp_path / "other.h5", shuffle=0)
    assert named(tmp_path / "other.h5") != mixed
    assert EventFile(tmp_path / "other.h5").attributes["merged"][0]["shuffle"] == 0
    left = [path.name for path in tmp_path.rglob("*") if "partial" in path.name or "shuffle" in path.name]
    assert left == []


def test_shuffling_leaves_out_duplicates_too(files: list[Path], tmp_path: Path) -> None:
    done = merge([*files, files[0]], tmp_path / "out.h5", shuffle=0, drop_duplicates=True)
    assert done.num_events == len(EventFile(tmp_path / "out.h5")) == 105


def test_nothing_is_left_half_written(files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object, block: EventBlock) -> None:
        raise OSError(28, "No space left on device")

    before = sorted(path.name for path in tmp_path.iterdir())
    monkeypatch.setattr("panoptag_pyg.events.shuffling._save", full)
    monkeypatch.setattr("panoptag_pyg.events.folders.ShardWriter.write", full)
    for options in ({"shards": 2}, {"shuffle": 1}, {"shards": 2, "shuffle": 1}):
        with pytest.raises(OutputError, match="the disk is full"):
            merge(files, tmp_path / ("out" if "shards" in options else "out.h5"), **options)
        assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_folder_is_replaced_only_if_it_is_ours(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    merge(files, tmp_path / "out", shards=2)
    with pytest.raises(OutputError, match="exists; choose another name or overwrite it"):
        merge(files, tmp_path / "out", shards=3)
    merge(files, tmp_path / "out", shards=3, overwrite=True)
    assert len(list((tmp_path / "out").iterdir())) == 4
    merge(tmp_path / "out", tmp_path / "out", shards=5, overwrite=True)  # in place
    assert len(EventDataset(tmp_path / "out")) == 105
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("…")
    with pytest.raises(OutputError, match=r"holds other things \(it has no manifest\.json\)"):
        merge(files, tmp_path / "mine", shards=3, overwrite=True)
    with pytest.raises(OutputError, match="is a file; give the name of a folder"):
        merge(files, files[0], shards=3, overwrite=True)
    assert (tmp_path / "mine" / "thesis.tex").exists()
    with pytest.raises(ConfigError, match="the number of shards is 0"):
        merge(files, tmp_path / "zero", shards=0)


def test_damaged_sources_are_named(files: list[Path], tmp_path: Path) -> None:
    import h5py

    with h5py.File(files[2], "a") as handle:
        handle["event/source"][7] = 3
    with pytest.raises(EventFileError, match=r"c\.h5: event 7: event/source is 3, expected less than 3"):
        merge(files, tmp_path / "out.h5")


def test_manifest_of_shards_tells_each_process(files: list[Path], tmp_path: Path) -> None:
    merge(files, tmp_path / "out", shards=3)
    found = Manifest.load(tmp_path / "out").by_process
    expected = Manifest.of(files).by_process
    assert found == expected
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["attributes"]["setup"] == "paper"
