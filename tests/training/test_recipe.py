"""Recipes: what is shipped, what is refused, and in which words."""

import tomllib

import pytest
import torch

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.training import Recipe, shipped_recipes
from panoptag_pyg.training.checkpoint import build_model
from panoptag_pyg.training.module import TaggerModule


def test_shipped_recipes_read_and_round_trip(tmp_path):
    assert {"paper.toml", "small.toml", "tiny.toml"} <= set(shipped_recipes())
    for name in shipped_recipes():
        recipe = Recipe.from_toml(name)
        assert Recipe.from_toml(name.removesuffix(".toml")) == recipe
        assert Recipe.from_json(recipe.to_json()) == recipe
        (tmp_path / "again.toml").write_text(recipe.to_toml())
        assert Recipe.from_toml(tmp_path / "again.toml") == recipe


def test_the_papers_recipe_is_the_papers():
    recipe = Recipe.from_toml("paper.toml")
    model = build_model(recipe)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(3_415_043, rel=2e-3)
    assert recipe.model.options["wrap_phi"] is False
    assert (recipe.data.max_pfos, recipe.data.max_jets, recipe.data.batch_size) == (128, 10, 512)
    assert (recipe.task.options["gamma"], recipe.task.options["class_weights"]) == (1.0, "balanced")
    train = recipe.train
    assert (train.max_epochs, train.lr, train.weight_decay) == (30, 2e-4, 1e-3)
    assert (train.warmup_epochs, train.warmup_start_lr, train.restart_epochs) == (1, 1e-6, 15)
    assert train.early_stopping is None
    configured = TaggerModule(model, torch.nn.Module(), recipe, num_steps=lambda: 30 * 100).configure_optimizers()
    scheduler = configured["lr_scheduler"]["scheduler"]
    assert isinstance(configured["optimizer"], torch.optim.AdamW)
    assert (scheduler.warmup_steps, scheduler.cosine_steps, scheduler.restart) == (100, 1500, True)


def test_without_restarts_the_cosine_ends_with_the_run(recipe):
    short = recipe("train.max_epochs=4", "train.warmup_epochs=0.5")
    module = TaggerModule(torch.nn.Linear(2, 2), torch.nn.Module(), short, num_steps=lambda: 40)
    scheduler = module.configure_optimizers()["lr_scheduler"]["scheduler"]
    assert (scheduler.warmup_steps, scheduler.cosine_steps, scheduler.restart) == (5, 35, False)


def test_a_file_in_the_working_folder_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text("[train]\nmax_epochs = 77\n")
    assert Recipe.from_toml("small.toml").train.max_epochs == 77
    assert Recipe.from_toml("small").train.max_epochs != 77


def test_overrides_are_toml_values():
    recipe = Recipe.from_toml(
        "tiny",
        [
            "train.lr=1e-2",
            "train.precision=bf16-mixed",
            'train.accelerator="cpu"',
            "data.batch_size=none",
            "data.max_pfos_per_batch = 5_000",
            "task.class_weights=[1, 2.0, 3]",
            "model.wrap_phi=false",
        ],
    )
    assert (recipe.train.lr, recipe.train.precision, recipe.train.accelerator) == (0.01, "bf16-mixed", "cpu")
    assert (recipe.data.batch_size, recipe.data.max_pfos_per_batch) == (None, 5000)
    assert recipe.task.options["class_weights"] == [1, 2, 3]
    assert recipe.model.options["wrap_phi"] is False
    assert Recipe().data.batch_size == 64


def test_the_resolved_recipe_writes_defaults_out():
    values = tomllib.loads(Recipe.from_toml("tiny").to_toml())
    task = {"gamma": 1.0, "class_weights": "balanced", "event_weights": True, "label_smoothing": 0.0}
    assert values["task"] == {"name": "flavour", **task}
    assert values["train"]["weight_decay"] == 1e-3
    assert "early_stopping" not in values["train"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("trian.max_epochs=5", ["unknown key 'trian'", "did you mean 'train'"]),
        ("train.max_epoch=5", ["unknown key 'train.max_epoch'", "did you mean 'max_epochs'"]),
        ("data.max_pfo=5", ["unknown key 'data.max_pfo'", "did you mean 'max_pfos'"]),
        ("task.gama=1", ["unknown key 'task.gama'", "did you mean 'gamma'"]),
        ("task.name=flavor", ["unknown task 'flavor'", "did you mean 'flavour'"]),
        ("model.nume_heads=1", ["num_heads"]),
        ("model.name=panopatg", ["did you mean 'panoptag'"]),
        ("model.backbone=panopatg", ["did you mean 'panoptag'"]),
        ("model.dim=wide", ["[model]"]),
        ("model.num_heads=3", ["num_heads must divide dim"]),
        ("train.max_epochs=five", ["'train.max_epochs' should be a valid integer, not 'five'"]),
        ("train.max_epochs=5.5", ["'train.max_epochs' should be a valid integer, not 5.5"]),
        ("train.max_epochs=0", ["'train.max_epochs' should be greater than or equal to 1, not 0"]),
        ("train.max_epochs=none", ["'train.max_epochs' should be a valid integer, not None"]),
        ("train.early_stopping=true", ["'train.early_stopping' should be a valid integer, not True"]),
        ("train.devices=x", ["'train.devices' should be 'auto' or a valid integer, not 'x'"]),
        ("train.precision=64", ["'32-true', 'bf16-mixed' or '16-mixed'"]),
        ("data.validation_fraction=2", ["should be less than 1, not 2"]),
        ("data.max_pfos_per_batch=100", ["batch_size or max_pfos_per_batch, not both"]),
        ("model.name.x=1", ["'model.name' holds a value"]),
    ],
)
def test_wrong_overrides_are_named(override, words):
    with pytest.raises(ConfigError) as caught:
        Recipe.from_toml("tiny", [override])
    sentence = str(caught.value)
    assert sentence.startswith(f"--set {override}: ")
    assert "\n" not in sentence
    for word in words:
        assert word in sentence


@pytest.mark.parametrize("override", ["train", "train=3", "=3", "train.=3", ".max_epochs=3"])
def test_shapeless_overrides_are_explained(override):
    with pytest.raises(ConfigError, match=r"section\.key=value"):
        Recipe.from_toml("tiny", [override])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[train\n", ["not valid TOML", "line 1"]),
        ("[train]\nmax_epoch = 3\n", ["unknown key 'train.max_epoch'", "did you mean 'max_epochs'"]),
        ("train = 3\n", ["'train'", "not 3"]),
        ("[train]\nlr = '1e-3'\n", ["'train.lr' should be a valid number, not '1e-3'"]),
        ("[model]\nname = 3\n", ["'model.name' should be a valid string, not 3"]),
    ],
)
def test_wrong_files_are_named(tmp_path, text, words):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Recipe.from_toml(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_or_unreadable_recipe(tmp_path):
    with pytest.raises(ConfigError, match=r"smal\.toml.*no such file.*small\.toml"):
        Recipe.from_toml("smal.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="can't be read as text"):
        Recipe.from_toml(tmp_path / "binary.toml")


def test_checking_a_recipe_draws_no_random_numbers():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Recipe.from_toml("tiny")
    assert torch.equal(torch.rand(3), expected)
