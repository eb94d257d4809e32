"""Where rows go: HDF5, a ROOT tree or Parquet, written piece by piece, whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from panoptag_pyg.errors import ConfigError, require_extra, suggest
from panoptag_pyg.evaluation.rows import ROW_COLUMNS, Columns
from panoptag_pyg.evaluation.score_file import ColumnFile, Header
from panoptag_pyg.output import atomic_hdf5
from panoptag_pyg.prediction.engine import Scored
from panoptag_pyg.prediction.extras import ATTENTION, NUM_ATTENDED, Extras
from panoptag_pyg.prediction.parts import missing_of

#: Formats by the ending of a file's name.
FORMATS = {".h5": "hdf5", ".hdf5": "hdf5", ".root": "root", ".parquet": "parquet", ".pq": "parquet"}
#: The ending of the files of each format.
ENDINGS = {"hdf5": ".h5", "root": ".root", "parquet": ".parquet"}
#: Name of a ROOT file's tree, unless another is asked for.
TREE = "panoptag"
#: Columns of rows that are their event's: given once per event where there is a place for that.
OF_EVENT = (*(name for name, *_ in ROW_COLUMNS["event"]), "missing")


@dataclass(frozen=True)
class Layout:
    """What a file will hold.

    Attributes:
        header: what it says beside its rows.
        levels: what a row of each column is, by the column's path up to its last ``/``.
        num_events: events in all.
        tree: name of the tree, in a ROOT file.
    """

    header: Header
    levels: Mapping[str, str]
    num_events: int
    tree: str = TREE

    def classes(self, prefix: str) -> list[str]:
        """Names of the classes of the logits under ``prefix``."""
        name = prefix.removeprefix("answers/")
        tasks = self.header.texts.get("tasks", {})
        return list(tasks[name]["classes"] if name in tasks else self.header.texts.get("classes", []))

    def flat(self, rows: Columns, level: str) -> Columns:
        """A level's columns under names without ``/``, one for each class: ``logit_b``, ``jet_pt_predicted``, ….

        Args:
            rows: columns by path.
            level: which.
        """
        found: Columns = {}
        for path, values in rows.items():
            prefix, _, name = path.rpartition("/")
            if self.levels[prefix] != level:
                continue
            task = prefix.removeprefix("answers/") + "_" if prefix.startswith("answers/") else ""
            if name in ("logits", "probabilities"):
                single = {"logits": "logit", "probabilities": "probability"}[name]
                for number, label in enumerate(self.classes(prefix)):
                    found[f"{task}{single}_{re.sub(r'[^0-9a-zA-Z]', '_', label)}"] = values[:, number]
            else:
                found[task + name] = values
        return found


class Writer(Protocol):
    """Takes rows in order."""

    def write(self, scored: Scored) -> None:
        """Append the rows of some events."""
        ...


def choose_format(path: Path, name: str | None = None) -> str:
    """The format of a file: ``name``, or what its ending says.

    Raises:
        ConfigError: if that is none that there is.
    """
    if name is not None:
        if name not in ENDINGS:
            raise ConfigError(f"there is no format '{name}'{suggest(name, ENDINGS)}")
        return name
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(
            f"{path}: its ending doesn't say a format; end it in {', '.join(ENDINGS.values())}, or give --format "
            f"{', '.join(ENDINGS)}"
        )
    return FORMATS[path.suffix.lower()]


def check_format(name: str, extras: Extras, levels: Mapping[str, str]) -> None:
    """Refuse what a format can't hold, before anything is computed.

    Args:
        name: of the format.
        extras: what is wanted beside the scores.
        levels: as of :class:`Layout`.

    Raises:
        ConfigError: saying which format can.
        MissingExtraError: if the format's package isn't installed.
    """
    if name == "root":
        require_extra("uproot", "convert")
        require_extra("awkward", "convert")
        if extras.embeddings or extras.pfo_embeddings or extras.attention:
            raise ConfigError(
                "a ROOT tree holds numbers for each jet, not embeddings or attention; write these to HDF5 (-o FILE.h5)"
            )
    if name == "parquet":
        require_extra("pyarrow", "parquet")
        rows = set(levels.values())
        if extras.attention or ATTENTION in rows:
            raise ConfigError("attention is written to HDF5 alone: choose -o FILE.h5")
        if len(rows) > 1:
            raise ConfigError(
                f"a Parquet file is one table, but there are rows of {' and '.join(sorted(rows))}s; choose HDF5 "
                "(-o FILE.h5) or ROOT (-o FILE.root)"
            )


def open_writer(name: str, path: Path, layout: Layout, overwrite: bool = False) -> AbstractContextManager[Writer]:
    """A writer of a format; the file stands under its name once the ``with`` block has ended well.

    Args:
        name: of the format.
        path: the file.
        layout: what it will hold.
        overwrite: replace a file that is there. Default ``False``.

    Raises:
        OutputError: if the file exists or can't be written.
    """
    if name == "root":
        from panoptag_pyg.prediction.root_friend import root_writer

        return root_writer(path, layout, overwrite)
    if name == "parquet":
        from panoptag_pyg.prediction.parquet import parquet_writer

        return parquet_writer(path, layout, overwrite)
    return hdf5_writer(path, layout, overwrite)


class HDF5Writer:
    """Columns by path, as :class:`~panoptag_pyg.evaluation.Predictions` and ``Answers`` read them.

    Args:
        file: open for writing.
        layout: what it will hold.
    """

    def __init__(self, file: Any, layout: Layout) -> None:
        self._columns = ColumnFile(file, layout.header.columns)
        self._attended = -1  # nothing yet, not even the leading 0

    def write(self, scored: Scored) -> None:
        """See :class:`Writer`."""
        self._columns.append(scored.rows)
        self._columns.append({"missing_events": missing_of(scored)})
        if NUM_ATTENDED in scored.rows:
            begin = np.zeros(1 if self._attended < 0 else 0, np.int64)
            ends = max(self._attended, 0) + np.cumsum(scored.rows[NUM_ATTENDED], dtype=np.int64)
            self._columns.append({f"{ATTENTION}/offsets": np.concatenate([begin, ends])})
            self._attended = int(ends[-1]) if len(ends) else max(self._attended, 0)


@contextmanager
def hdf5_writer(path: Path, layout: Layout, overwrite: bool = False) -> Iterator[HDF5Writer]:
    """Arguments and errors as of :func:`open_writer`."""
    with atomic_hdf5(path, overwrite) as file:
        layout.header.write(file, layout.num_events)
        yield HDF5Writer(file, layout)
