"""What is checked: a run's model and recipe, the events to check it on, and those that it was trained on."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg.errors import ConfigError, EventFileError, PanopTagError
from panoptag_pyg.evaluation.predictions import Predictions, predict_jets
from panoptag_pyg.events import EventDataset
from panoptag_pyg.tasks import Task
from panoptag_pyg.tasks.flavour import FlavourTagging
from panoptag_pyg.training import Recipe, load_tagger, load_task
from panoptag_pyg.training.checkpoint import needed_fields
from panoptag_pyg.training.data import TaggerData, held_out_events, open_dataset

#: What is done to a batch before the model sees it.
Variation = Callable[[HeteroData], HeteroData]


class FlavourOf(nn.Module):
    """A run's model seen as a tagger: the logits of light, c and b, whatever else it answers.

    Args:
        model: the model.
        task: its task.
        part: the flavour's name among the task's parts.
        variation: what is done to each batch first. Default: nothing.
    """

    def __init__(self, model: nn.Module, task: Task, part: str, variation: Variation | None = None) -> None:
        super().__init__()
        self.model = model
        self.task = task
        self.part = part
        self.variation = variation

    def forward(self, batch: HeteroData) -> Tensor:
        if self.variation is not None:
            batch = self.variation(batch)
        return self.task.part_output(self.model(batch), self.part)

    def varied(self, variation: Variation) -> FlavourOf:
        """The same model on other batches."""
        return FlavourOf(self.model, self.task, self.part, variation)


@dataclass
class Subject:
    """A run under examination.

    Attributes:
        run: its folder or checkpoint.
        tagger: its model as a tagger.
        flavour: its flavour task, with the weights of the classes.
        recipe: its recipe.
        summary: its ``summary.json``; empty without one.
        device: where to compute.
        batch_size: events at a time.
    """

    run: Path
    tagger: FlavourOf
    flavour: FlavourTagging
    recipe: Recipe
    summary: dict[str, Any]
    device: str = "cpu"
    batch_size: int = 64

    @property
    def fields(self) -> frozenset[str]:
        """What the model reads of a batch beyond the usual."""
        return needed_fields(self.tagger.model)

    def predict(self, dataset: EventDataset, variation: Variation | None = None, what: str = "tagging") -> Predictions:
        """Scores of the jets of known flavour.

        Args:
            dataset: the events.
            variation: what is done to them first. Default: nothing.
            what: text of the progress bar.
        """
        tagger = self.tagger if variation is None else self.tagger.varied(variation)
        found = predict_jets(tagger, dataset, self.batch_size, device=self.device, description=what)
        return found.require_truth("panoptag check")


def load_subject(run: Path, device: str = "cpu", batch_size: int = 64) -> Subject:
    """The run, its task and what it recorded of its data.

    Raises:
        CheckpointError: if there is no checkpoint, or it is damaged.
        ConfigError: if it doesn't tag flavour.
    """
    model, recipe = load_tagger(run)
    task = load_task(run)
    parts = {name: part for name, part in task.parts().items() if isinstance(part, FlavourTagging)}
    if not parts:
        raise ConfigError(
            f"{run}: was trained on the task '{recipe.task.name}', and panoptag check knows flavour tagging; "
            "use panoptag evaluate for other tasks"
        )
    part, flavour = next(iter(parts.items()))
    folder = run if run.is_dir() else run.parent
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        summary = {}
    return Subject(run, FlavourOf(model, task, part).eval(), flavour, recipe, summary, device, batch_size)


@dataclass
class Samples:
    """The events of a check.

    Attributes:
        test: on which the model is judged.
        train: on which it was trained; ``None`` if they aren't known or can't be found.
        tested_on: where the test events come from, for people.
        trained_on: the same of the training events, or why there are none.
        processes: of the training, from the run's summary.
        notes: what a reader should know.
    """

    test: EventDataset
    train: EventDataset | None
    tested_on: str
    trained_on: str
    processes: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


def find_samples(
    subject: Subject, data: Sequence[str] = (), train: Sequence[str] = (), events: int = 5_000, seed: int = 0
) -> Samples:
    """Test and training events: those that are given, else those that the run's summary records.

    Without test events these are the run's own: events left out by ``data.test_fraction``, else its validation events.

    Args:
        subject: the run.
        data: test events: files, folders or globs. Default: those of the run.
        train: training events. Default: those of the run.
        events: most events of either. Default 5,000.
        seed: which ones. Default 0.

    Raises:
        EventFileError: if test events are neither given nor found.
    """
    recorded = subject.summary.get("data", {}) if isinstance(subject.summary.get("data"), dict) else {}
    files = {part: [str(f) for f in recorded.get(part, {}).get("files", [])] for part in ("training", "validation")}
    processes = tuple(str(p) for p in recorded.get("training", {}).get("processes", ()))
    notes: list[str] = []
    split, problem = _split(subject, train or files["training"], files)
    training = None if split is None else split.training
    if split is not None and not train:
        expected = recorded.get("training", {}).get("events")
        if expected is not None and expected != len(split.training):
            notes.append(f"The training files hold {len(split.training):,} training events now, not {expected:,}.")
    if data:
        test, tested_on = _open(subject, data), ", ".join(data)
        shared = {Path(f.path).resolve() for f in test.files} & {Path(f).resolve() for f in files["training"]}
        if shared:
            notes.append(
                f"The model was trained on events of {', '.join(sorted(map(str, shared)))}: the numbers flatter it."
            )
    elif split is None:
        raise EventFileError(f"{subject.run}: give test events with --data; its own can't be taken: {problem}")
    elif subject.recipe.data.test_fraction:
        whole = _open(subject, train or files["training"])
        section = subject.recipe.data
        test = whole.select(held_out_events(len(whole), section.test_fraction, section.split_seed))
        tested_on = "the events that the training left out (data.test_fraction)"
    else:
        test, tested_on = split.validation, "the run's validation events"
        notes.append("Tested on the run's validation events, by which its epoch was chosen: slightly flattering.")
    if len(test) == 0:
        raise EventFileError(f"{tested_on}: no events in it; simulate some with panoptag simulate")
    trained_on = "the run's training events" + (f" of {', '.join(train)}" if train else "")
    return Samples(
        choose(test, events, seed),
        None if training is None else choose(training, events, seed + 1),
        tested_on,
        trained_on if training is not None else problem,
        processes,
        notes,
    )


def choose(dataset: EventDataset, events: int, seed: int) -> EventDataset:
    """At most so many events of a dataset, drawn evenly, in its order."""
    if len(dataset) <= events:
        return dataset
    return dataset.select(np.sort(np.random.default_rng(seed).choice(len(dataset), events, replace=False)))


def _open(subject: Subject, paths: Sequence[str]) -> EventDataset:
    # heavy_ancestry is truth of PFOs by which prompt tracks are known; a file may lack it.
    fields = subject.fields | {"pfo/heavy_ancestry"}
    return open_dataset(list(paths), subject.recipe.data, fields, subject.tagger.task.processes)


def _split(subject: Subject, train: Sequence[str], files: dict[str, list[str]]) -> tuple[TaggerData | None, str]:
    """Training and validation events as the training had them, or why not."""
    if not train:
        return None, "the run has no summary.json that names its training files; name them with --train"
    # Files that both came from were split by the recipe.
    validation = files["validation"] if files["validation"] != files["training"] else None
    fields = subject.fields | {"pfo/heavy_ancestry"}
    try:
        made = TaggerData(
            subject.recipe.data, list(train), validation, fields=fields, processes=subject.tagger.task.processes
        )
    except PanopTagError as error:
        return None, str(error)
    return made, ""


def float64(module: nn.Module) -> nn.Module:
    """A copy in float64, on the CPU."""
    return copy.deepcopy(module).cpu().double().eval()


def as_float64(event: HeteroData) -> HeteroData:
    """The same event with every real number in float64."""
    event = event.clone()
    for store in event.stores:
        for name, value in store.items():
            if isinstance(value, Tensor) and value.dtype == torch.float32:
                store[name] = value.double()
    return event
