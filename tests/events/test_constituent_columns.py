"""Columns of constituents: carried through every way of cutting events, optional in a file."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch
from helpers.events import random_block, write_events
from torch_geometric.data import Batch

from panoptag_pyg.errors import ConfigError, EventFileError
from panoptag_pyg.events import CONTAINS, EventBlock, EventDataset, EventFile, EventFileWriter, EventLoader
from panoptag_pyg.events.schema import CONSTITUENT_COLUMNS, columns

NAMES = [column.name for column in CONSTITUENT_COLUMNS]


def with_columns(block: EventBlock, names: list[str] = NAMES) -> EventBlock:
    """Each column tells which PFO the constituent is, so that no step can mix them up unseen."""
    pt = block.pfo["pt"][block.constituent_pfo]
    block.constituent = {name: (pt * (i + 1) * 100).astype(np.int16) for i, name in enumerate(names)}
    return block


def assert_belongs(block: EventBlock) -> None:
    expected = with_columns(EventBlock(**{**vars(block), "constituent": {}}))
    for name in NAMES:
        np.testing.assert_array_equal(block.constituent[name], expected.constituent[name])


@pytest.fixture
def block(rng) -> EventBlock:
    block = random_block(rng, [0, 17, 1, 101, 0, 5], [0, 4, 1, 7, 2, 2])
    block.pfo["pt"][:] = rng.uniform(0, 100, block.num_pfos)
    return with_columns(block)


def test_cutting_and_joining(block):
    assert_belongs(block.select([5, 3, 3, 0, 1]))
    assert_belongs(block.leading(max_pfos=7, max_jets=3))
    assert_belongs(EventBlock.concatenate([EventBlock.empty(), block.select([3]), block.select([0]), block]))
    # What one doesn't know, all together don't.
    other = EventBlock(**{**vars(block), "constituent": {NAMES[1]: block.constituent[NAMES[1]]}})
    assert set(EventBlock.concatenate([block, other]).constituent) == {NAMES[1]}


def test_a_file_keeps_them(block, tmp_path):
    path = write_events(tmp_path / "a.h5", block)
    file = EventFile(path)
    assert file.constituent_columns == tuple(NAMES)
    assert file.num_constituents == len(block.constituents)
    for part in (file.read(), file.read(2, 5), file.read_events([5, 3, 1]), file.read(0, 1)):
        assert_belongs(part)
        assert all(values.dtype == np.int16 for values in part.constituent.values())
    file.check()


def test_a_file_without_them_is_as_before(block, tmp_path):
    block.constituent = {}
    path = write_events(tmp_path / "a.h5", block)
    with h5py.File(path) as file:
        assert "constituent" not in file
    assert EventFile(path).constituent_columns == ()
    assert EventFile(path).read().constituent == {}
    with pytest.raises(EventFileError, match=r"a\.h5 lacks the column constituent/subjet_antikt; `panoptag prepare"):
        EventDataset(path, fields=["constituent/subjet_antikt"])


def test_batches_hold_them_whichever_way_they_are_made(block, tmp_path):
    path = write_events(tmp_path / "a.h5", block)
    dataset = EventDataset(path, fields=[f"constituent/{name}" for name in NAMES])
    for batch, first in zip(EventLoader(dataset, batch_size=4), (0, 4), strict=True):
        single = [dataset[i] for i in range(first, min(first + 4, 6))]
        for name in NAMES:
            values = batch[CONTAINS][name]
            assert values.dtype == torch.int64
            torch.testing.assert_close(values, Batch.from_data_list(single)[CONTAINS][name])
            for event, again in zip(single, batch.to_data_list(), strict=True):
                torch.testing.assert_close(event[CONTAINS][name], again[CONTAINS][name])
    assert dataset.get_batch([])[CONTAINS][NAMES[0]].shape == (0,)
    with pytest.raises(ConfigError, match="did you mean 'constituent/subjet_antikt'"):
        EventDataset(path, fields=["constituent/subjet_anti_kt"])


def test_blocks_of_one_file_have_the_same_columns(block, tmp_path):
    bare = EventBlock(**{**vars(block), "constituent": {}})
    for first, second in ((block, bare), (bare, block)):
        with EventFileWriter(tmp_path / "a.h5", ["ttbar"]) as writer:
            writer.write(EventBlock.empty())  # no constituents: nothing to say
            writer.write(first)
            with pytest.raises(ValueError, match="those before it had"):
                writer.write(second)
            writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_values_that_no_constituent_can_have(block, tmp_path):
    jet_event = int(block.jet_event[block.constituent_jet[3]])
    block.constituent["subjet_hdbscan"][3] = -2
    with pytest.raises(
        EventFileError, match=rf"event {jet_event}: constituent/subjet_hdbscan is -2, expected at least"
    ):
        write_events(tmp_path / "a.h5", block)
    block.constituent["subjet_hdbscan"] = np.zeros(3, np.int16)
    with pytest.raises(EventFileError, match=r"column constituent/subjet_hdbscan has 3 entries"):
        write_events(tmp_path / "a.h5", block)
    assert list(tmp_path.iterdir()) == []


def test_a_column_of_wrong_length_in_a_file(block, tmp_path):
    path = write_events(tmp_path / "a.h5", block)
    with h5py.File(path, "r+") as file:
        file["constituent/subjet_antikt"].resize((4,))
    with pytest.raises(EventFileError, match="column constituent/subjet_antikt has 4 entries, expected"):
        EventFile(path)


def test_truth_that_is_left_out_reads_as_its_default(block, tmp_path):
    with EventFileWriter(tmp_path / "a.h5", ["ttbar"], unknown=["jet/flavour"]) as writer:
        writer.write(block)
    assert set(EventFile(tmp_path / "a.h5").read().jet["flavour"]) == {-1}
    with pytest.raises(ValueError, match=r"jet/pt isn.t optional"):
        EventFileWriter(tmp_path / "b.h5", ["ttbar"], unknown=["jet/pt"])


def test_the_radius_of_the_jets(block, tmp_path):
    for attributes, radius in (
        ({}, None),
        ({"detector_card": {"jets": {"radius": 0.4}}}, 0.4),
        ({"detector_card": {"jets": {"radius": 0.4}}, "jets": {"radius": 1.0}}, 1.0),
        ({"detector_card": "mine"}, None),
    ):
        path = write_events(tmp_path / "a.h5", block, attributes=attributes, overwrite=True)
        assert EventFile(path).jet_radius == radius


@pytest.mark.parametrize("column", columns("constituent"), ids=lambda column: column.path)
def test_column(column):
    assert column.group == "constituent"
    assert column.meaning
    assert np.dtype(column.dtype).kind == "i"
