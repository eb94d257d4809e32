"""Reading some columns only: those are the file's, others their default; batches need no more than they say."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.events import assert_same_graphs, random_block, write_events

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events import EventDataset, EventFile, EventLoader
from panoptag_pyg.events.batching import collate_events
from panoptag_pyg.events.fields import Fields
from panoptag_pyg.events.schema import COLUMNS, CONSTITUENT_COLUMNS, CONSTITUENTS, columns


@pytest.fixture
def path(rng, tmp_path):
    block = random_block(rng, [9, 0, 4, 30], [2, 1, 0, 3])
    for column in columns("constituent"):
        block.constituent[column.name] = rng.integers(0, 5, len(block.constituents)).astype(column.dtype)
    return write_events(tmp_path / "a.h5", block)


def test_chosen_columns_and_defaults(path):
    whole = EventFile(path).read()
    chosen = {"event/id", "pfo/d0", "jet/truth_pt"}
    for block in (EventFile(path).read(columns=chosen), EventFile(path).read(columns=chosen).select([3, 0, 0, 2])):
        kept = whole if block.num_events == 4 and block.event["id"][0] == whole.event["id"][0] else None
        for column in COLUMNS:
            values = getattr(block, column.group)[column.name]
            assert values.dtype == np.dtype(column.dtype)
            if column.path not in chosen:
                assert (values == np.asarray(column.default, column.dtype)).all(), column.path
            elif kept is not None:
                np.testing.assert_array_equal(values, getattr(kept, column.group)[column.name])
        assert block.constituents.size == 0
        assert block.constituent == {}
        block.validate()
    again = EventFile(path).read(columns=chosen).select([3, 0, 0, 2])
    np.testing.assert_array_equal(again.pfo["d0"], whole.select([3, 0, 0, 2]).pfo["d0"])
    np.testing.assert_array_equal(again.jet["truth_pt"], whole.select([3, 0, 0, 2]).jet["truth_pt"])


def test_constituents_come_when_asked_for(path):
    whole = EventFile(path).read()
    block = EventFile(path).read(columns={CONSTITUENTS, "constituent/subjet_antikt"})
    np.testing.assert_array_equal(block.constituents, whole.constituents)
    np.testing.assert_array_equal(block.constituent_offsets, whole.constituent_offsets)
    assert list(block.constituent) == ["subjet_antikt"]


def test_defaults_are_checked_like_other_values(rng):
    block = random_block(rng, [9, 4], [2, 1])
    block.pfo["d0"] = np.broadcast_to(np.float32(np.nan), block.num_pfos)
    with pytest.raises(EventFileError, match="pfo/d0 is nan"):
        block.validate()


@pytest.mark.parametrize(
    ("fields", "jet_features"),
    [
        ((), None),
        (("constituents",), None),
        (("constituent/subjet_cambridge", "pfo/hard_scatter_fraction", "jet/truth_mass"), None),
        ((), ["pt", "eta", "phi", "mass", "angularities"]),
    ],
)
def test_batches_lack_nothing(path, fields, jet_features):
    dataset = EventDataset(path, max_pfos=20, max_jets=2, fields=fields, jet_features=jet_features)
    expected = collate_events([dataset[i] for i in range(4)])
    (batch,) = EventLoader(dataset, batch_size=4)
    assert_same_graphs(batch, expected)
    assert_same_graphs(dataset.get_batch(range(4)), expected)


def test_names_of_the_columns():
    known = {column.path for column in (*COLUMNS, *CONSTITUENT_COLUMNS)} | {CONSTITUENTS}
    assert Fields().columns < known
    assert CONSTITUENTS not in Fields().columns
    assert "pfo/heavy_ancestry" not in Fields().columns
    every = Fields.parse(sorted(known - {CONSTITUENTS} - {c.path for c in COLUMNS if c.group == "event"}))
    assert every.columns == known - {"event/source", "event/num_interactions"}
