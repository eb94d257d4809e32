"""Data cards: every number and command on the page is the data set's, through mergers and splits."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from helpers.sourced import CARD, make

from panoptag_pyg.evaluation.data_card import commands, data_card, origins
from panoptag_pyg.events import EventDataset, EventFile
from panoptag_pyg.events.manifest import Manifest
from panoptag_pyg.events.merge import merge
from panoptag_pyg.events.split import split


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    for number, process in enumerate(("ttbar", "ttbar", "ZH")):
        attributes = {
            "setup": "paper",
            "cross_section_pb": 12.345678,
            "cross_section_error_pb": 0.123,
            "detector_card": {**CARD, "description": "a detector | of sorts"},
            "seed": 7 + number // 2,
            "command": f"panoptag simulate --process {process} --seed {7 + number // 2}",
            "process_card": {"name": process, "description": f"words on {process}", "settings": [f"{process} = on"]},
            "software": {"python": "3.11.7", "numpy": "2.4.6" if number else "2.4.5"},
        }
        make(tmp_path / "data" / f"{number}.h5", rng, 20, (process,), (f"s {number}",), attributes)
    return tmp_path / "data"


def check_page(page: str, dataset: EventDataset) -> None:
    block = dataset.read_block()
    rows = {row[0]: row[1:] for row in (re.findall(r"[^|]+", line) for line in page.splitlines()) if len(row) > 5}
    rows = {name.strip(): [cell.strip() for cell in cells] for name, cells in rows.items()}
    for number, name in enumerate(dataset.processes):
        mine = block.event["process"] == number
        jets = mine[block.jet_event]
        cells = rows[name]
        assert cells[0] == f"{mine.sum():,}"
        assert cells[1] == f"{np.diff(block.pfo_offsets)[mine].sum():,}"
        assert cells[2] == f"{np.diff(block.pfo_offsets)[mine].mean():.2f}"
        assert cells[3] == f"{jets.sum():,}"
        for place, flavour in enumerate((0, 1, 2)):
            assert cells[5 + place] == f"{100 * (block.jet['flavour'][jets] == flavour).mean():.1f} %"
    assert rows["**all**"][0] == f"{len(dataset):,}"
    for process, seed in (("ttbar", 7), ("ZH", 8)):
        assert (
            page.count(f"| {process} | 12.35 ± 0.12 | {seed} | `panoptag simulate --process {process} --seed {seed}` |")
            == 1
        )
        assert f"**{process}**: words on {process}\n\n```\n{process} = on\n```" in page
    assert "| numpy | 2.4.5, 2.4.6 |" in page
    assert '| setup | `"paper"` |' in page
    assert '"min_pt": 20.0' in page


def test_of_files_as_they_were_made(folder: Path) -> None:
    manifest = Manifest.of(folder)
    page = data_card(manifest, "Tops and a Higgs")
    assert page.startswith("# Tops and a Higgs\n")
    assert manifest.sha256 in page
    own = sorted(entry.sha256 for entry in manifest.files if entry.processes == ("ttbar",))
    assert len(own) == 2
    assert f"| ttbar | `{hashlib.sha256(chr(10).join(own).encode()).hexdigest()}` |" in page
    assert "Then:" not in page
    check_page(page, EventDataset(folder))
    assert page == data_card(Manifest.load(manifest.save()), "Tops and a Higgs")


def test_through_mergers_and_splits(folder: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    merge(folder, tmp_path / "merged", shards=2, shuffle=1, command="panoptag merge data")
    check_page(data_card(Manifest.load(tmp_path / "merged")), EventDataset(tmp_path / "merged"))
    split(tmp_path / "merged", tmp_path / "split", command="panoptag split merged")
    page = data_card(Manifest.load(tmp_path / "split" / "train"))
    check_page(page, EventDataset(tmp_path / "split" / "train"))
    assert "Then:\n\n```\npanoptag merge data\npanoptag split merged\n```" in page
    both = Manifest.merge([Manifest.load(tmp_path / "split" / side) for side in ("train", "val")], tmp_path)
    assert data_card(both).count("panoptag split merged") == 1


def test_what_is_not_known_is_not_made_up(tmp_path: Path, rng: np.random.Generator) -> None:
    make(tmp_path / "a.h5", rng, 3, attributes={}, unknown=("jet/flavour",))
    make(tmp_path / "b.h5", rng, 0, attributes={}, sources=("b",))
    page = data_card(Manifest.of(tmp_path))
    assert "| ttbar | – | – | not recorded |" in page
    assert "unknown jets" in page
    assert "Columns that some or all files lack: `jet/flavour`" in page


def test_origins_and_commands_of_plain_attributes(tmp_path: Path, rng: np.random.Generator) -> None:
    attributes = EventFile(make(tmp_path / "a.h5", rng, 3)).attributes
    assert list(origins(attributes, ("ttbar",))) == [(attributes, ("ttbar",))]
    assert list(commands(attributes)) == []
