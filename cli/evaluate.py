"""``panoptag evaluate``: how good a trained tagger is, beside taggers that learn nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .tagging import (
    CalibrationFile,
    Data,
    Device,
    MoreData,
    Overwrite,
    Run,
    Threads,
    open_events,
    training_data,
    warn_of_differences,
)


def evaluate(
    run: Run,
    data: Data,
    more_data: MoreData = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder for tables and figures. Default: RUN/evaluation.", show_default=False
        ),
    ] = None,
    calibration: CalibrationFile = None,
    overwrite: Overwrite = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Events per batch.")] = 64,
    device: Device = "auto",
    threads: Threads = None,
    replicas: Annotated[int, typer.Option(min=20, help="Redrawn samples for the uncertainties.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the redrawing.")] = 0,
    figures: Annotated[bool, typer.Option(help="Draw the figures.")] = True,
) -> None:
    """Accuracy, AUC and rejections with uncertainties, per process: a table, JSON and figures.

    Examples:
        # tables and figures in run/evaluation/
        panoptag evaluate run/ --data test/
    """
    from rich.console import Console

    from panoptag_pyg.evaluation import evaluate as evaluate_scores
    from panoptag_pyg.evaluation import predict_jets, track_counting_scores
    from panoptag_pyg.evaluation.predictions import PredictionsError
    from panoptag_pyg.evaluation.report import output_names
    from panoptag_pyg.evaluation.tables import missing_notes, sample_lines
    from panoptag_pyg.output import check_output
    from panoptag_pyg.prediction.loading import load_calibration
    from panoptag_pyg.training import load_tagger

    from .tagging import choose_device

    if output is None:
        output = (run if run.is_dir() else run.parent) / "evaluation"
    place = choose_device(device, threads)
    model, recipe = load_tagger(run)
    calibrated = load_calibration(calibration, recipe)
    if recipe.task.name != "flavour":
        return _evaluate_task(
            run, model, recipe, [*data, *(more_data or [])], output, overwrite, batch_size, place, replicas, seed
        )
    for name in output_names(figures):
        check_output(output / name, overwrite)
    dataset = open_events([*data, *(more_data or [])], recipe, model)
    warn_of_differences(run, [*data, *(more_data or [])])
    if not dataset.class_counts().any():
        raise PredictionsError(
            f"evaluate needs the true flavour of the jets, but {', '.join(str(file.path) for file in dataset.files)} "
            "has no jet with a known one; use panoptag predict for data without truth"
        )
    predictions = predict_jets(model, dataset, batch_size, device=place, recipe=recipe.to_json())
    if calibrated is not None:
        predictions = calibrated.of(predictions)
    counting, quantity = track_counting_scores(dataset)
    trained = training_data(run)
    notes = [f"Track counting: the n-th largest {quantity} of a jet's tracks with pT > 1 GeV and |d0| < 2 mm."]
    notes += flattery(dataset, trained)
    notes += [f"The scores are calibrated: {calibrated}."] if calibrated is not None else []
    told = getattr(model, "report", None)
    report = evaluate_scores(
        predictions,
        {f"track counting n={n}": counting[:, n - 1] for n in (1, 2, 3)},
        name={"panoptag": "PanopTag"}.get(recipe.model.name, recipe.model.name),
        trained_on=trained.get("processes"),
        replicas=replicas,
        seed=seed,
        notes=notes,
        model_report=told() if callable(told) else None,
    )
    written = report.save(output, overwrite, figures)
    console = Console()
    console.print(report.table())
    for line in (*sample_lines(report), *report.notes, *missing_notes(report)):
        console.print(line, style="dim", highlight=False)
    console.print("Written: " + ", ".join(str(path) for path in written), highlight=False, soft_wrap=True)


def _evaluate_task(
    run: Path,
    model: Any,
    recipe: Any,
    data: list[str],
    output: Path,
    overwrite: bool,
    batch_size: int,
    device: str,
    replicas: int,
    seed: int,
) -> None:
    """Any task but flavour tagging, or several."""
    from rich.console import Console

    from panoptag_pyg.evaluation import evaluate_answers, predict_answers
    from panoptag_pyg.evaluation.task_report import OUTPUT_NAMES
    from panoptag_pyg.output import check_output
    from panoptag_pyg.tasks.base import check_truth
    from panoptag_pyg.training import load_task

    for name in OUTPUT_NAMES:
        check_output(output / name, overwrite)
    task = load_task(run)
    dataset = open_events(data, recipe, model, task)
    warn_of_differences(run, data)
    for part in task.parts().values():
        check_truth(part, dataset)
    answers = predict_answers(model, task, dataset, batch_size, device=device, recipe=recipe.to_json())
    trained = training_data(run)
    notes = flattery(dataset, trained)
    report = evaluate_answers(answers, trained.get("processes"), replicas, seed, notes)
    written = report.save(output, overwrite)
    console = Console()
    for table in report.tables():
        console.print(table)
    for line in report.notes:
        console.print(line, style="dim", highlight=False)
    console.print("Written: " + ", ".join(str(path) for path in written), highlight=False, soft_wrap=True)


def flattery(dataset: Any, trained: dict[str, list[str]]) -> list[str]:
    """A note, if the model was trained on events of these files."""
    files = {Path(file).resolve() for file in trained.get("files", [])}
    shared = [str(file.path) for file in dataset.files if Path(file.path).resolve() in files]
    return [f"The model was trained on events of {', '.join(shared)}: the numbers flatter it."] if shared else []
