"""What the verbs that use a trained tagger share: the run, its processes, the device, the events."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from panoptag_pyg.errors import ConfigError

if TYPE_CHECKING:
    from panoptag_pyg.events import EventDataset

Run = Annotated[Path, typer.Argument(help="A run folder of panoptag train, or a checkpoint.", show_default=False)]
Data = Annotated[
    list[str],
    typer.Option("--data", "-d", help="Events: a file, folder or glob; may be repeated.", show_default=False),
]
MoreData = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FILES]...", help="More events, as a shell expands --data *.h5.", show_default=False),
]
Device = Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda, cuda:1, mps.")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads. Default: all granted cores.", show_default=False)
]
CalibrationFile = Annotated[
    Path | None,
    typer.Option(
        "--calibration", help="Make probabilities of the scores by this calibration.json of panoptag check.",
        show_default=False,
    ),
]  # fmt: skip
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what stands there.")]


def granted_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_device(name: str, threads: int | None) -> str:
    """The device to compute on; sets the number of CPU threads.

    Raises:
        ConfigError: for an unknown device, or one that isn't there.
    """
    import torch

    if threads is None and "OMP_NUM_THREADS" not in os.environ and hasattr(os, "sched_getaffinity"):
        threads = min(torch.get_num_threads(), len(os.sched_getaffinity(0)))
    if threads is not None:
        torch.set_num_threads(threads)
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=torch.device(name))
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"--device {name} can't be used ({reason}); use auto, cpu, cuda or cuda:0") from error
    return name


def open_events(paths: list[str], recipe: Any, model: Any, task: Any = None) -> EventDataset:
    """The events as the model was trained to see them: its recipe's cuts and features, and the fields it needs.

    Args:
        paths: files, folders or globs.
        recipe: the model's.
        model: the tagger.
        task: its task, if its truth is asked for too. Default: none.

    Raises:
        EventFileError: naming the file that is missing or damaged, or if there is no event at all.
    """
    from panoptag_pyg.errors import EventFileError
    from panoptag_pyg.evaluation.answers import fields_of_rows
    from panoptag_pyg.training.checkpoint import needed_fields
    from panoptag_pyg.training.data import open_dataset

    fields, processes = needed_fields(model), ()
    if task is not None:
        fields, processes = needed_fields(model, task) | fields_of_rows(task), task.processes
    dataset = open_dataset(paths, recipe.data, fields, processes)
    if len(dataset) == 0:
        raise EventFileError(f"{', '.join(paths)}: no events in it; simulate some with panoptag simulate")
    return dataset


def load_calibration(path: Path | None, recipe: Any) -> Any:
    """The calibration to apply; ``None`` without a file.

    Raises:
        CalibrationError: if it can't be read.
        ConfigError: if the run isn't a flavour tagger.
    """
    from panoptag_pyg.evaluation.calibrate import Calibration

    if path is not None and recipe.task.name != "flavour":
        raise ConfigError(f"--calibration is for the task 'flavour', the run is of '{recipe.task.name}'; leave it out")
    return None if path is None else Calibration.load(path)


def training_data(run: Path) -> dict[str, list[str]]:
    """Processes and files that the run was trained on, from its ``summary.json``; empty where it doesn't say."""
    folder = run if run.is_dir() else run.parent
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["data"]["training"]
        return {name: [str(entry) for entry in summary[name]] for name in ("processes", "files")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
