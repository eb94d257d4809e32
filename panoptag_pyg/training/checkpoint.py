"""Checkpoints that carry their recipe, are written whole or not at all, and can't run code when read."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar
from zipfile import is_zipfile

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import nn

from panoptag_pyg.errors import CheckpointError, ConfigError, suggest
from panoptag_pyg.output import atomic_output
from panoptag_pyg.tasks import Head, Task, build_task
from panoptag_pyg.training.hub_folder import CONFIG, WEIGHTS, is_hub_folder, read_hub_folder
from panoptag_pyg.training.recipe import Recipe
from panoptag_pyg.training.shipped import shipped_tagger, shipped_taggers

#: Key of our own entry in a checkpoint: strings and numbers only.
ENTRY = "panoptag"
#: Prefix of the tagger's weights among the Lightning module's.
MODEL_PREFIX = "model."
#: The same of what the task has learnt of the training data, such as the mean response of a regression.
TASK_PREFIX = "task."
BEST, LAST = "best.ckpt", "last.ckpt"
_Module = TypeVar("_Module", bound=nn.Module)


def load_tagger(path: str | os.PathLike[str]) -> tuple[nn.Module, Recipe]:
    """The trained tagger of a run, ready to tag, and the recipe that made it.

    Args:
        path: a run folder (its ``best.ckpt`` is taken), a checkpoint, a folder with ``config.json`` and
            ``model.safetensors``, or the name of a tagger that comes with the package
            (:func:`~panoptag_pyg.training.shipped_taggers`).

    Returns:
        the model in evaluation mode on the CPU, and its recipe.

    Raises:
        CheckpointError: if there is no checkpoint, it is damaged or unsafe, or its weights don't fit its recipe.
    """
    file = find_checkpoint(path)
    checkpoint = read_checkpoint(file)
    recipe = checkpoint_recipe(checkpoint, file)
    return _filled(build_model(recipe), MODEL_PREFIX, recipe.model.name, checkpoint, file), recipe


def load_task(path: str | os.PathLike[str]) -> Task:
    """The task of a run, with what it has taken from the training data.

    Arguments and errors as of :func:`load_tagger`.
    """
    file = find_checkpoint(path)
    checkpoint = read_checkpoint(file)
    section = checkpoint_recipe(checkpoint, file).task
    return _filled(build_task(section.name, **section.options), TASK_PREFIX, section.name, checkpoint, file)


def load_parts(checkpoint: dict[str, Any], file: Path) -> tuple[nn.Module, Task]:
    """The tagger and the task of a checkpoint that was read, both in evaluation mode.

    Args:
        checkpoint: as it was loaded.
        file: what an error calls it.

    Raises:
        CheckpointError: if the weights don't fit the recipe.
    """
    recipe = checkpoint_recipe(checkpoint, file)
    task = build_task(recipe.task.name, **recipe.task.options)
    return (
        _filled(build_model(recipe), MODEL_PREFIX, recipe.model.name, checkpoint, file),
        _filled(task, TASK_PREFIX, recipe.task.name, checkpoint, file),
    )


def _filled(module: _Module, prefix: str, name: str, checkpoint: dict[str, Any], file: Path) -> _Module:
    """``module`` with the weights that stand under ``prefix`` in the checkpoint, in evaluation mode."""
    weights = {
        key.removeprefix(prefix): value
        for key, value in checkpoint_weights(checkpoint, file).items()
        if key.startswith(prefix)
    }
    problem = misfit(module.state_dict(), weights)
    if problem:
        raise CheckpointError(f"{file} doesn't fit its recipe ({name}): {problem}")
    module.load_state_dict(weights)
    return module.eval()


def refuse_diverged(model: nn.Module) -> None:
    """Refuse a tagger that can't give any score.

    Args:
        model: the tagger.

    Raises:
        CheckpointError: if a weight is not finite, or a statistic that it keeps is not a number.
    """
    bad = next((name for name, values in model.named_parameters() if not values.isfinite().all()), None)
    # A buffer may hold an infinity for good reason, as a mask does.
    bad = bad or next((name for name, values in model.named_buffers() if values.isnan().any()), None)
    if bad is not None:
        raise CheckpointError(
            f"the tagger's {bad} is not finite: its training has diverged; see metrics.csv and lower the learning rate"
        )


def build_model(recipe: Recipe) -> nn.Module:
    """The untrained tagger that the recipe describes; its outputs are those of the recipe's task.

    Raises:
        ConfigError: for an unknown tagger or option.
    """
    from panoptag_pyg.models import build_tagger, linear_heads, with_heads

    head = build_task(recipe.task.name, **recipe.task.options).head
    given: dict[str, Any] = {"num_classes": head.num_outputs} if isinstance(head, Head) else {}
    if recipe.data.jet_features is not None:
        given["jet_features"] = tuple(recipe.data.jet_features)
    model = with_heads(build_tagger(recipe.model.name, **{**given, **recipe.model.options}), head)
    return linear_heads(model) if recipe.train.linear_probe else model


def checkpoint_files(path: str | os.PathLike[str]) -> list[Path]:
    """The files that a trained tagger is read from: its checkpoint, or weights and configuration of a hub folder.

    Raises:
        CheckpointError: if there is none.
    """
    file = find_checkpoint(path)
    return [file, file.with_name(CONFIG)] if file.suffix == Path(WEIGHTS).suffix else [file]


def needed_fields(*modules: nn.Module) -> frozenset[str]:
    """Fields of the batch that a tagger and its task read beyond the usual ones."""
    return frozenset().union(*(getattr(module, "needs", ()) for module in modules))


def find_checkpoint(path: str | os.PathLike[str], name: str = BEST) -> Path:
    """The checkpoint that a path means: itself, the one in a run folder, or a hub folder's ``model.safetensors``.

    Args:
        path: a checkpoint, a run folder or a hub folder (also by its ``config.json``), or the name of a tagger that
            comes with the package, unless a run lies there.
        name: the file in a run folder. Default ``best.ckpt``.

    Raises:
        CheckpointError: if there is none.
    """
    file = Path(path)
    if file.name == CONFIG and file.is_file():
        return file.with_name(WEIGHTS)
    if name == BEST and not file.is_file() and not (file / name).is_file():
        shipped = None if is_hub_folder(file) else shipped_tagger(path)
        if shipped is not None or is_hub_folder(file):
            return (shipped or file) / WEIGHTS
    if file.is_dir():
        file = file / name
        if not file.is_file():
            raise CheckpointError(f"{path}: no {name} in it; is it a run folder, and did its first epoch finish?")
    if not file.is_file():
        raise CheckpointError(
            f"{path}: no such run folder or checkpoint, nor a shipped tagger{suggest(str(path), shipped_taggers())}"
        )
    return file


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Everything in a checkpoint, on the CPU; tensors and plain values only, so that reading never runs code.

    Of a hub folder's weights (``*.safetensors``) it gives what a checkpoint would hold.

    Raises:
        CheckpointError: if it can't be read, is no checkpoint of ours, or holds anything but data.
    """
    path = Path(path)
    if path.suffix == Path(WEIGHTS).suffix:
        return read_hub_folder(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch remarks on the pickle protocol of foreign files
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except UnpicklingError as error:
        if is_zipfile(path) or " GLOBAL " in str(error):
            raise CheckpointError(
                f"{path}: refused, because it holds more than tensors and plain values; nothing of it was run"
            ) from error
        raise CheckpointError(f"{path}: not a checkpoint, or cut short") from error
    except PermissionError as error:
        raise CheckpointError(f"{path}: no permission to read it") from error
    except Exception as error:  # an unpickler that is given other bytes may stumble anywhere
        raise CheckpointError(f"{path}: not a checkpoint, or cut short") from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(ENTRY), dict):
        raise CheckpointError(f"{path}: a torch file, but not a checkpoint that panoptag train wrote")
    return checkpoint


def checkpoint_recipe(checkpoint: dict[str, Any], path: str | os.PathLike[str]) -> Recipe:
    """The recipe inside a checkpoint.

    Args:
        checkpoint: as it was loaded.
        path: what an error calls it.

    Raises:
        CheckpointError: if there is none, or this version can't read it.
    """
    text = checkpoint[ENTRY].get("recipe")
    if not isinstance(text, str):
        raise CheckpointError(f"{path}: has no recipe inside")
    try:
        return Recipe.from_json(text, f"the recipe inside {path}")
    except ConfigError as error:
        raise CheckpointError(str(error)) from error


def checkpoint_weights(checkpoint: dict[str, Any], path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """The weights inside a checkpoint, by their names in the Lightning module; empty if there are none.

    Raises:
        CheckpointError: if something else stands in their place.
    """
    weights = checkpoint.get("state_dict", {})
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise CheckpointError(f"{path}: its 'state_dict' is not a table of tensors; train again")
    return weights


def misfit(wanted: dict[str, torch.Tensor], given: dict[str, torch.Tensor]) -> str:
    """One clause on how the weights ``given`` differ from those ``wanted``; empty if they fit."""
    for name, value in wanted.items():
        if name in given and tuple(given[name].shape) != tuple(value.shape):
            return f"{name} is {list(given[name].shape)} in the checkpoint, {list(value.shape)} in the model"
    missing = [name for name in wanted if name not in given]
    surplus = [name for name in given if name not in wanted]
    parts = [
        f"{words} {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
        for words, names in (("the checkpoint lacks", missing), ("the model doesn't know", surplus))
        if names
    ]
    return "; ".join(parts)


class SafeCheckpointIO(TorchCheckpointIO):
    """Lightning's way to its checkpoints: whatever path leads here, loading is ``weights_only`` and saving atomic."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write next to ``path``, then rename: a reader sees the old file or the new one.

        Raises:
            CheckpointError, OutputError: if it can't be written, for example on a full disk; the old file stays.
        """
        try:
            with atomic_output(path, overwrite=True) as temporary:
                torch.save(checkpoint, temporary)
        except RuntimeError as error:  # how torch.save speaks of a failed write
            reason = str(error).splitlines()[0]
            if "inline_container" in reason or "unexpected pos" in reason:  # torch's words for a short write
                reason = "the disk is full: free some space"
            raise CheckpointError(f"{path} could not be written: {reason}") from error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """Read with :func:`read_checkpoint`; ``weights_only`` can't be turned off."""
        return read_checkpoint(path)
