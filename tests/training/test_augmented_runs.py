"""Runs with augmentation: training sees it, validation doesn't, and a stopped and resumed run is one never stopped."""

from __future__ import annotations

import pytest
import torch
from helpers.answerable import write_answerable
from lightning.pytorch.callbacks import Callback

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events.features import PFO_FEATURES
from panoptag_pyg.training import Recipe, TrainingInterrupted, train
from panoptag_pyg.training.callbacks import read_metrics
from panoptag_pyg.training.step_loss import NORMS

ALL_ON = (
    *("augmentation.rotate_phi=true", "augmentation.reflect_eta=true", "augmentation.pfo_dropout=0.1"),
    *("augmentation.smear_energy=0.05", "augmentation.smear_impact_parameters=0.5"),
)


class Seen(Callback):
    """η of the first PFO of each event, of training and of validation."""

    def __init__(self):
        self.eta = {"train": {}, "val": {}}

    def note(self, stage, batch):
        eta = batch["pfo"].x[batch["pfo"].ptr[:-1].clamp(max=len(batch["pfo"].x) - 1), PFO_FEATURES.index("eta")]
        for event, value in zip(batch.event_id.tolist(), eta.tolist(), strict=True):
            self.eta[stage].setdefault(event, []).append(value)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.note("train", batch)

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self.note("val", batch)


class StopAt(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == 1 and batch_idx == 1:
            raise KeyboardInterrupt


def test_training_is_augmented_anew_each_epoch_and_validation_is_not(event_file, tmp_path, recipe):
    seen, plain = Seen(), Seen()
    train(recipe("train.max_epochs=4", "augmentation.reflect_eta=true"), event_file, tmp_path / "a", callbacks=[seen])
    train(recipe("train.max_epochs=4"), event_file, tmp_path / "b", callbacks=[plain])
    assert seen.eta["val"] == plain.eta["val"]
    assert all(len(set(values)) == 1 for values in plain.eta["train"].values())
    assert {event: abs(values[0]) for event, values in seen.eta["train"].items()} == {
        event: abs(values[0]) for event, values in plain.eta["train"].items()
    }
    both = [event for event, values in seen.eta["train"].items() if len(set(values)) == 2]
    assert 60 <= len(both) <= 108  # 7/8 of 108 expected, 3.4 is one standard deviation


def test_a_stopped_and_resumed_augmented_run_equals_one_never_stopped(event_file, tmp_path, recipe):
    ours = recipe("train.max_epochs=2", *ALL_ON)
    train(ours, event_file, tmp_path / "whole")
    with pytest.raises(TrainingInterrupted):
        train(ours, event_file, tmp_path / "stopped", callbacks=[StopAt()])
    train(ours, event_file, tmp_path / "stopped", resume=True)
    paths = [tmp_path / name / "last.ckpt" for name in ("whole", "stopped")]
    found = [torch.load(path, weights_only=True)["state_dict"] for path in paths]
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
    assert Recipe.from_toml(tmp_path / "whole" / "recipe.toml") == ours
    plain = recipe("train.max_epochs=2")
    with pytest.raises(ConfigError, match=r"started with augmentation\.pfo_dropout = 0\.1, the recipe now says 0\.0"):
        train(plain, event_file, tmp_path / "whole", resume=True)
    assert len(read_metrics(tmp_path / "stopped" / "metrics.csv")) == 2


def test_the_loss_of_accumulated_batches_counts_the_pfos_that_are_left(tmp_path, recipe):
    """Of a task about PFOs: what dropout takes away has no share in the denominators of the step."""

    class Norms(Callback):
        def __init__(self):
            self.of_step, self.own, self.pfos = [], [], 0

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            self.of_step.append(batch[NORMS])
            self.own.append(pl_module.task.loss_norms(batch))
            self.pfos += len(batch["pfo"].x)

    events, settings = write_answerable(tmp_path / "events.h5", 60), ["data.batch_size=9", "train.max_epochs=1"]
    settings += ["task.name=pfo_pileup", "train.accumulate_batches=2"]
    plain, thinned = Norms(), Norms()
    train(recipe(*settings), events, tmp_path / "plain", callbacks=[plain])
    train(recipe(*settings, "augmentation.pfo_dropout=0.5"), events, tmp_path / "thinned", callbacks=[thinned])
    assert len(thinned.own) == 6
    assert thinned.pfos < 0.7 * plain.pfos
    for first in range(0, 6, 2):
        total = thinned.own[first] + thinned.own[first + 1]
        assert torch.equal(thinned.of_step[first], total)
        assert torch.equal(thinned.of_step[first + 1], total)
