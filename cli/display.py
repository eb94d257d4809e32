"""``panoptag display``: events, their jets, and what they attend to; as a figure, or as a page to explore."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import completion
from .tagging import Data, Device, Overwrite, Threads

if TYPE_CHECKING:
    from panoptag_pyg.display import EventView
    from panoptag_pyg.events import EventDataset


def display(
    data: Data,
    run: Annotated[
        Path | None,
        typer.Argument(
            help="A run folder of panoptag train, or a checkpoint; none with --no-model.",
            show_default=False,
            autocompletion=completion.runs,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Figure: .png, .pdf or .svg.", show_default=False)
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Interactive page in one file: .html. It loads nothing.", show_default=False),
    ] = None,
    event: Annotated[
        int | None,
        typer.Option(help="Number of the event in the data, from 0. Default of a figure: 0.", show_default=False),
    ] = None,
    events: Annotated[
        str | None,
        typer.Option(help="Events of the page: 0:20, or 3,7,9. Default: the first 20.", show_default=False),
    ] = None,
    no_model: Annotated[bool, typer.Option("--no-model", help="Show the events alone, before any training.")] = False,
    attended: Annotated[int, typer.Option(min=0, help="Lines per jet, to the PFOs with the most attention.")] = 10,
    overwrite: Overwrite = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Draw events: PFOs, tagged jets, and the PFOs that each jet attends to most; a figure, or a page to explore.

    Examples:
        # a page to explore: map, lego plot, 3-D, lines of attention
        panoptag display run/ --data ttbar.h5 --html events.html --events 0:5

        # a figure of one event
        panoptag display run/ --data ttbar.h5 --event 3 -o event.png

        # before any training
        panoptag display --no-model --data ttbar.h5 --html alone.html
    """
    from panoptag_pyg.display import draw_event, event_page
    from panoptag_pyg.output import atomic_output, check_output

    path = _check(run, output, html, event, events, no_model)
    check_output(path, overwrite)
    if html is not None:
        views, name = _views(run, data, events if event is None else event, device, threads)
        page = event_page(views, _title(name, data), name, attended, shlex.join(["panoptag", *sys.argv[1:]]))
        with atomic_output(html, overwrite) as temporary:
            temporary.write_text(page, encoding="utf-8")
        size = html.stat().st_size / 1e6
        number = f"{len(views)} event{'s' * (len(views) != 1)}, {sum(len(v.pfo_pt) for v in views):,} PFOs"
        typer.echo(f"{html}: {number}, {size:.2f} MB{_without_attention(views, name)}")
        return
    (view,), name = _views(run, data, event or 0, device, threads)
    figure = draw_event(view, attended)
    with atomic_output(path, overwrite) as temporary:
        figure.savefig(temporary, bbox_inches="tight", metadata={"Title": view.title})
    jets = f"{len(view.jet_pt)} jet{'s' * (len(view.jet_pt) != 1)}"
    typer.echo(f"{path}: event {view.number}, {jets}{_without_attention([view], name)}")


def _check(
    run: Path | None, output: Path | None, html: Path | None, event: int | None, events: str | None, no_model: bool
) -> Path:
    """The file to write, if what was asked goes together."""
    from panoptag_pyg.errors import ConfigError

    if (run is None) != no_model:
        which = "it and a run were given" if no_model else "no run was given"
        raise ConfigError(f"give the folder of a run, or --no-model to show events alone; {which}")
    if (output is None) == (html is None):
        raise ConfigError("give -o FIGURE.png for a figure of one event, or --html PAGE.html for a page; one of them")
    if event is not None and events is not None:
        raise ConfigError("give --event for one event or --events for several, not both")
    if html is not None:
        if html.suffix.lower() not in (".html", ".htm"):
            raise ConfigError(f"{html}: the page's name must end in .html")
        return html
    assert output is not None
    if events is not None:
        raise ConfigError("a figure shows one event: give --event, or --html for a page of several")
    if output.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise ConfigError(f"{output}: the figure's name must end in .png, .pdf or .svg")
    return output


def _views(
    run: Path | None, data: list[str], events: str | int | None, device: str, threads: int | None
) -> tuple[list[EventView], str | None]:
    """The events, and the name of the model that tagged them."""
    from panoptag_pyg.display import parse_events, view_event, view_events

    model: Any = None
    task: Any = None
    name, place = None, None
    if run is None:
        dataset = _events_alone(data)
    else:
        from panoptag_pyg.training import load_tagger

        from .tagging import choose_device, open_events

        place = choose_device(device, threads)
        model, recipe = load_tagger(run)
        name = recipe.model.name
        task = _task(run, recipe)
        dataset = open_events(data, recipe, model, task)
    if isinstance(events, int):
        return [view_event(model, dataset, events, place, task)], name
    return view_events(model, dataset, parse_events(events, dataset), place, task), name


def _task(run: Path, recipe: Any) -> Any:
    """The run's task where it isn't plain flavour tagging, which needs nothing of it."""
    if recipe.task.name == "flavour":
        return None
    from panoptag_pyg.training import load_task

    return load_task(run)


def _events_alone(data: list[str]) -> EventDataset:
    from panoptag_pyg.errors import EventFileError
    from panoptag_pyg.events import EventDataset

    dataset = EventDataset(list(data))
    if len(dataset) == 0:
        raise EventFileError(f"{', '.join(data)}: no events in it; simulate some with panoptag simulate")
    return dataset


def _title(name: str | None, data: list[str]) -> str:
    files = ", ".join(Path(path).name for path in data)
    return f"Events of {files}" + (f", tagged by {name}" if name else "")


def _without_attention(views: list[EventView], name: str | None) -> str:
    asked = name is not None and any(len(view.jet_pt) for view in views)
    return "; this tagger has no attention to draw" if asked and all(v.attention is None for v in views) else ""
