"""``panoptag convert nanoaod``: CMS PFNano files into an event file."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from . import completion
from .tagging import Overwrite


def nanoaod(
    files: Annotated[list[str], typer.Argument(help="ROOT files, folders or globs.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to make.", show_default=False)],
    process: Annotated[
        str | None,
        typer.Option(help="What to call the events' process; the file's name if not given.", show_default=False),
    ] = None,
    jets: Annotated[
        str,
        typer.Option(
            help="Jets of the file with its constituents, or recluster: anti-kT jets of the candidates.",
            autocompletion=completion.one_of("file", "recluster"),
        ),
    ] = "file",
    collection: Annotated[
        str,
        typer.Option(
            help="Which jets of the file: Jet (AK4) or FatJet (AK8).",
            autocompletion=completion.one_of("Jet", "FatJet"),
        ),
    ] = "Jet",
    jet_radius: Annotated[
        float | None, typer.Option(help="R of reclustered jets; the collection's if not given.", show_default=False)
    ] = None,
    jet_min_pt: Annotated[
        float | None,
        typer.Option(help="Keep jets from this pT in GeV; all of the file's if not given.", show_default=False),
    ] = None,
    jet_max_abs_eta: Annotated[
        float | None, typer.Option(help="Keep jets up to this |eta|.", show_default=False)
    ] = None,
    puppi: Annotated[
        bool, typer.Option("--puppi", help="Weigh candidates with PUPPI's weights; those of weight 0 go.")
    ] = False,
    events: Annotated[int | None, typer.Option(help="Convert at most so many.", show_default=False)] = None,
    round_bits: Annotated[
        int | None, typer.Option(help="Keep this many bits of mantissa, for smaller files.", show_default=False)
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Convert CMS PFNano ROOT files: candidates, jets, their constituents and flavour.

    Examples:
        # AK4 jets with their constituents
        panoptag convert nanoaod pfnano.root --process ttbar -o cms.h5
    """
    from panoptag_pyg.convert import convert_nanoaod

    done = convert_nanoaod(
        files,
        output,
        process=process,
        jets=jets,
        collection=collection,
        radius=jet_radius,
        min_pt=jet_min_pt,
        max_abs_eta=jet_max_abs_eta,
        puppi=puppi,
        max_events=events,
        round_bits=round_bits,
        overwrite=overwrite,
        command=shlex.join(["panoptag", *sys.argv[1:]]),
    )
    for note in done.notes:
        typer.echo(f"Note: {note}", err=True)
    size = done.path.stat().st_size / 1e6
    typer.echo(
        f"{done.path}: {done.num_events} events, {done.num_pfos} PFOs, {done.num_jets} jets, {size:.1f} MB; look at "
        f"them with `panoptag inspect {done.path}`"
    )
