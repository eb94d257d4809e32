"""``panoptag pileup``: a library of minimum-bias collisions of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import completion
from .tagging import Overwrite, granted_cores


def pileup(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to make, such as mb.h5.", show_default=False)],
    collisions: Annotated[int, typer.Option(help="How many collisions.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Another seed gives other collisions.")] = 20_000,
    workers: Annotated[int | None, typer.Option(help="Processes to use; all cores if not given.")] = None,
    process: Annotated[
        str,
        typer.Option(
            help="What piles up: minimum_bias, or the path of a process card (TOML).",
            autocompletion=completion.processes,
        ),
    ] = "minimum_bias",
    detector: Annotated[
        str, typer.Option(help="Detector card that has the setup.", autocompletion=completion.detectors)
    ] = "atlas",
    setup: Annotated[
        str,
        typer.Option(
            help="realistic or paper: which particles decay.", autocompletion=completion.one_of("realistic", "paper")
        ),
    ] = "realistic",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A PYTHIA setting 'Key = value'; may be given more than once.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Make a library of minimum-bias collisions, for simulate --pileup-library.

    Not needed as a rule: simulate makes one in the cache folder and uses it again.

    Examples:
        # a small one; the default is 20,000 collisions
        panoptag pileup --collisions 500 -o minimum_bias.h5
    """
    from panoptag_pyg.simulation.pileup_cache import make_library

    library = make_library(
        output,
        collisions,
        seed=seed,
        workers=workers or granted_cores(),
        process=process,
        detector=detector,
        setup=setup,
        settings=set_ or (),
        overwrite=overwrite,
    )
    typer.echo(
        f"{output}: {library.num_collisions} collisions, {library.num_particles} particles, "
        f"{output.stat().st_size / 1e6:.1f} MB; use them with `panoptag simulate --pileup 60 --pileup-library {output}`"
    )
