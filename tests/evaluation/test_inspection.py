"""What ``inspect`` says about a file against NumPy on the whole columns."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from helpers.displaced import displaced_block
from helpers.events import write_events

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.evaluation.inspection import bars, inspect_file, rich_summary, summary_figure
from panoptag_pyg.events import EventFile
from panoptag_pyg.events.schema import COLUMNS


@pytest.fixture
def block():
    return displaced_block(np.random.default_rng(5), 1301, jets_per_event=3, num_processes=2, num_soft=10)


@pytest.mark.parametrize("check", [True, False])
def test_numbers_are_those_of_the_columns(tmp_path, block, check):
    path = write_events(tmp_path / "a.h5", block, ["ttbar", "ZH"], attributes={"seed": 7})
    summary, sample = inspect_file(EventFile(path), check)
    assert (summary.num_events, summary.num_pfos, summary.num_jets) == (1301, block.num_pfos, block.num_jets)
    assert summary.events_read == sample.num_events == 1301
    for column in summary.columns:
        group, name = column.path.split("/")
        values = getattr(block, group)[name].astype(np.float64)
        assert column.min == values.min()
        assert column.max == values.max()
        assert column.mean == pytest.approx(values.mean())
        assert column.zero == pytest.approx((values == 0).mean())
        assert sum(column.histogram) == len(values)
    assert list(summary.flavours.values()) == [*np.bincount(block.jet["flavour"]), 0]
    assert summary.processes == dict(zip(("ttbar", "ZH"), np.bincount(block.event["process"]), strict=True))
    assert summary.per_event["jets per event"][1] == pytest.approx(block.num_jets / 1301)
    assert summary.attributes == {"seed": 7}


def test_weights_are_summed(rng, tmp_path, block):
    weights = rng.normal(2, 2, 1301).astype(np.float32)
    block.event["weight"] = weights
    summary, _ = inspect_file(EventFile(write_events(tmp_path / "a.h5", block, ["ttbar", "ZH"])))
    assert summary.weights["sum"] == pytest.approx(weights.astype(np.float64).sum(), rel=1e-9)
    assert summary.weights["negative_share"] == pytest.approx(np.mean(weights < 0))
    assert "% negative" in text_of(rich_summary(summary))
    block.event["weight"] = np.ones(1301, dtype=np.float32)
    summary, _ = inspect_file(EventFile(write_events(tmp_path / "b.h5", block, ["ttbar", "ZH"])))
    assert "% negative" not in text_of(rich_summary(summary))


def text_of(renderable):
    from rich.console import Console

    console = Console(width=200)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_large_file_is_sampled_unless_checked(tmp_path, block, monkeypatch):
    monkeypatch.setattr("panoptag_pyg.evaluation.inspection.BLOCK_EVENTS", 100)
    monkeypatch.setattr("panoptag_pyg.evaluation.inspection.SAMPLE_EVENTS", 300)
    file = EventFile(write_events(tmp_path / "a.h5", block, ["ttbar", "ZH"]))
    assert inspect_file(file)[0].events_read == 201  # the last block holds one event
    assert inspect_file(file, check=True)[0].events_read == 1301


def test_check_finds_what_the_sample_misses(tmp_path, block, monkeypatch):
    monkeypatch.setattr("panoptag_pyg.evaluation.inspection.BLOCK_EVENTS", 100)
    monkeypatch.setattr("panoptag_pyg.evaluation.inspection.SAMPLE_EVENTS", 300)
    path = write_events(tmp_path / "a.h5", block, ["ttbar", "ZH"])
    with h5py.File(path, "a") as handle:
        handle["pfo/d0"][int(block.pfo_offsets[250])] = np.nan
    inspect_file(EventFile(path))
    with pytest.raises(EventFileError, match=r"event 250.*pfo/d0"):
        inspect_file(EventFile(path), check=True)


@pytest.mark.parametrize("num_events", [0, 1])
def test_empty_files(tmp_path, num_events):
    block = displaced_block(np.random.default_rng(0), num_events, jets_per_event=0, num_soft=0)
    summary, sample = inspect_file(EventFile(write_events(tmp_path / "a.h5", block)), check=True)
    assert len(summary.columns) == len(COLUMNS)
    rich_summary(summary)
    if num_events == 0:
        summary_figure(summary, sample).savefig(tmp_path / "a.png", dpi=20)


def test_bars():
    assert bars([0, 1, 4, 8, 1000]) == " ▁▁▁█"
    assert bars([]) == bars([0, 0]) == ""


@pytest.mark.parametrize("weight", [1530891.0, 3e15, 8.5e-13, 0.0])
def test_weights_that_are_all_the_same(tmp_path, block, weight):
    """Single precision can't divide the range from half below to half above a large number."""
    block.event["weight"][:] = weight
    summary, _ = inspect_file(EventFile(write_events(tmp_path / "a.h5", block, ["ttbar", "ZH"])))
    (column,) = (column for column in summary.columns if column.path == "event/weight")
    assert sum(column.histogram) == block.num_events
    assert max(column.histogram) == block.num_events
