"""A run stopped within an epoch, even by SIGKILL, ends with the same weights, bit for bit, as one never stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import lives
from helpers.answerable import write_answerable
from helpers.equality import same
from lightning.pytorch.callbacks import Callback

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import EventLoader
from panoptag_pyg.training import Recipe, TrainingInterrupted, train
from panoptag_pyg.training import callbacks as callbacks_module
from panoptag_pyg.training.callbacks import read_metrics
from panoptag_pyg.training.checkpoint import read_checkpoint
from panoptag_pyg.training.position import saved_position

#: A tagger with dropout and batch normalisation, one thread; 63 training events, so 8 batches an epoch.
RECIPE = """
model = {name = "particlenet", conv_params = [[4, [8, 8]]], fc_params = [[8, 0.5]]}
data = {batch_size = 8}
train = {max_epochs = 2, lr = 0.01, threads = 1, accelerator = "cpu", checkpoint_every_steps = 3}
"""
BUDGET = ["data.batch_size=none", "data.max_pfos_per_batch=150"]


class StopBefore(Callback):
    """Interrupts before a batch of an epoch, or by SIGTERM."""

    def __init__(self, epoch: int, batch: int, terminate: bool = False) -> None:
        self.epoch, self.batch, self.terminate = epoch, batch, terminate

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == (self.epoch, self.batch):
            if not self.terminate:
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGTERM)


def assert_same_runs(ours: Path, reference: Path) -> None:
    for name in ("last.ckpt", "best.ckpt"):
        a, b = (read_checkpoint(folder / name) for folder in (ours, reference))
        for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "MixedPrecision"):
            assert same(a.get(part), b.get(part)), (name, part)
    assert rows(ours) == rows(reference)


def rows(folder: Path) -> list[dict[str, float]]:
    timing = ("seconds", "events_per_second", "data_wait")
    return [{k: v for k, v in row.items() if k not in timing} for row in read_metrics(folder / "metrics.csv")]


@pytest.fixture(scope="module")
def event_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_answerable(tmp_path_factory.mktemp("events") / "events.h5", 70)


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def whole(event_file: Path, recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stopped."""
    return train(Recipe.from_toml(recipe_file), event_file, tmp_path_factory.mktemp("whole") / "run").folder


def test_a_run_killed_twice_within_epochs_equals_one_never_stopped(event_file, recipe_file, whole, tmp_path):
    """SIGKILL before step 5 of epoch 1 (step 3 is kept), again before step 6 of epoch 2 (kept: step 12 of the run)."""
    run = tmp_path / "run"
    command = [sys.executable, lives.__file__, recipe_file, event_file, run, "4", "13"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    kept = []
    try:
        for line in process.stdout:
            if not line.startswith("at "):
                break
            kept.append(saved_position(read_checkpoint(run / "last.ckpt")))
            os.kill(int(line.split()[1]), signal.SIGKILL)
        _, stderr = process.communicate(timeout=600)
    finally:
        process.kill()
    assert (line, process.returncode) == ("done\n", 0), line + stderr
    assert [(position.epoch, position.batches) for position in kept] == [(0, 3), (1, 4)]
    assert {name.split(".")[0] for name in read_checkpoint(run / "last.ckpt")["state_dict"]} == {"model", "task"}
    assert_same_runs(run, whole)


@pytest.mark.parametrize(
    ("settings", "stops"),
    [
        ([], [StopBefore(1, 7)]),
        (["train.checkpoint_every_steps=1"], [StopBefore(0, 4), StopBefore(0, 3), StopBefore(1, 1)]),
        ([*BUDGET, "data.num_workers=2"], [StopBefore(0, 5)]),
        (
            ["train.accumulate_batches=3", "train.gradient_clip=0.1", "train.checkpoint_every_steps=1"],
            [StopBefore(0, 5), StopBefore(1, 3)],
        ),
        (["train.precision=16-mixed", "train.gradient_clip=0.1"], [StopBefore(0, 4), StopBefore(1, 6)]),
    ],
    ids=["late", "thrice", "budget and workers", "accumulated", "scaled"],
)
def test_a_run_stopped_within_epochs_equals_one_never_stopped(
    event_file, recipe_file, whole, tmp_path, request, settings, stops
):
    if "train.precision=16-mixed" in settings:
        request.getfixturevalue("scaled_on_cpu")
    recipe = Recipe.from_toml(recipe_file, settings)
    reference = whole if settings[:1] in ([], ["train.checkpoint_every_steps=1"]) else tmp_path / "whole"
    if reference != whole:
        train(recipe, event_file, reference)
    run = tmp_path / "run"
    for number, stop in enumerate(stops):
        with pytest.raises(
            TrainingInterrupted, match=rf"epochs kept in .*run: {stop.epoch}, and \d+ batches of the next"
        ):
            train(recipe, event_file, run, resume=number > 0, callbacks=[stop])
    train(recipe, event_file, run, resume=True)
    assert_same_runs(run, reference)
    assert ("MixedPrecision" in read_checkpoint(run / "last.ckpt")) == ("train.precision=16-mixed" in settings)


def test_what_was_trained_on_is_not_read_again(event_file, recipe_file, tmp_path, monkeypatch, capfd):
    recipe, run = Recipe.from_toml(recipe_file, ["train.max_epochs=1"]), tmp_path / "run"
    with pytest.raises(TrainingInterrupted, match=r"0, and 6 batches"):
        train(recipe, event_file, run, callbacks=[StopBefore(0, 7)])
    seen: list[torch.Tensor] = []

    class Listen(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            seen.append(batch.event_id)

    plans = []
    original = EventLoader.__iter__

    def counted(self: EventLoader) -> Any:
        plans.append(len(self))
        return original(self)

    monkeypatch.setattr(EventLoader, "__iter__", counted)
    monkeypatch.setattr(callbacks_module, "PLAIN_INTERVAL", 0.0)
    train(recipe, event_file, run, resume=True, callbacks=[Listen()])
    assert (len(seen), max(plans)) == (2, 2)  # the one batch of validation is another
    counted_on = [line.split(",")[0] for line in capfd.readouterr().err.splitlines() if "/63 events" in line]
    assert counted_on == ["epoch 1/1: 56/63 events", "epoch 1/1: 63/63 events"]  # not from 0 again


def test_sigterm_keeps_the_step(event_file, recipe_file, whole, tmp_path):
    recipe = Recipe.from_toml(recipe_file, ["train.checkpoint_every_steps=none"])
    with pytest.raises(TrainingInterrupted, match=r"epochs kept in .*run: 1, and 5 batches of the next"):
        train(recipe, event_file, tmp_path / "run", callbacks=[StopBefore(1, 4, terminate=True)])
    train(recipe, event_file, tmp_path / "run", resume=True)
    assert_same_runs(tmp_path / "run", whole)


def test_sigterm_during_validation_keeps_the_epoch_before(event_file, recipe_file, tmp_path):
    """All batches of the epoch are done then: with none left, a resumed run could not go on."""

    class StopValidation(Callback):
        def on_validation_batch_start(self, trainer: Any, *others: Any) -> None:
            if trainer.current_epoch == 1:
                os.kill(os.getpid(), signal.SIGTERM)

    recipe = Recipe.from_toml(recipe_file, ["train.checkpoint_every_steps=none", "data.validation_fraction=0.5"])
    whole = train(recipe, event_file, tmp_path / "whole").folder
    with pytest.raises(TrainingInterrupted, match=r"epochs kept in .*run: 1$"):
        train(recipe, event_file, tmp_path / "run", callbacks=[StopValidation()])
    assert train(recipe, event_file, tmp_path / "run", resume=True).summary["epochs"] == 2
    assert_same_runs(tmp_path / "run", whole)


def test_an_unfinished_epoch_is_finished_as_it_was_begun(event_file, recipe_file, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(TrainingInterrupted):
        train(Recipe.from_toml(recipe_file), event_file, run, callbacks=[StopBefore(1, 5)])
    for setting, words in (
        ("train.seed=1", r"stopped within epoch 2, begun with train\.seed = 0, the recipe now says 1"),
        ("train.accumulate_batches=2", r"train\.accumulate_batches = 1, the recipe now says 2"),
        ("train.max_epochs=1", r"has 2 epochs already, more than train\.max_epochs = 1"),
    ):
        with pytest.raises(ConfigError, match=words):
            train(Recipe.from_toml(recipe_file, [setting]), event_file, run, resume=True)
    checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    checkpoint["TaggerData"]["world_size"] = 2
    torch.save(checkpoint, run / "last.ckpt")
    with pytest.raises(ConfigError, match="epoch 2, which 2 processes had begun; go on with 2, not 1"):
        train(Recipe.from_toml(recipe_file), event_file, run, resume=True)
