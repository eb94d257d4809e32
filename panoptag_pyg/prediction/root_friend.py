"""Scores as a ROOT tree with an entry for each event: a friend of the tree that the events come from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from panoptag_pyg.errors import require_extra
from panoptag_pyg.output import atomic_output
from panoptag_pyg.prediction.engine import Scored
from panoptag_pyg.prediction.writers import OF_EVENT, Layout

#: Events of a piece at least: each piece is a basket of every branch, and small ones make large files.
BASKET_EVENTS = 10_000


class RootWriter:
    """Appends events to a tree.

    Args:
        file: open for writing, by uproot.
        layout: what it will hold.
    """

    def __init__(self, file: Any, layout: Layout) -> None:
        self._file, self._layout = file, layout
        self._tree: Any = None
        self._waiting: list[dict[str, Any]] = []
        self._num_waiting = 0

    def write(self, scored: Scored) -> None:
        """See :class:`~panoptag_pyg.prediction.writers.Writer`."""
        self._waiting.append(self._branches(scored))
        self._num_waiting += len(scored.events["missing"])
        if self._num_waiting >= BASKET_EVENTS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if not self._waiting:
            return
        ak = require_extra("awkward", "convert")
        joined = {
            name: (np.concatenate if isinstance(self._waiting[0][name], np.ndarray) else ak.concatenate)(
                [piece[name] for piece in self._waiting]
            )
            for name in self._waiting[0]
        }
        if self._tree is None:
            types = {name: v.dtype if isinstance(v, np.ndarray) else ak.type(v).content for name, v in joined.items()}
            self._tree = self._file.mktree(self._layout.tree, types, title="scores of panoptag predict")
        self._tree.extend(joined)
        self._waiting, self._num_waiting = [], 0

    def _branches(self, scored: Scored) -> dict[str, Any]:
        ak = require_extra("awkward", "convert")
        events = scored.events
        branches: dict[str, Any] = {"event_index": scored.first + np.arange(len(events["missing"]), dtype=np.int64)}
        branches |= {name: events[name] for name in ("event_id", "file", "process", "weight", "missing")}
        for level in dict.fromkeys(self._layout.levels.values()):
            columns = self._layout.flat(scored.rows, level)
            columns = {name: values for name, values in columns.items() if name not in OF_EVENT}
            if level == "event":
                branches |= columns
            else:
                counts = events[f"num_{level}"].astype(np.int64)
                branches[level] = ak.zip({name: ak.unflatten(values, counts) for name, values in columns.items()})
        return branches


@contextmanager
def root_writer(path: Path, layout: Layout, overwrite: bool = False) -> Iterator[RootWriter]:
    """Arguments and errors as of :func:`~panoptag_pyg.prediction.writers.open_writer`."""
    uproot = require_extra("uproot", "convert")
    with atomic_output(path, overwrite) as temporary, uproot.recreate(temporary) as file:
        writer = RootWriter(file, layout)
        yield writer
        writer.flush()
        about = {"format": layout.header.format, "num_events": layout.num_events, **layout.header.texts}
        file[f"{layout.tree}_about"] = json.dumps(about)
