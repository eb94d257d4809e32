"""``panoptag prepare``: subjets and other jets for files that are there already."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from . import completion
from .tagging import Overwrite, granted_cores


def prepare(
    files: Annotated[list[str], typer.Argument(help="Event files, folders or globs.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to make.", show_default=False)],
    subjets: Annotated[
        bool, typer.Option("--subjets", help="Find the jets' subjets: Cambridge/Aachen, anti-kT and HDBSCAN.")
    ] = False,
    subjet_radius: Annotated[float, typer.Option(help="R of the Cambridge/Aachen and anti-kT subjets.")] = 0.3,
    cambridge_subjets: Annotated[
        int | None,
        typer.Option(help="At most so many Cambridge/Aachen subjets, of any radius.", show_default=False),
    ] = None,
    hdbscan_size: Annotated[int, typer.Option(help="Least constituents of an HDBSCAN subjet.")] = 2,
    jet_algorithm: Annotated[
        str | None,
        typer.Option(
            help="Cluster jets anew with antikt, kt or cambridge.",
            show_default=False,
            autocompletion=completion.one_of("antikt", "kt", "cambridge"),
        ),
    ] = None,
    jet_radius: Annotated[float | None, typer.Option(help="… with this R.", show_default=False)] = None,
    jet_min_pt: Annotated[float | None, typer.Option(help="… above this pT in GeV.", show_default=False)] = None,
    jet_max_abs_eta: Annotated[float | None, typer.Option(help="… up to this |eta|.", show_default=False)] = None,
    min_jets: Annotated[int, typer.Option(help="Leave out events with fewer jets.")] = 0,
    events: Annotated[int | None, typer.Option(help="Write at most so many.", show_default=False)] = None,
    workers: Annotated[int | None, typer.Option(help="Processes to use; all cores if not given.")] = None,
    round_bits: Annotated[
        int | None, typer.Option(help="Keep this many bits of mantissa, for smaller files.", show_default=False)
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Add subjets to event files, or cluster their jets anew; what isn't asked to change stays bit for bit.

    Examples:
        # subjets, which some taggers need (mixer_subjets)
        panoptag prepare ttbar.h5 --subjets -o subjets.h5

        # large jets in place of the file's own
        panoptag prepare ttbar.h5 --jet-radius 1.0 --jet-min-pt 100 -o large.h5
    """
    from panoptag_pyg.simulation import SubjetOptions
    from panoptag_pyg.simulation import prepare as run

    options = {"radius": subjet_radius, "num_cambridge": cambridge_subjets, "min_cluster_size": hdbscan_size}
    jets = {
        "algorithm": jet_algorithm,
        "radius": jet_radius,
        "min_pt": jet_min_pt,
        "max_abs_eta": jet_max_abs_eta,
    }
    jets = {name: value for name, value in jets.items() if value is not None}
    done = run(
        files,
        output,
        subjets=SubjetOptions.parse(options, "the subjets asked for") if subjets else None,
        jets=jets or None,
        min_jets=min_jets,
        max_events=events,
        workers=granted_cores() if workers is None else workers,
        round_bits=round_bits,
        overwrite=overwrite,
        command=shlex.join(["panoptag", *sys.argv[1:]]),
    )
    if done.truth_is_lost:
        typer.echo(
            f"Warning: the truth of the jets in {done.path} (flavour, matched jet, hadrons) is unknown: the old truth "
            "is that of other jets, and only panoptag simulate can make it for these",
            err=True,
        )
    elif done.jets_without_truth:
        typer.echo(
            f"Warning: {done.jets_without_truth} of the new jets aren't among the old ones; their truth (flavour, "
            "matched jet, hadrons) is unknown",
            err=True,
        )
    size = done.path.stat().st_size / 1e6
    typer.echo(
        f"{done.path}: {done.num_events} of {done.events_read} events, {done.num_jets} jets, {size:.1f} MB; look at "
        f"them with `panoptag inspect {done.path}`"
    )
