"""``panoptag split``: events into train, val and test by a hash of each."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from .tagging import Overwrite


def split(
    files: Annotated[list[str], typer.Argument(help="Event files, folders, manifests or globs.", show_default=False)],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder to make, with train, val and test in it.", show_default=False),
    ],
    train: Annotated[float, typer.Option(help="Share of the training events.")] = 0.75,
    val: Annotated[float, typer.Option(help="Share of the validation events.")] = 0.10,
    test: Annotated[float, typer.Option(help="Share of the test events.")] = 0.15,
    events_per_file: Annotated[int, typer.Option(help="Most events in a file.")] = 20_000,
    shuffle: Annotated[
        int | None, typer.Option(help="Mix all events, with this seed.", show_default=False, metavar="SEED")
    ] = None,
    drop_duplicates: Annotated[
        bool, typer.Option("--drop-duplicates", help="Leave out events that come twice, by source and id.")
    ] = False,
    name_sources: Annotated[
        bool,
        typer.Option("--name-sources", help="Files that don't say where their events come from are different ones."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Put files of different detectors, jets, labels or setups together.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Copy events into train, val and test. An event's side depends on its source and id alone, and never changes.

    Examples:
        # 75 % to train on, 10 % to validate on, 15 % to test on
        panoptag split data/ -o split/
    """
    from panoptag_pyg.events.split import split as run

    command = shlex.join(["panoptag", *sys.argv[1:]])
    done = run(
        files,
        output,
        fractions=(train, val, test),
        events_per_file=events_per_file,
        shuffle=shuffle,
        drop_duplicates=drop_duplicates,
        name_sources=name_sources,
        force=force,
        overwrite=overwrite,
        command=command,
    )
    for note in done.notes:
        typer.echo(f"Note: {note}", err=True)
    told = ", ".join(f"{count} {name}" for name, count in done.num_events.items())
    typer.echo(f"{done.path}: {told}; train with --data {done.path}/train --validation {done.path}/val")
