"""What is trained: one list of entries, each with its recipe, its changes to it, its seeds, its place in the queue.

A run is one entry in one setup with one seed. Its key says what was asked: the recipe as written, the events. A record
with another key is an answer to another question, and the run is done again.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from panoptag_pyg.training.recipe import Recipe

#: Raised when records of an older form must not be taken for finished ones.
RECORD_VERSION = 1
RECIPES = Path(__file__).parent / "recipes"
SETUPS = ("paper", "realistic")
#: Where the pieces of the models are taken away.
ABLATED = ("realistic",)
#: Given to every run: two of them share a machine with two cores, and may be killed. No part of a run's key.
FOR_ALL = ("train.threads=1", 'train.accelerator="cpu"', "train.checkpoint_every_steps=200")


@dataclass(frozen=True)
class Sample:
    """Which events are asked of ``panoptag simulate``, by shards, and what each shard is for.

    Attributes:
        seed: of the simulation.
        shard_events: events per shard.
        train, validation, test: shards of each process that is trained on.
        test_unseen: shards of each process that is only tested on.
        seen, unseen: names of these processes.
    """

    seed: int = 2026
    shard_events: int = 2000
    train: tuple[int, ...] = tuple(range(7))
    validation: tuple[int, ...] = (7,)
    test: tuple[int, ...] = tuple(range(8, 16))
    test_unseen: tuple[int, ...] = tuple(range(8))
    seen: tuple[str, ...] = ("ttbar", "single_top", "ttH")
    unseen: tuple[str, ...] = ("ZH", "tW")

    @property
    def processes(self) -> tuple[str, ...]:
        """All of them, in the order of tables."""
        return (*self.seen, *self.unseen)

    def num_shards(self, process: str) -> int:
        """Shards to simulate of a process."""
        shards = (*self.train, *self.validation, *self.test) if process in self.seen else self.test_unseen
        return max(shards) + 1

    def tested(self, process: str) -> tuple[int, ...]:
        """Shards of a process that are tested on."""
        return self.test if process in self.seen else self.test_unseen

    def training_events(self, shards: int) -> int:
        """Events of a training on so many shards of each process."""
        return shards * len(self.seen) * self.shard_events


@dataclass(frozen=True)
class Entry:
    """One row of the plan.

    Attributes:
        name: unique; of its records.
        title: in tables.
        recipe: stem of a file in ``recipes/``.
        group: the table it belongs to: ``"taggers"``, ``"ablations"``, ``"pieces"``, ``"single jets"`` or ``"events"``.
        settings: changes to the recipe, as ``panoptag train --set`` takes them.
        seeds: one training each.
        setups: of the simulation, one training each.
        once: setups in which only the first seed is trained.
        shards: shards of each process that are trained on; all if ``None``.
        epochs: multiplies the recipe's number of epochs.
        rank: place in the queue; every further seed comes :data:`STRIDE` places later.
        against: the entry that a changed one is compared with. Default: the tagger with the same recipe.
    """

    name: str
    title: str
    recipe: str
    group: str = "taggers"
    settings: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    setups: tuple[str, ...] = SETUPS
    once: tuple[str, ...] = ()
    shards: int | None = None
    epochs: float = 1.0
    rank: int = 0
    against: str = ""


#: Places between an entry's seeds.
STRIDE = 2


def learning_curve(names: dict[str, str], shards: Sequence[int], rank: int) -> list[Entry]:
    """Trainings on fewer events, of some recipes.

    Args:
        names: titles by recipe.
        shards: shards of each process to train on, one entry each.
        rank: their place in the queue.
    """
    return [
        Entry(f"{recipe}_shards{n}", title, recipe, "events", shards=n, setups=ABLATED, rank=rank)
        for recipe, title in names.items()
        for n in shards
    ]


def without(
    name: str, title: str, *settings: str, recipe: str = "panoptag", group: str = "ablations", **more: Any
) -> Entry:
    """An entry that takes a piece of a model away, or changes it."""
    return Entry(name, title, recipe, group, settings, setups=ABLATED, **{"rank": 1, **more})


#: Of each process, for the pieces of panoptag_plus: fewer events at half the cost, where a piece should matter most.
FEW_SHARDS = 3


def piece(name: str, title: str, *settings: str, recipe: str = "panoptag_plus") -> Entry:
    """An entry that switches a piece of panoptag_plus off or on, trained on fewer events."""
    against = f"panoptag_plus_shards{FEW_SHARDS}"
    return without(name, title, *settings, recipe=recipe, group="pieces", rank=3, shards=FEW_SHARDS, against=against)


def single_jets(name: str, title: str, against: str, recipe: str, *settings: str, **more: Any) -> Entry:
    """An entry of whose event each jet reads nothing but its own constituents, against the one that reads more."""
    return without(
        name,
        title,
        *settings,
        'model.context="jet"',
        recipe=recipe,
        group="single jets",
        against=against,
        **{"rank": 5, **more},
    )


#: The event's topology is what a process is known by, and misleads on another one; a jet's surroundings don't.
NEAR_JET = ("model.context=0.8", "model.num_global_layers=0", "model.jet_attention=false")
NO_RELATIONS = ("model.relation_bias=false", "model.relation_values=false")

#: The plan. Change it here, and nowhere else.
ENTRIES = (
    Entry("panoptag", "PanopTag", "panoptag", seeds=(0, 1, 2)),
    Entry("part", "ParT", "part", seeds=(0, 1, 2)),
    Entry("particlenet", "ParticleNet", "particlenet", seeds=(0, 1, 2)),
    Entry("panoptag_plus", "panoptag_plus", "panoptag_plus"),
    # What its pieces, below, taught: the better tagger on processes that nobody trained on.
    Entry("panoptag_near", "panoptag_near", "panoptag_near", seeds=(0, 1, 2), once=("paper",)),
    # Told no more than ParT is: without the loss that asks where the tracks come from.
    Entry(
        "panoptag_near_flavour",
        "panoptag_near_flavour",
        "panoptag_plus",
        settings=(*NEAR_JET, *NO_RELATIONS),
        seeds=(0, 1, 2),
        setups=ABLATED,
        rank=4,
    ),
    # The same networks on the same events with the same losses, as single-jet taggers: what the event itself is worth.
    single_jets("near_single_jets", "panoptag_near on single jets", "panoptag_near", "panoptag_near", seeds=(0, 1, 2)),
    single_jets(
        "near_flavour_single_jets",
        "panoptag_near_flavour on single jets",
        "panoptag_near_flavour",
        "panoptag_plus",
        *NEAR_JET,
        *NO_RELATIONS,
        rank=10,
    ),
    without("no_local", "no local stage", "model.num_local_layers=0"),
    without("no_global", "no global stage", "model.num_global_layers=0"),
    # The decoder reads PFOs near the jet alone; their embeddings still know of the whole event …
    without("near_jet_decoder", "decoder limited to ΔR < 0.4", "model.decoder_delta_r=0.4"),
    # … and here, without the global stage, of little but their neighbours.
    without(
        "own_jet_only",
        "no other jets’ particles: ΔR < 0.4 and no global stage",
        "model.decoder_delta_r=0.4",
        "model.num_global_layers=0",
    ),
    without("phi_not_wrapped", "φ not wrapped", "model.wrap_phi=false"),
    without("rotated", "rotated in φ, reflected in η", "augmentation.rotate_phi=true", "augmentation.reflect_eta=true"),
    # What a cheaper PanopTag reaches, beside what it costs.
    without("pfos_64", "the leading 64 PFOs", "data.max_pfos=64", rank=2),
    without("k_5", "5 neighbours", "model.k=5", rank=2),
    without("dim_32", "d = 32, 4 heads", "model.dim=32", "model.num_heads=4", rank=2),
    without(
        "smallest",
        "d = 32, 4 heads, 5 neighbours, 1 + 1 + 2 layers, 64 PFOs",
        "data.max_pfos=64",
        "model.dim=32",
        "model.num_heads=4",
        "model.k=5",
        "model.num_local_layers=1",
        "model.num_global_layers=1",
        "model.num_decoder_layers=2",
        rank=2,
    ),
    *learning_curve(
        {"panoptag": "PanopTag", "part": "ParT", "panoptag_plus": "panoptag_plus", "panoptag_near": "panoptag_near"},
        (1, FEW_SHARDS),
        rank=3,
    ),
    piece("plus_jet_only", "only the jet’s own constituents", 'model.context="jet"'),
    piece("plus_no_constituents", "no transformer over constituents", "model.constituent_layers=0"),
    piece("plus_no_relations", "no relations", *NO_RELATIONS),
    piece("plus_no_jet_attention", "no attention among jets", "model.jet_attention=false"),
    piece("plus_raw_angles", "φ as a number, no edge geometry", 'model.angles="raw"', "model.edge_geometry=false"),
    piece("plus_auxiliary", "auxiliary loss: PFOs from b or c decays", recipe="panoptag_plus_auxiliary"),
    # Single jets with the same labels: how much of that gain needs the event?
    piece(
        "plus_jet_only_auxiliary",
        "that loss, and only the jet’s own constituents",
        'model.context="jet"',
        recipe="panoptag_plus_auxiliary",
    ),
    piece("plus_context_dropout", "context dropped for 30 % of the jets", "model.context_dropout=0.3"),
    piece("plus_near_jet", "only the event within ΔR < 0.8: no global stage, no attention among jets", *NEAR_JET),
    piece("plus_near_jet_no_relations", "the same without relations", *NEAR_JET, *NO_RELATIONS),
    piece("plus_reflected", "reflected in η", "augmentation.reflect_eta=true"),
)


@dataclass(frozen=True)
class Plan:
    """Entries, the events they are trained on, and the folder of their recipes; one object, so that tests have theirs.

    Attributes:
        entries: rows.
        sample: the events.
        recipes: folder of the base recipes.
        for_all: settings of every run that don't change its result.
    """

    entries: tuple[Entry, ...] = ENTRIES
    sample: Sample = field(default_factory=Sample)
    recipes: Path = RECIPES
    for_all: tuple[str, ...] = FOR_ALL

    def unwritten(self) -> list[str]:
        """Recipes that entries name and that aren't there: these have no runs."""
        named = dict.fromkeys(entry.recipe for entry in self.entries)
        return [recipe for recipe in named if not (self.recipes / f"{recipe}.toml").is_file()]

    def run(self, entry: Entry, setup: str, seed: int) -> Run:
        """One training of an entry."""
        return Run(self, entry, setup, seed)

    def runs(self, only: Iterable[str] = (), setups: Iterable[str] = ()) -> list[Run]:
        """All runs in the order in which they are done.

        Args:
            only: globs; a run's or its entry's name must match one of them. Default: all.
            setups: of these alone. Default: all.
        """
        only, setups = list(only), list(setups)
        found = [
            (entry.rank + STRIDE * number, place, self.run(entry, setup, seed))
            for place, entry in enumerate(self.entries)
            if entry.recipe not in self.unwritten()
            for setup in entry.setups
            for number, seed in enumerate(entry.seeds[:1] if setup in entry.once else entry.seeds)
        ]
        runs = [run for *_, run in sorted(found, key=lambda item: item[:2])]
        return [
            run
            for run in runs
            if (not setups or run.setup in setups)
            and (not only or any(fnmatch(name, glob) for name in (run.name, run.entry.name) for glob in only))
        ]


@dataclass(frozen=True)
class Run:
    """One training of an entry and the test of it.

    Attributes:
        kind: what the job is called that does it.
        before: the run whose weights it begins with, done first; the study's own begin with none.
    """

    kind: ClassVar[str] = "train"
    before: ClassVar[Run | None] = None

    plan: Plan = field(repr=False)
    entry: Entry
    setup: str
    seed: int

    @property
    def name(self) -> str:
        """``panoptag-seed0``."""
        return f"{self.entry.name}-seed{self.seed}"

    @property
    def label(self) -> str:
        """``realistic/panoptag-seed0``: its record's place."""
        return f"{self.setup}/{self.name}"

    @property
    def shards(self) -> tuple[int, ...]:
        """Shards of each process that it is trained on."""
        return self.plan.sample.train[: self.entry.shards]

    @property
    def num_events(self) -> int:
        """Training events."""
        return self.plan.sample.training_events(len(self.shards))

    @cached_property
    def base(self) -> dict[str, Any]:
        """The base recipe as written."""
        return tomllib.loads((self.plan.recipes / f"{self.entry.recipe}.toml").read_text(encoding="utf-8"))

    @property
    def stretch(self) -> float:
        """How many times the recipe's epochs: more with few events, for a third of the steps at least."""
        few = 1.0 if self.entry.shards is None else len(self.plan.sample.train) / (3 * len(self.shards))
        return self.entry.epochs * max(1.0, few)

    @property
    def num_epochs(self) -> int:
        """Passes over its training events."""
        return math.ceil(self.base["train"]["max_epochs"] * self.stretch - 1e-9)

    @property
    def changes(self) -> list[str]:
        """Changes to the base recipe that decide the result."""
        found = [*self.entry.settings, f"train.seed={self.seed}"]
        if self.stretch != 1:
            train = self.base["train"]
            found.append(f"train.max_epochs={self.num_epochs}")
            # The warm-up keeps its share of the steps.
            found.append(
                f"train.warmup_epochs={train.get('warmup_epochs', 1.0) * self.num_epochs / train['max_epochs']:.4g}"
            )
        return found

    def recipe(self) -> Recipe:
        """The recipe with its changes.

        Raises:
            ConfigError: if this version can't do what it asks for.
        """
        return Recipe.from_toml(self.plan.recipes / f"{self.entry.recipe}.toml", [*self.plan.for_all, *self.changes])

    @property
    def training_key(self) -> str:
        """Changes with what decides the training; not with a recipe's comments, files, versions or machines."""
        sample = self.plan.sample
        events = [sample.seed, sample.shard_events, sample.seen, self.shards, sample.validation, self.setup]
        return digest(self.base, sorted(self.changes), events)

    @property
    def key(self) -> str:
        """Changes with what decides its record."""
        sample = self.plan.sample
        return digest(self.training_key, [[p, sample.tested(p)] for p in sample.processes], RECORD_VERSION)


def digest(*values: Any) -> str:
    """16 hexadecimal digits of JSON-able values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
