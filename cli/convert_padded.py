"""``panoptag convert padded`` and ``to-padded``: padded arrays in and out."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from . import completion
from .tagging import Overwrite

Output = Annotated[Path, typer.Option("--output", "-o", help="File to make.", show_default=False)]


def padded(
    files: Annotated[list[str], typer.Argument(help="HDF5, .npz or .npy files, folders or globs.", show_default=False)],
    output: Output,
    map: Annotated[
        str | None,
        typer.Option(
            help="What the arrays hold: a TOML file, or jetnet, top_tagging, quark_gluon; needless for a file of "
            "to-padded.",
            show_default=False,
            autocompletion=completion.column_maps,
        ),
    ] = None,
    process: Annotated[
        str | None,
        typer.Option(
            help="What to call the events' process; the map's or the file's name if not given.", show_default=False
        ),
    ] = None,
    events: Annotated[int | None, typer.Option(help="Convert at most so many.", show_default=False)] = None,
    round_bits: Annotated[
        int | None, typer.Option(help="Keep this many bits of mantissa, for smaller files.", show_default=False)
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Convert padded arrays [B, N, F] with masks into an event file, as a column map says.

    Examples:
        # back from the arrays of to-padded, which say what they hold
        panoptag convert to-padded ttbar.h5 -o padded.h5
        panoptag convert padded padded.h5 -o back.h5

        # arrays of others: a map says what they hold
        panoptag convert padded QG_jets.npz --map quark_gluon -o quark_gluon.h5
    """
    from panoptag_pyg.convert import convert_padded

    done = convert_padded(
        files,
        output,
        column_map=map,
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


def to_padded(
    files: Annotated[list[str], typer.Argument(help="Event files, folders or globs.", show_default=False)],
    output: Output,
    max_pfos: Annotated[int, typer.Option(help="Places for PFOs; those of highest pT stay.")] = 128,
    max_jets: Annotated[int, typer.Option(help="Places for jets; those of highest pT stay.")] = 10,
    features: Annotated[
        str,
        typer.Option(
            help="physical: the file's columns in GeV and mm; network: the 14 that networks see.",
            autocompletion=completion.one_of("physical", "network"),
        ),
    ] = "physical",
    events: Annotated[int | None, typer.Option(help="Write at most so many.", show_default=False)] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write events as padded arrays [B, N, F] with masks, for programs that need them.

    Examples:
        # PFOs [events, 128, features] and jets [events, 10, features] with masks
        panoptag convert to-padded ttbar.h5 --max-pfos 128 --max-jets 10 -o padded.h5
    """
    from panoptag_pyg.convert import to_padded as run

    done = run(
        files,
        output,
        max_pfos=max_pfos,
        max_jets=max_jets,
        features=features,
        max_events=events,
        overwrite=overwrite,
        command=shlex.join(["panoptag", *sys.argv[1:]]),
    )
    if done.pfos_cut or done.jets_cut:
        typer.echo(
            f"Warning: {done.pfos_cut} of {done.num_pfos} PFOs ({done.pfos_cut / max(done.num_pfos, 1):.1%}; "
            f"{done.pt_cut:.1%} of the pT) in {done.events_cut} events and {done.jets_cut} of {done.num_jets} jets "
            "had no place and were cut",
            err=True,
        )
    size = done.path.stat().st_size / 1e6
    typer.echo(
        f"{done.path}: {done.num_events} events, {done.filled:.0%} of the places for PFOs filled, {size:.1f} MB; "
        "datasets pfo, pfo_mask, jet, jet_mask, label"
    )
