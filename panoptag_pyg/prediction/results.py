"""Rows that stay in memory: joined, and as Awkward arrays aligned with the events that they are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from panoptag_pyg.errors import require_extra
from panoptag_pyg.evaluation.rows import Columns
from panoptag_pyg.evaluation.score_file import Header
from panoptag_pyg.prediction.engine import Scored
from panoptag_pyg.prediction.writers import Layout

if TYPE_CHECKING:
    import awkward as ak


def is_awkward(events: Any) -> bool:
    """Whether they are an Awkward array; asked without importing Awkward."""
    return type(events).__module__.partition(".")[0] == "awkward"


def joined(pieces: Sequence[Scored]) -> Columns:
    """The rows of all pieces, by path."""
    return {path: np.concatenate([piece.rows[path] for piece in pieces]) for path in (pieces[0].rows if pieces else ())}


def counts(pieces: Sequence[Scored], level: str) -> np.ndarray:
    """Rows of each event, int64 [B]."""
    found = [piece.events[f"num_{level}"].astype(np.int64) for piece in pieces]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def aligned(levels: Mapping[str, str], header: Header, pieces: Sequence[Scored], values: str) -> ak.Array:
    """Scores as jagged as their events.

    Args:
        levels: what a row of each column is, by the column's path up to its last ``/``.
        header: of the rows.
        pieces: the rows.
        values: of flavours: ``"probabilities"`` or ``"logits"``.

    Returns:
        ``[event][jet]`` records with a field for each class; of other tasks a field for each column of their answers,
        under a field for each level if there are several.
    """
    ak = require_extra("awkward", "convert")
    rows = joined(pieces)
    layout = Layout(header, levels, 0)
    if "tasks" not in header.texts:
        scores = rows.get(f"jet/{values}", np.zeros((0, len(layout.classes("jet"))), np.float32))
        fields = {name: scores[:, number] for number, name in enumerate(layout.classes("jet"))}
        return ak.zip({name: ak.unflatten(column, counts(pieces, "jet")) for name, column in fields.items()})
    found = {}
    for level in dict.fromkeys(levels.values()):
        answers = {path: column for path, column in rows.items() if path.startswith("answers/")}
        columns: dict[str, Any] = layout.flat(answers, level)
        if level != "event":
            columns = {name: ak.unflatten(column, counts(pieces, level)) for name, column in columns.items()}
        found[level] = ak.zip(columns)
    return next(iter(found.values())) if len(found) == 1 else ak.zip(found, depth_limit=1)
