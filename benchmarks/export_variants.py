"""What exports and their variants of fewer bits cost and save: time per event, file size, and the physics.

    python -m panoptag_pyg.benchmarks.export_variants RUN [RUN ...] --data test/ --work /tmp/exports

Every variant tags the same events. Times are taken turn about: in each round every variant once, in a new order, and
compared within the round. The physics is that of the scores before and after, on the same redrawn events, so that the
uncertainty is that of the change. The result is put into the JSON beside what it says of other runs;
``--only physics`` and ``--only timing`` renew one part.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from panoptag_pyg.errors import ConfigError, PanopTagError, suggest
from panoptag_pyg.evaluation import EventBootstrap, Predictions, predict_jets, rejection_curve
from panoptag_pyg.evaluation.bootstrap import interval, measured
from panoptag_pyg.evaluation.metrics import accuracies, aucs
from panoptag_pyg.evaluation.rejection import discriminant
from panoptag_pyg.evaluation.report import SIGNALS
from panoptag_pyg.events import EventDataset, EventLoader
from panoptag_pyg.export.formats import GRAPHS, default_name
from panoptag_pyg.export.interface import describe
from panoptag_pyg.output import write_json
from panoptag_pyg.training import load_tagger, load_task
from panoptag_pyg.training.checkpoint import needed_fields
from panoptag_pyg.training.data import open_dataset

from .machine import describe_machine

#: Name → format and precision; the first, which is compared with, is the tagger itself in torch.
VARIANTS: dict[str, tuple[str, str] | None] = {
    "eager": None,
    "onnx": ("onnx", "float32"),
    "onnx int8": ("onnx", "int8"),
    "torch-export": ("torch-export", "float32"),
    "torch-export bf16": ("torch-export", "bf16"),
    "aoti": ("aoti", "float32"),
    "aoti bf16": ("aoti", "bf16"),
}
EFFICIENCIES = (0.5, 0.8)
DEFAULT_OUTPUT = Path("benchmarks/results/export_variants.json")


def build(run: Path, names: Sequence[str], work: Path) -> tuple[dict[str, nn.Module], dict[str, int], Any]:
    """Every variant of a run's tagger, the sizes of their files, and the recipe.

    Args:
        run: a run folder.
        names: of :data:`VARIANTS`.
        work: where files are made, and found again.
    """
    model, recipe = load_tagger(run)
    taggers: dict[str, nn.Module] = {}
    sizes = {}
    for name in names:
        chosen = VARIANTS[name]
        if chosen is None:
            taggers[name] = model
            continue
        form, precision = chosen
        path = work / label(run) / default_name(form, recipe.model.name, precision, False)
        write, load = GRAPHS[form].functions()
        if not path.exists():
            print(f"{path}: writing", file=sys.stderr)
            write(model, path, describe(model, recipe, load_task(run), precision=precision), False)
        taggers[name], sizes[name] = load(path), path.stat().st_size
    return taggers, sizes, recipe


def label(run: Path) -> str:
    """What a run is called in the JSON and in file names: the two folders that tell it from others."""
    parts = [part for part in run.parts if part != "run"]
    return "-".join(parts[-2:])


def physics(taggers: dict[str, nn.Module], dataset: EventDataset, replicas: int, batch_size: int) -> dict[str, Any]:
    """Accuracy, AUC and rejections of each variant, and the change against the first of them.

    Args:
        taggers: the variants by name.
        dataset: events with truth.
        replicas: redrawn samples.
        batch_size: events per call.
    """
    scores = {
        name: predict_jets(tagger, dataset, batch_size, description=name).require_truth()
        for name, tagger in taggers.items()
    }
    first = next(iter(scores))
    bootstrap = EventBootstrap(scores[first].event_index, replicas)
    values = {name: figures(predictions, bootstrap) for name, predictions in scores.items()}
    found: dict[str, Any] = {}
    for name in scores:
        found[name] = {}
        for figure, (value, drawn) in values[name].items():
            before, drawn_before = values[first][figure]
            is_ratio = "rejection" in figure
            change = value / before if is_ratio else value - before
            with np.errstate(all="ignore"):
                changes = drawn / drawn_before if is_ratio else drawn - drawn_before
            low, high = interval(changes[np.isfinite(changes)])
            found[name][figure] = {
                **{key: _plain(number) for key, number in measured(value, drawn[np.isfinite(drawn)]).to_dict().items()},
                "change": None if name == first else {
                    "kind": "ratio" if is_ratio else "difference",
                    **{key: _plain(float(number)) for key, number in (("value", change), ("low", low), ("high", high))},
                },
            }  # fmt: skip
        difference = np.abs(scores[name].probabilities - scores[first].probabilities)
        found[name]["largest_difference_of_probabilities"] = float(difference.max())
        found[name]["jets_of_another_class"] = float(
            np.mean(scores[name].logits.argmax(1) != scores[first].logits.argmax(1))
        )
    return {"events": len(dataset), "jets": len(scores[first]), "replicas": replicas, "variants": found}


def _plain(number: float) -> float | None:
    """JSON has no NaN: a rejection where no background jet passes."""
    return float(number) if np.isfinite(number) else None


def figures(scores: Predictions, bootstrap: EventBootstrap) -> dict[str, tuple[float, np.ndarray]]:
    """Each figure and its replicas."""
    every, weight = np.arange(len(scores)), scores.weight.astype(np.float64)
    found = {}
    for name, function, answers in (("accuracy", accuracies, scores.logits), ("auc", aucs, scores.probabilities)):
        drawn = [
            function(answers, scores.flavour, bootstrap.weights(chunk, every, weight))
            for chunk in bootstrap.chunks(3 * len(scores))
        ]
        found[name] = (float(function(answers, scores.flavour, weight[None])[0]), np.concatenate(drawn))
    for signal, index in SIGNALS.items():
        is_signal, is_light = scores.flavour == index, scores.flavour == 0
        curve = rejection_curve(
            discriminant(scores.logits, index), is_signal, is_light, list(EFFICIENCIES), weight, bootstrap
        )
        for place, efficiency in enumerate(EFFICIENCIES):
            rate = curve.false_positive_rate[:, place]
            with np.errstate(all="ignore"):
                value = curve.points[place].value
                found[f"{signal} rejection at {efficiency:.0%}"] = (np.nan if value is None else value, 1 / rate)
    return found


def timing(
    taggers: dict[str, nn.Module], dataset: EventDataset, batch_sizes: Sequence[int], rounds: int, threads: int
) -> dict[str, Any]:
    """Milliseconds per event of each variant, and its speed relative to the first, round by round.

    Args:
        taggers: the variants by name.
        dataset: events, all of which are tagged in every round.
        batch_sizes: events per call.
        rounds: how often.
        threads: of torch and onnxruntime.
    """
    found: dict[str, Any] = {"events": len(dataset), "threads": threads, "rounds": rounds, "batches": {}}
    order = list(taggers)
    for batch_size in batch_sizes:
        batches = [batch.clone() for batch in EventLoader(dataset, batch_size=batch_size)]
        seconds: dict[str, list[float]] = {name: [] for name in taggers}
        for number in range(rounds + 1):
            random.Random(number).shuffle(order)
            for name in order:
                start = time.perf_counter()
                with torch.inference_mode():
                    for batch in batches:
                        taggers[name](batch)
                if number:  # the first round warms up
                    seconds[name].append(time.perf_counter() - start)
        first = seconds[next(iter(taggers))]
        found["batches"][str(batch_size)] = {
            name: {
                "milliseconds_per_event": 1e3 * statistics.median(taken) / len(dataset),
                "speed": statistics.median(a / b for a, b in zip(first, taken, strict=True)),
                "speed_range": [f(a / b for a, b in zip(first, taken, strict=True)) for f in (min, max)],
            }
            for name, taken in seconds.items()
        }
    return found


def spread(dataset: EventDataset, number: int) -> EventDataset:
    """So many of the events, from all over the files."""
    return dataset.select(np.unique(np.linspace(0, len(dataset) - 1, min(number, len(dataset))).astype(np.int64)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and put the result into the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--data", nargs="+", required=True, help="test events with truth: files, folders or globs")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), help=", ".join(VARIANTS))
    parser.add_argument("--only", choices=("physics", "timing"), help="leave out the other part")
    parser.add_argument("--events", type=int, default=20_000, help="most events for the physics")
    parser.add_argument("--timed-events", type=int, default=256)
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--replicas", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("exports"), help="folder of the exported files")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT)
    options = parser.parse_args(arguments)
    for name in options.variants:
        if name not in VARIANTS:
            raise ConfigError(f"there is no variant '{name}'{suggest(name, VARIANTS)}")
    names = ["eager", *(name for name in options.variants if name != "eager")]
    torch.set_num_threads(options.threads)
    for run in options.runs:
        taggers, sizes, recipe = build(run, names, options.work)
        dataset = open_dataset(options.data, recipe.data, needed_fields(taggers["eager"]))
        parts: dict[str, Any] = {"tagger": recipe.model.name, "bytes": sizes}
        stamp = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": describe_machine()}
        if options.only != "timing":
            parts["physics"] = stamp | physics(taggers, spread(dataset, options.events), options.replicas, 16)
        if options.only != "physics":
            timed = spread(dataset, options.timed_events)
            parts["timing"] = stamp | timing(taggers, timed, options.batch_sizes, options.rounds, options.threads)
        save(options.output, label(run), parts)


def save(path: Path, run: str, parts: dict[str, Any]) -> None:
    """Put a run's parts into the JSON; what it says of other runs, and parts not measured now, stay."""
    known = path.exists()
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if known else {"benchmark": "export_variants"}
    runs: dict[str, Any] = result.setdefault("runs", {})
    before = runs.get(run, {})
    sizes = {**before.get("bytes", {}), **parts["bytes"]}
    runs[run] = {**before, **parts, "bytes": sizes}
    write_json(path, result)
    print(f"{path}: {run}, {', '.join(part for part in ('physics', 'timing') if part in parts)}")


if __name__ == "__main__":
    try:
        main()
    except PanopTagError as error:
        sys.exit(f"Error: {error}")
