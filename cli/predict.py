"""``panoptag predict``: a trained tagger's scores for every jet, in the order of the files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .tagging import CalibrationFile, Data, Device, MoreData, Overwrite, Run, Threads


def predict(
    run: Run,
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="HDF5 file for the scores.", show_default=False)],
    more_data: MoreData = None,
    calibration: CalibrationFile = None,
    overwrite: Overwrite = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Events per batch.")] = 64,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Write the scores of every jet, or what else the task asks about; the events need no truth."""
    from panoptag_pyg.evaluation import predict_answers, predict_jets
    from panoptag_pyg.output import check_output
    from panoptag_pyg.training import load_tagger, load_task

    from .tagging import choose_device, load_calibration, open_events

    check_output(output, overwrite)
    place = choose_device(device, threads)
    model, recipe = load_tagger(run)
    calibrated = load_calibration(calibration, recipe)
    if recipe.task.name != "flavour":
        task = load_task(run)
        dataset = open_events([*data, *(more_data or [])], recipe, model, task)
        answers = predict_answers(model, task, dataset, batch_size, device=place, recipe=recipe.to_json())
        answers.save(output, overwrite)
        rows = ", ".join(f"{len(table):,} {level}s" for level, table in answers.tables.items())
        typer.echo(f"{output}: {', '.join(answers.tasks)} of {rows} in {answers.num_events:,} events")
        return
    dataset = open_events([*data, *(more_data or [])], recipe, model)
    predictions = predict_jets(model, dataset, batch_size, device=place, recipe=recipe.to_json())
    if calibrated is not None:
        predictions = calibrated.of(predictions)
    predictions.save(output, overwrite)
    typer.echo(f"{output}: scores of {len(predictions):,} jets in {predictions.num_events:,} events")
