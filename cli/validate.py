"""``panoptag validate``: is the simulation right?"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from . import completion
from .tagging import Overwrite


def validate(
    files: Annotated[list[str], typer.Argument(help="Event files, folders or globs.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the page, figures and numbers.", show_default=False)
    ],
    reference: Annotated[
        list[str] | None,
        typer.Option(help="Compare every spectrum with this file's; may be repeated.", show_default=False),
    ] = None,
    events: Annotated[int, typer.Option(min=1, help="Most events of each file whose columns are read.")] = 10_000,
    resimulate: Annotated[
        int, typer.Option(min=0, help="Most events of each process that are simulated again; 0 for none.")
    ] = 1_000,
    detector: Annotated[
        str | None,
        typer.Option(
            help="Card that the detector is held against: a shipped one or a path. Default: the files' own.",
            show_default=False,
            autocompletion=completion.detectors,
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 1 if any check asks for a look.")] = False,
    figures: Annotated[bool, typer.Option(help="Draw the figures.")] = True,
    overwrite: Overwrite = False,
) -> None:
    """Check a simulation: figures and chi-squares against its cards, or beside a second file.

    Examples:
        # against its own cards, by simulating it again
        panoptag validate ttbar.h5 --resimulate 100 -o validation/

        # beside another sample
        panoptag validate ttbar.h5 --reference data/ --resimulate 0 -o beside/
    """
    from rich.console import Console

    from panoptag_pyg.events.files import find_files
    from panoptag_pyg.validation import validate as run
    from panoptag_pyg.validation.page import rates
    from panoptag_pyg.validation.report import check_folder

    check_folder(output, overwrite)
    found = run(
        find_files(files),
        find_files(reference) if reference else (),
        events=events,
        resimulate=resimulate,
        detector=detector,
        command=shlex.join(["panoptag", *sys.argv[1:]]),
    )
    page = found.save(output, overwrite, figures)
    console = Console()
    console.print(found.table())
    for line in (rates(found), *found.notes()):
        console.print(line, style="dim", highlight=False)
    console.print(f"Written: {page}", highlight=False, soft_wrap=True)
    if strict and not found.passed:
        raise typer.Exit(1)
