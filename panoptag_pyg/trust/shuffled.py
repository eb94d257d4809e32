"""Trained on shuffled labels a model must know nothing: if it does, the label leaks into what it sees."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from panoptag_pyg.evaluation.bootstrap import EventBootstrap
from panoptag_pyg.evaluation.metrics import auc_replicas
from panoptag_pyg.evaluation.predictions import Predictions
from panoptag_pyg.events import EventDataset, EventFileWriter
from panoptag_pyg.events.angularities import RADIUS
from panoptag_pyg.events.schema import COLUMNS
from panoptag_pyg.training import Recipe, train
from panoptag_pyg.trust.subject import Samples, Subject, choose, find_samples, load_subject
from panoptag_pyg.trust.verdict import CERTAIN, Section, deviation, exact, told


@dataclass(frozen=True)
class Chance:
    """A figure held against what chance gives.

    Attributes:
        value: found.
        chance: expected of scores that know nothing.
        error: of the difference, from redrawn events.
    """

    value: float
    chance: float
    error: float

    @property
    def pull(self) -> float:
        """Standard deviations above or below chance; 0 for a difference that is rounding."""
        difference = self.value - self.chance
        return deviation(difference, self.error) if abs(difference) > 1e-12 else 0.0


def against_chance(jets: Predictions, replicas: int = 200, seed: int = 0) -> dict[str, Chance]:
    """AUC against 1/2, and accuracy against that of guesses as frequent as the model's.

    With the model's guesses independent of the labels the accuracy is :math:`\\sum_c \\hat\\pi_c \\pi_c`, π̂ being the
    shares of its guesses and π those of the labels: that of the majority for a model that always says the same.

    Args:
        jets: with scores and known flavours.
        replicas: of the bootstrap.
        seed: of the bootstrap.
    """
    weight, num_classes = jets.weight.astype(np.float64), len(jets.class_names)
    bootstrap = EventBootstrap(jets.event_index, replicas, seed)
    found = {}
    value, drawn, missing = auc_replicas(jets.probabilities, jets.flavour, weight, bootstrap)
    if not missing:
        found["AUC"] = Chance(value, 0.5, float(np.nanstd(drawn)))
    guess, label = jets.logits.argmax(axis=1), jets.flavour.astype(int)

    def excess(table: np.ndarray) -> tuple[float, float]:
        """Accuracy, and that of guesses independent of the labels, of a table of guesses and labels [C, C]."""
        table = table / table.sum()
        return float(np.trace(table)), float(table.sum(axis=1) @ table.sum(axis=0))

    event = bootstrap.events(np.arange(len(jets)))
    cell = guess * num_classes + label
    per_event = np.bincount(event * num_classes**2 + cell, weight, bootstrap.num_events * num_classes**2)
    tables = bootstrap.counts @ per_event.reshape(bootstrap.num_events, -1)
    of_all = per_event.reshape(bootstrap.num_events, -1).sum(axis=0).reshape(num_classes, num_classes)
    spread = [np.subtract(*excess(table.reshape(num_classes, num_classes))) for table in tables]
    accuracy, chance = excess(of_all)
    found["accuracy"] = Chance(accuracy, chance, float(np.std(spread)))
    return found


def write_shuffled(dataset: EventDataset, folder: Path, seed: int) -> list[Path]:
    """The events of a dataset as files whose jets of known flavour have got each other's flavours.

    Args:
        dataset: the events.
        folder: where to; one file for each of the dataset's.
        seed: of the shuffling, over all events together.
    """
    file_of_event = dataset.file_of_events()
    numbers = [int(number) for number in np.unique(file_of_event)]
    blocks = [dataset.read_block(np.flatnonzero(file_of_event == number)) for number in numbers]
    flavours = np.concatenate([block.jet["flavour"] for block in blocks])
    known = flavours >= 0
    flavours[known] = np.random.default_rng((seed, 6)).permutation(flavours[known])
    paths = []
    first = 0
    for number, block in zip(numbers, blocks, strict=True):
        block.jet["flavour"] = flavours[first : first + block.num_jets]
        first += block.num_jets
        block.jet.pop(RADIUS, None)  # follows from the attributes again
        file = dataset.files[number]
        absent = [column.path for column in COLUMNS if column.optional and not file.has(column.path)]
        attributes = {key: value for key, value in file.attributes.items() if key in ("detector_card", "jets")}
        paths.append(folder / f"shuffled-{number:04d}.h5")
        with EventFileWriter(
            paths[-1], dataset.processes, attributes, unknown=absent, sources=dataset.sources or None
        ) as writer:
            writer.write(block)
    return paths


def shuffled_recipe(recipe: Recipe, epochs: int) -> Recipe:
    """The run's recipe, shortened: so many epochs on one device, with half of the events kept to judge by."""
    values: dict[str, Any] = recipe.model_dump()
    values["train"] |= {"max_epochs": epochs, "devices": 1, "num_nodes": 1, "early_stopping": None}
    # From nothing: weights that have seen true labels would know of them, and the earlier run may be gone.
    values["train"] |= {"start_from": None, "freeze": [], "lr_factor_taken": 1.0, "linear_probe": False}
    values["train"]["warmup_epochs"] = min(recipe.train.warmup_epochs, epochs / 4)
    if recipe.train.restart_epochs:
        values["train"]["restart_epochs"] = min(recipe.train.restart_epochs, epochs)
    values["data"] |= {"num_workers": 0, "validation_fraction": 0.5, "test_fraction": 0.0}
    values["data"] |= {"max_events": None, "max_validation_events": None}
    return Recipe.from_dict(values)


def shuffled_section(subject: Subject, samples: Samples, events: int, epochs: int, seed: int, replicas: int) -> Section:
    """Train the run's recipe on shuffled labels and judge it on other events with shuffled labels.

    Args:
        subject: the run.
        samples: its events; training events if there are any, else test events.
        events: how many are taken, half of them to judge by.
        epochs: of the training.
        seed: of choice and shuffling.
        replicas: of the bootstrap.
    """
    section = Section(
        "shuffled",
        "Shuffled labels",
        "The run's recipe is trained again, shortened, on events whose jets have got each other's flavours, and judged "
        "on other events with shuffled flavours. There is nothing to learn, so it must come out at chance: an AUC of "
        "0.5, and an accuracy that guesses as frequent as its own would have. More means that the label is among the "
        "inputs.",
    )
    taken = choose(samples.train if samples.train is not None else samples.test, events, seed + 2)
    with tempfile.TemporaryDirectory(prefix="panoptag-check-") as name:
        folder = Path(name)
        paths = write_shuffled(taken, folder, seed)
        recipe = shuffled_recipe(subject.recipe, epochs)
        run = train(recipe, paths, folder / "run")
        trained = load_subject(run.folder, subject.device, subject.batch_size)
        own = find_samples(trained, events=events, seed=seed)
        jets = trained.predict(own.test, what="tagging shuffled jets")
    found = against_chance(jets, replicas, seed)
    for what, chance in found.items():
        detail = (
            f"{chance.value:.4f}, by chance {chance.chance:.4f} ± {chance.error:.4f} ({chance.pull:+.1f} σ), "
            f"{len(jets):,} jets after {epochs} epochs on {len(taken) - len(own.test):,} events"
        )
        section.checks.append(exact(f"{what} with shuffled labels", abs(chance.pull) < CERTAIN, detail))
    if "AUC" not in found:
        section.checks.append(told("AUC with shuffled labels", "a flavour is missing"))
    section.numbers = {
        "events": len(taken), "epochs": epochs, "jets": len(jets),
        **{key: {**vars(chance), "pull": chance.pull} for key, chance in found.items()},
    }  # fmt: skip
    return section
