"""Scores of all jets of a dataset, in its order, with what is needed to judge them and to find the jets again."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import nn

from panoptag_pyg import __version__
from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.events import EventDataset, EventLoader
from panoptag_pyg.events.schema import FLAVOUR_NAMES
from panoptag_pyg.output import atomic_hdf5
from panoptag_pyg.progress import progress

FORMAT_NAME = "panoptag-scores"
FORMAT_VERSION = 1

#: Per-jet columns of a scores file: name, type, unit, meaning. ``logits`` and ``probabilities`` stand beside
#: them.
JET_COLUMNS = (
    ("event_index", "int64", "", "number of the event among all events of the source files, in order"),
    ("event_id", "int64", "", "the event's own id, unique within one simulation"),
    ("file", "int32", "", "index into the root attribute `source_files`"),
    ("jet_index", "int32", "", "number of the jet within its event"),
    ("process", "int16", "", "index into the root attribute `processes`"),
    ("flavour", "int8", "", "true flavour: 0 light, 1 c, 2 b; -1 unknown"),
    ("pt", "float32", "GeV", "transverse momentum"),
    ("eta", "float32", "", "pseudorapidity"),
    ("phi", "float32", "rad", "azimuth"),
    ("mass", "float32", "GeV", "mass"),
    ("weight", "float32", "", "weight of the event"),
)


class PredictionsError(PanopTagError, ValueError):
    """Scores that are missing, damaged, not finite, or without the truth that is asked of them."""


@dataclass(frozen=True)
class Predictions:
    """Scores of J jets.

    Attributes:
        logits: raw output of the tagger, float32 ``[J, C]``.
        flavour: true flavour ``[J]``; -1 where unknown.
        process: index into ``process_names`` ``[J]``.
        event_index: number of the event within the dataset ``[J]``.
        event_id: the event's id from its file ``[J]``.
        file: index into ``source_files`` ``[J]``.
        jet_index: number of the jet within its event, after the dataset's ``max_jets`` ``[J]``.
        pt, eta, phi, mass: of the jet (GeV), each ``[J]``.
        weight: weight of the event ``[J]``.
        process_names: names of the processes.
        class_names: names of the C classes.
        num_events: events of the dataset, those without jets too.
        source_files: files that the events came from.
        recipe: the model's recipe as JSON; empty if unknown.
        calibration: as JSON, what was done to the tagger's own logits; empty if nothing.
    """

    logits: np.ndarray
    flavour: np.ndarray
    process: np.ndarray
    event_index: np.ndarray
    event_id: np.ndarray
    file: np.ndarray
    jet_index: np.ndarray
    pt: np.ndarray
    eta: np.ndarray
    phi: np.ndarray
    mass: np.ndarray
    weight: np.ndarray
    process_names: tuple[str, ...] = ("events",)
    class_names: tuple[str, ...] = FLAVOUR_NAMES
    num_events: int = 0
    source_files: tuple[str, ...] = ()
    recipe: str = field(default="", repr=False)
    calibration: str = field(default="", repr=False)

    def __len__(self) -> int:
        return len(self.logits)

    def __repr__(self) -> str:
        return f"Predictions({len(self)} jets of {self.num_events} events, processes={list(self.process_names)})"

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, float64 ``[J, C]``."""
        logits = self.logits.astype(np.float64)
        exponent = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
        return exponent / exponent.sum(axis=1, keepdims=True)

    def select(self, jets: np.ndarray) -> Predictions:
        """The jets of a mask or an index array; ``num_events`` then counts the events that still have a jet."""
        columns = ("logits", *(name for name, *_ in JET_COLUMNS))
        chosen = {name: getattr(self, name)[jets] for name in columns}
        return replace(self, **chosen, num_events=len(np.unique(chosen["event_index"])))

    def require_truth(self, what: str = "an evaluation") -> Predictions:
        """The jets with a known flavour.

        Raises:
            PredictionsError: if there is none.
        """
        known = self.flavour >= 0
        if len(self) and not known.any():
            raise PredictionsError(
                f"{what} needs the true flavour of the jets, but it is unknown (-1) for all {len(self)} jets of "
                f"{_names(self.source_files)}; use panoptag predict for data without truth"
            )
        return self if known.all() else replace(self.select(known), num_events=self.num_events)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """Write an HDF5 file: ``jet/<column>``, ``jet/logits``, ``jet/probabilities``; whole or not at all.

        Args:
            path: the file, usually ``*.h5``.
            overwrite: replace an existing file. Default ``False``.

        Raises:
            OutputError: if ``path`` exists, or cannot be written.
        """
        with atomic_hdf5(path, overwrite) as file:
            file.attrs["format"] = FORMAT_NAME
            file.attrs["version"] = FORMAT_VERSION
            file.attrs["software"] = f"panoptag-pyg {__version__}"
            file.attrs["processes"] = json.dumps(list(self.process_names))
            file.attrs["classes"] = json.dumps(list(self.class_names))
            file.attrs["source_files"] = json.dumps(list(self.source_files))
            file.attrs["recipe"] = self.recipe
            if self.calibration:
                file.attrs["calibration"] = self.calibration
            file.attrs["num_events"] = self.num_events
            for name, dtype, unit, meaning in JET_COLUMNS:
                dataset = file.create_dataset(f"jet/{name}", data=getattr(self, name).astype(dtype))
                dataset.attrs["unit"], dataset.attrs["meaning"] = unit, meaning
            for name, values in (("logits", self.logits), ("probabilities", self.probabilities)):
                dataset = file.create_dataset(f"jet/{name}", data=values.astype(np.float32))
                dataset.attrs["meaning"] = f"{name} of the classes in the root attribute `classes`"
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Predictions:
        """Read what :meth:`save` wrote.

        Raises:
            PredictionsError: if the file is missing, cut short, of another kind or version, or lacks a
                column.
        """
        path = Path(path)
        if not path.is_file():
            raise PredictionsError(f"{path}: no such file; make one with panoptag predict")
        try:
            with h5py.File(path, "r") as file:
                if file.attrs.get("format") != FORMAT_NAME or file.attrs.get("version") != FORMAT_VERSION:
                    raise PredictionsError(
                        f"{path} holds {file.attrs.get('format', 'something else')!r} version "
                        f"{file.attrs.get('version', '?')}, expected {FORMAT_NAME!r} version {FORMAT_VERSION}; "
                        "make it with panoptag predict"
                    )
                columns: dict[str, Any] = {name: file[f"jet/{name}"][:] for name, *_ in JET_COLUMNS}
                return cls(
                    logits=file["jet/logits"][:],
                    **columns,
                    process_names=tuple(json.loads(file.attrs["processes"])),
                    class_names=tuple(json.loads(file.attrs["classes"])),
                    num_events=int(file.attrs["num_events"]),
                    source_files=tuple(json.loads(file.attrs["source_files"])),
                    recipe=str(file.attrs["recipe"]),
                    calibration=str(file.attrs.get("calibration", "")),
                )
        except KeyError as error:
            raise PredictionsError(f"{path} lacks a column ({error.args[0]}); make it again") from error
        except OSError as error:
            raise PredictionsError(f"{path} is damaged or no HDF5 file; make it with panoptag predict") from error


def predict_jets(
    model: nn.Module,
    dataset: EventDataset,
    batch_size: int | None = None,
    max_pfos_per_batch: int | None = None,
    device: str | torch.device | None = None,
    recipe: str = "",
    description: str = "tagging",
) -> Predictions:
    """Tag every jet of ``dataset``; results keep its order.

    Args:
        model: maps a batch to logits ``[J, C]``; put into evaluation mode.
        dataset: the events; flavours may be unknown (-1).
        batch_size: events per batch. Default 64, if ``max_pfos_per_batch`` isn't given.
        max_pfos_per_batch: PFOs per batch, in place of ``batch_size``.
        device: where to compute. Default: where the model's parameters are.
        recipe: the model's recipe as JSON, kept in the result. Default: none.
        description: text of the progress bar.

    Raises:
        PredictionsError: if a score is not finite, naming the event.
    """
    if device is None:
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    model = model.to(device).eval()
    loader = EventLoader(dataset, batch_size=batch_size, max_pfos_per_batch=max_pfos_per_batch)
    pieces: dict[str, list[np.ndarray]] = {
        name: [] for name in ("logits", "x", "flavour", "event_index", "event_id", "jet_index", "process", "weight")
    }
    first = 0
    with progress(description, len(dataset)) as advance, torch.inference_mode():
        for batch in loader:
            jets, events = batch["jet"], len(batch.event_id)
            if jets.num_nodes:
                logits = model(batch.to(device, non_blocking=True)).float().cpu().numpy()
                event = jets.batch.cpu().numpy()
                if not np.isfinite(logits).all():
                    bad = event[np.flatnonzero(~np.isfinite(logits).all(axis=1))[0]]
                    raise PredictionsError(
                        f"event {first + bad} of {_names(_paths(dataset))} gets a score that is not finite: "
                        "the training has probably diverged; see metrics.csv and lower the learning rate"
                    )
                pieces["logits"].append(logits)
                pieces["x"].append(jets.x[:, :4].cpu().numpy())
                pieces["flavour"].append(jets.y.cpu().numpy())
                pieces["event_index"].append(first + event)
                pieces["jet_index"].append(np.arange(len(event)) - jets.ptr.cpu().numpy()[event])
                for name in ("event_id", "process", "weight"):
                    pieces[name].append(getattr(batch, name).cpu().numpy()[event])
            first += events
            advance(events)
    joined = {name: np.concatenate(arrays) if arrays else np.empty(0) for name, arrays in pieces.items()}
    x = joined.pop("x").reshape(-1, 4).astype(np.float32)
    logits = joined.pop("logits").reshape(len(x), -1 if len(x) else len(FLAVOUR_NAMES)).astype(np.float32)
    types = {name: dtype for name, dtype, *_ in JET_COLUMNS}
    columns: dict[str, Any] = {name: values.astype(types[name]) for name, values in joined.items()}
    return Predictions(
        logits=logits,
        **columns,
        file=dataset.file_of_events()[columns["event_index"]],
        pt=x[:, 0],
        eta=x[:, 1],
        phi=x[:, 2],
        mass=x[:, 3],
        process_names=tuple(dataset.processes),
        num_events=len(dataset),
        source_files=_paths(dataset),
        recipe=recipe,
    )


def _paths(dataset: EventDataset) -> tuple[str, ...]:
    return tuple(str(file.path) for file in dataset.files)


def _names(files: tuple[str, ...]) -> str:
    if not files:
        return "these events"
    return files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
