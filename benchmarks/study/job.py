"""One run in a process of its own: train or go on training, score the test events, write the record.

Or, of a run that is trained: its figures on other events.
"""

from __future__ import annotations

import time
from pathlib import Path
from shutil import rmtree
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.evaluation import Predictions, predict_jets
from panoptag_pyg.evaluation.predictions import PredictionsError
from panoptag_pyg.jobs import read_json, work
from panoptag_pyg.output import write_json
from panoptag_pyg.training import Recipe, load_tagger, train
from panoptag_pyg.training.callbacks import read_metrics
from panoptag_pyg.training.checkpoint import needed_fields
from panoptag_pyg.training.data import open_dataset

from .events import checksum
from .measure import figures, number
from .record import make_record, write_record

#: What :func:`test_again` leaves.
FIGURES_FILE = "figures.json"


class Clock(Callback):
    """Seconds of processor and of wall-clock time that a run has taken, over all its resumptions.

    Args:
        path: kept there after every epoch and when the run is stopped; a killed one lacks what it did since.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before = read_json(path)
        self.start = (time.process_time(), time.monotonic())

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.keep()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        self.keep()

    def keep(self) -> None:
        """Write the time so far."""
        cpu, wall = time.process_time() - self.start[0], time.monotonic() - self.start[1]
        write_json(self.path, {"cpu": self.before.get("cpu", 0) + cpu, "wall": self.before.get("wall", 0) + wall})


class FlavourHead(nn.Module):
    """The flavour's logits of a tagger that answers several tasks.

    Args:
        model: the tagger.
        part: the name of the flavour task among the recipe's.
    """

    def __init__(self, model: nn.Module, part: str) -> None:
        super().__init__()
        self.model, self.part = model, part

    def forward(self, batch: HeteroData) -> Tensor:
        return self.model(batch)[self.part]


def train_and_score(order: dict[str, Any]) -> None:
    """Do what of the run isn't done yet.

    Args:
        order: ``asked`` (the plan's words), ``recipe`` (JSON), ``folder`` (of the run), ``train``, ``validation``,
            ``test`` (by process), ``seen``, ``record``, and ``start_from`` where it begins with another run's weights.
    """
    if read_json(Path(order["record"])).get("key") == order["asked"]["key"]:
        return  # another runner was quicker
    trained, summary = train_run(order)
    start = time.process_time()
    scores = score(order, Path(order["folder"]) / "run", Path(order["folder"]) / "scores")
    print("computing the figures", flush=True)
    record = make_record(
        order["asked"],
        Recipe.from_json(order["recipe"]).model_dump(),
        trained,
        describe_data(order, summary),
        scores,
        tuple(order["seen"]),
    )
    record["seconds"]["test_cpu"] = round(time.process_time() - start, 1)
    write_record(Path(order["record"]), record)
    print(f"{order['record']} is written", flush=True)


def test_again(order: dict[str, Any]) -> None:
    """Figures of a trained run on other events, if they aren't there yet.

    Args:
        order: ``run`` (its folder), ``test`` (by process), ``seen``, and ``folder``: for the scores and, when all is
            done, :data:`FIGURES_FILE`. It belongs to this training and these events alone.
    """
    folder = Path(order["folder"])
    if not (folder / FIGURES_FILE).is_file():
        scores = score(order, Path(order["run"]), folder / "scores")
        print("computing the figures", flush=True)
        write_json(folder / FIGURES_FILE, figures(scores, order["seen"]))


def train_run(order: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train, or go on training; what the record says of it, and the run's summary.

    Args:
        order: as of :func:`train_and_score`.
    """
    folder, key = Path(order["folder"]), order["asked"]["training_key"]
    run, state = folder / "run", folder / "state.json"
    tested = {process: [Path(file).name for file in files] for process, files in order["test"].items()}
    before = read_json(state)
    if before.get("training_key") != key:
        for old in (run, folder / "scores"):
            rmtree(old, ignore_errors=True)
        (folder / "clock.json").unlink(missing_ok=True)
    elif before.get("tested", tested) != tested:  # the same training, tested on other events
        rmtree(folder / "scores", ignore_errors=True)
    write_json(state, {"training_key": key, "tested": tested})
    if read_json(run / "summary.json").get("status") != "finished":
        resume = (run / "recipe.toml").is_file()
        recipe = Recipe.from_json(order["recipe"])
        # Not in the order's recipe: where that run lies on this machine is nothing for a record.
        section = recipe.train.model_copy(update={"start_from": order.get("start_from")})
        recipe = recipe.model_copy(update={"train": section})
        clock = Clock(folder / "clock.json")
        train(recipe, order["train"], run, order["validation"], resume=resume, callbacks=[clock])
    summary = read_json(run / "summary.json")
    trained = {
        "parameters": summary["parameters"],
        "best_epoch": summary["best_epoch"],
        "epochs": [
            {name: number(value, 6) for name, value in row.items()} for row in read_metrics(run / "metrics.csv")
        ],
        "seconds": {name: round(value, 1) for name, value in read_json(folder / "clock.json").items()},
    }
    return trained, summary


def score(order: dict[str, Any], run: Path, folder: Path) -> dict[str, Predictions]:
    """Scores of all test events by process; what is there already is taken.

    Raises:
        PredictionsError: if a score isn't finite.
        PanopTagError: if the run doesn't tag flavours.
    """
    model, recipe = load_tagger(run)
    fields = needed_fields(model)
    if recipe.task.name == "several":
        parts = [name for name, options in recipe.task.options.items() if options["task"] == "flavour"]
        if not parts:
            raise PanopTagError("none of the recipe's tasks is the flavour of jets")
        model = FlavourHead(model, parts[0]).eval()
    # All taggers are tested on the same jets.
    section = recipe.data.model_copy(update={"max_jets": None})
    found = {}
    for process, files in order["test"].items():
        path = folder / f"{process}.h5"
        try:
            found[process] = Predictions.load(path)
            continue
        except PredictionsError:
            pass
        print(f"scoring {process}", flush=True)
        found[process] = predict_jets(model, open_dataset(files, section, fields), description=f"tagging {process}")
        found[process].save(path, overwrite=True)
    return found


def describe_data(order: dict[str, Any], summary: dict[str, Any]) -> dict[str, Any]:
    """Counts and checksums of the events."""
    found: dict[str, Any] = {}
    for part in ("training", "validation"):
        counts = summary["data"][part]
        kept = {name: counts[name] for name in ("processes", "events", "jets", "jets_per_class", "pfos")}
        files = order["train" if part == "training" else part]
        found[part] = kept | {"sha256": checksum([Path(file) for file in files])}
    found["test"] = {
        process: {"sha256": checksum([Path(file) for file in files])} for process, files in order["test"].items()
    }
    return found


if __name__ == "__main__":
    work({"train": train_and_score, "test": test_again})
