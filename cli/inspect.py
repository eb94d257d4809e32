"""``panoptag inspect``: what is in event files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .tagging import Overwrite

#: From so many files on, a row per file stands in place of a page.
MANY = 5


def inspect(
    files: Annotated[list[str], typer.Argument(help="Event files, folders, manifests or globs.", show_default=False)],
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Read every column of every event and validate it; compare a manifest's checksums."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of tables.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Draw the distributions of the first file: .png, .pdf, .svg.", show_default=False
        ),
    ] = None,
    write_manifest: Annotated[
        bool,
        typer.Option(
            "--write-manifest", help="Describe the folders' files anew in their manifest.json, with checksums."
        ),
    ] = False,
    card: Annotated[
        Path | None,
        typer.Option(help="Write a page about the data set, from its manifest: card.md.", show_default=False),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Counts, provenance, and every column's range and distribution; of many files a table with a row for each.

    Examples:
        # what is in it
        panoptag inspect ttbar.h5

        # is every value legal?
        panoptag inspect --check data/

        # distributions as a figure
        panoptag inspect ttbar.h5 -o ttbar.png
    """
    from rich.console import Console

    from panoptag_pyg.errors import ConfigError
    from panoptag_pyg.events.files import find_files, is_manifest
    from panoptag_pyg.output import check_output

    if output is not None:
        if output.suffix.lower() not in (".png", ".pdf", ".svg"):
            raise ConfigError(f"{output}: the figure's name must end in .png, .pdf or .svg")
        check_output(output, overwrite)
    if card is not None:
        check_output(card, overwrite)
    console = Console()
    if write_manifest:
        for folder in files:
            _write_manifest(folder)
    if card is not None:
        _write_card(files, card)
    paths = find_files(files)
    if len(paths) >= MANY or any(is_manifest(path) for path in files):
        _dataset(files, check, as_json)
        if output is not None:
            _file(paths[0], False, output, overwrite)
        return
    summaries = []
    for number, path in enumerate(paths):
        shown, values = _file(path, check, output if number == 0 else None, overwrite)
        summaries.append(values)
        if not as_json:
            console.print(shown)
    if as_json:
        typer.echo(json.dumps(summaries if len(summaries) > 1 else summaries[0], indent=1))


def _file(path: Path, check: bool, output: Path | None, overwrite: bool) -> tuple:
    """One file's summary, for people and for machines."""
    from panoptag_pyg.evaluation.inspection import inspect_file, rich_summary, summary_figure
    from panoptag_pyg.events import EventFile
    from panoptag_pyg.output import atomic_output
    from panoptag_pyg.progress import progress

    with EventFile(path) as file:
        if check:
            with progress(f"checking {path}", file.num_events) as advance:
                summary, block = inspect_file(file, check, advance)
        else:
            summary, block = inspect_file(file)
    if output is not None:
        with atomic_output(output, overwrite) as temporary:
            summary_figure(summary, block).savefig(temporary)
    return rich_summary(summary), summary.to_dict()


def _dataset(files: list[str], check: bool, as_json: bool) -> None:
    from rich.console import Console

    from panoptag_pyg.evaluation.dataset_summary import rich_dataset, summarise, work
    from panoptag_pyg.progress import progress

    with progress("checking" if check else "reading", work(files, check), "bytes") as advance:
        summary = summarise(files, check, advance)
    if as_json:
        typer.echo(json.dumps(summary.to_dict(), indent=1))
    else:
        Console().print(rich_dataset(summary))


def _write_manifest(folder: str) -> None:
    from panoptag_pyg.events.manifest import Manifest, total_bytes
    from panoptag_pyg.progress import progress

    with progress(f"reading {folder}", total_bytes(sorted(Path(folder).glob("*.h5"))), "bytes") as advance:
        manifest = Manifest.renew(folder, advance)
    path = manifest.save()
    typer.echo(f"{path}: {len(manifest.files)} files, {manifest.num_events} events", err=True)


def _write_card(files: list[str], card: Path) -> None:
    from panoptag_pyg.errors import ConfigError
    from panoptag_pyg.evaluation.data_card import data_card
    from panoptag_pyg.events.files import is_manifest
    from panoptag_pyg.events.manifest import Manifest
    from panoptag_pyg.output import write_text

    for path in files:
        if not is_manifest(path):
            raise ConfigError(f"{path} has no manifest, which a card is made from; make it with --write-manifest")
    manifests = [Manifest.load(path) for path in files]
    manifest = manifests[0] if len(manifests) == 1 else Manifest.merge(manifests, card.parent)
    write_text(card, data_card(manifest))
    typer.echo(f"{card}: {manifest.num_events} events of {', '.join(manifest.processes)}", err=True)
