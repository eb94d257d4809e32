"""``panoptag check``: can a trained tagger be trusted?"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from .tagging import Device, MoreData, Overwrite, Run, Threads


def check(
    run: Run,
    more_data: MoreData = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            "-d",
            help="Test events: a file, folder or glob; may be repeated. Default: those that the run kept apart.",
            show_default=False,
        ),
    ] = None,
    train: Annotated[
        list[str] | None,
        typer.Option(
            help="Training events; may be repeated. Default: the files that the run was trained on.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the page and numbers. Default: RUN/check.", show_default=False),
    ] = None,
    overwrite: Overwrite = False,
    events: Annotated[int, typer.Option(min=10, help="Most test and most training events.")] = 5_000,
    quick: Annotated[
        bool, typer.Option("--quick", help="At most 1,000 events, and no training on shuffled labels.")
    ] = False,
    shuffled_events: Annotated[
        int, typer.Option(min=0, help="Events with shuffled labels, half to train on; 0 leaves that out.")
    ] = 4_000,
    shuffled_epochs: Annotated[int, typer.Option(min=1, help="Epochs of the training on shuffled labels.")] = 3,
    resolution: Annotated[float, typer.Option(help="Relative change of the resolution of impact parameters.")] = 0.1,
    reference: Annotated[
        str | None,
        typer.Option(help="Process on which working points are set. Default: ttbar, if there.", show_default=False),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Events per batch.")] = 64,
    device: Device = "auto",
    threads: Threads = None,
    replicas: Annotated[int, typer.Option(min=50, help="Redrawn samples for the uncertainties.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all that is drawn.")] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 1 if any check asks for a look.")] = False,
    figures: Annotated[bool, typer.Option(help="Draw the figures.")] = True,
) -> None:
    """Leaks, symmetries, calibration, stability, overtraining, working points: a verdict each; code 1 if one fails.

    Examples:
        # a first look; without --quick it trains on shuffled labels, too
        panoptag check run/ --data test/ --quick -o check/
    """
    from rich.console import Console

    from panoptag_pyg.output import check_folder
    from panoptag_pyg.trust import check_run
    from panoptag_pyg.trust.report import NUMBERS

    from .tagging import choose_device, warn_of_differences

    if output is None:
        output = (run if run.is_dir() else run.parent) / "check"
    check_folder(output, NUMBERS, overwrite)
    if files := [*(data or []), *(more_data or [])]:
        warn_of_differences(run, files)
    report = check_run(
        run,
        files,
        train or (),
        events=events,
        quick=quick,
        shuffled_events=shuffled_events,
        shuffled_epochs=shuffled_epochs,
        resolution=resolution,
        reference=reference,
        replicas=replicas,
        seed=seed,
        device=choose_device(device, threads),
        batch_size=batch_size,
        command=shlex.join(["panoptag", *sys.argv[1:]]),
    )
    page = report.save(output, overwrite, figures)
    console = Console()
    console.print(report.table())
    for note in report.notes:
        console.print(note, style="dim", highlight=False)
    console.print(report.verdict(), style="bold red" if report.failed else "bold", highlight=False)
    console.print(f"Written: {page}", highlight=False, soft_wrap=True)
    if report.failed or (strict and report.counts["look"]):
        raise typer.Exit(1)
