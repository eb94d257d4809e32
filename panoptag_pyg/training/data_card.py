"""The training data card: what the events were that a tagger has learnt from, in plain numbers and words."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from panoptag_pyg.events.features import PFO_FEATURES
from panoptag_pyg.events.fields import Fields
from panoptag_pyg.events.file import EventFile
from panoptag_pyg.events.schema import COLUMNS, CONSTITUENT_COLUMNS, CONSTITUENTS
from panoptag_pyg.training.setup import Setup, setups_of, software_of

if TYPE_CHECKING:
    from torch import nn
    from torch_geometric.data import HeteroData

    from panoptag_pyg.events import EventDataset
    from panoptag_pyg.training.data import TaggerData

#: Raised when the meaning of a card's entries changes.
CARD_VERSION = 1
#: Most rows that quantiles are taken from; means, deviations and extremes are of all.
_QUANTILE_ROWS = 1_000_000
_EVENTS_AT_ONCE = 200
_TRUTH = {column.path for column in COLUMNS if column.truth}


@dataclass(frozen=True)
class Spread:
    """How a quantity is distributed.

    Attributes:
        mean, std: over all values; the deviation divides by their number.
        low, high: smallest and largest.
        q01, median, q99: quantiles.
        nonzero: share of the values that aren't 0.
    """

    mean: float
    std: float
    low: float
    high: float
    q01: float
    median: float
    q99: float
    nonzero: float

    @classmethod
    def of(cls, values: Any) -> Spread:
        """The spread of some numbers; those that aren't finite don't count, and none at all give zeros.

        Args:
            values: any shape.
        """
        values = np.asarray(values, dtype=np.float64).ravel()
        values = values[np.isfinite(values)]
        if not len(values):
            return cls(*([0.0] * 8))
        quantiles = np.quantile(values[:: -(-len(values) // _QUANTILE_ROWS)], (0.01, 0.5, 0.99))
        numbers = (values.mean(), values.std(), values.min(), values.max(), *quantiles, np.mean(values != 0))
        return cls(*(float(f"{number:.6g}") for number in numbers))


@dataclass(frozen=True)
class TrainingCard:
    """What is known of a tagger's training data, and what it reads of events.

    Attributes:
        reads: paths of the columns that the tagger reads.
        max_pfos, max_jets: leading PFOs and jets that are kept of each event; ``None``: all.
        known: whether anything is known of the training data; all that follows is empty else.
        processes: names of the processes.
        events: how many there were.
        setups: how they were made; more than one where files differ.
        software: versions, as the files tell them.
        unknown: columns that no file knew.
        sample_events: events from which the rest was taken.
        pfos, jets, num_interactions: per event, the first two after the cuts.
        pfo, jet: the features that the tagger is given, by name.
        tracks: the features d0, dz and their errors of charged PFOs alone.
    """

    reads: tuple[str, ...] = ()
    max_pfos: int | None = None
    max_jets: int | None = None
    known: bool = False
    processes: tuple[str, ...] = ()
    events: int = 0
    setups: tuple[Setup, ...] = ()
    software: dict[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    sample_events: int = 0
    pfos: Spread | None = None
    jets: Spread | None = None
    num_interactions: Spread | None = None
    pfo: dict[str, Spread] = field(default_factory=dict)
    jet: dict[str, Spread] = field(default_factory=dict)
    tracks: dict[str, Spread] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {"version": CARD_VERSION, **json.loads(json.dumps(asdict(self)))}

    @classmethod
    def parse(cls, values: Any) -> TrainingCard:
        """The card that :meth:`to_dict` gave, also by way of JSON; entries of a later version are left out.

        Args:
            values: a table, or its JSON; anything else gives a card that knows nothing.
        """
        if isinstance(values, str):
            try:
                values = json.loads(values)
            except ValueError:
                values = None
        if not isinstance(values, dict):
            return cls()
        try:
            found = {key: values[key] for key in (entry.name for entry in fields(cls)) if key in values}
            for key in ("reads", "processes", "unknown"):
                found[key] = tuple(str(name) for name in found.get(key, ()))
            found["setups"] = tuple(Setup.parse(one) for one in found.get("setups", ()))
            for key in ("pfos", "jets", "num_interactions"):
                found[key] = None if found.get(key) is None else _spread(found[key])
            for key in ("pfo", "jet", "tracks"):
                found[key] = {str(name): _spread(value) for name, value in found.get(key, {}).items()}
            return cls(**found)
        except (TypeError, ValueError, KeyError, AttributeError):
            return cls()

    def lines(self) -> Iterator[str]:
        """What a reader wants to know, a line each."""
        if not self.known:
            yield "Nothing is recorded of the training data."
            return
        yield f"{self.events:,} events of {', '.join(self.processes)}"
        for setup in self.setups:
            yield from setup.lines()
        for name, spread in (("PFOs", self.pfos), ("jets", self.jets), ("collisions", self.num_interactions)):
            if spread is not None:
                yield f"{spread.mean:.4g} {name} per event (98 % within {spread.q01:g} to {spread.q99:g})"
        if "pt" in self.jet:
            pt = self.jet["pt"]
            yield f"jets' pT: median {pt.median:.4g} GeV, 98 % within {pt.q01:.4g} to {pt.q99:.4g} GeV"
        if self.unknown:
            yield f"unknown in all files: {', '.join(self.unknown)}"
        if self.software:
            yield "made with " + ", ".join(f"{name} {version}" for name, version in self.software.items())


def training_card(data: TaggerData, needs: Iterable[str], sample: HeteroData) -> TrainingCard:
    """The card of a run's training events.

    Args:
        data: the run's data.
        needs: what the tagger reads of a batch beyond the usual.
        sample: some of the training events, as :meth:`TaggerData.normalisation_sample` gives them.
    """
    dataset = data.training
    features: dict[str, Any] = {
        **reading(data.section, needs),
        **spreads(sample["pfo"].x.numpy(), sample["jet"].x.numpy(), dataset.fields.jet_features),
    }
    return TrainingCard(
        **features,
        known=True,
        processes=tuple(dataset.processes),
        events=len(dataset),
        setups=setups_of(dataset.files),
        software=software_of(dataset.files),
        unknown=tuple(sorted(frozenset.intersection(*(unknown_columns(file) for file in dataset.files)))),
        sample_events=len(sample.event_id),
        pfos=Spread.of(sample["pfo"].ptr.diff()),
        jets=Spread.of(sample["jet"].ptr.diff()),
        num_interactions=Spread.of(_interactions(data.normalisation_events())),
    )


def _interactions(dataset: EventDataset) -> np.ndarray:
    """Collisions in each event; some events at a time, since blocks make room for all columns."""
    pieces = np.array_split(np.arange(len(dataset)), -(-len(dataset) // _EVENTS_AT_ONCE))
    path = "event/num_interactions"
    return np.concatenate([dataset.read_block(piece, {path}).event["num_interactions"] for piece in pieces])


def reading(section: Any, needs: Iterable[str]) -> dict[str, Any]:
    """What a tagger reads of events, by its recipe: ``reads``, ``max_pfos`` and ``max_jets`` of a card.

    Args:
        section: the recipe's ``[data]``.
        needs: what the tagger reads of a batch beyond the usual.
    """
    columns = Fields.parse(needs, section.jet_features).columns
    read = sorted(path for path in columns - _TRUTH if not path.startswith("event/"))
    return {"reads": tuple(read), "max_pfos": section.max_pfos, "max_jets": section.max_jets}


def spreads(pfo: np.ndarray, jet: np.ndarray, jet_features: Iterable[str]) -> dict[str, dict[str, Spread]]:
    """Spreads of all features, those of impact parameters also of charged PFOs alone.

    Args:
        pfo: the PFOs' features [P, 14].
        jet: the jets' features [J, G].
        jet_features: names of the latter.
    """
    charged = pfo[:, PFO_FEATURES.index("charge")] != 0
    return {
        "pfo": {name: Spread.of(pfo[:, i]) for i, name in enumerate(PFO_FEATURES)},
        "jet": {name: Spread.of(jet[:, i]) for i, name in enumerate(jet_features)},
        "tracks": {
            name: Spread.of(pfo[charged, PFO_FEATURES.index(name)]) for name in ("d0", "dz", "d0_error", "dz_error")
        },
    }


def unknown_columns(file: EventFile) -> frozenset[str]:
    """Columns that a file doesn't know: those it lacks, and those that its conversion had nothing to fill with.

    Args:
        file: the file.
    """
    absent = {column.path for column in (*COLUMNS, *CONSTITUENT_COLUMNS) if not file.has(column.path)}
    if file.num_jets and not file.num_constituents:
        absent.add(CONSTITUENTS)
    return frozenset(absent) | told_unknown(file.attributes)


def told_unknown(attributes: Mapping[str, Any]) -> frozenset[str]:
    """Columns of which a file's attributes say that they hold nothing but their default."""
    told = attributes.get("unknown_columns", ())
    return frozenset(str(name) for name in told) if isinstance(told, list) else frozenset()


def _spread(values: Mapping[str, Any]) -> Spread:
    return Spread(**{entry.name: float(values[entry.name]) for entry in fields(Spread)})


def load_data_card(path: str | os.PathLike[str]) -> TrainingCard:
    """The training data card of a trained tagger.

    Args:
        path: a run folder, a checkpoint, or a folder with ``config.json`` and ``model.safetensors``.

    Returns:
        the card; of a tagger of before there were any, one that knows only what the tagger reads.

    Raises:
        CheckpointError: if there is no checkpoint, or it is damaged.
    """
    from panoptag_pyg.training.checkpoint import find_checkpoint, load_parts, read_checkpoint

    file = find_checkpoint(path)
    checkpoint = read_checkpoint(file)
    return card_of(checkpoint, file, lambda: load_parts(checkpoint, file)[0])


def card_of(checkpoint: dict[str, Any], file: Path, model: Callable[[], nn.Module]) -> TrainingCard:
    """The card in a checkpoint that was read.

    Args:
        checkpoint: as it was loaded.
        file: what an error calls it.
        model: gives its tagger, which is asked for what it reads where there is no card.
    """
    from panoptag_pyg.training.checkpoint import ENTRY, checkpoint_recipe, needed_fields

    card = TrainingCard.parse(checkpoint[ENTRY].get("data_card"))
    if card.known:
        return card
    return TrainingCard(**reading(checkpoint_recipe(checkpoint, file).data, needed_fields(model())))
