"""A study of made-up events that takes seconds: the plan, the events, the runner in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from panoptag_pyg.benchmarks.study.events import files_of
from panoptag_pyg.benchmarks.study.plan import Entry, Plan, Sample

from .events import random_block, write_events

SAMPLE = Sample(
    shard_events=40, train=(0, 1), validation=(2,), test=(3,), test_unseen=(0,), seen=("ttbar", "ttH"), unseen=("ZH",)
)
RECIPE = """
[model]
name = "panoptag"
backbone = "deepsets"
dim = 8
num_heads = 2
num_decoder_layers = 1
[data]
batch_size = 40
[train]
max_epochs = 2
lr = 3e-3
warmup_epochs = 0.2
"""
SEVERAL = """
[task]
name = "several"
[task.kind]
task = "flavour"
[task.process]
weight = 0.1
signal = ["ttH"]
"""


def tiny_plan(folder: Path, *entries: Entry) -> Plan:
    """A plan whose recipes ``quick`` and ``several`` are written to ``folder``.

    Args:
        folder: for the recipes.
        entries: Default: ``first`` and ``second``, in one setup.
    """
    folder.mkdir(exist_ok=True)
    (folder / "quick.toml").write_text(RECIPE)
    (folder / "several.toml").write_text(RECIPE + SEVERAL)
    one = {"setups": ("paper",)}
    default = (Entry("first", "First", "quick", **one), Entry("second", "Second", "several", rank=1, **one))
    return Plan(entries or default, SAMPLE, folder)


def write_study(folder: Path, rng: np.random.Generator, setup: str = "paper") -> None:
    """All shards of :data:`SAMPLE`."""
    for process in SAMPLE.processes:
        for path in files_of(folder, setup, process, range(SAMPLE.num_shards(process))):
            path.parent.mkdir(parents=True, exist_ok=True)
            events = SAMPLE.shard_events
            block = random_block(rng, rng.integers(3, 12, events), rng.integers(1, 6, events))
            block.event["weight"][:] = 1
            block.event["process"][:] = 0
            write_events(path, block, [process])


def start_study(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Run :func:`tiny_plan` of ``folder / "recipes"`` on the events in ``folder``; records go to ``results``."""
    code = (
        "import sys; from pathlib import Path; from helpers.studying import tiny_plan\n"
        "from panoptag_pyg.benchmarks.study.__main__ import main\n"
        "folder = Path(sys.argv[1])\n"
        "command = ['--folder', str(folder), '--results', str(folder / 'results'), *sys.argv[2:]]\n"
        "sys.exit(main(command, tiny_plan(folder / 'recipes')))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder), *arguments],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
