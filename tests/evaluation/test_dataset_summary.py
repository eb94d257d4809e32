"""Summaries of many files: right with and without a manifest, and what --check finds."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.sourced import make
from rich.console import Console

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.evaluation.dataset_summary import rich_dataset, summarise, work
from panoptag_pyg.events import EventDataset
from panoptag_pyg.events.manifest import Manifest


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    for number, count in enumerate((30, 0, 45)):
        path = tmp_path / "data" / f"{number}.h5"
        make(path, rng, count, ("ttbar", "ZH"), (f"s {number}",), {"setup": "paper", "seed": number})
    return tmp_path / "data"


def text(summary: object) -> str:
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(rich_dataset(summary))  # type: ignore[arg-type]
    return console.export_text()


def test_totals_are_those_of_the_events(folder: Path) -> None:
    plain = summarise(folder)
    block = EventDataset(folder).read_block()
    assert plain.total.num_events == 75
    assert plain.total.num_pfos == block.num_pfos
    assert plain.total.num_jets == block.num_jets
    assert plain.total.class_counts == tuple((block.jet["flavour"] == c).sum() for c in (0, 1, 2, -1))
    assert plain.by_process["ZH"].num_events == (block.event["process"] == 1).sum()
    assert plain.attributes == {"setup": "paper"}
    assert [row.counts.num_events for row in plain.files] == [30, 0, 45]
    Manifest.of(folder).save()
    listed = summarise(folder)
    assert (listed.total, listed.by_process, listed.attributes) == (plain.total, plain.by_process, plain.attributes)
    assert listed.files[0].sha256 == Manifest.load(folder).files[0].sha256
    json.dumps(listed.to_dict())


def test_a_manifest_spares_opening(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Manifest.of(folder).save()
    monkeypatch.setattr(h5py, "File", None)
    assert summarise(folder).total.num_events == 75
    assert work([folder]) == 0


def test_progress_adds_up(folder: Path) -> None:
    for check in (False, True):
        done: list[int] = []
        summarise(folder, check, done.append)
        assert sum(done) <= work([folder], check)
        assert sum(done) >= work([folder], check) - (folder / "1.h5").stat().st_size  # which has no event to read
    Manifest.of(folder).save()
    done = []
    summarise(folder, True, done.append)
    total = sum(path.stat().st_size for path in folder.glob("*.h5"))
    assert work([folder], True) == 2 * total
    assert sum(done) == 2 * total - (folder / "1.h5").stat().st_size


def test_check_finds_changed_bytes_values_and_counts(folder: Path) -> None:
    Manifest.of(folder).save()
    assert summarise(folder, check=True).checked
    path = folder / "2.h5"
    with h5py.File(path, "a") as handle:
        handle["jet/pt"][3] = np.nan
    with pytest.raises(EventFileError, match=r"2\.h5 (has changed|has [\d,]+ bytes)"):
        summarise(folder, check=True)
    summarise(folder)  # nothing was looked at
    Manifest.of(folder).save()
    with pytest.raises(EventFileError, match=r"2\.h5: event \d+: jet/pt is nan"):
        summarise(folder, check=True)
    with h5py.File(path, "a") as handle:
        handle["jet/pt"][3] = 30
    manifest = Manifest.of(folder).save()
    values = json.loads(manifest.read_text())
    values["files"][0]["by_process"]["ZH"]["num_jets"] += 1
    manifest.write_text(json.dumps(values))
    with pytest.raises(EventFileError, match=r"0\.h5: the manifest counts other events, jets or classes"):
        summarise(folder, check=True)


def test_what_is_printed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = text(summarise(folder))
    for words in ("ttbar", "ZH", "all", "3 files", "2.h5", "--check compares", "setup"):
        assert words in told
    assert "no manifest" in text(summarise(folder, check=True))
    Manifest.of(folder).save()
    assert "3 sizes and checksums are those of the manifest" in text(summarise(folder, check=True))
    monkeypatch.setattr("panoptag_pyg.evaluation.dataset_summary.MOST_ROWS", 2)
    told = text(summarise(folder))
    assert "… 2 more" in told
    assert "2.h5" not in told
