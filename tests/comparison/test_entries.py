"""What a command line of recipes and runs means."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.comparing import write_recipe

from panoptag_pyg.comparison import find_entries
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.training import shipped_recipes


def test_files_shipped_names_and_globs_in_their_order(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_recipe(tmp_path / f"{name}.toml")
    entries = find_entries([f"{tmp_path}/*.toml", "tiny", str(tmp_path / "b.toml")])
    assert [entry.name for entry in entries] == ["a", "b", "tiny"]
    assert [entry.source for entry in entries] == [f"{tmp_path}/a.toml", f"{tmp_path}/b.toml", "tiny.toml"]
    assert all(entry.recipe is not None and not entry.problem for entry in entries)


def test_a_glob_may_mean_shipped_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [entry.source for entry in find_entries(["t?ny.toml"])] == ["tiny.toml"]
    assert "tiny.toml" in shipped_recipes()


def test_names_are_unique(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write_recipe(tmp_path / folder / "quick.toml")
    entries = find_entries([str(tmp_path / "x" / "quick.toml"), str(tmp_path / "y" / "quick.toml"), "tiny"])
    assert [entry.name for entry in entries] == ["x-quick", "y-quick", "tiny"]


def test_settings_change_every_recipe(tmp_path: Path) -> None:
    entries = find_entries(["tiny", str(write_recipe(tmp_path / "quick.toml"))], ["train.max_epochs=7"])
    assert [entry.recipe.train.max_epochs for entry in entries if entry.recipe] == [7, 7]


def test_a_recipe_that_does_not_fit_is_a_row_with_its_reason(tmp_path: Path) -> None:
    broken = write_recipe(tmp_path / "broken.toml", ("num_heads = 2", "num_heads = 3"))
    (tmp_path / "not.toml").write_text("[model")
    found = {entry.name: entry for entry in find_entries([str(broken), str(tmp_path / "not.toml"), "tiny"])}
    assert "dim=8 and num_heads=3" in found["broken"].problem
    assert "not valid TOML" in found["not"].problem
    assert not found["tiny"].problem
    assert not any(entry.other_task for entry in found.values())


def test_other_tasks_are_named_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("panoptag_pyg.comparison.flavour.TASK", "another")
    with pytest.raises(ConfigError, match=r"nothing to compare: tiny.toml is for the task 'flavour'; only taggers"):
        find_entries(["tiny"])
    write_recipe(tmp_path / "quick.toml")
    with pytest.raises(ConfigError, match="1 more"):
        find_entries(["tiny", str(tmp_path / "quick.toml")])


@pytest.mark.parametrize(
    ("arguments", "settings", "words"),
    [
        (["tinny"], [], "did you mean 'tiny.toml'"),
        (["nothing/*.toml"], [], "matches no recipe and no run folder"),
        ([], [], "nothing to compare"),
        (["tiny"], ["train.max_epoch=5"], "did you mean 'max_epochs'"),
        (["tiny"], ["train.seed=5"], "give --seeds"),
        (["tiny"], ["data.test_fraction=0.1"], "give --test-fraction"),
    ],
)
def test_what_means_nothing_is_refused(arguments: list[str], settings: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        find_entries(arguments, settings)


def test_a_folder_without_a_checkpoint_is_a_row_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    _, run = find_entries(["tiny", str(tmp_path / "run")])
    assert "no best.ckpt in it" in run.problem
