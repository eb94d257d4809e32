"""A loss or gradient that is no number: the run stops at that step and names the events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.events import write_events
from helpers.learnable import learnable_block
from lightning.pytorch.callbacks import Callback
from torch import nn
from typer.testing import CliRunner

from panoptag_pyg.cli.main import app
from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.training import Recipe, engine, train
from panoptag_pyg.training.checkpoint import build_model, read_checkpoint
from panoptag_pyg.training.data import TaggerData
from panoptag_pyg.training.finite import NAMED, UNDER_WAY, FiniteWatch, name_events
from panoptag_pyg.training.position import saved_position


class Poisoned(nn.Module):
    """A tagger that answers NaN for events with ids among ``poison``; or whose gradient alone is infinite there."""

    def __init__(self, tagger: nn.Module, poison: list[int], gradient: bool = False) -> None:
        super().__init__()
        self.tagger, self.poison, self.gradient = tagger, torch.tensor(poison), gradient
        self.needs = getattr(tagger, "needs", frozenset())

    def forward(self, batch: Any) -> Any:
        output = self.tagger(batch)
        rows = torch.isin(batch.event_id, self.poison)[batch["jet"].batch].nonzero()[:, 0]
        bad = torch.full_like(output[rows], torch.nan)
        if self.gradient:
            # The square root of 0 is finite, its slope isn't.
            bad = (output[rows] - output[rows].detach()).sqrt()
        return output.index_add(0, rows, bad)


class Record(Callback):
    """Remembers the weights after each step."""

    def __init__(self) -> None:
        self.steps = 0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.steps = trainer.global_step
        self.weights = {name: value.clone() for name, value in pl_module.state_dict().items()}


@pytest.fixture(scope="module")
def two_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("events")
    block = learnable_block(np.random.default_rng(0), 80)
    block.event["id"] = 1000 + np.arange(80)
    return [write_events(folder / f"{n}.h5", block.select(np.arange(40 * n, 40 * n + 40))) for n in range(2)]


@pytest.fixture
def short(recipe: Any) -> Any:
    return lambda *more: recipe("data.batch_size=8", "train.checkpoint_every_steps=1", "train.max_epochs=2", *more)


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Poison the taggers to be trained."""

    def set_poison(ids: list[int], **options: Any) -> None:
        monkeypatch.setattr(engine, "build_model", lambda recipe: Poisoned(build_model(recipe), ids, **options))

    return set_poison


def place(two_files: list[Path], recipe: Recipe, number: int) -> tuple[str, int, int]:
    """File, number in it and id of a training event."""
    training = TaggerData(recipe.data, two_files).training
    return (
        str(training.files[training.file_of_events()[number]].path),
        int(training.number_in_file()[number]),
        int(training.event_keys()[1][number]),
    )


def test_the_events_whose_loss_is_no_number_are_named(two_files, short, poison, tmp_path):
    file, number, event_id = place(two_files, short(), 50)
    assert file == str(two_files[1])  # numbers begin anew in the second file
    poison([event_id])
    record = Record()
    with pytest.raises(PanopTagError, match="the training loss became nan at step ") as error:
        train(short(), two_files, tmp_path / "run", callbacks=[record])
    sentence = str(error.value)
    assert f"step {record.steps + 1} (epoch 1) on " in sentence
    assert f"{file}: event {number} (id {event_id})" in sentence or f"{number} (id {event_id});" in sentence
    assert "lower train.lr" in sentence
    # What is kept is the state of the step before.
    if record.steps:
        kept = read_checkpoint(tmp_path / "run" / "last.ckpt")
        assert saved_position(kept).batches == record.steps
        assert all(torch.equal(kept["state_dict"][name], value) for name, value in record.weights.items())
    else:
        assert not (tmp_path / "run").exists()


def test_a_gradient_that_is_no_number_stops_the_run_before_its_step(two_files, short, poison, tmp_path):
    poison([place(two_files, short(), 50)[2]], gradient=True)
    record = Record()
    settings = ["data.batch_size=12", "train.accumulate_batches=2"]
    with pytest.raises(PanopTagError, match=r"the training gradient became (nan|inf) at step ") as error:
        train(short(*settings), two_files, tmp_path / "run", callbacks=[record])
    assert "in the batches of " in str(error.value)
    assert f"step {record.steps + 1} " in str(error.value)
    assert str(error.value).count("(id ") == NAMED
    assert "and 14 more;" in str(error.value)


def test_gradient_scaling_may_leave_out_a_step(two_files, short, poison, tmp_path, scaled_on_cpu):
    poison([place(two_files, short(), 50)[2]], gradient=True)
    run = train(short("train.precision=16-mixed", "train.gradient_clip=1.0"), two_files, tmp_path / "run")
    assert run.summary["epochs"] == 2
    assert all(value.isfinite().all() for value in read_checkpoint(run.folder / "last.ckpt")["state_dict"].values())


def test_weights_that_have_grown_beyond_bounds_are_code_2_and_one_sentence(two_files, tmp_path):
    settings = ["train.lr=1e38", "train.warmup_epochs=0", "data.batch_size=16"]
    arguments = ["train", "tiny", "-o", str(tmp_path / "run")]
    arguments += [part for file in two_files for part in ("-d", str(file))]
    result = CliRunner().invoke(app, arguments + [part for setting in settings for part in ("--set", setting)])
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: the training loss became ")
    assert result.stderr.count("\n") == 1
    assert "in the batch of " in result.stderr
    assert result.stderr.count("(id ") == NAMED
    assert "and 6 more;" in result.stderr
    assert not (tmp_path / "run").exists()


def test_values_under_way_are_looked_at_later(two_files, short, monkeypatch):
    """The way of a GPU, whose values arrive later: at most :data:`UNDER_WAY` are outstanding, and none in the end."""

    class Arriving:
        is_cuda = True

        def __init__(self, value: float) -> None:
            self.value = value

        def to(self, device: str, non_blocking: bool) -> Any:
            assert (device, non_blocking) == ("cpu", True)
            return torch.tensor(self.value)

    class Event:
        record = synchronize = lambda self: None

    class Module:
        class trainer:
            global_step, current_epoch = 4, 0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    watch = FiniteWatch(Module())
    monkeypatch.setattr(watch, "_sentence", lambda seen: f"{seen.what} of batch {seen.batches[0]}")
    for batch in range(UNDER_WAY + 3):
        watch.look(Arriving(float("inf") if batch == 3 else 1.0), "loss", range(batch, batch + 1))
    with pytest.raises(PanopTagError, match="loss of batch 3"):
        watch.settle()
    watch.settle()


def test_names_of_events():
    places = [("a.h5", n, 100 + n) for n in (3, 5)] + [("b.h5", 0, 7)]
    assert name_events(places) == "a.h5: events 3 (id 103), 5 (id 105); b.h5: event 0 (id 7)"
    assert name_events(places, named=2) == "a.h5: events 3 (id 103), 5 (id 105); and 1 more"
