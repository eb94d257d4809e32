"""What the verbs that use a trained tagger share: the run, its processes, the device, the events."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from panoptag_pyg.errors import ConfigError

from . import completion

if TYPE_CHECKING:
    from panoptag_pyg.events import EventDataset

_RUN = (
    "A run folder of panoptag train, a checkpoint, a folder of config.json and model.safetensors, or a tagger that "
    "comes with the package: panoptag_near_flavour."
)
Run = Annotated[Path, typer.Argument(help=_RUN, show_default=False, autocompletion=completion.runs)]
OptionalRun = Annotated[
    Path | None, typer.Argument(metavar="RUN", help=_RUN, show_default=False, autocompletion=completion.runs)
]
Data = Annotated[
    list[str],
    typer.Option("--data", "-d", help="Events: a file, folder or glob; may be repeated.", show_default=False),
]
MoreData = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FILES]...", help="More events, as a shell expands --data *.h5.", show_default=False),
]
Device = Annotated[
    str, typer.Option(help="Where to compute: auto, cpu, cuda, cuda:1, mps.", autocompletion=completion.devices)
]
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


def warn_of_differences(run: Path, sources: Any, strict: bool = False) -> None:
    """Say on stderr in what events differ from those that a tagger was trained on, a line each.

    Args:
        run: a run folder, a checkpoint or a hub folder.
        sources: the files: names, folders and globs, or sources that are open.
        strict: stop at the first difference. Default ``False``: only where scores would mean nothing.

    Raises:
        CompatibilityError: naming the file and the difference.
    """
    from panoptag_pyg.prediction.compatibility import check_sources, refuse
    from panoptag_pyg.prediction.source import open_sources
    from panoptag_pyg.training.data_card import load_data_card

    opened = open_sources(sources) if all(isinstance(source, (str, os.PathLike)) for source in sources) else sources
    for line in refuse(check_sources(load_data_card(run), opened), strict):
        typer.echo(line, err=True)


def training_data(run: Path) -> dict[str, list[str]]:
    """Processes and files that the run was trained on, from its ``summary.json``; empty where it doesn't say.

    A hub folder knows the processes, by its data card.
    """
    folder = run if run.is_dir() else run.parent
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["data"]["training"]
        return {name: [str(entry) for entry in summary[name]] for name in ("processes", "files")}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    from panoptag_pyg.errors import CheckpointError
    from panoptag_pyg.training.data_card import TrainingCard
    from panoptag_pyg.training.hub_folder import read_hub_config

    try:
        card = TrainingCard.parse(read_hub_config(folder).get("data_card"))
    except CheckpointError:
        return {}
    return {"processes": list(card.processes), "files": []} if card.known else {}
