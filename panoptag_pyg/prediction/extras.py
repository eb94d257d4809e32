"""What a tagger knows beside its scores: embeddings of jets and PFOs, and what each jet looked at."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor, nn

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.evaluation.rows import Columns, row_columns
from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.models.base import Embeddings, Tagger
from panoptag_pyg.prediction.reading import NUMBER

#: Number of PFOs that a jet attends to: the length of its piece of the columns under ``attention``.
NUM_ATTENDED = "jet/num_attended"
ATTENTION = "attention"


@dataclass(frozen=True)
class Extras:
    """What is given beside the scores.

    Attributes:
        embeddings: of each jet (of a tagger of whole events: of each event), before the head. Default ``False``.
        pfo_embeddings: of each PFO. Default ``False``.
        embedding_type: ``"float16"`` (default) or ``"float32"``.
        attention: weights of the last decoder layer from jets to PFOs: ``""`` (default) for none, ``"mean"`` for the
            mean over its heads, ``"heads"`` for each head's.
    """

    embeddings: bool = False
    pfo_embeddings: bool = False
    embedding_type: Literal["float16", "float32"] = "float16"
    attention: Literal["", "mean", "heads"] = ""


class ExtraRows:
    """Calls a tagger and keeps its embeddings and attention on the way.

    Args:
        model: the tagger.
        extras: what is wanted.

    Raises:
        ConfigError: if the tagger doesn't have it.
    """

    #: Names of columns that are no values of the tagger, but how its columns are laid out.
    structure: ClassVar[tuple[str, ...]] = ("num_attended", "pfo_index")

    def __init__(self, model: nn.Module, extras: Extras) -> None:
        self.model, self.extras = model, extras
        self.wanted = extras.embeddings or extras.pfo_embeddings or bool(extras.attention)
        name = type(model).__name__
        own = model if isinstance(model, Tagger) else None
        if (extras.embeddings or extras.pfo_embeddings) and own is None:
            raise ConfigError(f"{name} gives no embeddings (it isn't derived from Tagger); leave out --embeddings")
        if extras.pfo_embeddings and own is not None and not own.embeds_pfos:
            raise ConfigError(f"{name} sees one jet at a time and has no embedding of PFOs; leave out --pfo-embeddings")
        attends = "return_attention" in inspect.signature(model.forward).parameters
        if extras.attention and (not attends or getattr(model, "level", "jet") != "jet"):
            raise ConfigError(f"{name} has no attention from jets to PFOs; leave out --attention")
        self._level = "jet" if own is None else own.level
        #: Fields of the batch that the rows need.
        self.needs = frozenset({"pfo/pt", "pfo/eta", "pfo/phi"} if extras.pfo_embeddings else ())
        #: What a row of each column is.
        self.levels: dict[str, str] = {}
        if extras.embeddings:
            self.levels[self._level] = self._level
        if extras.pfo_embeddings:
            self.levels["pfo"] = "pfo"
        if extras.attention:
            self.levels |= {"jet": "jet", ATTENTION: ATTENTION}

    def __call__(self, batch: Any, first: int) -> tuple[Any, Columns]:
        """The tagger's output for a batch, and the further columns by path.

        Args:
            batch: the events.
            first: number of the batch's first event.
        """
        if not self.wanted:
            return self.model(batch), {}
        embeddings: list[Embeddings] = []
        if isinstance(self.model, Tagger):
            embed = self.model.embed

            def kept(batch: Any, return_attention: bool = False) -> Embeddings:
                embeddings.append(embed(batch, return_attention))
                return embeddings[-1]

            self.model.embed = kept  # type: ignore[method-assign]
        try:
            answer = self.model(batch, return_attention=True) if self.extras.attention else self.model(batch)
        finally:
            self.model.__dict__.pop("embed", None)
        columns: Columns = {}
        for level in dict.fromkeys(self.levels.values()):
            if level != ATTENTION:
                columns |= row_columns(level, batch, first)
        if self.extras.attention:
            answer, attention = answer
            columns |= self._attention(attention, batch)
        if self.extras.embeddings:
            columns[f"{self._level}/embedding"] = self._typed(embeddings[-1].jets)
        if self.extras.pfo_embeddings:
            pfos = embeddings[-1].pfos
            assert pfos is not None
            columns["pfo/embedding"] = self._typed(pfos)
        return answer, columns

    def number(self, rows: Columns, block: EventBlock) -> None:
        """Let ``attention/pfo_index`` count the PFOs of the file, in place of those that were kept."""
        if self.extras.attention:
            event = event_of_rows(ATTENTION, rows, block)
            rows[f"{ATTENTION}/pfo_index"] = block.pfo[NUMBER][
                block.pfo_offsets[event] + rows[f"{ATTENTION}/pfo_index"]
            ]

    def _typed(self, values: Tensor) -> np.ndarray:
        return values.float().cpu().numpy().astype(self.extras.embedding_type)

    def _attention(self, attention: Any, batch: Any) -> Columns:
        jet, pfo = (row.cpu().numpy() for row in attention.edge_index)
        weight = attention.weight.float().cpu().numpy()
        order = np.argsort(jet, kind="stable")
        jet, pfo, weight = jet[order], pfo[order], weight[order]
        ptr, event = batch["pfo"].ptr.cpu().numpy(), batch["jet"].batch.cpu().numpy()
        return {
            NUM_ATTENDED: np.bincount(jet, minlength=len(event)).astype(np.int32),
            f"{ATTENTION}/pfo_index": (pfo - ptr[event[jet]]).astype(np.int32),
            f"{ATTENTION}/weight": weight.mean(axis=1) if self.extras.attention == "mean" else weight,
        }


def event_of_rows(level: str, rows: Mapping[str, np.ndarray], block: EventBlock) -> np.ndarray:
    """Event of each row within a block, int64 [N].

    Args:
        level: ``"event"``, ``"jet"``, ``"pfo"`` or ``"attention"``.
        rows: columns by path; needed for attention.
        block: the events.
    """
    if level == ATTENTION:
        return np.repeat(block.jet_event, rows[NUM_ATTENDED])
    if level == "event":
        return np.arange(block.num_events)
    return block.jet_event if level == "jet" else block.pfo_event


def extra_columns() -> dict[str, tuple[str, str]]:
    """Unit and meaning of the further columns, by path."""
    return {
        **{f"{level}/embedding": ("", f"what the tagger knows of the {level} before its head")
           for level in ("event", "jet", "pfo")},
        NUM_ATTENDED: ("", "PFOs that the jet attends to"),
        f"{ATTENTION}/offsets": ("", "first entry of each jet in the columns beside, and their number"),
        f"{ATTENTION}/pfo_index": ("", "number of the PFO within its event, as the file counts"),
        f"{ATTENTION}/weight": ("", "weight of the PFO for the jet in the last decoder layer; a jet's sum to 1"),
    }  # fmt: skip
