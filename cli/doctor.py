"""``panoptag doctor``: is everything here, and is this machine set up well?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from panoptag_pyg.doctor import Examination


def doctor(
    folder: Annotated[
        Path, typer.Argument(help="Folder whose file system is tried: where events or runs are, or will be.")
    ] = Path("."),
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON instead of a table, to send along with a report.")
    ] = False,
    megabytes: Annotated[
        int, typer.Option(min=1, max=100_000, help="Size of the file that is written there, read and removed.")
    ] = 64,
) -> None:
    """Examine this installation and machine: versions, extras, kernels, GPU, threads, memory, malloc, file system.

    Says what to do where something is missing, slow or misleading. Exit code 1 if something won't work.

    Examples:
        # this machine, and the file system of this folder
        panoptag doctor

        # the folder with the events, as JSON
        panoptag doctor data/ --json
    """
    import json

    from panoptag_pyg.doctor import PROBLEM, examine
    from panoptag_pyg.doctor.examination import parts
    from panoptag_pyg.progress import progress

    with progress("examining", len(parts(folder, megabytes)), "parts") as advance:
        found = examine(folder, megabytes, advance)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=1))
    else:
        show(found)
    if found.count(PROBLEM):
        raise typer.Exit(1)


def show(found: Examination) -> None:
    """A table on a terminal; into a pipe the same in plain columns, a line for each finding and advice."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from panoptag_pyg.doctor import NOTE, OK, PROBLEM

    marks = {OK: ("ok", "green"), NOTE: ("note", "yellow"), PROBLEM: ("PROBLEM", "bold red")}
    terminal = Console()
    plain = not terminal.is_terminal
    console = Console(width=1000, no_color=True, highlight=False) if plain else terminal
    table = Table(box=None if plain else box.SIMPLE, show_header=False, pad_edge=not plain)
    for name in ("part", "status", "finding"):
        table.add_column(name, no_wrap=name != "finding", overflow="fold")
    part = ""
    for finding in found.findings:
        word, style = marks[finding.status]
        table.add_row(finding.part if finding.part != part else "", Text(word, style), Text(finding.text))
        if finding.advice:
            table.add_row("", "", Text(f"→ {finding.advice}", "" if finding.status == PROBLEM else "dim"))
        part = finding.part
    with console.capture() as capture:
        console.print(table)
    typer.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))
    problems, notes = found.count(PROBLEM), found.count(NOTE)
    told = [
        f"{number} {word}{'s' * (number != 1)}" for number, word in ((problems, "problem"), (notes, "note")) if number
    ]
    typer.echo(f"\n{' and '.join(told) if told else 'nothing to complain of'}; looked for {found.seconds:.0f} s")
