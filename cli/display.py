"""``panoptag display``: one event, its jets, and what they attend to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .tagging import Data, Device, Overwrite, Run, Threads


def display(
    run: Run,
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="Figure: .png, .pdf or .svg.", show_default=False)],
    event: Annotated[int, typer.Option(help="Number of the event in the data, from 0.")] = 0,
    attended: Annotated[int, typer.Option(min=0, help="Lines per jet, to the PFOs with the most attention.")] = 10,
    overwrite: Overwrite = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Draw one event in (eta, phi): PFOs, tagged jets, and the PFOs that each jet attends to most."""
    from panoptag_pyg.errors import ConfigError
    from panoptag_pyg.evaluation.display import draw_event, view_event
    from panoptag_pyg.output import atomic_output, check_output
    from panoptag_pyg.training import load_tagger

    from .tagging import choose_device, open_events

    if output.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise ConfigError(f"{output}: the figure's name must end in .png, .pdf or .svg")
    check_output(output, overwrite)
    place = choose_device(device, threads)
    model, recipe = load_tagger(run)
    view = view_event(model, open_events(data, recipe, model), event, place)
    figure = draw_event(view, attended)
    with atomic_output(output, overwrite) as temporary:
        figure.savefig(temporary, bbox_inches="tight", metadata={"Title": view.title})
    note = "" if view.attention is not None or not len(view.jet_pt) else "; this tagger has no attention to draw"
    typer.echo(f"{output}: event {event}, {len(view.jet_pt)} jet{'s' * (len(view.jet_pt) != 1)}{note}")
