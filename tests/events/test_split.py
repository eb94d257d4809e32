"""Splitting: shares, what decides an event's side and what doesn't, what is written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.events import events_of, random_block, write_events
from helpers.sourced import make, named

from panoptag_pyg.errors import ConfigError, EventFileError
from panoptag_pyg.events import EventDataset, EventFile
from panoptag_pyg.events.hashing import event_hash
from panoptag_pyg.events.manifest import Manifest
from panoptag_pyg.events.merge import merge
from panoptag_pyg.events.split import FRACTIONS, SIDES, side_of, split, split_masks
from panoptag_pyg.output import OutputError


@pytest.fixture
def files(tmp_path: Path, rng: np.random.Generator) -> list[Path]:
    return [
        make(tmp_path / "a.h5", rng, 60, ("ttbar", "ZH"), ("t 1", "z 1")),
        make(tmp_path / "b.h5", rng, 90, ("ZH",), ("z 1", "w 1"), first_id=60),
    ]


def sides(folder: Path) -> dict[tuple[str, int], str]:
    """Side of each event, by its source and id, as found in the folders."""
    found = {}
    for side in SIDES:
        dataset = EventDataset(folder / side)
        for source, event_id in zip(*(keys.tolist() for keys in dataset.event_keys()), strict=True):
            key = (dataset.sources[source], event_id)
            assert key not in found
            found[key] = side
    return found


def test_shares_are_as_asked() -> None:
    """Within 5 sigma of the binomial; the same million events each time."""
    sources = [f"ttbar seed={seed} settings=1a2b3c4d" for seed in range(10)]
    source = np.repeat(np.arange(10, dtype=np.int32), 100_000)
    hashes = event_hash(sources, source, np.tile(np.arange(100_000), 10))
    for fractions in (FRACTIONS, (0.5, 0.25, 0.25), (0.99, 0.005, 0.005)):
        side = side_of(hashes, fractions)
        for part in (slice(None), source == 3):
            number = len(side[part])
            for expected, found in zip(fractions, np.bincount(side[part], minlength=3), strict=True):
                assert abs(found - number * expected) < 5 * (number * expected * (1 - expected)) ** 0.5


def test_other_shares_move_only_events_between_the_bounds() -> None:
    hashes = event_hash(["a"], np.zeros(100_000, np.int32), np.arange(100_000))
    before, after = side_of(hashes, (0.75, 0.10, 0.15)), side_of(hashes, (0.75, 0.15, 0.10))
    assert ((before == 0) == (after == 0)).all()
    assert (after[before == 1] == 1).all()
    assert (before[after == 2] == 2).all()


def test_sides_have_nothing_to_do_with_process_label_or_neighbours() -> None:
    """Correlations within 5 sigma of none, for events that always are the same."""
    rng = np.random.default_rng(5)
    number = 200_000
    sources = [f"{name} seed={seed}" for name in ("ttbar", "single_top", "ttH", "ZH") for seed in range(3)]
    source = np.repeat(np.arange(12, dtype=np.int32), number // 12 + 1)[:number]
    event_id = np.concatenate([np.arange(n) for n in np.bincount(source)])
    train = (side_of(event_hash(sources, source, event_id)) == 0).astype(float)
    process, label, parity, block = source // 3, rng.integers(0, 3, number), event_id % 2, event_id % 200
    for quantity in (process, label, parity, block, event_id, np.roll(train, 1)):
        assert abs(np.corrcoef(train, quantity)[0, 1]) < 5 / number**0.5


def test_only_source_and_id_decide(files: list[Path], tmp_path: Path, rng: np.random.Generator) -> None:
    split(files, tmp_path / "one")
    one = sides(tmp_path / "one")
    assert len(one) == 150
    # In another order, in shards, mixed, under other names:
    merge(files, tmp_path / "shards", shards=7, shuffle=1)
    (tmp_path / "b.h5").rename(tmp_path / "0.h5")
    split([tmp_path / "0.h5", tmp_path / "a.h5"], tmp_path / "two", events_per_file=11)
    split(tmp_path / "shards", tmp_path / "three", shuffle=4)
    assert sides(tmp_path / "two") == sides(tmp_path / "three") == one
    # With further events:
    more = make(tmp_path / "c.h5", rng, 300, ("tW",), ("w 1", "t 1"), first_id=150)
    split([more, tmp_path / "0.h5", tmp_path / "a.h5"], tmp_path / "four")
    four = sides(tmp_path / "four")
    assert len(four) == 450
    assert {key: four[key] for key in one} == one


def test_every_value_is_as_it_was(files: list[Path], tmp_path: Path) -> None:
    done = split(files, tmp_path / "out", events_per_file=40, command="panoptag split x")
    assert sum(done.num_events.values()) == 150
    whole = {(e["event"]["source"], e["event"]["id"]): e for path in files for e in named(path)}
    for side in SIDES:
        manifest = Manifest.load(tmp_path / "out" / side)
        manifest.verify()
        assert manifest.num_events == done.num_events[side]
        assert all(entry.num_events <= 40 for entry in manifest.files)
        for entry in manifest.files:
            for event in named(manifest.path_of(entry)):
                assert event == whole.pop((event["event"]["source"], event["event"]["id"]))
        (step,) = EventFile(manifest.path_of(manifest.files[0])).attributes["split"]
        assert (step["side"], step["command"]) == (side, "panoptag split x")
    assert whole == {}
    told = json.loads((tmp_path / "out" / "split.json").read_text())
    assert told["fractions"] == {"train": 0.75, "val": 0.1, "test": 0.15}
    assert {side: told["sides"][side]["events"] for side in SIDES} == done.num_events
    assert told["sides"]["val"]["sha256"] == Manifest.load(tmp_path / "out" / "val").sha256


def test_masks_are_the_split(files: list[Path], tmp_path: Path) -> None:
    split(files, tmp_path / "out")
    dataset = EventDataset(files)
    for view in (dataset, dataset[::-1], dataset[20:120]):
        masks = split_masks(view)
        assert sum(masks.values()).tolist() == [1] * len(view)
        written = sides(tmp_path / "out")
        for side, mask in masks.items():
            chosen = view.select(mask)
            for source, event_id in zip(*chosen.event_keys(), strict=True):
                assert written[dataset.sources[source], event_id] == side
    train = EventDataset(tmp_path / "out" / "train").read_block()
    assert events_of(dataset.select(split_masks(dataset)["train"]).read_block()) == events_of(train)


def test_old_files_without_sources(tmp_path: Path, rng: np.random.Generator) -> None:
    paths = []
    for seed in (1, 2):
        block = random_block(rng, rng.poisson(5, 40), rng.poisson(2, 40))
        paths.append(write_events(tmp_path / f"{seed}.h5", block, attributes={"seed": seed}, unknown=("event/source",)))
    split(paths, tmp_path / "out")
    found = sides(tmp_path / "out")
    names = ["ttbar seed=1", "ttbar seed=2"]
    ids = np.tile(np.arange(40), 2)
    expected = side_of(event_hash(names, np.repeat(np.arange(2, dtype=np.int32), 40), ids))
    assert found == {(names[n // 40], n % 40): SIDES[side] for n, side in enumerate(expected.tolist())}


def test_a_side_without_a_share_is_not_made(files: list[Path], tmp_path: Path) -> None:
    done = split(files, tmp_path / "out", fractions=(0.7, 0.0, 0.3))
    assert done.num_events["val"] == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["split.json", "test", "train"]
    done = split(files, tmp_path / "out", fractions=(0.7, 0.3, 0.0), overwrite=True)
    assert done.num_events["test"] == 0
    assert sum(done.num_events.values()) == 150
    assert side_of(np.array([2**64 - 1], np.uint64), (0.7, 0.2 + 0.1, 0.0)).tolist() == [1]
    tiny = make(tmp_path / "tiny.h5", np.random.default_rng(0), 1, sources=("one",))
    split(tiny, tmp_path / "tiny")
    assert [len(EventDataset(tmp_path / "tiny" / side)) for side in SIDES].count(0) == 2


@pytest.mark.parametrize(
    ("fractions", "words"),
    [
        ((0.8, 0.1, 0.2), r"are 0\.8, 0\.1, 0\.2 and sum to 1\.1, expected 1"),
        ((1.2, -0.1, -0.1), "expected three numbers from 0 to 1"),
        ((0.5, 0.5), "expected three numbers from 0 to 1"),
        ((float("nan"), 0.5, 0.5), "expected three numbers from 0 to 1"),
    ],
)
def test_shares_that_are_none(fractions: tuple, words: str, files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        split(files, tmp_path / "out", fractions=fractions)
    assert not (tmp_path / "out").exists()


def test_refusals_leave_nothing(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(EventFileError, match="once more"):
        split([*files, files[1]], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="events per file is 0"):
        split(files, tmp_path / "out", events_per_file=0)
    split([*files, files[1]], tmp_path / "out", drop_duplicates=True)
    with pytest.raises(OutputError, match="exists"):
        split(files, tmp_path / "out")
    before = sides(tmp_path / "out")
    files[1].write_bytes(files[1].read_bytes()[:-3000])
    with pytest.raises(EventFileError, match="cut short"):
        split(files, tmp_path / "out", overwrite=True)
    assert sides(tmp_path / "out") == before
    assert not list(tmp_path.glob(".*"))
