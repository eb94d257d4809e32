"""Scores as a Parquet table: a row for each jet (or event, or PFO), in groups of rows."""

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
from panoptag_pyg.prediction.writers import Layout

#: Bytes of a group of rows, about.
GROUP_BYTES = 16 << 20


class ParquetWriter:
    """Appends rows to a table.

    Args:
        path: the file.
        layout: what it will hold.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self._arrow = require_extra("pyarrow", "parquet")
        self._parquet = require_extra("pyarrow.parquet", "parquet")
        self._path, self._layout = path, layout
        (self._level,) = set(layout.levels.values())
        self._file: Any = None
        self._waiting: list[Any] = []
        self._bytes = 0

    def write(self, scored: Scored) -> None:
        """See :class:`~panoptag_pyg.prediction.writers.Writer`."""
        columns = self._layout.flat(scored.rows, self._level)
        table = self._arrow.table({name: self._column(values) for name, values in columns.items()})
        self._waiting.append(table)
        self._bytes += table.nbytes
        if self._bytes >= GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if not self._waiting:
            return
        table = self._arrow.concat_tables(self._waiting)
        if self._file is None:
            about = {"format": self._layout.header.format, "num_events": self._layout.num_events}
            about |= self._layout.header.texts
            schema = table.schema.with_metadata({"panoptag": json.dumps(about)})
            self._file = self._parquet.ParquetWriter(self._path, schema)
        self._file.write_table(table.replace_schema_metadata(self._file.schema.metadata))
        self._waiting, self._bytes = [], 0

    def close(self) -> None:
        """Write the end of the file."""
        if self._file is not None:
            self._file.close()

    def _column(self, values: np.ndarray) -> Any:
        if values.ndim == 1:
            return self._arrow.array(values)
        flat = self._arrow.array(np.ascontiguousarray(values).reshape(-1))
        return self._arrow.FixedSizeListArray.from_arrays(flat, values.shape[1])


@contextmanager
def parquet_writer(path: Path, layout: Layout, overwrite: bool = False) -> Iterator[ParquetWriter]:
    """Arguments and errors as of :func:`~panoptag_pyg.prediction.writers.open_writer`."""
    with atomic_output(path, overwrite) as temporary:
        writer = ParquetWriter(temporary, layout)
        try:
            yield writer
            writer.flush()
        finally:
            writer.close()
