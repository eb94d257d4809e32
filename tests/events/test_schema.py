"""The schema is whole: every column documented, every default legal."""

from __future__ import annotations

import numpy as np
import pytest

from panoptag_pyg.events.schema import COLUMNS, GROUPS, Column, columns


def test_names_are_unique() -> None:
    paths = [column.path for column in COLUMNS]
    assert len(paths) == len(set(paths))
    assert [c for group in GROUPS for c in columns(group)] == list(COLUMNS)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.path)
def test_column(column: Column) -> None:
    assert column.meaning
    np.dtype(column.dtype)
    if column.truth:
        assert column.low is None or column.default >= column.low
        assert column.high is None or column.default <= column.high
