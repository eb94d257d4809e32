"""Folders of config.json and model.safetensors: the same tagger again, wherever a run is accepted."""

import json
import os
import pickle

import pytest
import torch
from helpers.checkpoints import write_checkpoint
from helpers.tiny import TINY_TAGGERS

from panoptag_pyg.comparison.entries import find_entries
from panoptag_pyg.errors import CheckpointError, MissingExtraError
from panoptag_pyg.models import tagger_names
from panoptag_pyg.output import OutputError
from panoptag_pyg.training import Recipe, load_tagger, load_task
from panoptag_pyg.training.checkpoint import checkpoint_files, find_checkpoint, read_checkpoint
from panoptag_pyg.training.data_card import Spread, TrainingCard, load_data_card
from panoptag_pyg.training.hub_folder import CARD, CONFIG, WEIGHTS, read_hub_config, save_hub_folder

CARD_OF_DATA = TrainingCard(("pfo/pt",), known=True, processes=("ttbar",), events=7, jet={"pt": Spread.of([30, 40])})
TASKS = {
    "flavour": {"name": "flavour"},
    "regression": {"name": "jet_pt"},
    "several": {
        "name": "several",
        "flavour": {"weight": 2.0},
        "jet_pt": {},
        "pfo_jet": {},
        "process": {"classes": ["ttbar", "ZH"]},
    },
}
#: Of taggers that answer for events.
OF_EVENTS = {"fatjet_event": {"name": "process", "classes": ["ttbar", "ZH"]}}


def recipe_of(tagger="panoptag", task=None):
    return Recipe.from_dict(
        {
            "model": {"name": tagger, **TINY_TAGGERS[tagger]},
            "task": task or OF_EVENTS.get(tagger, {"name": "flavour"}),
        },
        "test",
    )


def same_weights(one, other):
    one, other = one.state_dict(), other.state_dict()
    assert list(one) == list(other)
    for name, value in one.items():
        assert value.dtype == other[name].dtype, name
        assert torch.equal(value, other[name]), name


@pytest.fixture
def seed(rng):
    return int(rng.integers(2**31))


@pytest.fixture
def folder(tmp_path, seed):
    run = write_checkpoint(tmp_path / "run", recipe_of(), seed, CARD_OF_DATA).parent
    return save_hub_folder(run, tmp_path / "hub")


@pytest.mark.parametrize("tagger", tagger_names())
def test_every_tagger_comes_back_bit_for_bit(tmp_path, seed, tagger):
    try:
        file = write_checkpoint(tmp_path / "x.ckpt", recipe_of(tagger), seed)
    except MissingExtraError as error:
        pytest.skip(str(error))
    hub = save_hub_folder(file, tmp_path / "hub")
    before, after = load_tagger(file), load_tagger(hub)
    same_weights(before[0], after[0])
    assert before[1] == after[1]
    assert not after[0].training


@pytest.mark.parametrize("task", TASKS)
def test_what_tasks_have_learnt_comes_back(tmp_path, seed, task):
    file = write_checkpoint(tmp_path / "x.ckpt", recipe_of(task=TASKS[task]), seed)
    hub = save_hub_folder(file, tmp_path / "hub")
    same_weights(load_task(file), load_task(hub))
    same_weights(load_tagger(file)[0], load_tagger(hub)[0])
    outputs = read_hub_config(hub)["outputs"]
    assert [output["name"] for output in outputs] == list(load_task(file).parts())
    if task == "flavour":
        assert outputs[0]["classes"] == ["light", "c", "b"]


def test_the_average_is_shared_and_not_the_weights_in_training(tmp_path, seed):
    in_training = {"model.head": torch.zeros(3)}
    file = write_checkpoint(tmp_path / "x.ckpt", recipe_of(), seed, training_weights=in_training, optimizer_states=[{}])
    hub = save_hub_folder(file, tmp_path / "hub")
    assert set(read_checkpoint(hub / WEIGHTS)["state_dict"]) == set(read_checkpoint(file)["state_dict"])
    same_weights(load_tagger(file)[0], load_tagger(hub)[0])


def test_odd_values_and_tied_weights_come_back(tmp_path, seed):
    file = write_checkpoint(tmp_path / "x.ckpt", recipe_of(), seed)
    content = torch.load(file, weights_only=True)
    names = [name for name, value in content["state_dict"].items() if value.ndim == 1 and len(value) == 16]
    odd = torch.tensor([float("inf"), -0.0, 1e-45, float("nan")] * 4)
    content["state_dict"][names[0]] = content["state_dict"][names[1]] = odd
    square = next(name for name, value in content["state_dict"].items() if value.shape == (16, 16))
    content["state_dict"][square] = content["state_dict"][square].T
    torch.save(content, file)
    weights = read_checkpoint(save_hub_folder(file, tmp_path / "hub") / WEIGHTS)["state_dict"]
    for name in names[:2]:
        assert torch.equal(weights[name].view(torch.int32), odd.view(torch.int32))
    assert torch.equal(weights[square], content["state_dict"][square])


def test_it_is_accepted_like_a_run(folder, tmp_path):
    for path in (folder, folder / WEIGHTS, folder / CONFIG, str(folder)):
        assert find_checkpoint(path) == folder / WEIGHTS
    assert checkpoint_files(folder) == [folder / WEIGHTS, folder / CONFIG]
    assert load_data_card(folder) == CARD_OF_DATA
    assert [entry.problem for entry in find_entries([str(folder), str(folder / WEIGHTS)])] == ["", ""]
    again = save_hub_folder(folder, tmp_path / "again")
    same_weights(load_tagger(folder)[0], load_tagger(again)[0])
    with pytest.raises(CheckpointError, match=r"no last\.ckpt"):
        find_checkpoint(folder, "last.ckpt")


def test_the_model_card_tells_what_it_is(folder, tmp_path, seed):
    text = (folder / CARD).read_text()
    assert text.startswith("---\nlibrary_name: panoptag-pyg\n")
    for words in ("7 events of ttbar", "light, c, b", 'load_tagger("hub")', "| val_loss | 0.5 |", "d0_error (mm)"):
        assert words in text
    old = save_hub_folder(write_checkpoint(tmp_path / "old.ckpt", recipe_of(), seed), tmp_path / "old")
    assert "Nothing is recorded" in (old / CARD).read_text()
    assert load_data_card(old).known is False
    assert "pfo/d0_error" in load_data_card(old).reads


def test_the_figures_are_the_summarys(tmp_path, seed):
    run = write_checkpoint(tmp_path / "run", recipe_of(), seed).parent
    (run / "summary.json").write_text(json.dumps({"best": {"val_loss": 0.25, "val_accuracy": 0.75, "lr": 1.0}}))
    text = (save_hub_folder(run, tmp_path / "hub") / CARD).read_text()
    assert "| val_loss | 0.25 |\n| val_accuracy | 0.75 |" in text
    assert "| lr |" not in text


def test_what_is_there_stays_unless_it_may_go(folder, tmp_path, seed):
    other = write_checkpoint(tmp_path / "other.ckpt", recipe_of(), seed + 1)
    before = load_tagger(folder)[0]
    with pytest.raises(OutputError, match="overwrite"):
        save_hub_folder(other, folder)
    same_weights(load_tagger(folder)[0], before)
    (folder / ".git").mkdir()
    (folder / CARD).write_text("my own words")
    save_hub_folder(other, folder, overwrite=True)
    same_weights(load_tagger(folder)[0], load_tagger(other)[0])
    assert (folder / ".git").is_dir()
    assert (folder / CARD).read_text() == "my own words"
    assert not list(tmp_path.glob(".*partial"))


def test_other_peoples_folders_are_left_alone(folder, tmp_path, seed):
    run = write_checkpoint(tmp_path / "mine", recipe_of(), seed).parent
    with pytest.raises(OutputError, match=r"holds other things \(best\.ckpt\)"):
        save_hub_folder(folder, run, overwrite=True)
    foreign = tmp_path / "bert"
    foreign.mkdir()
    (foreign / CONFIG).write_text('{"model_type": "bert"}')
    with pytest.raises(OutputError, match="holds other things"):
        save_hub_folder(folder, foreign, overwrite=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        save_hub_folder(folder, tmp_path / "file")
    clone = tmp_path / "clone"
    (clone / ".git").mkdir(parents=True)
    assert sorted(os.listdir(save_hub_folder(folder, clone))) == [".git", CARD, CONFIG, WEIGHTS]


def test_a_full_disk_leaves_nothing_half_written(folder, tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(OutputError, match="the disk is full"):
        save_hub_folder(folder, tmp_path / "new")
    assert sorted(os.listdir(tmp_path)) == before


def damaged(folder, name, change):
    path = folder / name
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (WEIGHTS, lambda b: b[: len(b) // 2], "cut short or damaged"),
        (WEIGHTS, lambda b: b[:5], "cut short or damaged"),
        (WEIGHTS, lambda b: b"", "cut short or damaged"),
        (WEIGHTS, lambda b: b[:-1] + bytes([b[-1] ^ 1]), "SHA-256 differs"),
        (WEIGHTS, lambda b: b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (WEIGHTS, lambda b: pickle.dumps({"a": 1}), "cut short or damaged"),
        (CONFIG, lambda b: b[: len(b) // 2], "can't be read as JSON"),
        (CONFIG, lambda b: b"[]", "is not a tagger of panoptag-pyg"),
        (CONFIG, lambda b: b'{"architectures": ["BertModel"]}', "is not a tagger of panoptag-pyg"),
        (CONFIG, lambda b: b.replace(b'"format_version": 1', b'"format_version": 2'), "install a newer one"),
        (CONFIG, lambda b: b.replace(b'"format_version": 1', b'"format_version": "x"'), "install a newer one"),
        (CONFIG, lambda b: b.replace(b'"recipe"', b'"receipt"'), "has no recipe inside"),
        (CONFIG, lambda b: b.replace(b'"weight_decay"', b'"weight_decoy"'), "unknown key"),
        (CONFIG, lambda b: b.replace(b'"dim": 16', b'"dim": 32'), "doesn't fit its recipe"),
    ],
)
def test_bad_folders_get_one_sentence(folder, name, change, words):
    damaged(folder, name, change)
    with pytest.raises(CheckpointError) as caught:
        load_tagger(folder)
    assert words in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_get_one_sentence(folder):
    config = (folder / CONFIG).read_bytes()
    (folder / CONFIG).unlink()
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        load_tagger(folder)
    (folder / CONFIG).write_bytes(config)
    (folder / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        load_tagger(folder)
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        load_tagger(folder / CONFIG)


def test_weights_of_another_tagger_are_noticed(folder, tmp_path, seed):
    other = save_hub_folder(write_checkpoint(tmp_path / "o.ckpt", recipe_of(), seed + 1), tmp_path / "other")
    (folder / WEIGHTS).write_bytes((other / WEIGHTS).read_bytes())
    with pytest.raises(CheckpointError, match="SHA-256 differs"):
        load_tagger(folder)
