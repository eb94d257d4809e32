"""``panoptag train``: from a recipe and events to a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from panoptag_pyg.errors import ConfigError

if TYPE_CHECKING:
    from panoptag_pyg.training import Recipe


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or a shipped one such as small.toml.")],
    data: Annotated[
        list[str], typer.Option("--data", "-d", help="Events to train on: a file, folder or glob; may be repeated.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")],
    validation: Annotated[
        list[str] | None,
        typer.Option("--validation", help="Events to validate on. Default: a share of --data.", show_default=False),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change the recipe: section.key=value; may be repeated.", show_default=False),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last.ckpt.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Remove an earlier run in the folder.")] = False,
    find_rate: Annotated[
        bool, typer.Option("--find-lr", help="Train nothing: sweep the learning rate and suggest one.")
    ] = False,
) -> None:
    """Train a tagger as a recipe says; Ctrl-C keeps the last checkpoint, --resume goes on."""
    from panoptag_pyg.training import Recipe, TrainingInterrupted
    from panoptag_pyg.training import train as run_training

    resolved = Recipe.from_toml(recipe, settings or [])
    if find_rate:
        if resume or overwrite:
            raise ConfigError("--find-lr trains nothing: leave out --resume and --overwrite")
        suggest_rate(resolved, data, output, validation or None)
        return
    try:
        run = run_training(resolved, data, output, validation or None, resume=resume, overwrite=overwrite)
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
    typer.echo(
        f"Trained {summary['model']} ({summary['parameters']:,} parameters) for {summary['epochs']} epochs "
        f"in {summary['seconds']:,.0f} s.\n"
        f"Best epoch {summary['best_epoch']}: validation {scores}.\n"
        + "".join(f"Note: {note}\n" for note in summary["notes"])
        + f"{output / 'best.ckpt'} holds it; next: panoptag evaluate {output} --data FILE"
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
