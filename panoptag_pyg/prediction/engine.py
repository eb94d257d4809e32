"""The tagger at work on a stream of events: rows of scores, in order, with nothing kept of what is done."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch_geometric.data import HeteroData

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.evaluation.answers import about_tasks, answers_header, fields_of_rows
from panoptag_pyg.evaluation.calibrate import Calibration, CalibrationError
from panoptag_pyg.evaluation.predictions import PredictionsError, scores_header
from panoptag_pyg.evaluation.rows import ROW_COLUMNS, Columns, RowMaker, ScoreRows, TaskRows, with_probabilities
from panoptag_pyg.evaluation.score_file import Header
from panoptag_pyg.events.batching import block_to_batch, collate_events
from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.events.fields import Fields
from panoptag_pyg.events.overlap import ToDevice, read_ahead
from panoptag_pyg.events.schema import FLAVOUR_NAMES
from panoptag_pyg.prediction.extras import ExtraRows, Extras, event_of_rows, extra_columns
from panoptag_pyg.prediction.reading import FILE, MISSING, NUMBER, EventStream, Prepared, neutralised
from panoptag_pyg.prediction.retry import AT_FAULT, FEW, Retry
from panoptag_pyg.prediction.source import EventSource
from panoptag_pyg.tasks import Task
from panoptag_pyg.tasks.base import missing_truth
from panoptag_pyg.training.checkpoint import needed_fields, refuse_diverged
from panoptag_pyg.training.recipe import Recipe


@dataclass(frozen=True)
class Options:
    """How events are scored.

    Attributes:
        batch_size: events per batch. Default 64, if ``max_pfos_per_batch`` isn't given.
        max_pfos_per_batch: PFOs per batch at most, in place of ``batch_size``.
        extras: what is given beside the scores. Default: nothing.
        strict: stop at the first event that holds, or gets, a value that is not finite. Default ``False``: mark it.
    """

    batch_size: int | None = None
    max_pfos_per_batch: int | None = None
    extras: Extras = field(default_factory=Extras)
    strict: bool = False

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.max_pfos_per_batch is not None:
            raise ConfigError("give a number of events per batch or of PFOs per batch, not both")
        for name in ("batch_size", "max_pfos_per_batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}, expected at least 1")

    @property
    def batch_events(self) -> int:
        """Events per batch, where batches are cut by events."""
        return self.batch_size or 64


class Scored(NamedTuple):
    """Rows of consecutive events.

    Attributes:
        first: number of the first event.
        events: per event [B]: ``event_id``, ``file``, ``process``, ``weight``, ``missing`` and the numbers of its rows
            ``num_jet`` and ``num_pfo``.
        rows: columns by path, as in a file of scores.
    """

    first: int
    events: Columns
    rows: Columns


class Engine:
    """A tagger with all that is needed to score events.

    Args:
        model: the tagger.
        recipe: its recipe: cuts on PFOs and jets, features.
        task: what it answers, fitted. Default ``None``: the flavour of jets.
        options: how. Default: 64 events per batch.
        device: where to compute. Default the CPU.
        calibration: applied to the logits of flavours. Default: none.

    Raises:
        CheckpointError: if a weight of the tagger is not finite.
        CalibrationError: if the calibration is of other classes.
        ConfigError: for extras that this tagger doesn't have.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        task: Task | None = None,
        options: Options | None = None,
        device: str | torch.device = "cpu",
        calibration: Calibration | None = None,
    ) -> None:
        refuse_diverged(model)
        self.options = options or Options()
        self.device = torch.device(device)
        self.model, self.task = model.to(self.device).eval(), None if task is None else task.to(self.device).eval()
        self.recipe, self.calibration = recipe, calibration
        self.class_names = FLAVOUR_NAMES
        if calibration is not None and calibration.class_names != self.class_names:
            raise CalibrationError(
                f"the calibration is of the classes {', '.join(calibration.class_names)}, the tagger's are "
                f"{', '.join(self.class_names)}; fit one with panoptag check"
            )
        self.extra_rows = ExtraRows(self.model, self.options.extras)
        needs = needed_fields(model) if task is None else needed_fields(model, task) | fields_of_rows(task)
        needs |= self.extra_rows.needs
        self.fields = Fields.parse(needs, recipe.data.jet_features)
        self._retries: Retry | None = None

    @property
    def columns(self) -> frozenset[str]:
        """Paths of the columns of events that it reads."""
        return self.fields.columns

    @property
    def calibration_text(self) -> str:
        """The calibration as JSON; empty without one."""
        return "" if self.calibration is None else json.dumps(self.calibration.to_dict())

    def stream(self, sources: list[EventSource]) -> EventStream:
        """The events of some sources as this tagger wants them.

        Raises:
            EventFileError: if a file lacks what is needed.
        """
        data = self.recipe.data
        processes = () if self.task is None else self.task.processes
        pin = self.device.type == "cuda"
        return EventStream(sources, self.fields, data.max_pfos, data.max_jets, processes, pin)

    def header(self, stream: EventStream, source_files: list[str] | None = None) -> Header:
        """What a file with the rows of a stream says beside them.

        Args:
            stream: the events.
            source_files: names of the files. Default: the stream's.
        """
        files = source_files or [str(source.path) for source in stream.sources]
        recipe = self.recipe.to_json()
        if self.task is None:
            header = scores_header(stream.processes, self.class_names, files, recipe, self.calibration_text)
        else:
            meanings = {name: dict(part.columns) for name, part in self.task.parts().items()}
            header = answers_header(about_tasks(self.task), stream.processes, files, recipe, meanings)
        columns = {f"{level}/{n}": (u, m) for level, own in ROW_COLUMNS.items() for n, _, u, m in own}
        columns |= {f"{level}/{MISSING}": ("", MISSING_MEANING) for level in ROW_COLUMNS}
        return replace(header, columns={**columns, **header.columns, **extra_columns()})

    def levels(self, stream: EventStream) -> dict[str, str]:
        """What a row of each column is, by the column's path up to its last ``/``."""
        return {**self._row_maker(stream).levels, **self.extra_rows.levels}

    def score(self, stream: EventStream, start: int = 0, stop: int | None = None) -> Generator[Scored]:
        """The rows of the events ``start`` to ``stop`` of a stream; the next ones are read in a thread meanwhile.

        Args:
            stream: the events.
            start: the first. Default 0.
            stop: one after the last. Default: all.

        Raises:
            PanopTagError: as the sources do; for an event that is not finite, if the options are strict.
        """
        options = self.options
        coming = stream.prepared(
            start,
            stream.num_events if stop is None else stop,
            options.batch_size,
            options.max_pfos_per_batch,
            options.strict,
        )
        make, to_device = self._row_maker(stream), ToDevice(self.device)
        with closing(read_ahead(coming)) as ahead:
            for prepared in ahead:
                # Left before the rows are given away: else whoever takes them would be in it, too.
                with torch.inference_mode():
                    scored = self._score(prepared, make, to_device, stream)
                yield scored

    def score_graphs(self, graphs: Iterable[HeteroData]) -> Iterator[Scored]:
        """The rows of events that are graphs already; what isn't finite stays so.

        Args:
            graphs: one for each event, with the fields that the tagger needs.

        Raises:
            PredictionsError: for an event that is not finite, if the options are strict.
        """
        make, first, coming = self._row_maker(None), 0, iter(graphs)
        while group := list(islice(coming, self.options.batch_events)):
            batch = with_usual_fields(collate_events(group)).to(self.device)
            with torch.inference_mode():
                rows, bad = self._rows(batch, make, first)
            if bad.any() and self.options.strict:
                raise PredictionsError(
                    f"event {first + int(np.argmax(bad))} of the graphs gets a score that is not finite"
                )
            if self.calibration is not None:
                rows["jet/logits"] = self.calibration.apply(rows["jet/logits"]).astype(np.float32)
            events: Columns = {MISSING: bad.astype(np.int8), FILE: np.zeros(len(group), np.int32)}
            events |= {f"num_{name}": batch[name].ptr.diff().cpu().numpy() for name in ("jet", "pfo")}
            yield Scored(first, events, with_probabilities(rows))
            first += len(group)

    def _row_maker(self, stream: EventStream | None) -> RowMaker:
        if self.task is None:
            return ScoreRows()
        if stream is None:
            return TaskRows(self.task)
        files = _Files(stream.sources)
        return TaskRows(self.task, [n for n, part in self.task.parts().items() if missing_truth(part, files)])  # type: ignore[arg-type]

    def _score(self, prepared: Prepared, make: RowMaker, to_device: ToDevice, stream: EventStream) -> Scored:
        pieces: list[Columns] = []
        missing = prepared.block.event[MISSING].copy()
        for (low, high), batch in zip(pairwise(prepared.bounds), to_device(prepared.batches), strict=True):
            rows, bad = self._rows(batch, make, prepared.first + low)
            if bad.any():
                part = prepared.block.select(np.arange(low, high))
                retry = self._retry(stream)
                lost = retry.lost(part, bad & ~missing[low:high])
                if self.options.strict and lost.sum() > FEW and retry.tagger_is_at_fault():
                    raise PredictionsError(AT_FAULT)
                if self.options.strict and lost.any():
                    raise PredictionsError(
                        f"{stream.name_of(prepared.first + low + int(np.argmax(lost)))} gets a score that is not "
                        "finite; leave out --strict to mark such events and go on"
                    )
                missing[low:high] |= lost
                if not missing[low:high].all():  # what the others get must not depend on it
                    part = neutralised(part, missing[low:high])
                    again = block_to_batch(part, fields=self.fields).to(self.device)
                    rows, bad = self._rows(again, make, prepared.first + low)
                    if (bad & ~missing[low:high]).any():  # by an event without rows, which nothing is known of
                        rows = self._one_by_one(part, make, prepared.first + low)
            pieces.append(rows)
        return self._finished(prepared, _together(pieces), missing, make)

    def _one_by_one(self, block: EventBlock, make: RowMaker, first: int) -> Columns:
        """The rows of events of which each is a batch by itself."""
        batches = [block_to_batch(block.select([event]), fields=self.fields) for event in range(block.num_events)]
        return _together([self._rows(batch.to(self.device), make, first + n)[0] for n, batch in enumerate(batches)])

    def is_at_fault(self, stream: EventStream) -> bool:
        """Whether the tagger gives no finite score to any of some events spread over a stream.

        Args:
            stream: the events.
        """
        with torch.inference_mode():
            return self._retry(stream).tagger_is_at_fault()

    def _retry(self, stream: EventStream) -> Retry:
        if self._retries is None or self._retries.stream is not stream:
            make = self._row_maker(stream)

            def score(batch: HeteroData) -> tuple[bool, bool]:
                rows, bad = self._rows(batch.to(self.device), make, 0)
                return any(len(values) for values in rows.values()), not bad.any()

            self._retries = Retry(stream, score)
        return self._retries

    def _rows(self, batch: Any, make: RowMaker, first: int) -> tuple[Columns, np.ndarray]:
        """Rows of one batch; and which events have a value that is not finite."""
        if self.task is None and not batch["jet"].num_nodes and not self.extra_rows.wanted:
            output: Any = None
            further: Columns = {}
        else:
            output, further = self.extra_rows(batch, first)
        rows, bad = make(output, batch, first)
        return {**rows, **further}, bad

    def _finished(self, prepared: Prepared, rows: Columns, missing: np.ndarray, make: RowMaker) -> Scored:
        """Rows with their files and numbers, calibrated, those of missing events blank."""
        block = prepared.block
        events: Columns = {
            "event_id": block.event["id"].astype(np.int64),
            FILE: block.event[FILE],
            "process": block.event["process"].astype(np.int16),
            "weight": block.event["weight"].astype(np.float32),
            MISSING: missing.astype(np.int8),
            "num_jet": np.diff(block.jet_offsets).astype(np.int32),
            "num_pfo": np.diff(block.pfo_offsets).astype(np.int32),
        }
        self.extra_rows.number(rows, block)
        levels = {**make.levels, **self.extra_rows.levels}
        for level in dict.fromkeys(level for level in levels.values() if level in ROW_COLUMNS):
            event = event_of_rows(level, rows, block)
            rows[f"{level}/{FILE}"] = events[FILE][event]
            rows[f"{level}/{MISSING}"] = events[MISSING][event]
            if level != "event":
                source = getattr(block, level)
                rows[f"{level}/{level}_index"] = source[NUMBER]
                if missing.any():  # their values as they are, not those that they were tagged with
                    for name in ("pt", "eta", "phi", "mass"):
                        if f"{level}/{name}" in rows:
                            rows[f"{level}/{name}"][missing[event]] = source[name][missing[event]]
        if self.calibration is not None:
            rows["jet/logits"] = self.calibration.apply(rows["jet/logits"]).astype(np.float32)
        if missing.any():
            own = {f"{level}/{name}" for level, names in ROW_COLUMNS.items() for name, *_ in names}
            for path, values in rows.items():
                prefix, _, name = path.rpartition("/")
                if path not in own and name not in (MISSING, "flavour", *ExtraRows.structure):
                    of_row = event_of_rows(levels[prefix], rows, block)
                    values[missing[of_row]] = np.nan if values.dtype.kind == "f" else -1
        return Scored(prepared.first, events, with_probabilities(rows))


def with_usual_fields(batch: HeteroData) -> HeteroData:
    """The batch with event numbers, weights, processes and flavours, if it lacks them: 0, 1, …; 1; 0; unknown."""
    number = len(batch["jet"].ptr) - 1
    for name, values in (
        ("event_id", torch.arange(number)),
        ("weight", torch.ones(number)),
        ("process", torch.zeros(number, dtype=torch.int64)),
    ):
        if name not in batch:
            batch[name] = values
    if "y" not in batch["jet"]:
        batch["jet"].y = torch.full((len(batch["jet"].x),), -1)
    return batch


#: What the column ``missing`` of rows means.
MISSING_MEANING = "1 if the event holds, or gets, a value that is not finite: it has no scores (NaN); else 0"


class _Files:
    """Sources, for those who ask a dataset what its files hold."""

    def __init__(self, sources: list[EventSource]) -> None:
        self.files = [_File(source) for source in sources]

    def __len__(self) -> int:
        return sum(file.source.num_events for file in self.files)


@dataclass(frozen=True)
class _File:
    source: EventSource

    @property
    def path(self) -> Any:
        return self.source.path

    def has(self, path: str) -> bool:
        return path not in self.source.unknown


def _together(pieces: list[Columns]) -> Columns:
    return {path: np.concatenate([piece[path] for piece in pieces]) for path in pieces[0]}
