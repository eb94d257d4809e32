"""Folders as users of the Hugging Face hub expect them: ``config.json``, ``model.safetensors``, a model card."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from panoptag_pyg import __version__
from panoptag_pyg.errors import CheckpointError, PanopTagError
from panoptag_pyg.output import OutputError, check_output, refusal

#: The files of a folder. The weights are replaced first: a config that isn't theirs is noticed by their checksum.
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
FORMAT_NAME = "panoptag-tagger"
#: Raised when an older release would misread what is written now.
FORMAT_VERSION = 1


def is_hub_folder(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder looks like one of these: it has ``config.json`` or ``model.safetensors``."""
    return any(os.path.isfile(os.path.join(folder, name)) for name in (CONFIG, WEIGHTS))


def save_hub_folder(
    run_or_checkpoint: str | os.PathLike[str], folder: str | os.PathLike[str], overwrite: bool = False
) -> Path:
    """Write a trained tagger as ``config.json``, ``model.safetensors`` and a model card, ``README.md``.

    The weights are the checkpoint's, bit for bit: those of the tagger, and what its task has learnt of the training
    data. The configuration holds the recipe with every default, the task's outputs, the features with their units, the
    training data card and the versions. Neither can hold code. Reading is :func:`~panoptag_pyg.training.load_tagger`'s.

    Args:
        run_or_checkpoint: a run folder (its ``best.ckpt`` is taken), a checkpoint, or another such folder.
        folder: to make; one that exists may be empty, or hold such a tagger and be overwritten. Other files in it, such
            as a clone's ``.git``, stay, and so does a ``README.md`` that isn't ours.
        overwrite: replace the tagger in ``folder``. Default ``False``.

    Returns:
        the folder.

    Raises:
        CheckpointError: if the checkpoint is missing, damaged, or doesn't fit its recipe.
        OutputError: if ``folder`` holds something else, or can't be written.
    """
    from panoptag_pyg.training.checkpoint import (
        MODEL_PREFIX,
        TASK_PREFIX,
        checkpoint_recipe,
        checkpoint_weights,
        find_checkpoint,
        load_parts,
        read_checkpoint,
    )
    from panoptag_pyg.training.hub_config import hub_config
    from panoptag_pyg.training.hub_readme import hub_readme

    folder = check_hub_folder(folder, overwrite)
    file = find_checkpoint(run_or_checkpoint)
    checkpoint = read_checkpoint(file)
    recipe = checkpoint_recipe(checkpoint, file)
    model, task = load_parts(checkpoint, file)  # what can't be loaded isn't worth sharing
    weights = {
        # Weights that are tied share memory, which the format can't express: each is written out.
        name: value.detach().clone().contiguous()
        for name, value in checkpoint_weights(checkpoint, file).items()
        if name.startswith((MODEL_PREFIX, TASK_PREFIX))
    }
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        temporary.mkdir(parents=True)
        digest = _write_weights(weights, temporary / WEIGHTS)
        config = hub_config(recipe, model, task, checkpoint, digest)
        (temporary / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (temporary / CARD).write_text(hub_readme(config, folder.name, _summary(file)), encoding="utf-8")
        if not folder.exists():
            temporary.rename(folder)
        else:
            names = [WEIGHTS, CONFIG, *([CARD] if _may_replace(folder / CARD) else [])]
            for name in names:
                os.replace(temporary / name, folder / name)
    except OSError as error:
        if isinstance(error, PanopTagError):
            raise
        raise OutputError(f"{folder} could not be written: {refusal(error)}; nothing was left behind") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def check_hub_folder(folder: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Refuse a folder that may not be made or written to; ask before long work, not after it.

    Args:
        folder: to make or fill.
        overwrite: whether the tagger in it may be replaced. Default ``False``.

    Raises:
        OutputError: it is a file, holds a run or other things, or can't be written.
    """
    folder = Path(os.path.abspath(folder))
    if not folder.is_dir():
        if folder.exists():
            raise OutputError(f"{folder} is a file; give the name of a folder to make")
        check_output(folder)
        return folder
    # A fresh clone from a hub has hidden files and perhaps a README.
    others = sorted(name for name in os.listdir(folder) if not name.startswith(".") and name != CARD)
    if others and not (_is_ours(folder / CONFIG) and "best.ckpt" not in others):
        raise OutputError(f"{folder} holds other things ({', '.join(others[:3])}); choose a new or empty folder")
    check_output(folder / CONFIG, overwrite)
    return folder


def read_hub_folder(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a checkpoint would hold: our entry and ``state_dict``; read without running code.

    Args:
        path: the folder, or its ``model.safetensors``.

    Raises:
        CheckpointError: if a file is missing, damaged, of another kind, or written by a later release.
    """
    from panoptag_pyg.training.checkpoint import ENTRY

    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    config = read_hub_config(folder)
    weights = _read_weights(folder, config)
    entry = {
        "recipe": json.dumps(config.get("recipe")),
        "version": str(config.get("panoptag_pyg_version", "")),
        "data": {},
        "metrics": config.get("metrics", {}),
        "data_card": config.get("data_card"),
    }
    return {ENTRY: entry, "state_dict": weights}


def read_hub_config(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """``config.json`` of a folder.

    Raises:
        CheckpointError: if it is missing, no JSON, another library's, or of a later format.
    """
    file = Path(folder) / CONFIG
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{Path(folder) / WEIGHTS}: has no {CONFIG} beside it, without which it can't be read; copy the whole "
            "folder"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: can't be read as JSON; copy the folder again") from error
    found = config.get("format") if isinstance(config, dict) else None
    if found != FORMAT_NAME:
        raise CheckpointError(
            f"{file}: is not a tagger of panoptag-pyg (its 'format' is {found!r}, expected '{FORMAT_NAME}'); make one "
            "with panoptag export RUN --to safetensors"
        )
    version = config.get("format_version")
    if not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
        raise CheckpointError(
            f"{file}: was written by panoptag-pyg {config.get('panoptag_pyg_version', '(unknown)')} in format version "
            f"{version}, this release ({__version__}) reads up to {FORMAT_VERSION}; install a newer one"
        )
    if not isinstance(config.get("recipe"), dict):
        raise CheckpointError(f"{file}: has no recipe inside; copy the folder again")
    return config


def _write_weights(weights: dict[str, torch.Tensor], path: Path) -> str:
    """Write the weights; SHA-256 of the file."""
    from safetensors.torch import save

    # Through memory, so that a full disk is the operating system's plain error.
    content = save(weights, metadata={"format": "pt"})
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _read_weights(folder: Path, config: dict[str, Any]) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = folder / WEIGHTS
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: has no {WEIGHTS} beside {CONFIG}; copy the whole folder") from None
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read ({error.strerror or error})") from error
    if content.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path}: is a pointer of Git LFS, not the weights; run git lfs pull in {folder}")
    try:
        weights = load(content)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: not a safetensors file, cut short or damaged; copy it again") from error
    told = config.get("weights_sha256")
    if told is not None and told != hashlib.sha256(content).hexdigest():
        raise CheckpointError(
            f"{path}: isn't the file that {CONFIG} beside it describes (its SHA-256 differs); copy the whole folder"
        )
    return weights


def _summary(checkpoint: Path) -> dict[str, Any]:
    """The run's ``summary.json``; empty where there is none."""
    try:
        summary = json.loads((checkpoint.parent / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return summary if isinstance(summary, dict) else {}


def _is_ours(config: Path) -> bool:
    try:
        found = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("format") == FORMAT_NAME


def _may_replace(card: Path) -> bool:
    from panoptag_pyg.training.hub_readme import MARK

    try:
        return MARK in card.read_text(encoding="utf-8")
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
