"""The study on a GPU, tried on a CPU: what it does with its time, and that its three steps fit together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from helpers.events import random_block, write_events

from panoptag_pyg.benchmarks.study import gpu, gpu_events
from panoptag_pyg.benchmarks.study.events import files_of
from panoptag_pyg.benchmarks.study.gpu_report import show
from panoptag_pyg.benchmarks.study.plan import RECIPES, Entry, Plan, Sample
from panoptag_pyg.errors import ConfigError, EventFileError
from panoptag_pyg.training import Recipe

ROOT = Path(__file__).parents[2]
SAMPLE = gpu.TINY.sample


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Made-up shards: those of validation and test, and two of each seen process to train on."""
    order = list(islice(gpu_events.shards_in_order(SAMPLE), 8 + 2 * 3))
    for process, shard in order:
        path = files_of(tmp_path, "realistic", process, [shard])[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        block = random_block(rng, rng.integers(5, 12, 10), rng.integers(2, 6, 10))
        block.event["weight"][:] = 1
        block.event["process"][:] = 0
        write_events(path, block, [process])
    return tmp_path


@pytest.mark.parametrize("entry", gpu.ENTRIES, ids=lambda entry: entry.name)
def test_recipes_fit_at_both_sizes(entry: Entry) -> None:
    full = Recipe.from_toml(RECIPES / f"{entry.recipe}.toml")
    assert full.train.precision == "bf16-mixed"
    run = Plan((replace(entry, settings=gpu.TINY.settings[entry.name]),), SAMPLE, for_all=()).runs()[0]
    assert run.recipe().train.accelerator == "cpu"


def test_events_to_test_on_come_first() -> None:
    sample = Sample(validation=(0,), test=(1, 2), test_unseen=(1,), seen=("a", "b"), unseen=("c",))
    order = list(islice(gpu_events.shards_in_order(sample), 11))
    assert order[:7] == [*(("a", n) for n in range(3)), *(("b", n) for n in range(3)), ("c", 1)]
    assert order[7:] == [("a", 3), ("b", 3), ("a", 4), ("b", 4)]


def test_time_is_shared_out() -> None:
    sample = Sample(shard_events=1000, train=tuple(range(10)), seen=("a", "b", "c"))  # 30,000 events
    assert gpu.choose_epochs(1000, 300, sample) == (10, 10)
    assert gpu.choose_epochs(1000, 30_000, sample) == (gpu.MOST_EPOCHS, 10)
    epochs, shards = gpu.choose_epochs(1000, 60, sample)  # two epochs of all: rather four of half
    assert (epochs, shards) == (4, 5)
    assert gpu.choose_epochs(1, 1, sample) == (1, 1)


def test_simulation_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def shard(process: str, setup: str, number: int, events: int, seed: int, path: str) -> float:
        begun.append((process, number))
        time.sleep(0.05)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
        return 30.0  # as it says

    monkeypatch.setattr(gpu_events, "simulate_shard", shard)
    monkeypatch.setattr(gpu_events, "ProcessPoolExecutor", lambda workers, mp_context: ThreadPoolExecutor(workers))
    start = time.monotonic()
    # Once a shard is known to take 30 s, none is begun that would end after the deadline in 20 s.
    found = gpu_events.simulate_until(tmp_path, SAMPLE, "paper", start + 20, workers=2)
    assert len(begun) == 2
    assert sum(found["events"].values()) == 20
    # Those that are there are kept, and counted.
    again = gpu_events.simulate_until(tmp_path, SAMPLE, "paper", time.monotonic() + 1000, workers=2, most=50)
    assert sum(again["events"].values()) == 50
    assert len(begun) == len(set(begun)) == 5


def test_a_tagger_is_trained_tested_and_shown(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(gpu, "MOST_EPOCHS", 2)
    monkeypatch.setenv("OUT", str(folder / "out"))
    (folder / "realistic").mkdir()
    os.rename(folder / "data", folder / "realistic" / "data")
    command = ["train", "particlenet", "panoptag", "--tiny", "--folder", str(folder), "--minutes", "20"]
    assert gpu.main(command) == 0
    assert {path.name for path in (folder / "out").iterdir()} >= {"particlenet-seed0.json", "panoptag-seed0.json"}
    record = json.loads((folder / "out" / "particlenet-seed0.json").read_text())
    assert record["device"] == "CPU"
    assert record["data"]["training"]["events"] == 2 * 3 * 10
    assert len(record["epochs"]) == 2
    if (folder / "out" / "panoptag.safetensors").is_file():
        from safetensors import safe_open

        from panoptag_pyg.training.checkpoint import build_model

        with safe_open(folder / "out" / "panoptag.safetensors", "pt") as file:
            model = build_model(Recipe.from_json(file.metadata()["recipe"]))
            model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    capsys.readouterr()
    assert gpu.main(["show", str(folder / "out"), "--output", str(folder / "shown")]) == 0
    assert "| ParticleNet |" in capsys.readouterr().out
    assert {path.name for path in (folder / "shown").iterdir()} == {
        "table_realistic.md",
        *(f"study_gpu_{name}_realistic.png" for name in ("rejection", "processes", "proximity")),
    }


def test_without_events_it_says_what_to_do(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EventFileError, match="simulate first"):
        gpu.with_all_shards(SAMPLE, tmp_path, "paper")
    assert gpu.with_all_shards(SAMPLE, folder, "realistic").train == (2, 3)
    with pytest.raises(ConfigError, match="no record"):
        show(tmp_path, tmp_path)


def test_the_script_explains_itself() -> None:
    done = subprocess.run([ROOT / "benchmarks" / "study_gpu.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "study_gpu.sh simulate" in done.stdout
    assert "set -e" not in done.stdout


@pytest.mark.slow
def test_the_script_simulates(tmp_path: Path) -> None:
    pytest.importorskip("pythia8mc")
    pytest.importorskip("fastjet")
    environment = {**os.environ, "PYTHON": sys.executable, "OUT": str(tmp_path / "out")}
    script = [str(ROOT / "benchmarks" / "study_gpu.sh")]
    options = ["--tiny", "--folder", str(tmp_path)]
    for step in (["simulate", "--workers", "2", "--most", "140"], ["train", "particlenet"]):
        done = subprocess.run(
            [*script, *step, *options], env=environment, capture_output=True, text=True, check=False, timeout=1200
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "simulation.json").is_file()
