"""``panoptag predict``: a trained tagger's scores for every jet of any number of files, in their order."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from panoptag_pyg.errors import ConfigError

from . import completion
from .tagging import (
    CalibrationFile,
    Data,
    MoreData,
    OptionalRun,
    Overwrite,
    Threads,
    choose_device,
    granted_cores,
    warn_of_differences,
)


def predict(
    data: Data,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="File for the scores: .h5, .root (a friend tree) or .parquet; or a folder, for a file per input.",
            show_default=False,
        ),
    ],
    run: OptionalRun = None,
    more_data: MoreData = None,
    from_hub_like: Annotated[
        Path | None,
        typer.Option(
            help="A folder of config.json and model.safetensors, in place of RUN; all arguments are events then.",
            show_default=False,
            autocompletion=completion.runs,
        ),
    ] = None,
    root: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="How ROOT files are read: an option of panoptag convert delphes or nanoaod, such as jets=file; may be "
            "repeated.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        Literal["hdf5", "root", "parquet"] | None,
        typer.Option(
            "--format", help="Format of the output. Default: by its ending; hdf5 in a folder.", show_default=False
        ),
    ] = None,
    calibration: CalibrationFile = None,
    overwrite: Overwrite = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Stop at an event with a value that is not finite, in place of marking it, and if the events differ "
            "from those of the training.",
        ),
    ] = False,
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="Write the embedding of each jet, too (HDF5 or Parquet).")
    ] = False,
    pfo_embeddings: Annotated[
        bool, typer.Option("--pfo-embeddings", help="Write the embedding of each PFO, too (HDF5).")
    ] = False,
    embedding_type: Annotated[Literal["float16", "float32"], typer.Option(help="Precision of embeddings.")] = "float16",
    attention: Annotated[
        Literal["mean", "heads"] | None,
        typer.Option(
            help="Write what each jet looks at (HDF5): the mean over heads, or each head's.",
            show_default=False,
        ),
    ] = None,
    tree: Annotated[str, typer.Option(help="Name of the tree in a ROOT file.")] = "panoptag",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Events per batch. Default: 64.", show_default=False)
    ] = None,
    max_pfos_per_batch: Annotated[
        int | None,
        typer.Option(min=1, help="PFOs per batch, in place of a number of events.", show_default=False),
    ] = None,
    events_per_part: Annotated[
        int, typer.Option(min=1, help="Events of a part: what is done again at most after a run was stopped.")
    ] = 16384,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes. Default: one for each device.", show_default=False),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where to compute: auto, cpu, cuda, cuda:1, mps; or several: cuda:0,cuda:1.")
    ] = "auto",
    threads: Threads = None,
) -> None:
    """Write the scores of every jet, or what else the task asks about; the events need no truth.

    The same command, after a run was stopped, goes on where that was.

    Examples:
        # every jet's scores, in the order of the file
        panoptag predict run/ --data ttbar.h5 -o scores.h5

        # by the trained tagger that comes with the package
        panoptag predict --data ttbar.h5 -o shipped.h5

        # of ROOT files, as a friend tree
        panoptag predict run/ --data delphes.root --root jets=file -o friend.root
    """
    import time

    from panoptag_pyg.prediction.engine import Options
    from panoptag_pyg.prediction.extras import Extras
    from panoptag_pyg.prediction.root_options import RootOptions
    from panoptag_pyg.prediction.run import predict_files
    from panoptag_pyg.prediction.source import SourceOptions, open_sources
    from panoptag_pyg.prediction.workers import WorkerOrder, make_engine

    start = time.monotonic()
    devices = [choose_device(name, threads) for name in device.split(",")]
    tagger, paths = _tagger(run, from_hub_like), [*data, *(more_data or [])]
    if run is not None and from_hub_like is not None:
        paths.insert(len(data), str(run))
    extras = Extras(embeddings, pfo_embeddings, embedding_type, attention or "")
    options = Options(batch_size, max_pfos_per_batch, extras, strict)
    apart = len(devices) > 1 or (workers or 1) > 1
    engine = make_engine(tagger, options, "cpu" if apart else devices[0], calibration)
    reading = SourceOptions(engine.columns, RootOptions.parse(root or []))
    sources = open_sources(paths, reading)
    for note in dict.fromkeys(note for source in sources for note in getattr(source, "notes", ())):
        typer.echo(f"Note: {note}", err=True)
    warn_of_differences(tagger, sources, strict)
    stream = engine.stream(sources)
    order = None
    if apart:
        number = workers or len(devices)
        each = threads or max(1, granted_cores() // number)
        order = WorkerOrder(tagger, tuple(paths), options, reading, calibration, tuple(devices), number, each)
    found = predict_files(
        engine,
        stream,
        output,
        format=format,
        overwrite=overwrite,
        tree=tree,
        part_events=events_per_part,
        workers=order,
    )
    what = "scores" if engine.task is None else ", ".join(engine.task.parts())
    rows = ", ".join(f"{number:,} {level}s" for level, number in found.rows.items())
    files = "" if len(found.files) == 1 else f" ({len(found.files)} files)"
    typer.echo(f"{output}{files}: {what} of {rows} in {found.num_events:,} events")
    speed = f"{found.num_scored / max(found.seconds, 1e-9):,.0f} events/s"
    typer.echo(f"{speed}, {time.monotonic() - start:.0f} s in all, peak memory {_peak_memory()}")
    if found.note:
        typer.echo(f"Note: {found.note}.", err=True)


def _tagger(run: Path | None, from_hub_like: Path | None) -> Path:
    """The run folder, checkpoint or hub folder that is meant; the tagger that comes with the package if none is."""
    from panoptag_pyg.training.shipped import DEFAULT_TAGGER, shipped_tagger

    named = from_hub_like or run
    if named is not None:
        return named
    shipped = shipped_tagger(DEFAULT_TAGGER)
    if shipped is None:
        raise ConfigError("no tagger was named; give a run folder or a checkpoint, or --from-hub-like FOLDER")
    typer.echo(f"Note: no tagger was named; {DEFAULT_TAGGER} is taken, which comes with the package.", err=True)
    return shipped


def _peak_memory() -> str:
    """The largest resident memory of this process and of those that it started, for people."""
    try:
        import resource
    except ImportError:  # Windows
        return "unknown"
    unit = 1 if sys.platform == "darwin" else 1024
    own, others = (
        resource.getrusage(who).ru_maxrss * unit / 2**20 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return f"{own:,.0f} MB" if others < own / 2 else f"{own:,.0f} MB, of a worker {others:,.0f} MB"
