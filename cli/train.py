"""``panoptag train``: from a recipe and events to a run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from panoptag_pyg.errors import ConfigError

from . import completion

if TYPE_CHECKING:
    from panoptag_pyg.training import Recipe


RecipeName = Annotated[
    str,
    typer.Argument(help="A recipe file, or a shipped one such as small.toml.", autocompletion=completion.recipes),
]
Data = Annotated[
    list[str], typer.Option("--data", "-d", help="Events to train on: a file, folder or glob; may be repeated.")
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")]
Validation = Annotated[
    list[str] | None,
    typer.Option("--validation", help="Events to validate on. Default: a share of --data.", show_default=False),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change the recipe: section.key=value; may be repeated.", show_default=False),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="Begin with the weights of this run, where they fit.",
        show_default=False,
        autocompletion=completion.runs,
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the run's last.ckpt.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Remove an earlier run in the folder.")]
FindRate = Annotated[bool, typer.Option("--find-lr", help="Train nothing: sweep the learning rate and suggest one.")]


def train(
    recipe: RecipeName,
    data: Data,
    output: Output,
    validation: Validation = None,
    settings: Settings = None,
    start_from: From = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    find_rate: FindRate = False,
) -> None:
    """Train a tagger as a recipe says; Ctrl-C keeps the last checkpoint, --resume goes on.

    Examples:
        # seconds, to see that it works; small.toml is a tagger for two CPU cores
        panoptag train tiny.toml --data data/ -o first/

        # another network, on events that were split before, with a changed recipe
        panoptag train pfn.toml --data data/ --validation test/ -o pfn/ \\
          --set train.max_epochs=2

        # which learning rate?
        panoptag train tiny.toml --data data/ --find-lr -o rates/
    """
    resolved = read_recipe(recipe, settings, start_from)
    following = f"panoptag evaluate {output} --data FILE"
    run_recipe(resolved, data, output, validation, resume, overwrite, find_rate, following)


def read_recipe(name: str, settings: list[str] | None, start_from: str | None) -> Recipe:
    """The recipe with the command line's changes."""
    from panoptag_pyg.training import Recipe

    # A JSON string is a TOML string.
    further = [] if start_from is None else [f"train.start_from={json.dumps(start_from)}"]
    return Recipe.from_toml(name, [*(settings or []), *further])


def run_recipe(
    recipe: Recipe,
    data: list[str],
    output: Path,
    validation: list[str] | None,
    resume: bool,
    overwrite: bool,
    find_rate: bool,
    following: str,
) -> None:
    """Train, or sweep the learning rate, and say what came out.

    Args:
        recipe: what to do.
        data: events to train on.
        output: folder of the run.
        validation: events to validate on.
        resume, overwrite: what to do with a run that is there.
        find_rate: sweep the learning rate instead.
        following: the command to go on with.
    """
    from panoptag_pyg.training import TrainingInterrupted
    from panoptag_pyg.training import train as run_training

    if find_rate:
        if resume or overwrite:
            raise ConfigError("--find-lr trains nothing: leave out --resume and --overwrite")
        suggest_rate(recipe, data, output, validation or None)
        return
    try:
        run = run_training(recipe, data, output, validation or None, resume=resume, overwrite=overwrite)
    except TrainingInterrupted as stop:
        typer.echo(f"\n{stop}; the same command with --resume goes on.", err=True)
        raise typer.Exit(130) from stop
    if not run.main_process:
        return  # another process of a distributed run speaks for all
    summary = run.summary
    best = summary["best"]
    scores = ", ".join(
        f"{name.removeprefix('val_').replace('_', ' ')} {best[name]:.4f}" for name in best if name.startswith("val_")
    )
    epochs = "1 epoch" if summary["epochs"] == 1 else f"{summary['epochs']} epochs"
    typer.echo(
        f"Trained {summary['model']} ({summary['parameters']:,} parameters) for {epochs} "
        f"in {summary['seconds']:,.0f} s.\n"
        f"Best epoch {summary['best_epoch']}: validation {scores}.\n"
        + "".join(f"Note: {note}\n" for note in summary["notes"])
        + f"{output / 'best.ckpt'} holds it; next: {following}"
    )


def suggest_rate(recipe: Recipe, data: list[str], output: Path, validation: list[str] | None) -> None:
    """Sweep the learning rate, and say what came out."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from panoptag_pyg.training.find_lr import JSON, PNG, find_lr

    result = find_lr(recipe, data, output, validation)
    console = Console(highlight=False)
    table = Table("learning rate", "", box=box.SIMPLE if console.is_terminal else None, pad_edge=False)
    rows = (
        (result.suggestion, "suggested: a tenth of the next"),
        (result.lowest, "lowest smoothed loss"),
        (result.steepest, "steepest fall"),
        (result.diverged, "diverged"),
    )
    for rate, words in rows:
        table.add_row("-" if rate is None else f"{rate:.1e}", words)
    console.print(table)
    if result.suggestion is None:
        typer.echo("The loss didn't fall at any rate: nothing is suggested; look at the events and the recipe.")
    else:
        typer.echo(f"Next: --set train.lr={result.suggestion:.1e}")
    typer.echo(f"{output / JSON} and {output / PNG} hold the sweep; nothing was trained.")
