"""Pre-training and going on from it: what is taken, frozen, slowed down; stopped runs; files without labels."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.equality import same
from helpers.events import write_events
from helpers.learnable import learnable_block, write_learnable
from lightning.pytorch.callbacks import Callback

from panoptag_pyg.errors import CheckpointError, ConfigError
from panoptag_pyg.events import EventDataset
from panoptag_pyg.tasks import build_task
from panoptag_pyg.training import Recipe, TrainingInterrupted, load_tagger, train
from panoptag_pyg.training.callbacks import read_metrics
from panoptag_pyg.training.checkpoint import build_model, read_checkpoint
from panoptag_pyg.training.pretrained import pieces

MODEL = {"name": "panoptag", "backbone": "deepsets", "dim": 8, "num_heads": 2, "num_decoder_layers": 1}
TRAIN = {"max_epochs": 2, "lr": 0.01, "warmup_epochs": 0.0, "threads": 1, "accelerator": "cpu"}
BOTH = {"name": "several", "masked_pfos": {}, "contrast": {"task": "event_jet_contrast", "dim": 4}}


def recipe(task: dict[str, Any] | str = "flavour", model: dict[str, Any] | None = None, **changes: Any) -> Recipe:
    task = {"name": task} if isinstance(task, str) else task
    values = {
        "model": {**MODEL, **(model or {})},
        "data": {"batch_size": 16, **changes.pop("data", {})},
        "task": task,
        "train": {**TRAIN, **changes},
    }
    return Recipe.from_dict(values)


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory) -> Path:
    """80 events of which nobody knows a truth: all columns of it are missing from the file, flavours are −1."""
    from panoptag_pyg.events.schema import COLUMNS

    block = learnable_block(np.random.default_rng(3), 80)
    block.jet["flavour"][:] = -1
    unknown = {column.path for column in COLUMNS if column.truth}
    return write_events(tmp_path_factory.mktemp("events") / "data.h5", block, unknown=unknown)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    return write_learnable(tmp_path_factory.mktemp("events") / "labelled.h5", 60)


@pytest.fixture(scope="module")
def masked(unlabelled, tmp_path_factory) -> Path:
    """A run of masked PFOs."""
    return train(recipe("masked_pfos"), unlabelled, tmp_path_factory.mktemp("masked") / "run").folder


@pytest.fixture(scope="module")
def both(unlabelled, tmp_path_factory) -> Path:
    """A run of both objectives at once, one batch accumulated on another, that nothing stopped."""
    return train(recipe(BOTH, accumulate_batches=2), unlabelled, tmp_path_factory.mktemp("both") / "run").folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    model, own = load_tagger(folder)
    state = model.state_dict()
    found = pieces(model, build_task(own.task.name, **own.task.options))
    return {f"{piece}.{rest}": state[name] for piece, names in found.items() for rest, name in names.items()}


# -- pre-training ---------------------------------------------------------------------------------------------


def test_it_needs_no_labels_and_its_losses_fall(both, unlabelled):
    assert not EventDataset(unlabelled).class_counts().any()
    rows = read_metrics(both / "metrics.csv")
    assert rows[1]["train_loss"] < rows[0]["train_loss"]
    for name in ("masked_pfos_loss", "masked_pfos_class_accuracy", "contrast_loss", "contrast_accuracy"):
        assert f"val_{name}" in rows[0]
    token = read_checkpoint(both / "last.ckpt")["state_dict"]["task.tasks.masked_pfos.token"]
    assert token.any()  # it is learnt


class StopBefore(Callback):
    """Interrupts before a batch of an epoch."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.at = (epoch, batch)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == self.at:
            raise KeyboardInterrupt


def test_masks_and_views_of_a_stopped_run_are_those_of_one_never_stopped(both, unlabelled, tmp_path):
    run = tmp_path / "run"
    for stop in (StopBefore(0, 3), StopBefore(1, 1)):
        own = recipe(BOTH, accumulate_batches=2, checkpoint_every_steps=1)
        with pytest.raises(TrainingInterrupted):
            train(own, unlabelled, run, resume=run.exists(), callbacks=[stop])
    train(recipe(BOTH, accumulate_batches=2, checkpoint_every_steps=1), unlabelled, run, resume=True)
    for name in ("last.ckpt", "best.ckpt"):
        a, b = (read_checkpoint(folder / name) for folder in (run, both))
        for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
            assert same(a.get(part), b.get(part)), (name, part)
    timing = ("seconds", "events_per_second", "data_wait")
    rows = [
        [{k: v for k, v in row.items() if k not in timing} for row in read_metrics(folder / "metrics.csv")]
        for folder in (run, both)
    ]
    assert rows[0] == rows[1]


# -- going on -------------------------------------------------------------------------------------------------


def test_what_fits_is_taken_and_what_doesn_t_is_drawn_anew(masked, labelled, tmp_path, capfd):
    own = recipe(start_from=str(masked), lr=1e-12, max_epochs=1)
    run = train(own, labelled, tmp_path / "run")
    sentence = run.summary["start"]
    assert sentence == (
        f"From {masked}: taken pfo_normalisation, jet_normalisation, backbone; "
        "drawn anew jet_embed, decoder, head of flavour; left head of masked_pfos"
    )
    assert sentence in " ".join(capfd.readouterr().err.split())
    before, after = weights(masked), weights(tmp_path / "run")
    for name, value in before.items():
        if name.startswith(("backbone.", "pfo_normalisation.", "jet_normalisation.")):
            torch.testing.assert_close(after[name], value, rtol=1e-5, atol=1e-6)
    # The start is read once: nothing of the earlier run is needed any more.
    assert load_tagger(tmp_path / "run")[1].train.start_from == str(masked)


@pytest.mark.parametrize(
    ("task", "taken"),
    [
        ("jet_pt", {"backbone", "jet_embed", "decoder"}),
        ({"name": "process", "classes": ["a", "b"]}, {"backbone", "jet_embed", "decoder"}),
        ("pfo_jet", {"backbone", "jet_embed", "decoder"}),
        ("masked_pfos", {"backbone", "head of masked_pfos"}),
        ({"name": "several", "flavour": {}, "masked_pfos": {}}, {"backbone", "decoder", "head of masked_pfos"}),
    ],
    ids=["regression", "event", "pointer", "itself", "several"],
)
def test_every_head_can_go_on_from_it(both, task, taken):
    from panoptag_pyg.training.pretrained import start_from

    own = recipe(task)
    model, asked = build_model(own), build_task(own.task.name, **own.task.options)
    start = start_from(model, asked, str(both))
    assert taken <= set(start.taken)
    assert not set(start.taken) & {*start.drawn, *start.left}
    assert {*start.taken, *start.drawn} == set(pieces(model, asked))
    state, theirs, found = model.state_dict(), weights(both), pieces(model, asked)
    for piece in start.taken:
        for rest, name in found[piece].items():
            assert torch.equal(state[name], theirs[f"{piece}.{rest}"])


def test_frozen_pieces_stay_and_taken_ones_move_slower(masked, labelled, tmp_path):
    kept = train(recipe(start_from=str(masked), freeze=["backbone"], max_epochs=1), labelled, tmp_path / "kept")
    before, after = weights(masked), weights(tmp_path / "kept")
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith("backbone."))
    model, _ = load_tagger(tmp_path / "kept")
    trained = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("backbone."))
    assert kept.summary["parameters"] == trained
    slow = recipe(start_from=str(masked), lr_factor_taken=0.25, max_epochs=1, warmup_epochs=0.5)
    train(slow, labelled, tmp_path / "slow", callbacks=[watch := Rates()])
    assert all(rates[1] == pytest.approx(0.25 * rates[0]) for rates in watch.rates)
    assert len(watch.rates) > 2
    assert watch.rates[0][0] > 0
    assert read_metrics(tmp_path / "slow" / "metrics.csv")[0]["lr"] == pytest.approx(watch.rates[-1][0], abs=0.01)


class Rates(Callback):
    """Learning rates of each group before each step."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.rates.append([group["lr"] for group in optimizer.param_groups])


def test_a_linear_probe_trains_one_layer(both, labelled, tmp_path):
    run = train(recipe(start_from=str(both), linear_probe=True, max_epochs=1), labelled, tmp_path / "run")
    assert run.summary["parameters"] == 8 * 3 + 3
    before, after = weights(both), weights(tmp_path / "run")
    assert {name for name in after if name.startswith("head of")} == {
        "head of flavour.linears.0.weight", "head of flavour.linears.0.bias",
    }  # fmt: skip
    assert all(torch.equal(value, before[name]) for name, value in after.items() if not name.startswith("head of"))


def test_a_stopped_fine_tuning_goes_on_without_the_earlier_run(masked, labelled, tmp_path):
    gone = shutil.copytree(masked, tmp_path / "gone")
    own = recipe(start_from=str(gone), freeze=["taken"], lr_factor_taken=0.5, checkpoint_every_steps=1)
    with pytest.raises(TrainingInterrupted):
        train(own, labelled, tmp_path / "run", callbacks=[StopBefore(1, 1)])
    train(own, labelled, tmp_path / "whole")
    shutil.rmtree(gone)
    again = train(own, labelled, tmp_path / "run", resume=True)
    a, b = (read_checkpoint(tmp_path / name / "last.ckpt") for name in ("run", "whole"))
    assert same(a["state_dict"], b["state_dict"])
    assert same(a["optimizer_states"], b["optimizer_states"])
    assert again.summary["start"].startswith("From ")
    assert "taken pfo_normalisation" in again.summary["start"]
    other = recipe(start_from=str(gone), freeze=[], lr_factor_taken=0.5, checkpoint_every_steps=1)
    with pytest.raises(ConfigError, match=r"train\.freeze"):
        train(other, labelled, tmp_path / "run", resume=True)
    with pytest.raises(CheckpointError, match="no such run folder"):
        train(own, labelled, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": {"dim": 16}}, ["its backbone (panoptag) is of another size", "[model]"]),
        ({"model": {"backbone_options": {"num_layers": 1}}}, ["backbone"]),
        ({"freeze": ["backbon"]}, ["'backbon'", "did you mean 'backbone'", "decoder"]),
        ({"freeze": ["head of flavour"]}, ["'head of flavour'"]),
    ],
    ids=["dim", "layers", "unknown", "head"],
)
def test_what_does_not_fit_is_a_sentence(masked, labelled, tmp_path, changes, words):
    with pytest.raises(ConfigError) as error:
        train(recipe(start_from=str(masked), **changes), labelled, tmp_path / "run")
    assert all(word in str(error.value) for word in words), error.value
    assert not (tmp_path / "run").exists()


def test_nothing_in_common_and_nothing_taken(masked, labelled, tmp_path):
    values = {"model": {"name": "pfn", "phi_sizes": [4], "f_sizes": [4]}, "train": {"start_from": str(masked), **TRAIN}}
    with pytest.raises(ConfigError, match=r"nothing of it fits; its model panoptag consists of"):
        train(Recipe.from_dict(values), labelled, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"give train\.start_from"):
        train(recipe(freeze=["taken"]), labelled, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"give train\.start_from"):
        train(recipe(lr_factor_taken=0.5), labelled, tmp_path / "run")
    torch.save({"weights": Path("here")}, tmp_path / "evil.ckpt")
    with pytest.raises(CheckpointError, match=r"refused|not a checkpoint"):
        train(recipe(start_from=str(tmp_path / "evil.ckpt")), labelled, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_fewer_events_are_part_of_more(labelled):
    from panoptag_pyg.training.data import TaggerData

    def keys(number: int | None, seed: int = 0) -> set[int]:
        section = recipe(data={"max_events": number, "max_validation_events": 2, "split_seed": seed}).data
        data = TaggerData(section, labelled, labelled)
        assert len(data.validation) == 2
        return set(data.training.event_keys()[1].tolist())

    few, more, every = keys(7), keys(20), keys(None)
    assert few < more < every
    assert (len(few), len(more), len(every)) == (7, 20, 60)
    assert keys(7, 1) != few
    assert keys(1000) == every


def test_weaver_core_s_weights_can_be_frozen_and_slowed_down_too(labelled, tmp_path):
    model = {
        "name": "part",
        "embed_dims": [16],
        "pair_embed_dims": [8],
        "num_heads": 2,
        "num_layers": 1,
        "num_cls_layers": 1,
    }
    values = {"model": {**model, "features": "jetclass_full"}, "train": TRAIN}
    source = build_model(Recipe.from_dict(values))
    names = {name: value for name, value in source.state_dict().items() if not name.startswith("inputs.")}
    own = Recipe.from_dict(
        {**values, "model": {**model, "pretrained": "weights.pt"}, "train": {**TRAIN, "freeze": ["taken"]}}
    )
    loaded = build_model(own)
    loaded.pretrained_parts = ("network", "head")  # as after reading the file
    from panoptag_pyg.training.pretrained import begin, freeze

    task = build_task("flavour")
    start = begin(loaded, task, own)
    assert set(start.taken) == {"network", "head of flavour"}
    assert names
    frozen = freeze(loaded, task, own.train, start.taken)
    assert frozen == [loaded.network]
    assert {name for name, p in loaded.named_parameters() if p.requires_grad} == {
        name for name, _ in loaded.named_parameters() if name.startswith("head.")
    }
    both_ways = own.model_copy(update={"train": own.train.model_copy(update={"start_from": "run"})})
    with pytest.raises(ConfigError, match=r"both say where to begin"):
        begin(loaded, task, both_ways)
