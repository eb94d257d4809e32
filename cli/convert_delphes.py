"""``panoptag convert delphes``: DELPHES ROOT files into an event file."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from . import completion
from .tagging import Overwrite


def delphes(
    files: Annotated[list[str], typer.Argument(help="ROOT files, folders or globs.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to make.", show_default=False)],
    process: Annotated[
        str | None,
        typer.Option(help="What to call the events' process; each file's name if not given.", show_default=False),
    ] = None,
    pfo_branches: Annotated[
        str | None,
        typer.Option(help="Branches with the PFOs, by commas; found if not given.", show_default=False),
    ] = None,
    jets: Annotated[
        str,
        typer.Option(
            help="recluster: jets of the PFOs; file: the file's own.",
            autocompletion=completion.one_of("recluster", "file"),
        ),
    ] = "recluster",
    jet_branch: Annotated[str, typer.Option(help="Branch of the file's own jets.")] = "Jet",
    jet_radius: Annotated[
        float | None, typer.Option(help="R of the jets; the detector card's if not given.", show_default=False)
    ] = None,
    jet_min_pt: Annotated[
        float | None,
        typer.Option(help="Keep jets from this pT in GeV; the card's, or all of the file's.", show_default=False),
    ] = None,
    jet_max_abs_eta: Annotated[
        float | None,
        typer.Option(help="Keep jets up to this |eta|; the card's, or all of the file's.", show_default=False),
    ] = None,
    label: Annotated[
        str,
        typer.Option(
            help="Flavour rule: hadron, delphes, or file for the flavour of the file's jets.",
            autocompletion=completion.one_of("hadron", "delphes", "file"),
        ),
    ] = "hadron",
    vertex: Annotated[
        str,
        typer.Option(
            help="Refer d0 and dz to the vertex found by: auto, particles, vertex; origin leaves them.",
            autocompletion=completion.one_of("auto", "particles", "vertex", "origin"),
        ),
    ] = "auto",
    impact_parameters: Annotated[
        str,
        typer.Option(
            help="auto: as in the file if it has errors, else smeared with the card's; as-is; smeared; errors: the "
            "card's errors on the file's values.",
            autocompletion=completion.one_of("auto", "as-is", "smeared", "errors"),
        ),
    ] = "auto",
    detector: Annotated[
        str,
        typer.Option(
            help="atlas, atlas_fatjets, or the path of a detector card (TOML).", autocompletion=completion.detectors
        ),
    ] = "atlas",
    tree: Annotated[str, typer.Option(help="Name of the tree.")] = "Delphes",
    seed: Annotated[int, typer.Option(help="Of the smearing.")] = 0,
    events: Annotated[int | None, typer.Option(help="Convert at most so many.", show_default=False)] = None,
    round_bits: Annotated[
        int | None, typer.Option(help="Keep this many bits of mantissa, for smaller files.", show_default=False)
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Convert DELPHES ROOT files: particle-flow objects, jets with their flavour, what the generator knew.

    Examples:
        # jets clustered anew from the energy-flow objects, flavours by their hadrons
        panoptag convert delphes delphes.root --process ttbar -o converted.h5

        # with the file's own jets and their flavour
        panoptag convert delphes delphes.root --jets file --label file -o own-jets.h5
    """
    from panoptag_pyg.convert import DelphesOptions, convert_delphes

    values = {
        "tree": tree,
        "pfo_branches": tuple(name.strip() for name in pfo_branches.split(",")) if pfo_branches else (),
        "jets": jets,
        "jet_branch": jet_branch,
        "jet_radius": jet_radius,
        "jet_min_pt": jet_min_pt,
        "jet_max_abs_eta": jet_max_abs_eta,
        "label": label,
        "vertex": vertex,
        "impact_parameters": impact_parameters,
        "detector": detector,
        "seed": seed,
    }
    done = convert_delphes(
        files,
        output,
        DelphesOptions.parse(values, "the conversion asked for"),
        process=process,
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
