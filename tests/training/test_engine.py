"""Whole runs: what they write, what they refuse, and that a resumed run equals one never stopped."""

import json
import tomllib

import pytest
import torch
from helpers.equality import same
from helpers.learnable import write_learnable
from lightning.pytorch.callbacks import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from panoptag_pyg.errors import ConfigError, EventFileError, PanopTagError
from panoptag_pyg.events import EventLoader
from panoptag_pyg.tasks import build_task
from panoptag_pyg.training import Recipe, TrainingInterrupted, load_tagger, train
from panoptag_pyg.training.callbacks import read_metrics
from panoptag_pyg.training.cpu import cpu_threads, usable_cores
from panoptag_pyg.training.data import TaggerData

FILES = {"recipe.toml", "best.ckpt", "last.ckpt", "metrics.csv", "summary.json", "tensorboard"}
FILES |= {"README.md", "checksums.json", "curves.png"}


class StopAt(Callback):
    """Interrupts the run in the middle of an epoch."""

    def __init__(self, epoch, error=KeyboardInterrupt):
        self.epoch, self.error = epoch, error

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == self.epoch and batch_idx == 1:
            raise self.error


def weights(folder, name="last.ckpt"):
    return torch.load(folder / name, weights_only=True)


@pytest.fixture(scope="module")
def finished(event_file, tmp_path_factory):
    return train(Recipe.from_toml("tiny", ["train.max_epochs=3"]), event_file, tmp_path_factory.mktemp("r") / "run")


def test_a_run_folder_explains_itself(finished, event_file):
    folder = finished.folder
    assert {path.name for path in folder.iterdir()} == FILES
    summary = json.loads((folder / "summary.json").read_text())
    assert summary == finished.summary
    assert (summary["status"], summary["epochs"], summary["model"]) == ("finished", 3, "panoptag")
    assert summary["data"]["training"] == {
        "files": [str(event_file)],
        "processes": ["ttbar"],
        "events": 108,
        **{key: summary["data"]["training"][key] for key in ("jets", "jets_per_class", "pfos")},
    }
    model, recipe = load_tagger(folder)
    assert summary["parameters"] == sum(p.numel() for p in model.parameters())
    assert summary["task"]["class_names"] == ["light", "c", "b"]
    assert summary["versions"]["torch"] == torch.__version__
    assert Recipe.from_toml(folder / "recipe.toml") == recipe
    assert tomllib.loads((folder / "recipe.toml").read_text())["train"]["max_epochs"] == 3


def test_metrics_are_kept_per_epoch_and_the_best_epoch_is_found(finished):
    rows = read_metrics(finished.folder / "metrics.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["step"] for row in rows] == [7, 14, 21]
    best = min(rows, key=lambda row: row["val_loss"])
    assert finished.summary["best_epoch"] == best["epoch"]
    assert finished.summary["best"]["val_loss"] == best["val_loss"]
    assert weights(finished.folder, "best.ckpt")["panoptag"]["metrics"]["val_loss"] == best["val_loss"]
    assert all(row["events_per_second"] > 0 for row in rows)
    scalars = EventAccumulator(str(finished.folder / "tensorboard")).Reload().Tags()["scalars"]
    assert {"step/loss", "step/lr", "epoch/val_loss", "epoch/val_accuracy", "epoch/train_loss"} <= set(scalars)


def test_validation_numbers_are_exact_whatever_the_batches(finished, event_file):
    """The best checkpoint's loss and accuracy, recomputed in one batch and in float64."""
    model, recipe = load_tagger(finished.folder)
    data = TaggerData(recipe.data, event_file)
    batch = next(iter(EventLoader(data.validation, batch_size=10_000)))
    assert len(data.validation) < recipe.data.batch_size or len(data.loader(False)) > 1
    task = build_task(**{"name": "flavour", **recipe.task.options})
    task.fit(data.training)
    with torch.no_grad():
        logits = model(batch).double()
    loss = task(logits, batch["jet"].y, batch.weight[batch["jet"].batch].double())
    accuracy = (logits.argmax(1) == batch["jet"].y).double().mean()
    assert finished.summary["best"]["val_loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert finished.summary["best"]["val_accuracy"] == pytest.approx(accuracy.item(), rel=1e-12)


def test_a_stopped_and_resumed_run_equals_one_never_stopped(finished, event_file, tmp_path, recipe, capfd):
    folder = tmp_path / "run"
    with pytest.raises(TrainingInterrupted, match=r"epochs kept in .*run: 1"):
        train(recipe("train.max_epochs=3"), event_file, folder, callbacks=[StopAt(1)])
    assert json.loads((folder / "summary.json").read_text())["status"] == "interrupted"
    load_tagger(folder)
    run = train(recipe("train.max_epochs=3"), event_file, folder, resume=True)
    ours, reference = weights(folder), weights(finished.folder)
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step"):
        assert same(ours[part], reference[part]), part
    assert same(weights(folder, "best.ckpt")["state_dict"], weights(finished.folder, "best.ckpt")["state_dict"])
    timing = ("events_per_second", "seconds", "data_wait")
    rows = [
        [{key: value for key, value in row.items() if key not in timing} for row in read_metrics(f / "metrics.csv")]
        for f in (folder, finished.folder)
    ]
    assert rows[0] == rows[1]
    assert run.summary["best_epoch"] == finished.summary["best_epoch"]
    assert run.summary["epochs"] == 3
    shown = capfd.readouterr().err
    assert [line.split("  ")[0] for line in shown.splitlines()] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]


def test_sigterm_and_a_stop_in_the_first_epoch_are_resumable_too(event_file, tmp_path, recipe):
    import os
    import signal

    class Terminate(StopAt):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.current_epoch == self.epoch and batch_idx == 1:
                os.kill(os.getpid(), signal.SIGTERM)

    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(TrainingInterrupted, match=r"epochs kept in .*run: 0"):
        train(recipe("train.max_epochs=1"), event_file, tmp_path / "run", callbacks=[Terminate(0)])
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert train(recipe("train.max_epochs=1"), event_file, tmp_path / "run", resume=True).summary["epochs"] == 1


def test_a_finished_run_can_be_made_longer_but_not_shorter(event_file, tmp_path, recipe):
    train(recipe("train.max_epochs=1"), event_file, tmp_path / "run")
    again = train(recipe("train.max_epochs=1"), event_file, tmp_path / "run", resume=True)
    assert (again.summary["epochs"], again.summary["best_epoch"]) == (1, 1)
    longer = train(recipe("train.max_epochs=2"), event_file, tmp_path / "run", resume=True)
    assert longer.summary["epochs"] == 2
    assert [row["epoch"] for row in read_metrics(tmp_path / "run" / "metrics.csv")] == [1, 2]
    with pytest.raises(ConfigError, match=r"has 2 epochs already, more than train\.max_epochs = 1"):
        train(recipe("train.max_epochs=1"), event_file, tmp_path / "run", resume=True)


def test_resuming_another_run_is_refused(finished, event_file, tmp_path, recipe):
    with pytest.raises(ConfigError, match=r"started with model\.dim = 16, the recipe now says 32"):
        train(recipe("train.max_epochs=3", "model.dim=32"), event_file, finished.folder, resume=True)
    with pytest.raises(ConfigError, match=r"data\.batch_size = 16"):
        train(recipe("train.max_epochs=3", "data.batch_size=8"), event_file, finished.folder, resume=True)
    other = write_learnable(tmp_path / "other.h5", 50)
    with pytest.raises(ConfigError, match="started on 108 training and 12 validation events"):
        train(recipe("train.max_epochs=3"), other, finished.folder, resume=True)


def test_an_output_is_never_overwritten_unasked(event_file, tmp_path, recipe):
    short = recipe("train.max_epochs=1")
    folder = tmp_path / "run"
    train(short, event_file, folder)
    before = (folder / "best.ckpt").read_bytes()
    with pytest.raises(ConfigError, match="--resume goes on with it, --overwrite starts anew"):
        train(short, event_file, folder)
    with pytest.raises(ConfigError, match="not both"):
        train(short, event_file, folder, resume=True, overwrite=True)
    assert (folder / "best.ckpt").read_bytes() == before
    (folder / "notes.txt").write_text("mine")
    train(recipe("train.max_epochs=1", "train.seed=1"), event_file, folder, overwrite=True)
    assert (folder / "best.ckpt").read_bytes() != before
    assert (folder / "notes.txt").read_text() == "mine"
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("precious")
    with pytest.raises(ConfigError, match="no run folder"):
        train(short, event_file, tmp_path / "thesis", overwrite=True)
    with pytest.raises(ConfigError, match="is a file"):
        train(short, event_file, event_file)


def test_nothing_is_written_when_the_input_is_bad(event_file, tmp_path, recipe):
    with pytest.raises(EventFileError):
        train(recipe(), tmp_path / "missing.h5", tmp_path / "run")
    with pytest.raises(ConfigError, match="num_heads must divide"):
        train(recipe().model_copy(update={"model": type(recipe().model)(name="panoptag", dim=3)}), event_file,
              tmp_path / "run")  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_a_number_stops_the_run(event_file, tmp_path, recipe):
    with pytest.raises(PanopTagError, match=r"training loss became nan at step 3 \(epoch 1\) .*; lower train\.lr"):
        train(recipe("train.max_epochs=1", "train.lr=1e38"), event_file, tmp_path / "run")


def test_early_stopping(event_file, tmp_path, recipe):
    still = recipe("train.max_epochs=20", "train.lr=1e-30", "train.warmup_start_lr=0", "train.early_stopping=2")
    run = train(still, event_file, tmp_path / "run")
    assert run.summary["best_epoch"] == 1
    assert run.summary["epochs"] == 3
    # Resumed, it has stopped already; with more patience it goes on until that is used up too.
    assert train(still, event_file, tmp_path / "run", resume=True).summary["epochs"] == 3
    still.train.early_stopping = 4
    assert train(still, event_file, tmp_path / "run", resume=True).summary["epochs"] == 5


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.batch_size=none", "data.max_pfos_per_batch=150"],
        ["data.max_pfos=10", "data.max_jets=2"],
        ["train.precision=bf16-mixed"],
        ["data.num_workers=1"],
        ["train.gradient_clip=0.1", "train.restart_epochs=1", "task.class_weights=equal"],
    ],
)
def test_options_run(event_file, tmp_path, recipe, overrides):
    run = train(recipe("train.max_epochs=2", *overrides), event_file, tmp_path / "run", validation=event_file)
    assert run.summary["epochs"] == 2
    steps = [row["step"] for row in read_metrics(run.folder / "metrics.csv")]
    data = TaggerData(Recipe.from_toml(run.folder / "recipe.toml").data, event_file, event_file)
    assert steps == [data.num_steps(1), data.num_steps(2)]


def test_the_same_seed_gives_the_same_weights(event_file, tmp_path, recipe):
    for name, seed in (("a", 4), ("b", 4), ("c", 5)):
        train(recipe("train.max_epochs=1", f"train.seed={seed}"), event_file, tmp_path / name)
    a, b, c = (weights(tmp_path / name, "best.ckpt")["state_dict"] for name in "abc")
    assert same(a, b)
    assert not same(a, c)


def test_threads_are_set_and_given_back():
    before = torch.get_num_threads()
    with cpu_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    assert usable_cores() >= 1


@pytest.mark.parametrize("epoch", [0, 1])
def test_memory_that_runs_out_is_a_sentence(event_file, recipe, tmp_path, epoch):
    with pytest.raises(PanopTagError, match=r"memory ran out; give a smaller data\.batch_size"):
        train(
            recipe("train.max_epochs=2"),
            event_file,
            tmp_path / "run",
            callbacks=[StopAt(epoch, torch.OutOfMemoryError)],
        )
    assert (tmp_path / "run").exists() == (epoch > 0), "what the first epoch left can be gone on with"
    if epoch:
        assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "failed"
