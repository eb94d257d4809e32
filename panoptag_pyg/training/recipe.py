"""A recipe: everything a training run is told, in one TOML file, checked before anything starts."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from panoptag_pyg.config import StrictConfig, validate
from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.events.angularities import expand_jet_features
from panoptag_pyg.events.augmentation import AugmentationSection
from panoptag_pyg.training.toml import to_toml

Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]


class _Named(StrictConfig):
    """A section that names an entry of a registry; its other keys are that entry's options."""

    model_config = ConfigDict(extra="allow", strict=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        """All keys but ``name``."""
        return dict(self.model_extra or {})


class ModelSection(_Named):
    """``[model]``: which tagger, and its options."""

    name: Annotated[str, Field(description="a registered tagger; its options are further keys")] = "panoptag"

    def check(self, source: str, heads: Any = None) -> None:
        """Build the tagger and drop it: the surest way to know that its options fit.

        Args:
            source: what an error calls the recipe.
            heads: what the task asks of the tagger, as :class:`~panoptag_pyg.tasks.Head`. Default: jets' classes.

        Raises:
            ConfigError: naming ``source`` and what doesn't fit.
        """
        import torch

        from panoptag_pyg.models import build_tagger, with_heads

        try:
            with torch.random.fork_rng(devices=[]):
                tagger = build_tagger(self.name, **self.options)
                if heads is not None:
                    with_heads(tagger, heads)
        except ConfigError as error:
            raise ConfigError(f"{source}: [model] {error}") from error
        except (TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise ConfigError(f"{source}: [model] an option of '{self.name}' doesn't fit: {error}") from error


class TaskSection(_Named):
    """``[task]``: what the jets are asked, and the options of that."""

    name: Annotated[str, Field(description="a registered task; its options are further keys")] = "flavour"


class DataSection(StrictConfig):
    """``[data]``: which part of the events is read, and how it is cut into batches."""

    max_pfos: Annotated[
        Positive | None, Field(description="keep the leading PFOs in pT of each event; all if absent")
    ] = None
    max_jets: Annotated[
        Positive | None, Field(description="keep the leading jets in pT of each event; all if absent")
    ] = None
    jet_features: Annotated[
        list[str] | None,
        Field(description="what is known of each jet: pt, eta, phi, mass, then angularities; only these if absent"),
    ] = None
    batch_size: Annotated[
        Positive | None, Field(description="events per batch; 64 if neither this nor the next is set")
    ] = None
    max_pfos_per_batch: Annotated[
        Positive | Literal["auto"] | None,
        Field(description="PFOs per batch, instead of a number of events; 'auto' finds the most that fit into memory"),
    ] = None
    validation_fraction: Annotated[
        float,
        Field(gt=0, lt=1, description="share of the events kept for validation, unless validation files are given"),
    ] = 0.1
    test_fraction: Annotated[
        float, Field(ge=0, lt=1, description="share of the events left out of both, for a test afterwards")
    ] = 0.0
    max_events: Annotated[
        Positive | None,
        Field(description="train on so many of the training events, drawn with split_seed; all if absent"),
    ] = None
    max_validation_events: Annotated[
        Positive | None, Field(description="validate on so many, drawn likewise; all if absent")
    ] = None
    split_seed: Annotated[
        NonNegative,
        Field(description="which events these are; not the seed of the training, so that runs share one split"),
    ] = 0
    normalisation_events: Annotated[
        Positive, Field(description="training events from which means and scales of the features are taken")
    ] = 2000
    process_weights: Annotated[
        Literal["equal"] | dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None,
        Field(
            description="factors on the weights of each process's events, such as {ttbar = 2.0}; 'equal' gives all "
            "processes the same sum; none if absent"
        ),
    ] = None
    num_workers: Annotated[
        NonNegative, Field(description="processes that read ahead; 0 reads ahead in a thread of the training process")
    ] = 0

    @field_validator("jet_features")
    @classmethod
    def _written_out(cls, names: list[str] | None) -> list[str] | None:
        return None if names is None else list(expand_jet_features(names))

    @model_validator(mode="after")
    def _one_batch_rule(self) -> DataSection:
        if self.batch_size is not None and self.max_pfos_per_batch is not None:
            raise ValueError("give batch_size or max_pfos_per_batch, not both; set the other to none")
        if self.batch_size is None and self.max_pfos_per_batch is None:
            self.batch_size = 64
        return self

    @property
    def pfo_budget(self) -> int | None:
        """:attr:`max_pfos_per_batch`, once it is a number."""
        if isinstance(self.max_pfos_per_batch, str):
            raise ConfigError("data.max_pfos_per_batch = 'auto' has to be found first: a run does, or set a number")
        return self.max_pfos_per_batch


class TrainSection(StrictConfig):
    """``[train]``: the optimisation."""

    max_epochs: Annotated[Positive, Field(description="passes over the training events")] = 30
    lr: Annotated[float, Field(gt=0, description="learning rate after the warm-up and at every restart")] = 2e-4
    warmup_epochs: Annotated[float, Field(ge=0, description="length of the linear warm-up")] = 1.0
    warmup_start_lr: Annotated[float, Field(ge=0, description="learning rate of the first step")] = 1e-6
    restart_epochs: Annotated[
        Positive | None, Field(description="length of each cosine; if absent, one cosine to the last step")
    ] = None
    min_lr: Annotated[float, Field(ge=0, description="learning rate at the end of each cosine")] = 0.0
    weight_decay: Annotated[float, Field(ge=0, description="AdamW's decoupled weight decay")] = 1e-3
    gradient_clip: Annotated[float | None, Field(gt=0, description="largest gradient norm; no clipping if absent")] = (
        None
    )
    ema_decay: Annotated[
        float | None,
        Field(
            gt=0,
            lt=1,
            description="judge an exponential average of the weights, per step, such as 0.999; off if absent",
        ),
    ] = None
    swa_epochs: Annotated[
        Positive | None, Field(description="judge the mean of the weights over so many last epochs; off if absent")
    ] = None
    accumulate_batches: Annotated[
        Positive, Field(description="batches of one optimiser step: as one batch so much larger, in the memory of one")
    ] = 1
    early_stopping: Annotated[
        Positive | None, Field(description="stop after so many epochs without a lower validation loss; off if absent")
    ] = None
    start_from: Annotated[
        str | None,
        Field(
            description="run folder or checkpoint whose weights to begin with, where they fit; from nothing if absent"
        ),
    ] = None
    freeze: Annotated[
        list[str],
        Field(description="pieces of the model that stay as they began, such as 'backbone'; 'taken': all taken"),
    ] = []  # noqa: RUF012 (pydantic copies it)
    lr_factor_taken: Annotated[
        float, Field(gt=0, description="by what the learning rate of weights taken from an earlier run is multiplied")
    ] = 1.0
    linear_probe: Annotated[
        bool, Field(description="train nothing but the heads, and make each a single linear layer")
    ] = False
    seed: Annotated[NonNegative, Field(description="of the initial weights, the order of events and dropout")] = 0
    precision: Annotated[
        Literal["32-true", "bf16-mixed", "16-mixed"],
        Field(description="arithmetic of the forward pass: 32-true, bf16-mixed or 16-mixed"),
    ] = "32-true"
    compile: Annotated[
        bool | str,
        Field(description="true runs the tagger through torch.compile; a string names another backend of it"),
    ] = False
    accelerator: Annotated[Literal["auto", "cpu", "gpu"], Field(description="where to train: auto, cpu or gpu")] = (
        "auto"
    )
    devices: Annotated[Literal["auto"] | Positive, Field(description="how many devices per machine")] = "auto"
    num_nodes: Annotated[Positive, Field(description="how many machines")] = 1
    threads: Annotated[Positive | None, Field(description="CPU threads; if absent, the cores this process may use")] = (
        None
    )
    log_every_steps: Annotated[Positive, Field(description="steps between two points of TensorBoard's curves")] = 50
    checkpoint_every_steps: Annotated[
        Positive | None,
        Field(description="optimiser steps between two last.ckpt within an epoch; only at its end if absent"),
    ] = None

    @model_validator(mode="after")
    def _one_average(self) -> TrainSection:
        if self.swa_epochs is None:
            return self
        if self.ema_decay is not None:
            raise ValueError("give ema_decay or swa_epochs, not both; set the other to none")
        if self.early_stopping is not None:
            raise ValueError(
                "swa_epochs counts from the last epoch, which early_stopping leaves open; give one of them"
            )
        if self.swa_epochs > self.max_epochs:
            raise ValueError(f"swa_epochs is {self.swa_epochs}, but there are only {self.max_epochs} epochs")
        return self


class Recipe(StrictConfig):
    """A training run as told by its TOML file.

    ``Recipe.from_toml("small.toml", ["train.max_epochs=5"])`` reads one; ``Recipe()`` is all defaults.
    """

    model: ModelSection = Field(default_factory=ModelSection)
    data: DataSection = Field(default_factory=DataSection)
    task: TaskSection = Field(default_factory=TaskSection)
    train: TrainSection = Field(default_factory=TrainSection)
    augmentation: AugmentationSection = Field(default_factory=AugmentationSection)

    @classmethod
    def from_toml(cls, path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
        """Read a recipe.

        Args:
            path: a TOML file, or the name of a shipped recipe (with or without ``.toml``); a file comes first.
            overrides: ``"section.key=value"`` with a TOML value; a bare word is a string, ``none`` unsets the key.

        Raises:
            ConfigError: if there is no such file or recipe, or one key or value of it doesn't fit.
        """
        label, text = _read(path)
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"recipe {label}: not valid TOML: {error}") from error
        recipe = cls.from_dict(values, f"recipe {label}")
        overrides = list(overrides)
        if not overrides:
            return recipe
        for override in overrides:
            _override(values, override)
        return cls.from_dict(values, " ".join(f"--set {override}" for override in overrides))

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: str = "recipe") -> Recipe:
        """Check ``values``, the model's and the task's options included.

        Args:
            values: sections, keys and values.
            source: what an error calls their origin. Default ``"recipe"``.

        Raises:
            ConfigError: at the first key or value that doesn't fit.
        """
        from panoptag_pyg.tasks import build_task, task_config

        recipe = validate(cls, values, source)
        # Defaults are written out, so that a checkpoint means the same when a later version changes one.
        options = task_config(recipe.task.name, recipe.task.options, source, "task").model_dump()
        task = build_task(recipe.task.name, **options)
        recipe.model.check(source, task.head)
        outputs = task.num_outputs
        if recipe.model.options.get("num_classes", outputs) != outputs:
            raise ConfigError(
                f"{source}: model.num_classes is {recipe.model.options['num_classes']}, but the task "
                f"'{recipe.task.name}' has {outputs} classes; leave it out"
            )
        return recipe.model_copy(update={"task": TaskSection(name=recipe.task.name, **options)})

    def to_toml(self) -> str:
        """The recipe as a file, every default written out; keys without a value are left out."""
        return to_toml(self.model_dump())

    def to_json(self) -> str:
        """The recipe as one line of JSON, as it is stored in checkpoints."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str, source: str = "recipe") -> Recipe:
        """The recipe that :meth:`to_json` wrote.

        Args:
            text: the JSON.
            source: what an error calls it. Default ``"recipe"``.

        Raises:
            ConfigError: if it isn't JSON, or holds a key or value that doesn't fit.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"{source}: not valid JSON: {error}") from error
        return cls.from_dict(values, source)


def shipped_recipes() -> tuple[str, ...]:
    """Names of the recipes that come with the package."""
    folder = resources.files("panoptag_pyg.data") / "recipes"
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".toml")))


def _read(path: str | Path) -> tuple[str, str]:
    """Label and text of the recipe file or shipped recipe ``path``."""
    file = Path(path)
    try:
        if file.is_file():
            return str(path), file.read_text(encoding="utf-8")
        name = str(path) if str(path).endswith(".toml") else f"{path}.toml"
        if name in shipped_recipes():
            return name, (resources.files("panoptag_pyg.data") / "recipes" / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"recipe {path}: can't be read as text: {error}") from error
    raise ConfigError(f"recipe {path}: no such file, and no shipped recipe{suggest(name, shipped_recipes())}")


def _override(values: dict[str, Any], text: str) -> None:
    """Apply ``section.key=value`` to ``values`` in place."""
    path, equals, raw = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys) or len(keys) < 2:
        raise ConfigError(f"--set {text}: should look like section.key=value, for example train.max_epochs=5")
    *parents, last = keys
    for depth, key in enumerate(parents, start=1):
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {text}: '{'.'.join(keys[:depth])}' holds a value, not further keys")
    values[last] = _parse(raw.strip())


def _parse(raw: str) -> Any:
    if raw.lower() == "none":
        return None
    try:
        parsed = tomllib.loads(f"value = {raw}")
    except tomllib.TOMLDecodeError:
        return raw
    return parsed["value"] if len(parsed) == 1 else raw
