"""``panoptag compare``: taggers side by side, trained or loaded, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import completion
from .tagging import Device, Threads


def compare(
    taggers: Annotated[
        list[str],
        typer.Argument(
            help="Recipes to train (files or shipped names), run folders to load, or globs of these.",
            show_default=False,
            autocompletion=completion.recipes_and_runs,
        ),
    ],
    data: Annotated[
        list[str],
        typer.Option("--data", "-d", help="Events to train on: a file, folder or glob; may be repeated."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for all that it makes.", show_default=False)],
    test: Annotated[
        list[str] | None,
        typer.Option("--test", "-t", help="Events to test on. Default: a share of --data.", show_default=False),
    ] = None,
    test_fraction: Annotated[
        float, typer.Option(help="Share of the events of --data held out for the test, without --test.")
    ] = 0.25,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change every recipe: section.key=value; may be repeated.", show_default=False),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each recipe; several give their spread.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Taggers trained at a time.")] = 1,
    threads: Threads = None,
    reference: Annotated[
        str | None, typer.Option(help="Row that ratios divide by. Default: the first.", show_default=False)
    ] = None,
    num_events: Annotated[
        int, typer.Option(min=1, help="Events at once where FLOPs, memory and speed are measured.")
    ] = 32,
    speed: Annotated[bool, typer.Option(help="Measure events per second, when all else is done.")] = True,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds of the timing. Default: 3 to 11.", show_default=False)
    ] = None,
    replicas: Annotated[int, typer.Option(min=20, help="Redrawn samples for the uncertainties.")] = 200,
    device: Device = "auto",
) -> None:
    """Train or load each tagger, test all on the same events: one table, JSON and the rejection figure.

    Stopped and started again, it goes on where it was. A tagger that fails is a row with the reason (exit code 1).

    Examples:
        # two networks to train, and a run to load
        panoptag compare tiny.toml pfn.toml run/ --data data/ --test test/ \\
          -o table/ --set train.max_epochs=1
    """
    from rich.console import Console

    from panoptag_pyg.comparison import Settings, find_entries, rich_table
    from panoptag_pyg.comparison import compare as run_comparison
    from panoptag_pyg.comparison.summary import FIGURE, JSON, MARKDOWN
    from panoptag_pyg.comparison.tables import notes
    from panoptag_pyg.comparison.watch import Watch

    from .tagging import choose_device

    asked = Settings(
        data=data,
        output=output,
        test=test or None,
        test_fraction=test_fraction,
        overrides=settings or [],
        seeds=seeds,
        workers=workers,
        threads=threads,
        reference=reference,
        num_events=num_events,
        speed=speed,
        rounds=rounds,
        replicas=replicas,
        device=choose_device(device, threads),
    )
    entries = find_entries(taggers, asked.overrides)
    try:
        with Watch([entry.name for entry in entries if not entry.other_task]) as watch:
            result = run_comparison(entries, asked, watch)
    except KeyboardInterrupt as stop:
        typer.echo("\nStopped; the same command goes on from here.", err=True)
        raise typer.Exit(130) from stop
    console = Console(width=None if Console().is_terminal else 220)
    console.print(rich_table(result))
    for line in notes(result):
        console.print(line, style="dim", highlight=False, markup=False)
    names = ", ".join(str(output / name) for name in (JSON, MARKDOWN, FIGURE))
    console.print(f"Written: {names}", highlight=False, soft_wrap=True)
    if any(row["status"] != "done" for row in result["rows"]):
        raise typer.Exit(1)
