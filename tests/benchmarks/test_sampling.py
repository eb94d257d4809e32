"""Random events are legal, of the sizes asked for, and the same for the same seed."""

from __future__ import annotations

import numpy as np

from panoptag_pyg.benchmarks.sampling import MEDIAN_PFOS, events_of_sizes, random_block, sample_file
from panoptag_pyg.benchmarks.settings import Settings
from panoptag_pyg.events import EventDataset
from panoptag_pyg.events.batching import block_to_batch
from panoptag_pyg.events.schema import COLUMNS


def test_sizes_and_legal_values(rng: np.random.Generator) -> None:
    pfos, jets = [0, 1, 40, 200], [0, 2, 3, 5]
    block = events_of_sizes(pfos, jets, int(rng.integers(2**31)))
    assert np.diff(block.pfo_offsets).tolist() == pfos
    assert np.diff(block.jet_offsets).tolist() == jets
    for column in COLUMNS:
        values = getattr(block, column.group)[column.name]
        assert values.dtype == column.dtype
        assert column.low is None or (values >= column.low).all(), column.path
        assert column.high is None or (values <= column.high).all(), column.path
    lengths = np.diff(block.constituent_offsets)
    assert lengths[:2].tolist() == [1, 0]  # one PFO between two jets
    assert (lengths[2:] == [13 + 1] * 2 + [40 - 28] + [14] * 5).all()
    assert block_to_batch(block).num_graphs == 4


def test_the_stated_distribution() -> None:
    lengths = np.diff(random_block(4000, 1).pfo_offsets)
    assert abs(np.median(lengths) - MEDIAN_PFOS) < 12
    assert 0.03 < (lengths > 460).mean() < 0.08
    assert np.array_equal(random_block(5, 3).pfo["pt"], random_block(5, 3).pfo["pt"])


def test_the_sample_is_there_and_is_gone_through_again_if_short() -> None:
    assert len(EventDataset(sample_file())) == 500
    block = Settings().block(503, 128)
    assert block.num_events == 503
    assert np.array_equal(block.event["id"][:3], block.event["id"][500:])
    assert np.diff(block.pfo_offsets).max() == 128
