"""``Tagger``: a trained tagger in Python, for whatever events are at hand."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn
from torch_geometric.data import HeteroData

from panoptag_pyg.errors import ConfigError, require_extra
from panoptag_pyg.evaluation import Answers, Predictions
from panoptag_pyg.evaluation.calibrate import Calibration
from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.events.dataset import EventDataset
from panoptag_pyg.prediction.compatibility import CompatibilityWarning, check_sources, refuse
from panoptag_pyg.prediction.engine import Engine, Options, Scored
from panoptag_pyg.prediction.extras import Extras
from panoptag_pyg.prediction.loading import load_parts
from panoptag_pyg.prediction.memory_sources import BlockSource, DatasetSource
from panoptag_pyg.prediction.reading import EventStream
from panoptag_pyg.prediction.results import aligned, counts, is_awkward, joined
from panoptag_pyg.prediction.run import PART_EVENTS, Predicted, predict_files
from panoptag_pyg.prediction.source import EventSource, SourceOptions, open_sources
from panoptag_pyg.prediction.writers import TREE
from panoptag_pyg.tasks import Task
from panoptag_pyg.training.data_card import TrainingCard, load_data_card
from panoptag_pyg.training.recipe import Recipe

if TYPE_CHECKING:
    import awkward as ak


class Tagger:
    """A trained tagger.

    >>> tagger = Tagger.load("run/")                                   # doctest: +SKIP
    >>> scores = tagger.predict(events)     # events: an Awkward array  # doctest: +SKIP
    >>> b_jets = events.jet[scores.b > 0.8]                            # doctest: +SKIP

    Args:
        model: the network.
        recipe: its recipe.
        task: what it answers, fitted. Default ``None``: the flavour of jets.
        device: where to compute. Default: the CPU.
        calibration: applied to the logits of flavours. Default: none.
        card: what it was trained on; events that differ are warned of. Default ``None``: nothing is compared.

    Raises:
        CheckpointError: if a weight is not finite.
        CalibrationError: if the calibration is of other classes.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        task: Task | None = None,
        device: str = "cpu",
        calibration: Calibration | None = None,
        card: TrainingCard | None = None,
    ) -> None:
        self.model, self.recipe, self.device, self.calibration = model, recipe, device, calibration
        #: What it answers; ``None`` for the flavour of jets.
        self.task = task
        #: What it was trained on, if that is known.
        self.card = card
        self._told: set[tuple[str, str]] = set()
        self._engine(Options())  # says what doesn't fit

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        device: str = "auto",
        calibration: str | os.PathLike[str] | None = None,
    ) -> Tagger:
        """The tagger of a run.

        Args:
            path: a run folder of ``panoptag train``, a checkpoint, or a folder with config and weights.
            device: where to compute: ``"auto"`` (default: a GPU if there is one), ``"cpu"``, ``"cuda:1"``, ….
            calibration: a ``calibration.json`` of ``panoptag check``. Default: none.

        Raises:
            CheckpointError: if it can't be read.
        """
        model, recipe, task, found = load_parts(path, calibration)
        place = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        return cls(model, recipe, task, place, found, load_data_card(path))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits; of several tasks, none."""
        if self.task is None:
            return self._engine(Options()).class_names
        parts = list(self.task.parts().values())
        return tuple(parts[0].class_names) if len(parts) == 1 else ()

    def predict(
        self,
        events: Any,
        *,
        batch_size: int | None = None,
        max_pfos_per_batch: int | None = None,
        strict: bool = False,
        values: Literal["probabilities", "logits"] = "probabilities",
    ) -> Predictions | Answers | ak.Array:
        """Scores of all jets, or what else the task asks about, in the events' order.

        Everything comes back in memory; :meth:`predict_to` writes files of any size.

        What differs from the events of the training is warned of (``CompatibilityWarning``), as ``panoptag predict``
        does, each thing once for a tagger. Graphs can't be compared.

        Args:
            events: an Awkward array as of :func:`panoptag_pyg.convert.to_awkward`; a dataset; a block of a file; paths
                of files; or graphs, one for each event, as a dataset gives them.
            batch_size: events per batch. Default 64.
            max_pfos_per_batch: PFOs per batch at most, in its place.
            strict: refuse an event with a value that is not finite, in place of giving it NaN, and events that differ
                from those of the training, in place of warning. Default ``False``.
            values: of an Awkward array of flavours: ``"probabilities"`` (default) or ``"logits"``.

        Returns:
            for an Awkward array of events, one that is aligned with it, ``[event][jet]`` records with a field for each
            class: ``scores.b`` is as jagged as ``events.jet.pt``. Of another task, the columns of its answers, as
            jagged as what it asks about; of several levels, a field for each. For all else
            :class:`~panoptag_pyg.evaluation.Predictions`, or :class:`~panoptag_pyg.evaluation.Answers`.

        Raises:
            CompatibilityError: for events that the scores would mean nothing for, as the tagger reads what they lack.
            PanopTagError: for events that can't be read.
        """
        engine = self._engine(Options(batch_size, max_pfos_per_batch, strict=strict))
        pieces, stream = self._score(engine, events, self._sources(events, engine))
        if is_awkward(events):
            return aligned(engine.levels(stream), engine.header(stream), pieces, values)
        rows = {path: array for path, array in joined(pieces).items() if path.rpartition("/")[2] not in _NOT_KEPT}
        file = joined([Scored(0, {}, {"file": piece.events["file"]}) for piece in pieces]).get("file", _NO_FILES)
        files = tuple(str(source.path) for source in stream.sources)
        if isinstance(events, EventDataset):
            file, files = events.file_of_events(), tuple(str(file.path) for file in events.files)
        about: dict[str, Any] = {
            "process_names": tuple(stream.processes),
            "num_events": len(file),
            "source_files": files,
            "recipe": self.recipe.to_json(),
        }
        if self.task is not None:
            if not pieces:
                raise ConfigError("there is no event to predict for; give at least one")
            return Answers.of_columns(rows, self.task, file, **about)
        found = Predictions.of_columns(rows, file, **about)
        return found if self.calibration is None else replace(found, calibration=engine.calibration_text)

    def predict_to(
        self,
        path: str | os.PathLike[str],
        events: Any,
        *,
        format: str | None = None,
        overwrite: bool = False,
        batch_size: int | None = None,
        max_pfos_per_batch: int | None = None,
        embeddings: bool = False,
        pfo_embeddings: bool = False,
        attention: Literal["", "mean", "heads"] = "",
        strict: bool = False,
        tree: str = TREE,
        part_events: int = PART_EVENTS,
    ) -> Predicted:
        """Write scores as ``panoptag predict`` does; memory doesn't grow with the number of events.

        Args:
            path: a file (``.h5``, ``.root``, ``.parquet``), or a folder for one file per input.
            events: as of :meth:`predict`; paths for events that don't fit into memory.
            format: as of :func:`~panoptag_pyg.prediction.run.predict_files`.
            overwrite: replace files that are there. Default ``False``.
            batch_size: events per batch. Default 64.
            max_pfos_per_batch: PFOs per batch at most, in its place.
            embeddings: of jets, too. Default ``False``.
            pfo_embeddings: of PFOs, too. Default ``False``.
            attention: what jets look at, too: ``"mean"`` or ``"heads"``. Default: no.
            strict: as of :meth:`predict`.
            tree: name of the tree in a ROOT file. Default ``"panoptag"``.
            part_events: events of a part, about. Default 16,384.

        Returns:
            what was written.

        Raises:
            OutputError: if the file is there or can't be written.
            CompatibilityError, PanopTagError: as of :meth:`predict`.
        """
        extras = Extras(embeddings, pfo_embeddings, attention=attention)
        engine = self._engine(Options(batch_size, max_pfos_per_batch, extras, strict))
        sources = self._sources(events, engine)
        if sources is None:
            raise ConfigError("graphs can't be read in parts: give paths, a dataset, a block or an array")
        stream = engine.stream(sources)
        return predict_files(
            engine, stream, path, format=format, overwrite=overwrite, tree=tree, part_events=part_events
        )

    def embed(self, events: Any, *, batch_size: int | None = None, pfos: bool = False) -> np.ndarray | ak.Array:
        """Embeddings of the jets, before the head (of a tagger of whole events: of the events).

        Args:
            events: as of :meth:`predict`.
            batch_size: events per batch. Default 64.
            pfos: of the PFOs, in place of the jets. Default ``False``.

        Shapes:
            returns float32 [J, dim], or [P, dim]; for an Awkward array ``[event][jet][dim]``.

        Raises:
            ConfigError: if this tagger has none.
            CompatibilityError: as of :meth:`predict`.
        """
        extras = Extras(embeddings=not pfos, pfo_embeddings=pfos, embedding_type="float32")
        engine = self._engine(Options(batch_size, extras=extras))
        pieces, _ = self._score(engine, events, self._sources(events, engine))
        level = "pfo" if pfos else getattr(self.model, "level", "jet")
        found = joined(pieces).get(f"{level}/embedding", np.zeros((0, getattr(self.model, "dim", 0)), np.float32))
        if not is_awkward(events):
            return found
        ak = require_extra("awkward", "convert")
        return ak.Array(found) if level == "event" else ak.unflatten(found, counts(pieces, level))

    def __repr__(self) -> str:
        what = "flavour" if self.task is None else ", ".join(self.task.parts())
        return f"Tagger({self.recipe.model.name}: {what}, on {self.device})"

    def _engine(self, options: Options) -> Engine:
        return Engine(self.model, self.recipe, self.task, options, self.device, self.calibration)

    def _sources(self, events: Any, engine: Engine) -> list[EventSource] | None:
        """The sources that events mean, ``None`` for graphs; says in what they differ from the training's."""
        sources = _sources(events, engine)
        if sources is None or self.card is None:
            return sources
        looked_at: list[EventSource] = []
        for source in sources:
            looked_at += source.files() if isinstance(source, DatasetSource) else [source]
        differences = check_sources(self.card, looked_at)
        refuse(differences, engine.options.strict)
        told = {(d.kind, d.about or d.text): d.sentence for d in differences if d.severity == "warning"}
        told |= {("read", note): note for source in sources for note in getattr(source, "notes", ())}
        for what, sentence in told.items():
            if what not in self._told:
                self._told.add(what)
                warnings.warn(sentence, CompatibilityWarning, stacklevel=3)
        return sources

    def _score(
        self, engine: Engine, events: Any, sources: list[EventSource] | None
    ) -> tuple[list[Scored], EventStream]:
        if sources is None:
            return list(engine.score_graphs(events)), engine.stream([BlockSource(EventBlock.empty())])
        stream = engine.stream(sources)
        return list(engine.score(stream)), stream


#: Columns that files have, but results in memory don't.
_NOT_KEPT = ("file", "missing", "probabilities")
_NO_FILES = np.zeros(0, np.int32)


def _sources(events: Any, engine: Engine) -> list[EventSource] | None:
    """The sources that events mean; ``None`` for graphs."""
    if isinstance(events, EventDataset):
        return [DatasetSource(events, engine.columns)]
    if isinstance(events, (str, os.PathLike)):
        return open_sources(events, SourceOptions(engine.columns))
    if isinstance(events, EventBlock):
        return [BlockSource(events)]
    if is_awkward(events):
        from panoptag_pyg.convert import from_awkward

        names = getattr(events, "attrs", {}).get("processes")
        return [BlockSource(from_awkward(events, finite=False), names)]
    if isinstance(events, (list, tuple)) and events and all(isinstance(e, (str, os.PathLike)) for e in events):
        return open_sources(list(events), SourceOptions(engine.columns))
    if isinstance(events, Iterable) and not isinstance(events, (dict, HeteroData)):
        return None
    raise ConfigError(
        f"events are a {type(events).__name__}, expected an Awkward array, a dataset, a block, paths or graphs"
    )
