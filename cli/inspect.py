"""``panoptag inspect``: what is in event files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .tagging import Overwrite


def inspect(
    files: Annotated[list[str], typer.Argument(help="Event files, folders or globs.", show_default=False)],
    check: Annotated[bool, typer.Option("--check", help="Read every column of every event and validate it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of tables: one object per file.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Draw the distributions of the first file: .png, .pdf, .svg.", show_default=False
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Counts, provenance, and every column's range and distribution."""
    import json

    from rich.console import Console

    from panoptag_pyg.errors import ConfigError
    from panoptag_pyg.evaluation.inspection import inspect_file, rich_summary, summary_figure
    from panoptag_pyg.events import EventFile
    from panoptag_pyg.events.files import find_files
    from panoptag_pyg.output import atomic_output, check_output
    from panoptag_pyg.progress import progress

    if output is not None:
        if output.suffix.lower() not in (".png", ".pdf", ".svg"):
            raise ConfigError(f"{output}: the figure's name must end in .png, .pdf or .svg")
        check_output(output, overwrite)
    console = Console()
    summaries: list[dict] = []
    for path in find_files(files):
        with EventFile(path) as file:
            if check:
                with progress(f"checking {path}", file.num_events) as advance:
                    summary, block = inspect_file(file, check, advance)
            else:
                summary, block = inspect_file(file)
        if output is not None and not summaries:
            with atomic_output(output, overwrite) as temporary:
                summary_figure(summary, block).savefig(temporary)
        summaries.append(summary.to_dict())
        if not as_json:
            console.print(rich_summary(summary))
    if as_json:
        typer.echo(json.dumps(summaries if len(summaries) > 1 else summaries[0], indent=1))
