"""Scores of all jets of a dataset, in its order, with what is needed to judge them and to find the jets again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import nn

from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.evaluation.rows import JET_COLUMNS, ScoreRows, softmax, with_probabilities
from panoptag_pyg.evaluation.score_file import ColumnFile, Header, get_text
from panoptag_pyg.events import EventDataset, EventLoader
from panoptag_pyg.events.schema import FLAVOUR_NAMES
from panoptag_pyg.output import atomic_hdf5
from panoptag_pyg.progress import progress

FORMAT_NAME = "panoptag-scores"
FORMAT_VERSION = 1


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
        return softmax(self.logits)

    def select(self, jets: np.ndarray) -> Predictions:
        """The jets of a mask or an index array; ``num_events`` then counts the events that still have a jet."""
        columns = ("logits", *(name for name, *_ in JET_COLUMNS))
        chosen = {name: getattr(self, name)[jets] for name in columns}
        return replace(self, **chosen, num_events=len(np.unique(chosen["event_index"])))

    def require_truth(self, what: str = "an evaluation") -> Predictions:
        """The jets with a known flavour and finite scores.

        Raises:
            PredictionsError: if no flavour is known.
        """
        known = self.flavour >= 0
        if len(self) and not known.any():
            raise PredictionsError(
                f"{what} needs the true flavour of the jets, but it is unknown (-1) for all {len(self)} jets of "
                f"{_names(self.source_files)}; use panoptag predict for data without truth"
            )
        known &= np.isfinite(self.logits).all(axis=1)  # those of events that panoptag predict marked as missing
        return self if known.all() else replace(self.select(known), num_events=self.num_events)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """Write an HDF5 file: ``jet/<column>``, ``jet/logits``, ``jet/probabilities``; whole or not at all.

        Args:
            path: the file, usually ``*.h5``.
            overwrite: replace an existing file. Default ``False``.

        Raises:
            OutputError: if ``path`` exists, or cannot be written.
        """
        header = scores_header(self.process_names, self.class_names, self.source_files, self.recipe, self.calibration)
        columns = {f"jet/{name}": getattr(self, name).astype(dtype) for name, dtype, *_ in JET_COLUMNS}
        columns["jet/logits"] = self.logits.astype(np.float32)
        with atomic_hdf5(path, overwrite) as file:
            header.write(file, self.num_events)
            ColumnFile(file, header.columns).append(with_probabilities(columns))
        return Path(path)

    @classmethod
    def of_columns(cls, columns: Mapping[str, np.ndarray], file: np.ndarray, **about: Any) -> Predictions:
        """Scores from columns by path, as :class:`~panoptag_pyg.evaluation.rows.ScoreRows` makes them.

        Args:
            columns: ``jet/logits`` and those of :data:`~panoptag_pyg.evaluation.rows.JET_COLUMNS` but ``file``; none
                at all if there was no event.
            file: index of each event's file.
            about: the other attributes.
        """
        found: dict[str, Any] = {
            name: columns.get(f"jet/{name}", np.zeros(0, dtype)) for name, dtype, *_ in JET_COLUMNS if name != "file"
        }
        found["file"] = np.asarray(file, dtype=np.int32)[found["event_index"]]
        return cls(columns.get("jet/logits", np.zeros((0, len(FLAVOUR_NAMES)), np.float32)), **found, **about)

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
                    process_names=tuple(json.loads(get_text(file, "processes"))),
                    class_names=tuple(json.loads(get_text(file, "classes"))),
                    num_events=int(file.attrs["num_events"]),
                    source_files=tuple(json.loads(get_text(file, "source_files"))),
                    recipe=get_text(file, "recipe"),
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
    rows = ScoreRows()
    pieces: dict[str, list[np.ndarray]] = {}
    first = 0
    with progress(description, len(dataset)) as advance, torch.inference_mode():
        for batch in loader:
            output = model(batch.to(device, non_blocking=True)) if batch["jet"].num_nodes else None
            columns, bad = rows(output, batch, first)
            if bad.any():
                raise PredictionsError(
                    f"event {first + int(np.argmax(bad))} of {_names(_paths(dataset))} gets a score that is not "
                    "finite: the training has probably diverged; see metrics.csv and lower the learning rate"
                )
            for path, values in columns.items():
                pieces.setdefault(path, []).append(values)
            first += len(batch.event_id)
            advance(len(batch.event_id))
    joined = {path: np.concatenate(arrays) for path, arrays in pieces.items()}
    return Predictions.of_columns(
        joined,
        file=dataset.file_of_events(),
        process_names=tuple(dataset.processes),
        num_events=len(dataset),
        source_files=_paths(dataset),
        recipe=recipe,
    )


def scores_header(
    process_names: Sequence[str],
    class_names: Sequence[str],
    source_files: Sequence[str],
    recipe: str = "",
    calibration: str = "",
) -> Header:
    """What a file of scores says beside its columns; arguments as of :class:`Predictions`."""
    texts = {
        "processes": list(process_names),
        "classes": list(class_names),
        "source_files": list(source_files),
        "recipe": recipe,
        **({"calibration": calibration} if calibration else {}),
    }
    columns = {f"jet/{name}": (unit, meaning) for name, _, unit, meaning in JET_COLUMNS}
    for name in ("logits", "probabilities"):
        columns[f"jet/{name}"] = ("", f"{name} of the classes in the root attribute `classes`")
    return Header(FORMAT_NAME, FORMAT_VERSION, texts, columns=columns)


def _paths(dataset: EventDataset) -> tuple[str, ...]:
    return tuple(str(file.path) for file in dataset.files)


def _names(files: tuple[str, ...]) -> str:
    if not files:
        return "these events"
    return files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
