"""``panoptag simulate``: collision events through the detector into a file."""

from __future__ import annotations

import shlex
import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from . import completion
from .tagging import granted_cores

CARDS = sorted(path.stem for path in Path(str(files("panoptag_pyg.data"))).glob("processes/*.toml"))


def simulate(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Such as ttbar.h5; with --shards a folder.", show_default=False),
    ],
    process: Annotated[
        str | None,
        typer.Option(
            help=f"{', '.join(CARDS)}, a bin in pT such as QCD_pt30to50, or the path of a process card (TOML). "
            "With --lhe: what to call the events.",
            show_default=False,
            autocompletion=completion.processes,
        ),
    ] = None,
    events: Annotated[
        int | None, typer.Option(help="How many events. Default 1000, or all of --lhe.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same events, with any number of workers.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes to use; all cores if not given.")] = None,
    detector: Annotated[
        str,
        typer.Option(
            help="atlas, atlas_fatjets, or the path of a detector card (TOML).", autocompletion=completion.detectors
        ),
    ] = "atlas",
    setup: Annotated[
        str,
        typer.Option(
            help="realistic, or paper: PYTHIA's default decays and true impact parameters.",
            autocompletion=completion.one_of("realistic", "paper"),
        ),
    ] = "realistic",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A PYTHIA setting 'Key = value'; may be given more than once.")
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            help="Flavour rule: hadron or delphes; the setup's if not given.",
            autocompletion=completion.one_of("hadron", "delphes"),
        ),
    ] = None,
    all_eta: Annotated[bool, typer.Option("--all-eta", help="Keep jets at any eta, not only |eta| < 2.5.")] = False,
    round_bits: Annotated[
        int | None, typer.Option(help="Keep this many bits of mantissa, for smaller files; 10 is one part in 2000.")
    ] = None,
    subjets: Annotated[
        bool, typer.Option("--subjets", help="Find the jets' subjets too; panoptag prepare has options for them.")
    ] = False,
    lhe: Annotated[
        Path | None, typer.Option(help="Shower this file's Les Houches events (plain or .gz).", show_default=False)
    ] = None,
    pileup: Annotated[
        str | None,
        typer.Option(help="Mean number of pileup collisions, such as 60; a list 40,60,80; or a histogram's file."),
    ] = None,
    pileup_library: Annotated[
        Path | None,
        typer.Option(
            help="File of minimum-bias collisions, made if it isn't there. Default: one in the cache folder.",
            show_default=False,
        ),
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option(help="Make so many files in the folder --output, with a manifest; goes on where it was stopped."),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Simulate on a Dask cluster: its scheduler's address tcp://HOST:PORT or file.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file, or the shards, if there are any.")
    ] = False,
) -> None:
    """Simulate collision events: PYTHIA 8, the detector, anti-kT jets with their flavour.

    With --shards the same command, run again, makes what is missing.

    Examples:
        # 100 events of top-quark pairs
        panoptag simulate --process ttbar --events 100 --seed 7 -o more.h5

        # a folder of shards; stopped, the same command goes on
        panoptag simulate --process ZH --events 400 --shards 2 -o ZH/

        # with 10 pileup collisions on average, from a library of your own
        panoptag pileup --collisions 500 -o minimum_bias.h5
        panoptag simulate --process ttbar --events 20 --pileup 10 \\
          --pileup-library minimum_bias.h5 -o pileup.h5
    """
    from panoptag_pyg.errors import ConfigError
    from panoptag_pyg.events import EventFile
    from panoptag_pyg.events.manifest import Manifest
    from panoptag_pyg.simulation import Pileup, SubjetOptions
    from panoptag_pyg.simulation import simulate as run

    if workers is None:
        workers = granted_cores()
    if events is None and lhe is None:
        events = 1000
    if pileup_library is not None and pileup is None:
        raise ConfigError("--pileup-library needs --pileup, which says how much of it there is")
    command = shlex.join(["panoptag", *sys.argv[1:]])
    path = run(
        process,
        events,
        output,
        seed=seed,
        workers=workers,
        detector=detector,
        setup=setup,
        settings=set_ or (),
        label=label,
        all_eta=all_eta,
        overwrite=overwrite,
        round_bits=round_bits,
        subjets=SubjetOptions() if subjets else None,
        lhe=lhe,
        pileup=None if pileup is None else Pileup.parse(pileup, pileup_library),
        shards=shards,
        scheduler=scheduler,
        command=command,
    )
    if shards is None:
        with EventFile(path) as file:
            made, lost = file.num_events, int(file.attributes.get("num_events_dropped", 0))
        what, size = f"{made} events", path.stat().st_size
    else:
        manifest = Manifest.load(path)
        made, size = manifest.num_events, sum(file.bytes for file in manifest.files)
        lost = sum(int(manifest.attributes_of(file).get("num_events_dropped", 0)) for file in manifest.files)
        what = f"{made} events in {len(manifest.files)} files"
    if lost:
        typer.echo(f"PYTHIA could not shower {lost} of {made + lost} events of {lhe}; they are left out")
    typer.echo(f"{path}: {what}, {size / 1e6:.1f} MB; look at them with `panoptag inspect {path}`")
