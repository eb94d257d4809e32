"""``panoptag predict`` over very many events: throughput, and memory over time.

    python -m panoptag_pyg.benchmarks.pipeline.prediction data/ --events 1000000 --run run/ --output prediction.json
    python -m panoptag_pyg.benchmarks.pipeline.prediction data/ --events 20000 --recipe small.toml

Files are read as often as it takes; nothing of them is copied. Without a run the recipe's tagger is taken as it is
before its training: it takes as long.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from panoptag_pyg.output import write_json
from panoptag_pyg.prediction.engine import Engine, Options
from panoptag_pyg.prediction.run import PART_EVENTS, predict_files
from panoptag_pyg.prediction.source import SourceOptions, open_sources
from panoptag_pyg.prediction.workers import make_engine

from ..machine import describe_machine
from .epochs import resident_mebibytes

#: How often memory is looked at in all.
POINTS = 100


def measure(
    engine: Engine, paths: Sequence[str], num_events: int, output: str = "scores.h5", part_events: int = PART_EVENTS
) -> dict[str, Any]:
    """Score so many events into a temporary file, which is removed.

    Args:
        engine: the tagger.
        paths: files, folders or globs; repeated until there are events enough.
        num_events: at least so many.
        output: name of the file, whose ending says its format.
        part_events: events of a part.
    """
    once = open_sources(list(paths), SourceOptions(engine.columns))
    repeats = -(-num_events // sum(source.num_events for source in once))
    stream = engine.stream(once * repeats)
    start, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder, memory_over_time() as seen:
        found = predict_files(engine, stream, Path(folder) / output, part_events=part_events)
        size = found.files[0].stat().st_size
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {
        "events": found.num_events,
        "files": len(stream.sources),
        "events_in_files": stream.num_events // repeats,
        "jets": found.rows.get("jet", 0),
        "missing_events": found.num_missing,
        "seconds": seconds,
        "scoring_seconds": found.seconds,
        "cpu_seconds": cpu,
        "events_per_second": found.num_events / seconds,
        "bytes_per_event_written": size / found.num_events,
        "parameters": sum(parameter.numel() for parameter in engine.model.parameters()),
        "model": engine.recipe.model.name,
        "max_pfos": engine.recipe.data.max_pfos,
        "batch_size": engine.options.batch_size,
        "part_events": part_events,
        "threads": torch.get_num_threads(),
        **thinned(*seen),
    }


@contextmanager
def memory_over_time(every: float = 0.5) -> Iterator[tuple[list[float], list[float]]]:
    """Seconds and resident mebibytes of this process while the block runs, looked at by a thread."""
    seconds: list[float] = []
    mebibytes: list[float] = []
    start, ended = time.perf_counter(), threading.Event()

    def look() -> None:
        while True:
            seconds.append(time.perf_counter() - start)
            mebibytes.append(resident_mebibytes())
            if ended.wait(every):
                return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seconds, mebibytes
    finally:
        ended.set()
        thread.join()
        seconds.append(time.perf_counter() - start)
        mebibytes.append(resident_mebibytes())


def thinned(seconds: Sequence[float], mebibytes: Sequence[float], points: int = POINTS) -> dict[str, Any]:
    """The largest memory of each of ``points`` equal spans of time, and what it rose by after the first tenth."""
    times, memory = np.asarray(seconds), np.asarray(mebibytes)
    span = np.minimum((times / max(times[-1], 1e-9) * points).astype(int), points - 1)
    kept = [number for number in range(points) if (span == number).any()]
    early = memory[times <= times[-1] / 10]
    return {
        "resident_seconds": [round(float(times[span == number].max()), 2) for number in kept],
        "resident_mebibytes": [round(float(memory[span == number].max()), 1) for number in kept],
        "peak_mebibytes": round(float(memory.max()), 1),
        "peak_of_first_tenth": round(float(early.max()), 1),
        "rise_after_first_tenth": round(float(memory.max() - early.max()), 1),
    }


def untrained_run(recipe: str, events: Sequence[str], folder: Path) -> Path:
    """A run folder with the recipe's tagger before its training, normalised on some events."""
    from panoptag_pyg.events import EventDataset
    from panoptag_pyg.tasks import build_task
    from panoptag_pyg.training import Recipe
    from panoptag_pyg.training.checkpoint import BEST, ENTRY, build_model, needed_fields

    chosen = Recipe.from_toml(recipe)
    torch.manual_seed(0)
    model: Any = build_model(chosen)
    dataset = EventDataset(list(events), fields=needed_fields(model), jet_features=chosen.data.jet_features)
    model.fit_normalisation(dataset.get_batch(np.arange(min(500, len(dataset)))))
    task = build_task(chosen.task.name, **chosen.task.options)
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    weights |= {f"task.{name}": value for name, value in task.state_dict().items()}
    torch.save({ENTRY: {"recipe": chosen.to_json()}, "state_dict": weights}, folder / BEST)
    return folder


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="event files, folders or globs")
    parser.add_argument("--events", type=int, default=1_000_000, help="at least so many, by reading files again")
    parser.add_argument("--run", type=Path, help="a run folder or checkpoint")
    parser.add_argument("--recipe", default="small.toml", help="without a run: the recipe of the tagger")
    parser.add_argument("--format", choices=["h5", "root", "parquet"], default="h5")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", "-o", type=Path, help="JSON file to make")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        run = options.run or untrained_run(options.recipe, options.data, Path(folder))
        engine = make_engine(run, Options(batch_size=options.batch_size), options.device)
    found = measure(engine, options.data, options.events, f"scores.{options.format}")
    result = {"machine": describe_machine(), "device": options.device, "prediction": found}
    print(json.dumps(result, indent=1))
    if options.output:
        write_json(options.output, result)


if __name__ == "__main__":
    main()
