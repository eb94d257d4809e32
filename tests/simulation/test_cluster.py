"""A Dask cluster of real processes: the same bytes as without it, also when workers or the scheduler are killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib import import_module

import pytest
from helpers.shards import checksums, quick_plan
from helpers.worker_tasks import Explosive

from panoptag_pyg.errors import ConfigError, MissingExtraError, PanopTagError
from panoptag_pyg.events import EventBlock, EventFile
from panoptag_pyg.simulation.blocks import block_tasks
from panoptag_pyg.simulation.cluster import cluster_blocks, deciding_versions, needed_files, scheduler_address
from panoptag_pyg.simulation.shards import simulate_shards

distributed = pytest.importorskip("distributed")
cluster_module = import_module("panoptag_pyg.simulation.cluster")

NUM_EVENTS, NUM_SHARDS = 930, 3


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The set as one process makes it."""
    folder = tmp_path_factory.mktemp("alone") / "ZH"
    simulate_shards(quick_plan(NUM_EVENTS), folder, NUM_SHARDS)
    return folder


@pytest.fixture(scope="module")
def cluster():
    """A scheduler here and three worker processes."""
    options = {"processes": True, "n_workers": 3, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.LocalCluster(**options, silence_logs="CRITICAL") as cluster:
        yield cluster


def process_ids(client):
    """Of the workers, by address."""
    return client.run(os.getpid)


def kill_a_busy_worker(client, processes):
    """SIGKILL for a worker in the middle of a block; its address, or None if all have finished theirs."""
    for address, process in processes.items():
        # Stopped first, so that its block can't be finished between the look and the kill.
        os.kill(process, signal.SIGSTOP)
        busy = client.processing().get(address)
        os.kill(process, signal.SIGKILL if busy else signal.SIGCONT)
        if busy:
            return address
    return None


def test_a_killed_worker_changes_nothing(alone, cluster, tmp_path, monkeypatch):
    killed = []

    def watched(*arguments):
        with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
            processes = process_ids(client)
            for block in cluster_blocks(*arguments):
                if not killed and (address := kill_a_busy_worker(client, processes)):
                    killed.append(address)
                yield block

    monkeypatch.setattr(cluster_module, "cluster_blocks", watched)
    manifest = simulate_shards(
        quick_plan(NUM_EVENTS), tmp_path / "set", NUM_SHARDS, scheduler=cluster.scheduler_address
    )
    assert len(killed) == 1
    assert manifest.num_events == NUM_EVENTS
    assert checksums(tmp_path / "set") == checksums(alone)


def test_an_error_arrives_as_its_sentence(cluster, capfd):
    config = quick_plan(300).config
    config = replace(config, settings=(*config.settings, "Beams:eCN = 1"))
    with pytest.raises(ConfigError, match="did you mean 'Beams:eCM'"):
        list(cluster_blocks(config, block_tasks(300), cluster.scheduler_address))
    # A later simulation on the same workers isn't mistaken for the one before.
    blocks = list(cluster_blocks(quick_plan(10, seed=1).config, [(0, 10)], cluster.scheduler_address))
    other = list(cluster_blocks(quick_plan(10, seed=2).config, [(0, 10)], cluster.scheduler_address))
    assert blocks[0].pfo["pt"].tolist() != other[0].pfo["pt"].tolist()
    assert capfd.readouterr().out == ""


def test_other_versions_on_a_worker_are_named(cluster, monkeypatch):
    versions = {**deciding_versions(), "fastjet": "0.1"}
    monkeypatch.setattr(cluster_module, "deciding_versions", lambda: versions)
    there = re.escape(import_module("importlib.metadata").version("fastjet"))
    with pytest.raises(PanopTagError, match=rf"^the worker tcp://\S+ has fastjet {there}, where .* there is 0\.1: "):
        list(cluster_blocks(quick_plan(10).config, [(0, 10)], cluster.scheduler_address))


def test_a_file_that_a_worker_doesnt_see_is_named(cluster, monkeypatch):
    monkeypatch.setattr(cluster_module, "needed_files", lambda config: ("/nowhere/events.lhe",))
    with pytest.raises(PanopTagError, match=r"^the worker tcp://\S+ can't read /nowhere/events\.lhe: put it where all"):
        list(cluster_blocks(quick_plan(10).config, [(0, 10)], cluster.scheduler_address))


def test_the_files_that_a_configuration_needs(tmp_path):
    config = quick_plan(10).config
    assert needed_files(config) == ()
    assert needed_files(replace(config, lhe=tmp_path / "x.lhe")) == (str(tmp_path / "x.lhe"),)


def test_a_block_that_ends_its_workers_is_given_up(cluster, monkeypatch):
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 1)
    with pytest.raises(PanopTagError, match=r"^the events 300 to 399 ended 2 workers of the Dask cluster, perhaps for"):
        list(cluster_blocks(Explosive(), [(3, 100)], cluster.scheduler_address))


def test_without_workers(caplog):
    options = {"n_workers": 0, "dashboard_address": ":0", "silence_logs": "CRITICAL"}
    with distributed.LocalCluster(**options) as empty:
        address = empty.scheduler_address
        with pytest.raises(
            PanopTagError, match=rf"^the Dask cluster at {address} has had no worker for 2 s; start some"
        ):
            list(cluster_blocks(quick_plan(10).config, [(0, 10)], address, patience=2))
    messages = [record.getMessage() for record in caplog.records if record.name == cluster_module.__name__]
    assert messages == [f"the Dask cluster at {address} has no worker; waiting for one, at most 2 s"]


#: Ends with its parent, however that ends: its standard input is then closed.
SERVANT = """
import os, sys, threading

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "panoptag_pyg":
            raise ModuleNotFoundError("No module named 'panoptag_pyg'", name=name)

def watch():
    sys.stdin.read()
    os._exit(0)

if __name__ == "__main__":
    threading.Thread(target=watch, daemon=True).start()
    who = sys.argv[1]
    if who != "worker":
        sys.meta_path.insert(0, Without())
    from distributed.cli import dask_scheduler, dask_worker

    (dask_scheduler if who == "scheduler" else dask_worker).main(sys.argv[2:])
"""


def test_by_hand_with_a_scheduler_file_until_the_scheduler_is_killed(tmp_path, alone):
    """The scheduler lacks this package, and so does the first worker; the second one has several threads."""
    script, file = tmp_path / "servant.py", tmp_path / "scheduler.json"
    script.write_text(SERVANT)
    servants = []

    def start(who, *arguments):
        quiet = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
        common = ["--scheduler-file", str(file), "--dashboard-address", ":0", "--host", "127.0.0.1"]
        servants.append(subprocess.Popen([sys.executable, str(script), who, *common, *arguments], **quiet))
        return servants[-1]

    plan = quick_plan(NUM_EVENTS)
    tasks = block_tasks(NUM_EVENTS)
    worker_options = ["--nthreads", "3", "--no-nanny", "--local-directory", str(tmp_path)]
    try:
        scheduler = start("scheduler", "--port", "0")
        while not file.exists() or not file.read_text().endswith("}"):
            assert scheduler.poll() is None
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]

        stranger = start("worker without it", *worker_options)
        with pytest.raises(PanopTagError, match=rf"^a worker of the Dask cluster at {address} has no panoptag-pyg, or"):
            next(cluster_blocks(plan.config, tasks, str(file)))
        stranger.kill()

        start("worker", *worker_options)
        blocks = cluster_blocks(plan.config, tasks, str(file))
        first = [next(blocks) for _ in range(3)]
        scheduler.kill()
        with pytest.raises(PanopTagError, match=rf"^the Dask scheduler at {address} went away; start it and run the"):
            list(blocks)
    finally:
        for servant in servants:
            servant.kill()
            servant.communicate()
    assert_first_events(first, alone)


def assert_first_events(blocks, folder):
    found = EventBlock.concatenate(blocks)
    expected = EventFile(folder / "ZH-00000.h5").read(0, found.num_events)
    for group in ("event", "pfo", "jet"):
        for name, values in getattr(expected, group).items():
            assert (getattr(found, group)[name] == values).all(), name


def test_the_scheduler_must_answer(tmp_path, monkeypatch):
    def refusal(address):
        with pytest.raises(PanopTagError) as caught:
            list(cluster_blocks(quick_plan(10).config, [(0, 10)], address))
        return str(caught.value)

    monkeypatch.setattr(cluster_module, "CONNECT_TIMEOUT", 0.5)
    for address in ("tcp://127.0.0.1:9", "127.0.0.1:9", "localhost", "pigeon://localhost:1", "tcp://localhost:port"):
        assert re.match(
            rf"no Dask scheduler answers at {address} \(.+\); start one with `dask scheduler`", refusal(address)
        )
    assert "there is no such scheduler file" in refusal(str(tmp_path / "scheduler.json"))
    for text in ("", "[]", "{}", '{"address": 1}'):
        (tmp_path / "scheduler.json").write_text(text)
        assert "is no scheduler file" in refusal(str(tmp_path / "scheduler.json"))
    (tmp_path / "scheduler.json").write_text('{"address": "tcp://127.0.0.1:8786"}')
    assert scheduler_address(str(tmp_path / "scheduler.json")) == "tcp://127.0.0.1:8786"
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'panoptag-pyg\[cluster\]'"):
        list(cluster_blocks(quick_plan(10).config, [(0, 10)], "tcp://127.0.0.1:9"))
