"""Averages of the weights against recursions written out, where they are used, and that resuming keeps them exactly."""

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.nn.batch_norm import RowBatchNorm
from panoptag_pyg.tasks import build_task
from panoptag_pyg.training import Recipe, TrainingInterrupted, load_tagger, train
from panoptag_pyg.training.averaging import TRAINING_WEIGHTS, retake_batch_norm
from panoptag_pyg.training.data import TaggerData


def normed(**options):
    """A recipe with batch normalisation."""
    model = {"name": "particlenet", "conv_params": [[3, [4, 4]]], "fc_params": [[8, 0.1]]}
    train = {"lr": 3e-3, "warmup_epochs": 0.2, "max_epochs": 2, **options}
    return Recipe.from_dict({"model": model, "data": {"batch_size": 16, "normalisation_events": 50}, "train": train})


class Recorder(Callback):
    """The weights in training after every step and at the end of every epoch, in float64."""

    def __init__(self):
        self.steps, self.epochs = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.steps.append({name: value.double().clone() for name, value in pl_module.model.named_parameters()})

    def on_train_epoch_end(self, trainer, pl_module):
        self.epochs.append({name: value.double().clone() for name, value in pl_module.model.named_parameters()})


class StopAt(Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == self.epoch and batch_idx == 1:
            raise KeyboardInterrupt


def last(folder, name="last.ckpt"):
    return torch.load(folder / name, weights_only=True)


def averaged(checkpoint):
    return {k.removeprefix("model."): v for k, v in checkpoint["state_dict"].items() if k.startswith("model.")}


def test_the_exponential_average_is_the_recursion(event_file, tmp_path):
    recorder = Recorder()
    run = train(normed(ema_decay=0.8), event_file, tmp_path / "r", callbacks=[recorder])
    expected = recorder.steps[0]
    for weights in recorder.steps[1:]:
        expected = {name: 0.8 * expected[name] + 0.2 * weights[name] for name in expected}
    checkpoint = last(run.folder)
    for name, value in averaged(checkpoint).items():
        if name in expected:
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-7)
            training = checkpoint[TRAINING_WEIGHTS][f"model.{name}"]
            assert torch.equal(training.double(), recorder.steps[-1][name])
    moved = [
        not torch.equal(value, checkpoint[TRAINING_WEIGHTS][f"model.{n}"]) for n, value in averaged(checkpoint).items()
    ]
    assert any(moved)


def test_the_mean_is_that_of_the_last_epochs(event_file, tmp_path):
    recorder = Recorder()
    chosen = normed(max_epochs=4, swa_epochs=3, min_lr=1e-3)
    run = train(chosen, event_file, tmp_path / "r", callbacks=[recorder])
    for name, value in averaged(last(run.folder)).items():
        if name in recorder.epochs[0]:
            mean = torch.stack([weights[name] for weights in recorder.epochs[1:]]).mean(0)
            torch.testing.assert_close(value.double(), mean, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("setting", [{"ema_decay": 0.9}, {"swa_epochs": 2}])
def test_what_is_validated_is_what_best_ckpt_holds(event_file, tmp_path, setting):
    """With batch normalisation: the best checkpoint's loss, recomputed from what ``load_tagger`` gives."""
    run = train(normed(**setting), event_file, tmp_path / "run")
    model, resolved = load_tagger(run.folder)
    data = TaggerData(resolved.data, event_file, fields=model.needs)
    task = build_task("flavour", **resolved.task.options)
    task.fit(data.training)
    batch = data.validation.get_batch(np.arange(len(data.validation)))
    with torch.no_grad():
        loss = task(model(batch).double(), batch["jet"].y)
    assert run.summary["best"]["val_loss"] == pytest.approx(loss.item(), rel=1e-4)
    best, end = last(run.folder, "best.ckpt"), last(run.folder)
    assert TRAINING_WEIGHTS not in best
    if run.summary["best_epoch"] == 2:
        assert all(torch.equal(best["state_dict"][f"model.{name}"], value) for name, value in averaged(end).items())
    raw = {name.removeprefix("model."): value for name, value in end[TRAINING_WEIGHTS].items()}
    model.load_state_dict(raw)
    with torch.no_grad():
        assert task(model(batch).double(), batch["jet"].y).item() != pytest.approx(loss.item(), rel=1e-4)


@pytest.mark.parametrize("setting", [{"ema_decay": 0.9}, {"swa_epochs": 3}])
def test_a_stopped_and_resumed_run_equals_one_never_stopped(event_file, tmp_path, setting):
    # The stop is in an epoch's midst, after a checkpoint there.
    chosen = normed(max_epochs=4, checkpoint_every_steps=1, **setting)
    whole = train(chosen, event_file, tmp_path / "whole")
    with pytest.raises(TrainingInterrupted):
        train(chosen, event_file, tmp_path / "run", callbacks=[StopAt(2)])
    train(chosen, event_file, tmp_path / "run", resume=True)
    ours, reference = last(tmp_path / "run"), last(whole.folder)
    for part in ("state_dict", TRAINING_WEIGHTS):
        assert ours[part].keys() == reference[part].keys()
        for name, value in reference[part].items():
            assert torch.equal(ours[part][name], value), name
    best = [last(folder, "best.ckpt")["state_dict"] for folder in (tmp_path / "run", whole.folder)]
    assert all(torch.equal(best[0][name], value) for name, value in best[1].items())
    with pytest.raises(ConfigError, match=r"was started with train\.(ema_decay|swa_epochs) = "):
        train(normed(max_epochs=5), event_file, tmp_path / "run", resume=True)


def test_a_longer_run_begins_its_mean_anew(event_file, tmp_path):
    options, recorder = {"swa_epochs": 1, "min_lr": 1e-3}, Recorder()
    train(normed(max_epochs=1, **options), event_file, tmp_path / "r")
    train(normed(max_epochs=2, **options), event_file, tmp_path / "r", resume=True, callbacks=[recorder])
    for name, value in averaged(last(tmp_path / "r")).items():
        if name in recorder.epochs[-1]:
            assert torch.equal(value.double(), recorder.epochs[-1][name])


def test_statistics_are_those_of_the_batches(rng):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.norm = nn.Dropout(0.5), RowBatchNorm(5)

        def forward(self, x):
            return self.norm(self.drop(x))

    model = Model().train()
    model.norm.running_mean += 7
    batches = [torch.from_numpy(rng.normal(3, 2, (n, 5))).float() for n in (11, 11, 11, 11)]
    retake_batch_norm(model, batches)
    assert not model.training
    assert not model.norm.training
    assert model.norm.momentum == 0.1
    mean = torch.stack([batch.mean(0) for batch in batches]).mean(0)
    variance = torch.stack([batch.var(0) for batch in batches]).mean(0)
    torch.testing.assert_close(model.norm.running_mean, mean)
    torch.testing.assert_close(model.norm.running_var, variance)

    def unread():
        raise AssertionError("a model without batch normalisation needs no batch")
        yield

    retake_batch_norm(nn.Linear(2, 2), unread())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["train.ema_decay=0.9", "train.swa_epochs=1"], "give ema_decay or swa_epochs, not both"),
        (["train.swa_epochs=2", "train.early_stopping=1"], "which early_stopping leaves open"),
        (["train.swa_epochs=5", "train.max_epochs=4"], "there are only 4 epochs"),
        (["train.ema_decay=1.0"], "'train.ema_decay' should be less than 1"),
    ],
)
def test_wrong_settings_are_one_sentence(recipe, settings, words):
    with pytest.raises(ConfigError, match=words):
        recipe(*settings)
