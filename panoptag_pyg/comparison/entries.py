"""What is compared: recipes to train and finished runs to load, each under a name of its own."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from panoptag_pyg.comparison.flavour import asks_for_flavour
from panoptag_pyg.errors import ConfigError, PanopTagError
from panoptag_pyg.training.recipe import Recipe, shipped_recipes

#: Keys that are the comparison's own: the same for all rows.
OWN_KEYS = {"data.test_fraction": "--test-fraction", "train.seed": "--seeds"}


@dataclass(frozen=True)
class Entry:
    """One row to be.

    Attributes:
        name: unique in the table, and of its files.
        source: recipe or run folder, as it was given.
        recipe: how to train it, or how the loaded run was trained; ``None`` if it can't be read.
        run: the finished run (folder or checkpoint) to load; ``None`` for a recipe.
        problem: why there can't be a row, in one sentence; empty if there can.
        other_task: it is sound, but answers another question than the flavour of jets.
    """

    name: str
    source: str
    recipe: Recipe | None = None
    run: Path | None = None
    problem: str = ""
    other_task: bool = False


def find_entries(arguments: Sequence[str], overrides: Sequence[str] = ()) -> list[Entry]:
    """The entries meant by recipe files, shipped recipes' names, run folders, checkpoints, and globs of these.

    Args:
        arguments: in the order of the rows; one that is named twice counts once.
        overrides: ``section.key=value`` for every recipe; a loaded run stays as it is.

    Raises:
        ConfigError: if an argument names nothing, or there can't be a row at all.
    """
    for override in overrides:
        option = OWN_KEYS.get(override.partition("=")[0].strip())
        if option:
            raise ConfigError(f"--set {override}: all rows share it; give {option}")
    sources = list(dict.fromkeys(source for argument in arguments for source in _expand(argument)))
    if not sources:
        raise ConfigError("nothing to compare; name recipes or run folders")
    labels = _names(sources)
    entries = [_entry(name, source, overrides) for name, source in zip(labels, sources, strict=True)]
    if all(entry.problem for entry in entries):
        others = "" if len(entries) == 1 else f" (and {len(entries) - 1} more that can't be compared)"
        raise ConfigError(f"nothing to compare: {entries[0].problem}{others}")
    return entries


def _expand(argument: str) -> list[str]:
    """The files, folders and shipped recipes that one argument means."""
    if Path(argument).exists():
        return [argument]
    if glob.has_magic(argument):
        found = sorted(glob.glob(argument, recursive=True))
        found = found or [name for name in shipped_recipes() if fnmatch(name, argument)]
        if not found:
            raise ConfigError(f"{argument} matches no recipe and no run folder")
        return found
    name = argument if argument.endswith(".toml") else f"{argument}.toml"
    if name in shipped_recipes():
        return [name]
    Recipe.from_toml(argument)  # says that there is none, and which is nearest
    return [argument]


def _names(sources: Sequence[str]) -> list[str]:
    """The last part of each path; with the part before it where that alone would name two."""
    paths = [Path(source) for source in sources]
    short = [path.stem if path.suffix in (".toml", ".ckpt", ".safetensors") else path.resolve().name for path in paths]
    count = Counter(short)
    names = [
        name if count[name] == 1 else f"{path.resolve().parent.name}-{name}"
        for name, path in zip(short, paths, strict=True)
    ]
    seen: Counter[str] = Counter()
    for i, name in enumerate(names):
        seen[name] += 1
        if seen[name] > 1:
            names[i] = f"{name}-{seen[name]}"
    return names


def _entry(name: str, source: str, overrides: Sequence[str]) -> Entry:
    entry = Entry(name, source)
    try:
        if Path(source).is_dir() or source.endswith((".ckpt", ".safetensors")):
            from panoptag_pyg.training.checkpoint import checkpoint_recipe, find_checkpoint, read_checkpoint

            file = find_checkpoint(source)
            entry = replace(entry, run=Path(source), recipe=checkpoint_recipe(read_checkpoint(file), file))
        else:
            entry = replace(entry, recipe=Recipe.from_toml(source, overrides))
    except PanopTagError as error:
        return replace(entry, problem=" ".join(str(error).splitlines()))
    assert entry.recipe is not None
    if not asks_for_flavour(entry.recipe):
        return replace(
            entry,
            problem=f"{source} is for the task '{entry.recipe.task.name}'; only taggers of jet flavour are compared",
            other_task=True,
        )
    return entry
