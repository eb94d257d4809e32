"""``panoptag merge``: event files joined into one or dealt out into shards."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from .tagging import Overwrite


def merge(
    files: Annotated[list[str], typer.Argument(help="Event files, folders, manifests or globs.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to make; with --shards a folder.", show_default=False)
    ],
    shards: Annotated[
        int | None, typer.Option(help="Make so many files of even size, and a manifest.", show_default=False)
    ] = None,
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
        bool, typer.Option("--force", help="Join files of different detectors, jets, labels or setups.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Join event files, of one or many processes; values stay bit for bit.

    Examples:
        # all events of a folder in one file, mixed
        panoptag merge data/ --shuffle 7 -o all.h5

        # dealt out into files of even size
        panoptag merge data/ --shards 2 -o shards/
    """
    from panoptag_pyg.events.merge import merge as run

    command = shlex.join(["panoptag", *sys.argv[1:]])
    done = run(
        files,
        output,
        shards=shards,
        shuffle=shuffle,
        drop_duplicates=drop_duplicates,
        name_sources=name_sources,
        force=force,
        overwrite=overwrite,
        command=command,
    )
    for note in done.notes:
        typer.echo(f"Note: {note}", err=True)
    typer.echo(
        f"{done.path}: {done.num_events} events of {done.num_files} files; look at them with "
        f"`panoptag inspect {done.path}`"
    )
