"""Checkpoints: they carry their recipe, are whole or absent, and never run code."""

import os
import pickle

import pytest
import torch

from panoptag_pyg.errors import CheckpointError
from panoptag_pyg.events import EventDataset, EventLoader
from panoptag_pyg.output import OutputError
from panoptag_pyg.training import Recipe, load_tagger, train
from panoptag_pyg.training.checkpoint import SafeCheckpointIO, read_checkpoint


@pytest.fixture(scope="module")
def run(event_file, tmp_path_factory):
    return train(
        Recipe.from_toml("tiny", ["train.max_epochs=1"]), event_file, tmp_path_factory.mktemp("runs") / "run"
    ).folder


class Malicious:
    """Makes a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_tagger_is_loaded_with_its_recipe_and_normalisation(run, event_file):
    model, recipe = load_tagger(run)
    assert not model.training
    assert recipe == Recipe.from_toml("tiny", ["train.max_epochs=1"])
    again, _ = load_tagger(str(run / "best.ckpt"))
    batch = next(iter(EventLoader(EventDataset(event_file), batch_size=7)))
    with torch.no_grad():
        assert torch.equal(model(batch), again(batch))
    assert model.pfo_normalisation.mean.abs().sum() > 0


def test_all_of_a_checkpoint_is_plain_data(run):
    for name in ("best.ckpt", "last.ckpt"):
        checkpoint = torch.load(run / name, weights_only=True)
        assert Recipe.from_json(checkpoint["panoptag"]["recipe"]).train.max_epochs == 1
    assert "optimizer_states" in checkpoint
    assert "optimizer_states" not in torch.load(run / "best.ckpt", weights_only=True)


@pytest.mark.parametrize("legacy", [True, False])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, run, event_file, recipe, legacy):
    trap = tmp_path / "trap"
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "recipe.toml").write_text(recipe("train.max_epochs=1").to_toml())
    content = {**torch.load(run / "last.ckpt", weights_only=True), "extra": Malicious(trap)}
    for name in ("best.ckpt", "last.ckpt"):
        torch.save(content, folder / name, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match="nothing of it was run"):
        load_tagger(folder)
    with pytest.raises(CheckpointError, match="nothing of it was run"):
        train(recipe("train.max_epochs=1"), event_file, folder, resume=True)
    with pytest.raises(CheckpointError):
        SafeCheckpointIO().load_checkpoint(folder / "last.ckpt", weights_only=False)
    (folder / "best.ckpt").write_bytes(pickle.dumps(Malicious(trap)))
    with pytest.raises(CheckpointError):
        load_tagger(folder / "best.ckpt")
    assert not trap.exists()
    torch.load(folder / "last.ckpt", weights_only=False)  # the trap does work
    assert trap.exists()


def test_damaged_files_are_named(tmp_path, run):
    whole = (run / "best.ckpt").read_bytes()
    for content in (b"", b"not a checkpoint", whole[: len(whole) // 2], whole[:100], b"\x80\x02}q\x00."):
        path = tmp_path / "bad.ckpt"
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"bad\.ckpt") as caught:
            load_tagger(path)
        assert "\n" not in str(caught.value)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint that panoptag train wrote"):
        load_tagger(path)


def test_missing_checkpoints_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="no such run folder or checkpoint"):
        load_tagger(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"no best\.ckpt in it"):
        load_tagger(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weights: weights.pop("model.head.0.weight", None) or weights.popitem(), "lacks"),
        (lambda weights: weights.update({"model.nonsense": torch.zeros(1)}), "doesn't know nonsense"),
        (lambda weights: weights.update({next(iter(weights)): torch.zeros(99)}), "is [99] in the checkpoint"),
    ],
)
def test_weights_that_do_not_fit_the_recipe(tmp_path, run, change, words):
    checkpoint = torch.load(run / "best.ckpt", weights_only=True)
    checkpoint["state_dict"] = {
        name: value for name, value in checkpoint["state_dict"].items() if name.startswith("model.")
    }
    change(checkpoint["state_dict"])
    torch.save(checkpoint, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="doesn't fit its recipe") as caught:
        load_tagger(tmp_path / "x.ckpt")
    assert words in str(caught.value)


def test_a_recipe_inside_that_this_version_does_not_know(tmp_path, run):
    checkpoint = torch.load(run / "best.ckpt", weights_only=True)
    checkpoint["panoptag"]["recipe"] = checkpoint["panoptag"]["recipe"].replace("weight_decay", "weight_decoy")
    torch.save(checkpoint, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match=r"inside .*x\.ckpt: unknown key 'train\.weight_decoy'"):
        load_tagger(tmp_path / "x.ckpt")
    checkpoint["panoptag"]["recipe"] = None
    torch.save(checkpoint, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="no recipe inside"):
        load_tagger(tmp_path / "x.ckpt")


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    SafeCheckpointIO().save_checkpoint({"panoptag": {}, "a": 1}, path)

    def full_disk(value, file):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OutputError, match="the disk is full"):
        SafeCheckpointIO().save_checkpoint({}, path)
    assert os.listdir(tmp_path) == ["last.ckpt"]
    assert read_checkpoint(path)["a"] == 1
