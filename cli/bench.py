"""``panoptag bench``: speed and memory, beside peers and beside the machine's own limits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import completion
from .tagging import Device, Overwrite, Threads


def bench(
    suite: Annotated[
        str,
        typer.Argument(
            help="kernels, models, loader or pipeline.",
            show_default=False,
            autocompletion=completion.one_of("kernels", "models", "loader", "pipeline"),
        ),
    ],
    device: Device = "auto",
    dtype: Annotated[
        str,
        typer.Option(
            help="float32, bfloat16, float16 or float64.",
            autocompletion=completion.one_of("float32", "bfloat16", "float16", "float64"),
        ),
    ] = "float32",
    events: Annotated[
        list[str] | None,
        typer.Option(
            "--events",
            "-e",
            help="Event files whose sizes and features are used; may be repeated. 'random': log-normal sizes. "
            "Default: the 500 tt̄ events that come with the package.",
            show_default=False,
        ),
    ] = None,
    num_events: Annotated[
        int | None, typer.Option(min=1, help="Events per batch. Default: 32, on a GPU 512.", show_default=False)
    ] = None,
    sizes: Annotated[str, typer.Option(help="Sizes of the model: paper, small, or paper,small.")] = "paper",
    max_pfos: Annotated[int, typer.Option(min=1, help="Leading PFOs per event, measured besides all of them.")] = 128,
    threads: Threads = None,
    rounds: Annotated[
        int | None,
        typer.Option(min=1, help="Rounds of each comparison. Default: 3 to 11, as time allows.", show_default=False),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(help="One row, a beginning of names, or a pattern such as 'knn-*'.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and random events.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for a JSON file and a figure. Default: none.", show_default=False),
    ] = None,
    overwrite: Overwrite = False,
    names: Annotated[bool, typer.Option("--list", help="List the names of the rows and leave.")] = False,
) -> None:
    """Measure ours beside peers: checked against the reference first, then timed in alternating rounds of one run.

    Prints a table; the last line is JSON. Every row says how near it comes to the floor: its counted FLOPs and bytes at
    the rates of matrix products and copies that are measured in the same run.

    Examples:
        # nearest neighbours on your own events
        panoptag bench kernels --only "knn-*" --events ttbar.h5 --num-events 8
    """
    import json

    import torch
    from rich.console import Console

    from panoptag_pyg.benchmarks.report import draw, limits_line, rich_table, slug
    from panoptag_pyg.benchmarks.run import run_entries
    from panoptag_pyg.benchmarks.sampling import sample_file
    from panoptag_pyg.benchmarks.settings import Settings, check_settings
    from panoptag_pyg.benchmarks.suites import entries
    from panoptag_pyg.output import atomic_output, check_output, write_json

    from .tagging import choose_device

    place = torch.device(choose_device(device, threads))
    settings = Settings(
        device=place,
        dtype=dtype,  # type: ignore[arg-type] # check_settings turns it into torch's
        events=events or [sample_file()],
        sizes=tuple(name.strip() for name in sizes.split(",")),
        max_pfos=max_pfos,
        num_events=num_events or (512 if place.type == "cuda" else 32),
        rounds=rounds,
        seed=seed,
    )
    check_settings(settings)
    chosen = entries(suite, settings, only)
    if names:
        typer.echo("\n".join(entry.name for entry in chosen))
        return
    if output is not None:
        check_output(output / "bench.json", overwrite=True)
        stem = slug(describe(suite, settings))
        for ending in ("json", "png"):
            check_output(output / f"{stem}.{ending}", overwrite)
    result = run_entries(suite, chosen, settings)
    value = result.to_dict()
    console = Console(width=None if Console().is_terminal else 200)
    console.print(rich_table(value))
    console.print(limits_line(value), highlight=False, style="dim")
    if output is not None:
        with atomic_output(output / f"{stem}.png", overwrite) as temporary:
            draw(value, temporary)
        write_json(output / f"{stem}.json", value)
        console.print(f"Written: {output / stem}.json, {output / stem}.png", highlight=False, soft_wrap=True)
    typer.echo(json.dumps(value))
    if result.failed:
        raise typer.Exit(1)


def describe(suite: str, settings: object) -> dict:
    """What the names of the files are made of."""
    from panoptag_pyg.benchmarks.machine import describe_machine

    return {"benchmark": suite, "machine": describe_machine(), "settings": settings.describe()}  # type: ignore[attr-defined]
