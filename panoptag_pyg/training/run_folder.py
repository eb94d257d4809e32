"""The run folder: when it may be written, what must not change on resuming, and its summary."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from panoptag_pyg.errors import CheckpointError, ConfigError
from panoptag_pyg.output import write_json
from panoptag_pyg.training.checkpoint import (
    BEST,
    ENTRY,
    LAST,
    checkpoint_recipe,
    checkpoint_weights,
    misfit,
    read_checkpoint,
)
from panoptag_pyg.training.module import TaggerModule
from panoptag_pyg.training.position import saved_position

RECIPE, METRICS, SUMMARY, TENSORBOARD = "recipe.toml", "metrics.csv", "summary.json", "tensorboard"
CHECKSUMS, CURVES, README = "checksums.json", "curves.png", "README.md"
#: First line of the README that a run writes; one without it is somebody else's.
README_MARK = "<!-- Written by panoptag train; without this line it is yours, and stays. -->"


def is_main_process() -> bool:
    """Whether this is the one process of a distributed run that may change the folder."""
    return getattr(rank_zero_only, "rank", 0) == 0


def check_output(output: Path, resume: bool, overwrite: bool) -> None:
    """Refuse an output that would be overwritten without being asked.

    Args:
        output: folder of the run.
        resume: whether to go on with the run in it.
        overwrite: whether to replace the run in it.

    Raises:
        ConfigError: naming ``output`` and what to do.
    """
    if resume and overwrite:
        raise ConfigError("give --resume or --overwrite, not both")
    if output.exists() and not output.is_dir():
        raise ConfigError(f"{output}: is a file; choose another folder for the run")
    if not is_main_process() or not output.is_dir() or not any(output.iterdir()):
        return
    if not (output / RECIPE).is_file():
        raise ConfigError(f"{output}: exists and is no run folder; choose another folder for the run")
    if not resume and not overwrite:
        raise ConfigError(f"{output}: there is a run in it; --resume goes on with it, --overwrite starts anew")


def prepare_output(output: Path, overwrite: bool) -> None:
    """Make the folder; with ``overwrite``, remove what an earlier run wrote and nothing else.

    Raises:
        ConfigError: if it can't be made or emptied.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        if overwrite:
            remove_run(output)
    except OSError as error:
        raise ConfigError(f"{output}: can't be made or emptied ({error.strerror})") from error


def remove_run(output: Path) -> None:
    """Remove what a run wrote and nothing else; the folder stays."""
    for name in (RECIPE, METRICS, SUMMARY, CHECKSUMS, CURVES, BEST, LAST):
        (output / name).unlink(missing_ok=True)
    if is_our_readme(output / README):
        (output / README).unlink()
    shutil.rmtree(output / TENSORBOARD, ignore_errors=True)


def is_our_readme(path: Path) -> bool:
    """Whether a file is a README as runs write it."""
    with suppress(OSError, UnicodeDecodeError), path.open(encoding="utf-8") as file:
        return file.readline().strip() == README_MARK
    return False


def drop_stillborn(output: Path) -> None:
    """Take back a run that failed before its first checkpoint, so that the same command can be given again."""
    if is_main_process() and output.is_dir() and not (output / LAST).exists() and not (output / BEST).exists():
        with suppress(OSError):
            remove_run(output)
            output.rmdir()  # fails where somebody else's files are


def check_resumable(last: Path, module: TaggerModule) -> None:
    """Refuse to go on where the result would be a mixture of two runs.

    Args:
        last: the checkpoint to go on from.
        module: what would go on.

    Raises:
        ConfigError: if recipe or data differ from those that it was started with.
        CheckpointError: if the checkpoint's weights don't fit its recipe.
    """
    checkpoint = read_checkpoint(last)
    before, now = checkpoint_recipe(checkpoint, last).model_dump(), module.recipe.model_dump()
    for section in ("model", "data", "task", "augmentation"):
        for key in sorted({*before[section], *now[section]}):
            old, new = before[section].get(key), now[section].get(key)
            # Workers change the speed, not the result.
            if old != new and key != "num_workers":
                raise ConfigError(
                    f"{last.parent}: was started with {section}.{key} = {old!r}, the recipe now says {new!r}; "
                    "go on with the old value, or choose another folder"
                )
    # Of an average, the weights to go on with aren't those that the checkpoint shows; the others say what is trained.
    for key in ("ema_decay", "swa_epochs", "start_from", "freeze", "lr_factor_taken", "linear_probe"):
        old, new = before["train"][key], now["train"][key]
        if old != new:
            raise ConfigError(
                f"{last.parent}: was started with train.{key} = {old!r}, the recipe now says {new!r}; "
                "go on with the old value, or choose another folder"
            )
    data = checkpoint[ENTRY].get("data", {})
    if data != module.data_summary:
        raise ConfigError(
            f"{last.parent}: was started on {data.get('training')} training and {data.get('validation')} validation "
            f"events, now there are {module.data_summary['training']} and {module.data_summary['validation']}; "
            "give the same files, or choose another folder"
        )
    problem = misfit(module.state_dict(), checkpoint_weights(checkpoint, last))
    if problem:
        raise CheckpointError(f"{last} doesn't fit its recipe ({module.recipe.model.name}): {problem}")
    position = saved_position(checkpoint)
    if position.batches:
        for key in ("seed", "accumulate_batches"):
            old, new = before["train"][key], now["train"][key]
            if old != new:
                raise ConfigError(
                    f"{last.parent}: was stopped within epoch {position.epoch + 1}, begun with train.{key} = {old!r}, "
                    f"the recipe now says {new!r}; go on with the old value, or choose another folder"
                )
    done = position.epoch + (position.batches > 0)
    if done > module.recipe.train.max_epochs:
        raise ConfigError(
            f"{last.parent}: has {done} epochs already, more than train.max_epochs = "
            f"{module.recipe.train.max_epochs}; raise it to go on"
        )


def taken_before(last: Path) -> tuple[str, ...]:
    """Pieces of the model that a run took from an earlier one when it began, from its checkpoint."""
    return tuple(str(piece) for piece in read_checkpoint(last)[ENTRY].get("taken", ()))


def earlier_start(folder: Path) -> str:
    """What the summary of the run in ``folder`` says of where it began; empty where it doesn't say."""
    try:
        return str(json.loads((folder / SUMMARY).read_text(encoding="utf-8")).get("start", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def earlier_seconds(folder: Path) -> float:
    """Seconds that the run in ``folder`` took so far; 0 where its summary doesn't say."""
    try:
        return float(json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def save_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Write ``summary.json``, from the main process only."""
    if is_main_process():
        write_json(folder / SUMMARY, summary)
