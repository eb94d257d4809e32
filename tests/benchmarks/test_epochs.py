"""What is said of whole epochs: speed is measured with its floor, memory stays flat, mixing is told as it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.events import random_block, write_events

from panoptag_pyg.benchmarks.pipeline import epochs
from panoptag_pyg.events import EventBlock


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two processes in files of their own, events of a few PFOs."""
    folder, rng = tmp_path_factory.mktemp("epochs"), np.random.default_rng(3)
    paths = []
    for name in ("ttbar", "ZH"):
        block = random_block(rng, rng.integers(0, 5, 500), rng.integers(0, 3, 500))
        paths.append(write_events(folder / f"{name}.h5", EventBlock.concatenate([block] * 12), [name]))
    return paths


def test_autocorrelation(rng):
    y = rng.normal(size=500)
    centred = y - y.mean()
    expected = sum(centred[i] * centred[i + 3] for i in range(497)) / (centred**2).sum()
    assert epochs.autocorrelation(y, 3) == pytest.approx(expected)
    assert epochs.autocorrelation(np.tile([1.0, -1.0], 400), 1) == pytest.approx(-1, abs=0.01)
    assert epochs.autocorrelation(np.ones(9), 1) == 0


def test_batch_variance(rng):
    assert epochs.batch_variance(np.repeat([0.0, 1.0], 320), 64) == pytest.approx(64)
    assert epochs.batch_variance(np.tile([0.0, 1.0], 320), 64) == pytest.approx(0)
    assert epochs.batch_variance(rng.normal(size=640_000), 64) == pytest.approx(1, abs=0.1)


def test_mixing_is_told(files):
    found = epochs.mixing(files)
    orders = {name: order["first process"] for name, order in found["orders"].items()}
    noise = found["noise"]
    assert found["events"] == 12_000
    assert orders["file order"]["autocorrelation"]["1"] > 0.99
    assert abs(orders["perfect"]["autocorrelation"]["1"]) < 6 * noise
    # A window holds 16 runs of one process each: its share of the process spreads by 1/16 of the label's variance.
    assert orders["EventLoader"]["autocorrelation"]["1"] < 0.3
    assert orders["file order"]["batch_variance"] > 40 > 20 > orders["EventLoader"]["batch_variance"]


def test_memory_of_a_long_epoch_is_flat(files):
    found = epochs.memory(files[0], 240_000, points=20)
    assert found["events"] >= 240_000
    assert found["files"] == 40
    seen = found["resident_mebibytes"]
    # All events at once would take some 240,000 · 400 bytes = 100 MB.
    assert max(seen[4:]) - seen[3] < 30


def test_the_documentation_says_what_the_committed_run_says(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "docs"))
    import epoch_tables

    page = epoch_tables.PAGE.read_text(encoding="utf-8")
    assert epoch_tables.filled(page) == page, "run `make tables`"


def test_the_command_writes_what_it_prints(files, tmp_path, capsys):
    epochs.main([*map(str, files), "--output", str(tmp_path / "epochs.json"), "--passes", "1"])
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "epochs.json").read_text())
    assert set(printed) == {"machine", "inflate", "speed", "mixing"}
    assert all(value > 0 for value in printed["speed"]["microseconds_per_event"].values())
    assert printed["speed"]["bytes_per_event_in_memory"] > printed["speed"]["bytes_per_event_on_disk"] / 10
