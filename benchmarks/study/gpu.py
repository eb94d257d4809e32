"""The study at its published size on one GPU: steps of ten minutes each, for ``benchmarks/study_gpu.sh``.

    python -m panoptag_pyg.benchmarks.study.gpu simulate --minutes 8    # as many events as there is time for
    python -m panoptag_pyg.benchmarks.study.gpu train panoptag --minutes 9
    python -m panoptag_pyg.benchmarks.study.gpu train part particlenet --minutes 9
    python -m panoptag_pyg.benchmarks.study.gpu show FOLDER             # table and figures of the results, anywhere

Nothing is begun that would outlast its time: the number of epochs follows from the rate measured on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from panoptag_pyg.errors import EventFileError, PanopTagError
from panoptag_pyg.jobs import read_json
from panoptag_pyg.output import write_json

from .events import files_of
from .gpu_events import simulate_until
from .plan import RECIPES, SETUPS, Entry, Plan, Run, Sample

ENTRIES = (
    Entry("panoptag", "PanopTag", "gpu_panoptag"),
    Entry("part", "ParT", "gpu_part"),
    Entry("particlenet", "ParticleNet", "gpu_particlenet"),
)
#: Seconds of a training's share that are kept for its test.
TEST_SECONDS = 75.0
#: The same at the end of a command, for what must be written.
END_SECONDS = 15.0
#: With less time than for so many epochs of all events, fewer events are taken.
LEAST_EPOCHS, MOST_EPOCHS = 4, 30
#: Share of a training's time that is spent on training batches; the rest goes to validation and checkpoints.
TRAINING_SHARE = 0.8


@dataclass(frozen=True)
class Size:
    """How large everything is.

    Attributes:
        sample: shards of each process; all further shards of a seen one are trained on.
        settings: of the recipes, by their model's name.
        probe_seconds: for which the rate of training is measured.
    """

    sample: Sample
    settings: dict[str, tuple[str, ...]]
    probe_seconds: float = 15.0


FULL = Size(Sample(shard_events=4000, train=(), validation=(0,), test=(1, 2, 3, 4, 5), test_unseen=(1, 2, 3, 4, 5)), {})
_SMALL = (
    "train.precision=32-true",
    "data.num_workers=0",
    "data.batch_size=8",
    "train.threads=1",
    "train.accelerator=cpu",
)
TINY = Size(
    Sample(shard_events=10, train=(), validation=(0,), test=(1,), test_unseen=(1,)),
    {
        "panoptag": (*_SMALL, "model.dim=8", "model.num_heads=2", "model.k=3", "model.num_inducing=2"),
        "part": (
            *_SMALL,
            "model.embed_dims=[8]",
            "model.pair_embed_dims=[4]",
            "model.num_heads=2",
            "model.num_layers=1",
        ),
        "particlenet": (*_SMALL, "model.conv_params=[[3, [8]]]", "model.fc_params=[[8, 0.1]]"),
    },
    probe_seconds=0.5,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one step; the exit code."""
    begin = time.monotonic()
    asked = _parser().parse_args(arguments)
    size = TINY if asked.tiny else FULL
    try:
        if asked.step == "show":
            from .gpu_report import show

            show(asked.results, asked.results if asked.output is None else asked.output)
            return 0
        folder, out = asked.folder / asked.setup, asked.output or Path(os.environ.get("OUT", asked.folder / "out"))
        deadline = begin + 60 * asked.minutes
        if asked.step == "simulate":
            found = simulate_until(folder, size.sample, asked.setup, deadline, asked.workers, asked.most)
            write_json(folder / "simulation.json", found)
            print(json.dumps(found))
        else:
            for place, name in enumerate(asked.taggers):
                left = deadline - END_SECONDS - time.monotonic()
                train_one(name, folder, asked.setup, size, left / (len(asked.taggers) - place))
                collect(folder, out)
    except PanopTagError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


def train_one(name: str, folder: Path, setup: str, size: Size, seconds: float) -> dict[str, Any]:
    """Train and test one tagger within a time; its record goes to ``folder / "results"``.

    Args:
        name: of one of :data:`ENTRIES`.
        folder: of the events, in ``data/``; of runs and results.
        setup: of the simulation.
        size: of everything.
        seconds: for all of it.

    Raises:
        EventFileError: if there are no events.
    """
    import torch

    from panoptag_pyg.evaluation import predict_jets
    from panoptag_pyg.training import load_tagger, train
    from panoptag_pyg.training.callbacks import read_metrics
    from panoptag_pyg.training.checkpoint import needed_fields
    from panoptag_pyg.training.data import open_dataset

    from .gpu_rate import Deadline, training_rate
    from .record import asked_of, make_record, write_record

    start = time.monotonic()
    sample = with_all_shards(size.sample, folder, setup)
    entry = next(entry for entry in ENTRIES if entry.name == name)
    entry = replace(entry, settings=size.settings.get(name, ()))
    run = Run(Plan((entry,), sample, RECIPES, for_all=()), entry, setup, 0)
    recipe = run.recipe()
    validation = [file for p in sample.seen for file in files_of(folder, setup, p, sample.validation)]
    files = [file for p in sample.seen for file in files_of(folder, setup, p, sample.train)]
    device = torch.device("cuda" if torch.cuda.is_available() and recipe.train.accelerator != "cpu" else "cpu")
    rate = training_rate(recipe, files, validation, device, size.probe_seconds)
    left = seconds - (time.monotonic() - start) - TEST_SECONDS
    epochs, shards = choose_epochs(rate, TRAINING_SHARE * max(left, 0), sample)
    files = [file for p in sample.seen for file in files_of(folder, setup, p, sample.train[:shards])]
    print(f"{name}: {rate:,.0f} events/s, so {epochs} epochs of {sample.training_events(shards):,} events", flush=True)
    section = recipe.train.model_copy(update={"max_epochs": epochs})
    recipe = recipe.model_copy(update={"train": section})
    place = folder / "runs" / name
    shutil.rmtree(place, ignore_errors=True)
    begin = (time.process_time(), time.monotonic())
    train(recipe, files, place, validation, callbacks=[Deadline(start + seconds - TEST_SECONDS)])
    took = {"cpu": time.process_time() - begin[0], "wall": time.monotonic() - begin[1]}
    model, _ = load_tagger(place)
    scores = {}
    begin = (time.process_time(), time.monotonic())
    for process in sample.processes:
        tested = files_of(folder, setup, process, sample.tested(process))
        data = open_dataset(tested, recipe.data.model_copy(update={"max_jets": None}), needed_fields(model))
        scores[process] = predict_jets(model, data, recipe.data.batch_size, device=device, description=process)
    summary = read_json(place / "summary.json")
    trained = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "parameters": summary["parameters"],
        "best_epoch": summary["best_epoch"],
        "epochs": read_metrics(place / "metrics.csv"),
        "events_per_second": round(rate, 1),
        "seconds": {**took, "test_cpu": time.process_time() - begin[0], "test_wall": time.monotonic() - begin[1]},
    }
    record = make_record(asked_of(run), recipe.model_dump(), trained, summary["data"], scores, sample.seen)
    write_record(folder / "results" / f"{run.name}.json", record)
    if name == ENTRIES[0].name:
        save_weights(model, recipe.to_json(), folder / "results" / f"{name}.safetensors")
    print(f"{name}: done in {time.monotonic() - start:.0f} s", flush=True)
    return record


def with_all_shards(sample: Sample, folder: Path, setup: str) -> Sample:
    """The sample with all shards to train on that there are of every seen process.

    Raises:
        EventFileError: if one has none, or shards of the test are missing.
    """
    first = max(*sample.validation, *sample.test) + 1
    counts = []
    for process in sample.processes:
        wanted = (*sample.validation, *sample.test) if process in sample.seen else sample.test_unseen
        missing = [file for file in files_of(folder, setup, process, wanted) if not file.is_file()]
        if missing:
            raise EventFileError(f"{missing[0]} is missing; simulate first, and go on before the machine is given back")
        number = first
        while process in sample.seen and files_of(folder, setup, process, [number])[0].is_file():
            number += 1
        counts.append(number - first if process in sample.seen else sys.maxsize)
    if not min(counts):
        raise EventFileError(f"{folder}: there are no events to train on; simulate for longer")
    return replace(sample, train=tuple(range(first, first + min(counts))))


def choose_epochs(rate: float, seconds: float, sample: Sample) -> tuple[int, int]:
    """How many epochs, and how many shards of each process, there is time for.

    Args:
        rate: training events per second.
        seconds: for training.
        sample: with the shards that there are.

    Returns:
        epochs and shards: all shards, if they can be seen :data:`LEAST_EPOCHS` times; else fewer.
    """
    shards = len(sample.train)
    epochs = int(rate * seconds / sample.training_events(shards))
    if epochs >= LEAST_EPOCHS:
        return min(epochs, MOST_EPOCHS), shards
    shards = max(1, min(shards, int(rate * seconds / LEAST_EPOCHS / sample.training_events(1))))
    return max(1, min(LEAST_EPOCHS, int(rate * seconds / sample.training_events(shards)))), shards


def save_weights(model: Any, recipe: str, path: Path) -> None:
    """The model's weights as safetensors, with the recipe in the metadata."""
    try:
        from safetensors.torch import save_file
    except ImportError:
        print("safetensors isn't installed: the weights stay in the run folder", flush=True)
        return
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"format": "pt", "recipe": recipe})


def collect(folder: Path, out: Path) -> None:
    """Copy everything that is to be brought back, of earlier commands too, into one flat folder."""
    out.mkdir(parents=True, exist_ok=True)
    for file in [folder / "simulation.json", *sorted((folder / "results").glob("*"))]:
        if file.is_file() and not file.name.startswith("."):
            shutil.copyfile(file, out / file.name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    simulate, train, show = (steps.add_parser(name) for name in ("simulate", "train", "show"))
    simulate.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes; default: all cores")
    simulate.add_argument("--most", type=int, default=600_000, help="events at most; default 600,000")
    train.add_argument("taggers", nargs="+", choices=[entry.name for entry in ENTRIES])
    for step in (simulate, train):
        step.add_argument("--minutes", type=float, default=9.0, help="for all of it; default 9")
        step.add_argument("--setup", choices=SETUPS, default="realistic")
        step.add_argument("--folder", type=Path, default=Path("/tmp/panoptag-study"), help="of events and runs")
        step.add_argument("--tiny", action="store_true", help="tens of events, small networks: does it all work?")
        step.add_argument("--output", type=Path, help="results to bring back; default: $OUT")
    show.add_argument("results", type=Path, help="folder of the records that came back")
    show.add_argument("--output", type=Path, help="folder of table and figures; default: the same")
    show.set_defaults(tiny=False)
    return parser


if __name__ == "__main__":
    sys.exit(main())
