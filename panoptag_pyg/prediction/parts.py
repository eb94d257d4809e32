"""Parts of a prediction: rows of some thousand events, each in a file of its own that is whole or not there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np

from panoptag_pyg.evaluation.rows import Columns
from panoptag_pyg.evaluation.score_file import ColumnFile
from panoptag_pyg.output import atomic_hdf5
from panoptag_pyg.prediction.engine import Scored
from panoptag_pyg.prediction.extras import ATTENTION, NUM_ATTENDED

FORMAT_NAME = "panoptag-part"
#: Events that are copied at a time: of each with 5,000 PFOs' embeddings in half precision that is some 300 MB.
STEP_EVENTS = 1024
_EVENTS = "events/"


def write_part(path: Path, scored: Iterable[Scored], advance: Callable[[int], object] = lambda n: None) -> None:
    """Write the rows of consecutive events.

    Args:
        path: the file; one that is there is replaced.
        scored: the rows, in order.
        advance: called with the number of events done each time. Default: nothing.

    Raises:
        OutputError: if it can't be written.
    """
    with atomic_hdf5(path, overwrite=True) as file:
        columns = ColumnFile(file, compress=False)
        count = 0
        for piece in scored:
            columns.append({_EVENTS + name: values for name, values in piece.events.items()})
            columns.append(piece.rows)
            count += len(piece.events["missing"])
            advance(len(piece.events["missing"]))
        file.attrs["format"] = FORMAT_NAME
        file.attrs["num_events"] = count


def is_part(path: Path, num_events: int) -> bool:
    """Whether ``path`` holds a whole part of so many events."""
    try:
        with h5py.File(path, "r") as file:
            return (file.attrs.get("format"), file.attrs.get("num_events")) == (FORMAT_NAME, num_events)
    except OSError:
        return False


def read_part(path: Path, first: int, levels: Mapping[str, str]) -> Iterator[Scored]:
    """The rows of a part, some events at a time.

    Args:
        path: the file.
        first: number of its first event.
        levels: what a row of each column is, by the column's path up to its last ``/``.

    Raises:
        OSError: if it can't be read.
    """
    with h5py.File(path, "r") as file:
        paths = _paths(file)
        place = dict.fromkeys((*levels.values(), "event"), 0)
        for start in range(0, max(int(file.attrs["num_events"]), 1), STEP_EVENTS):  # of no events once, for the columns
            piece = slice(start, start + STEP_EVENTS)
            events = {name.removeprefix(_EVENTS): file[name][piece] for name in paths if name.startswith(_EVENTS)}
            counts = {"event": len(events["missing"])}
            counts |= {level: int(events[f"num_{level}"].sum()) for level in ("jet", "pfo") if level in place}
            rows: Columns = {}
            # Jets before what they attend to: they say how much that is.
            for level in (level for level in ("event", "jet", "pfo", ATTENTION) if level in place):
                if level == ATTENTION:
                    counts[level] = int(rows[NUM_ATTENDED].sum())
                stop = place[level] + counts[level]
                for name in paths:
                    if not name.startswith(_EVENTS) and levels[name.rpartition("/")[0]] == level:
                        rows[name] = file[name][place[level] : stop]
                place[level] = stop
            yield Scored(first + start, events, rows)


def _paths(file: h5py.File) -> list[str]:
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found


def missing_of(scored: Scored) -> np.ndarray:
    """Numbers of the events without scores, int64."""
    return scored.first + np.flatnonzero(scored.events["missing"])
