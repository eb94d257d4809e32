"""``panoptag report``: a training run as one page."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from .tagging import Data, Device, MoreData, Overwrite, Run, Threads, open_events, training_data


def report(
    run: Run,
    data: Data,
    more_data: MoreData = None,
    html: Annotated[
        Path | None,
        typer.Option(
            help="Page to write: PAGE.html, with PAGE.json beside it, or a folder for both. Default: RUN/report.html.",
            show_default=False,
        ),
    ] = None,
    events: Annotated[
        str | None,
        typer.Option(help="Events to show: 0:20, or 3,7,9. Default: 20 spread evenly.", show_default=False),
    ] = None,
    max_events: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Measure on at most so many test events, spread evenly over all. Default: all of them.",
            show_default=False,
        ),
    ] = None,
    attended: Annotated[int, typer.Option(min=0, help="Lines per jet, to the PFOs with the most attention.")] = 10,
    overwrite: Overwrite = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Events per batch.")] = 64,
    device: Device = "auto",
    threads: Threads = None,
    replicas: Annotated[int, typer.Option(min=20, help="Redrawn samples for the uncertainties.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all that is drawn.")] = 0,
) -> None:
    """A training run as one page: epochs, rejection, calibration, efficiency maps, recipe, events to explore.

    Examples:
        # epochs, rejection, calibration, maps and events in one file
        panoptag report run/ --data test/ --html report.html

        # of many test events, at most so many
        panoptag report run/ --data test/ --max-events 20 --html short.html
    """
    from panoptag_pyg.display import parse_events
    from panoptag_pyg.display.run_page import run_page
    from panoptag_pyg.display.run_report import report_run
    from panoptag_pyg.output import atomic_output, check_output
    from panoptag_pyg.training import load_tagger, load_task

    from .evaluate import flattery
    from .tagging import choose_device

    page = _page(run, html)
    numbers = page.with_suffix(".json")
    for path in (page, numbers):
        check_output(path, overwrite)
    place = choose_device(device, threads)
    model, recipe = load_tagger(run)
    task = load_task(run)
    dataset = open_events([*data, *(more_data or [])], recipe, model, task)
    trained = training_data(run)
    found = report_run(
        run,
        model,
        task,
        recipe,
        dataset,
        events=None if events is None else parse_events(events, dataset),
        max_events=max_events,
        trained_on=trained.get("processes"),
        notes=flattery(dataset, trained),
        replicas=replicas,
        seed=seed,
        device=place,
        batch_size=batch_size,
        command=shlex.join(["panoptag", *sys.argv[1:]]),
    )
    told = json.dumps(found.to_dict(), indent=1, allow_nan=False) + "\n"
    with atomic_output(page, overwrite) as first, atomic_output(numbers, overwrite) as second:
        first.write_text(run_page(found, attended), encoding="utf-8")
        second.write_text(told, encoding="utf-8")
    tested = f"{len(dataset):,} test events"
    if max_events is not None and max_events < len(dataset):
        tested = f"{max_events:,} of {tested}"
    typer.echo(f"{page}: {tested}, {len(found.views)} to look at, {page.stat().st_size / 1e6:.2f} MB")


def _page(run: Path, html: Path | None) -> Path:
    if html is None:
        return (run if run.is_dir() else run.parent) / "report.html"
    return html if html.suffix.lower() in (".html", ".htm") else html / "index.html"
