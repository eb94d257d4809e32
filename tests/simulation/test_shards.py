"""Shards: together one simulation, kept when they are whole, and never mixed with another one's."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from importlib import import_module

import h5py
import numpy as np
import pytest
from helpers.shards import QUICK, checksums, file_numbers, quick_plan

from panoptag_pyg.errors import ConfigError, EventFileError
from panoptag_pyg.events import EventBlock, EventFile
from panoptag_pyg.events.manifest import Manifest
from panoptag_pyg.simulation import simulate
from panoptag_pyg.simulation.blocks import block_tasks, simulate_blocks
from panoptag_pyg.simulation.shard_survey import difference
from panoptag_pyg.simulation.shards import divide, simulate_shards

shards_module = import_module("panoptag_pyg.simulation.shards")

#: Of all tests here that need the same events: five blocks in three shards.
NUM_EVENTS, NUM_SHARDS = 430, 3


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A complete set, not to be changed."""
    folder = tmp_path_factory.mktemp("shards") / "ZH"
    simulate_shards(quick_plan(NUM_EVENTS), folder, NUM_SHARDS)
    return folder


@pytest.fixture
def copied(made, tmp_path):
    """A copy of the set, to be damaged."""
    return shutil.copytree(made, tmp_path / "copied")


@pytest.fixture
def blocks_made(monkeypatch):
    """The numbers of the blocks that are simulated while the test runs."""
    numbers = []

    def watched(config, tasks, workers=1, scheduler=None):
        tasks = list(tasks)
        numbers.extend(number for number, _ in tasks)
        yield from simulate_blocks(config, tasks, workers, scheduler)

    monkeypatch.setattr(shards_module, "simulate_blocks", watched)
    return numbers


def read(path):
    with EventFile(path) as file:
        return file.read()


def assert_same(one, other):
    for group in ("event", "pfo", "jet"):
        for name, values in getattr(one, group).items():
            np.testing.assert_array_equal(values, getattr(other, group)[name], err_msg=f"{group}/{name}")
    for name in ("pfo_offsets", "jet_offsets", "constituent_offsets", "constituents"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def with_a_typo(plan):
    """A plan that fails only when it is carried out."""
    return replace(plan, config=replace(plan.config, settings=(*plan.config.settings, "Beams:eCN = 1")))


def test_block_tasks():
    assert block_tasks(1) == [(0, 1)]
    assert block_tasks(100) == [(0, 100)]
    assert block_tasks(250) == [(0, 100), (1, 100), (2, 50)]


@pytest.mark.parametrize(("num_events", "shards"), [(1, 1), (100, 1), (2000, 10), (2050, 10), (2050, 7), (700, 7)])
def test_shards_are_whole_blocks_and_as_equal_as_can_be(num_events, shards, tmp_path):
    found = divide(quick_plan(num_events), tmp_path, shards)
    assert [shard.path.name for shard in found] == [f"ZH-{number:05d}.h5" for number in range(shards)]
    assert [task for shard in found for task in shard.tasks] == block_tasks(num_events)
    assert sum(shard.num_events for shard in found) == num_events
    sizes = [len(shard.tasks) for shard in found]
    assert max(sizes) - min(sizes) <= 1
    assert [shard.first_event for shard in found] == [100 * sum(sizes[:number]) for number in range(shards)]


def test_all_shards_are_the_events_of_one_file(made, tmp_path):
    one = simulate("ZH", NUM_EVENTS, tmp_path / "one.h5", seed=5, settings=[QUICK])
    files = [EventFile(path) for path in sorted(made.glob("*.h5"))]
    assert [file.num_events for file in files] == [200, 200, 30]
    together = EventBlock.concatenate([file.read() for file in files])
    assert_same(together, read(one))
    assert together.event["id"].tolist() == list(range(NUM_EVENTS))
    assert not together.event["source"].any()
    assert {tuple(file.sources) for file in files} == {tuple(EventFile(one).sources)}


def test_what_the_manifest_says(made):
    manifest = Manifest.load(made)
    manifest.verify()
    assert manifest.num_events == NUM_EVENTS
    assert [entry.path for entry in manifest.files] == [f"ZH-{number:05d}.h5" for number in range(NUM_SHARDS)]
    assert manifest.attributes["seed"] == 5
    assert manifest.files[2].attributes["shard"] == {"first_event": 400, "num_events": 30}
    assert sorted(os.listdir(made)) == [*(entry.path for entry in manifest.files), "manifest.json"]


def test_the_bytes_dont_depend_on_who_made_them(made, tmp_path):
    simulate_shards(quick_plan(NUM_EVENTS, command="another command"), tmp_path / "two", NUM_SHARDS, workers=2)
    assert checksums(tmp_path / "two") == checksums(made)
    assert Manifest.load(tmp_path / "two").attributes["command"] == "another command"
    assert Manifest.load(tmp_path / "two").sha256 == Manifest.load(made).sha256


def test_complete_shards_are_kept(copied, made, blocks_made):
    before = file_numbers(copied)
    manifest = (copied / "manifest.json").stat().st_ino
    simulate_shards(quick_plan(NUM_EVENTS), copied, NUM_SHARDS)
    assert blocks_made == []
    assert file_numbers(copied) == before
    assert (copied / "manifest.json").stat().st_ino == manifest

    (copied / "ZH-00001.h5").unlink()
    (copied / "manifest.json").unlink()
    simulate_shards(quick_plan(NUM_EVENTS), copied, NUM_SHARDS)
    assert blocks_made == [2, 3]
    assert checksums(copied) == checksums(made)
    assert all(file_numbers(copied)[name] == before[name] for name in ("ZH-00000.h5", "ZH-00002.h5"))
    assert Manifest.load(copied).files == Manifest.load(made).files


def test_damaged_shards_are_made_anew(copied, made, blocks_made, caplog):
    cut, flipped, empty = (copied / f"ZH-{number:05d}.h5" for number in range(3))
    cut.write_bytes(cut.read_bytes()[:-1000])
    empty.write_bytes(b"")
    with h5py.File(flipped) as file:  # a byte in the middle of the packed momenta, of which no header tells
        place = file["pfo/pt"].id.get_chunk_info(0).byte_offset + 1000
    data = bytearray(flipped.read_bytes())
    data[place] ^= 0xFF
    flipped.write_bytes(data)
    simulate_shards(quick_plan(NUM_EVENTS), copied, NUM_SHARDS)
    assert blocks_made == [0, 1, 2, 3, 4]
    assert checksums(copied) == checksums(made)
    messages = "\n".join(caplog.messages)
    assert "ZH-00000.h5 is cut short" in messages
    assert "ZH-00001.h5 isn't what its manifest says" in messages
    assert "ZH-00002.h5 is empty" in messages
    Manifest.load(copied).verify()


def test_leftovers_of_a_killed_run_go(copied):
    mine = [copied / name for name in (".ZH-00001.h5.123.partial", ".manifest.123.partial.json")]
    others = [copied / name for name in (".notes.123.partial", "notes.txt")]
    for path in (*mine, *others):
        path.write_text("x")
    simulate_shards(quick_plan(NUM_EVENTS), copied, NUM_SHARDS)
    assert not any(path.exists() for path in mine)
    assert all(path.exists() for path in others)


def test_more_shards_of_the_same_size_are_added(tmp_path, blocks_made):
    simulate_shards(quick_plan(200), tmp_path / "grown", 2)
    before = file_numbers(tmp_path / "grown")
    simulate_shards(quick_plan(400), tmp_path / "grown", 4)
    assert blocks_made == [0, 1, 2, 3]
    assert {name: number for name, number in file_numbers(tmp_path / "grown").items() if name in before} == before
    simulate_shards(quick_plan(400), tmp_path / "direct", 4)
    assert checksums(tmp_path / "grown") == checksums(tmp_path / "direct")
    assert Manifest.load(tmp_path / "grown").num_events == 400


@pytest.mark.parametrize(
    ("plan", "shards", "message"),
    [
        (lambda: quick_plan(NUM_EVENTS, seed=6), 3, r"seed is 5 there and 6 here"),
        (
            lambda: quick_plan(NUM_EVENTS, settings=("25:mMin = 50",)),
            3,
            r"pythia_settings is not set there and '25:mMin = 50' here",
        ),
        (lambda: quick_plan(NUM_EVENTS, label="delphes"), 3, r"label is 'hadron' there and 'delphes' here"),
        (lambda: quick_plan(NUM_EVENTS, round_bits=10), 3, r"round_bits is not set there and 10 here"),
        (lambda: quick_plan(NUM_EVENTS, detector="atlas_fatjets"), 3, r"detector_card\.name is 'atlas' there and"),
        (
            lambda: (
                plan := quick_plan(NUM_EVENTS),
                replace(plan, attributes={**plan.attributes, "software": {"numpy": "0.1"}}),
            )[1],
            3,
            r"software\.numpy is '\d.*' there and '0\.1' here",
        ),
        (lambda: quick_plan(600), 3, r"00002\.h5 holds 30 events, where 600 events in 3 shards are to hold 200"),
        (
            lambda: quick_plan(NUM_EVENTS),
            2,
            r"holds 200 events, where 430 events in 2 shards are to hold 300",
        ),
        (lambda: quick_plan(400), 2, r"00002\.h5 is beyond the 2 shards asked for"),
    ],
)
def test_another_simulations_shards_are_refused(plan, shards, message, made):
    before = file_numbers(made), os.listdir(made)
    with pytest.raises(EventFileError, match=message) as caught:
        simulate_shards(plan(), made, shards)
    assert str(made) in str(caught.value)
    assert "--overwrite" in str(caught.value)
    assert (file_numbers(made), os.listdir(made)) == before


def test_other_files_are_refused(copied):
    shutil.copy(copied / "ZH-00000.h5", copied / "ttbar-00000.h5")
    for overwrite in (False, True):
        with pytest.raises(EventFileError, match=r"ttbar-00000\.h5 is no shard of this simulation"):
            simulate_shards(quick_plan(NUM_EVENTS), copied, NUM_SHARDS, overwrite=overwrite)
    assert len(list(copied.glob("*.h5"))) == 4


def test_overwrite_starts_anew_once_events_have_come(copied, tmp_path):
    before = file_numbers(copied)
    with pytest.raises(ConfigError, match="Beams:eCM"):
        simulate_shards(with_a_typo(quick_plan(200)), copied, 1, overwrite=True)
    assert file_numbers(copied) == before
    simulate_shards(quick_plan(200, seed=6), copied, 1, overwrite=True)
    assert sorted(os.listdir(copied)) == ["ZH-00000.h5", "manifest.json"]
    assert Manifest.load(copied).attributes["seed"] == 6


def test_an_interrupted_run_leaves_whole_shards(made, tmp_path, monkeypatch, caplog):
    def interrupted(config, tasks, workers, scheduler):
        yield from simulate_blocks(config, list(tasks)[:3])
        raise KeyboardInterrupt

    folder = tmp_path / "interrupted"
    with monkeypatch.context() as patch:
        patch.setattr(shards_module, "simulate_blocks", interrupted)
        with pytest.raises(KeyboardInterrupt):
            simulate_shards(quick_plan(NUM_EVENTS), folder, NUM_SHARDS)
    assert os.listdir(folder) == ["ZH-00000.h5"]
    assert caplog.messages == ["1 of 3 shards are complete; the same command makes the others"]
    simulate_shards(quick_plan(NUM_EVENTS), folder, NUM_SHARDS)
    assert checksums(folder) == checksums(made)


def test_one_run_at_a_time(made, copied):
    fcntl = pytest.importorskip("fcntl")
    handle = os.open(copied, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(EventFileError, match="another run is writing its shards there"):
            simulate_shards(quick_plan(NUM_EVENTS), copied, NUM_SHARDS)
    finally:
        os.close(handle)
    simulate_shards(quick_plan(NUM_EVENTS), copied, NUM_SHARDS)


def test_refusals_leave_nothing(tmp_path):
    with pytest.raises(ConfigError, match=r"^250 events were asked for in 4 shards, .*: expected 1 to 3 shards$"):
        simulate_shards(quick_plan(250), tmp_path / "new", 4)
    with pytest.raises(ConfigError, match="in 0 shards"):
        simulate_shards(quick_plan(250), tmp_path / "new", 0)
    with pytest.raises(EventFileError, match=r"ttbar\.h5 names a file; .*: give .*ttbar$"):
        simulate_shards(quick_plan(250), tmp_path / "ttbar.h5", 2)
    with pytest.raises(ConfigError, match="Beams:eCM"):
        simulate_shards(with_a_typo(quick_plan(250)), tmp_path / "a" / "b", 2)
    assert os.listdir(tmp_path) == []
    (tmp_path / "file").touch()
    with pytest.raises(EventFileError, match="shards can't be written there: a part of its path is a file"):
        simulate_shards(quick_plan(250), tmp_path / "file", 2)


def test_differences():
    assert difference({"a": 1, "b": [1]}, {"a": 1, "b": [1]}) is None
    assert difference({"a": float("nan")}, {"a": float("nan")}) is None
    assert difference({"a": {"b": 1}}, {"a": {"b": 2}}) == "a.b is 1 there and 2 here"
    assert difference({"a": 1}, {}) == "a is 1 there and not set here"
    assert difference({"a": ["x", "y"]}, {"a": ["x", "z"]}) == "a is 'y' there and 'z' here"
    assert difference({"a": ["x", "y"]}, {"a": ["y", "x"]}) == "a is ['x', 'y'] there and ['y', 'x'] here"
    assert len(difference({"a": "x" * 1000}, {"a": "y" * 1000})) < 150


#: The command line, whose simulation stops in front of a block and says so.
PAUSED = """
import sys, threading
from importlib import import_module

shards = import_module("panoptag_pyg.simulation.shards")
all_blocks = shards.simulate_blocks

def until_then(*arguments):
    for number, block in enumerate(all_blocks(*arguments)):
        if number == {pause}:
            print("here", flush=True)
            threading.Event().wait()
        yield block

if __name__ == "__main__":
    from panoptag_pyg.cli.main import run

    shards.simulate_blocks = until_then
    run()
"""


def end_in_the_middle(tmp_path, folder, pause, how):
    """Run the simulation of ``made`` with two workers until it pauses, send it the signal; its exit code and stderr."""
    script = tmp_path / "paused.py"
    script.write_text(PAUSED.format(pause=pause))
    options = f"--process ZH --events {NUM_EVENTS} --shards {NUM_SHARDS} --seed 5 --workers 2 -o {folder}".split()
    command = [sys.executable, str(script), "simulate", *options, "--set", QUICK]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        try:
            assert process.stdout.readline() == "here\n", process.communicate(timeout=300)
            if how == signal.SIGINT:
                os.killpg(process.pid, how)  # Ctrl-C reaches the workers, too
            else:
                process.send_signal(how)
            # Workers hold these pipes, too: this also waits for their end.
            _, errors = process.communicate(timeout=300)
        finally:
            process.kill()
        return process.returncode, errors


def test_control_c_and_sigkill_in_the_middle(made, tmp_path):
    folder = tmp_path / "set"
    code, errors = end_in_the_middle(tmp_path, folder, 3, signal.SIGINT)
    assert code == 130, errors
    assert "Traceback" not in errors
    assert "1 of 3 shards are complete; the same command makes the others" in errors
    assert os.listdir(folder) == ["ZH-00000.h5"]
    first = file_numbers(folder)

    code, errors = end_in_the_middle(tmp_path, folder, 1, signal.SIGKILL)
    assert code == -signal.SIGKILL, errors
    assert file_numbers(folder) == first
    assert any(name.endswith(".partial") for name in os.listdir(folder))

    simulate_shards(quick_plan(NUM_EVENTS), folder, NUM_SHARDS)
    assert sorted(os.listdir(folder)) == sorted(os.listdir(made))
    assert file_numbers(folder)["ZH-00000.h5"] == first["ZH-00000.h5"]
    assert checksums(folder) == checksums(made)
