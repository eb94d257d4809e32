"""Track counting against a loop over jets, and its answer to files without errors."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.displaced import displaced_block
from helpers.events import random_block, write_events

from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.evaluation import track_counting, track_counting_scores
from panoptag_pyg.events import EventBlock, EventDataset


def by_loop(block, number, use_error):
    """The definition, jet by jet."""
    scores = []
    for event in range(block.num_events):
        first = block.pfo_offsets[event]
        for jet in range(block.jet_offsets[event], block.jet_offsets[event + 1]):
            values = []
            for entry in range(block.constituent_offsets[jet], block.constituent_offsets[jet + 1]):
                pfo = {name: float(column[first + block.constituents[entry]]) for name, column in block.pfo.items()}
                if pfo["charge"] == 0 or pfo["pt"] <= 1 or abs(pfo["d0"]) >= 2:
                    continue
                if use_error and pfo["d0_error"] == 0:
                    continue
                values.append(abs(pfo["d0"]) / (pfo["d0_error"] if use_error else 1))
            values.sort(reverse=True)
            scores.append(values[number - 1] if len(values) >= number else -1)
    return np.array(scores)


@pytest.mark.parametrize("use_error", [True, False])
def test_equals_the_loop(rng, use_error):
    blocks = [displaced_block(rng, 41), random_block(rng, [0, 1, 30, 7, 0], [0, 2, 5, 1, 3])]
    for block in blocks:
        scores = track_counting(block, numbers=(1, 2, 3, 7), use_error=use_error)
        for column, number in enumerate((1, 2, 3, 7)):
            assert np.allclose(scores[:, column], by_loop(block, number, use_error), rtol=1e-12)


def test_equal_values_and_hand_made_jet():
    block = displaced_block(np.random.default_rng(0), 1, jets_per_event=1)
    while block.num_jets == 0:
        block = displaced_block(np.random.default_rng(block.num_pfos), 1, jets_per_event=3)
    for name, value in (("pt", 2.0), ("charge", 1), ("d0", -0.3), ("d0_error", 0.1)):
        block.pfo[name][:] = value
    count = np.diff(block.constituent_offsets)
    expected = [[3.0 if n >= k else -1 for k in (1, 2, 3)] for n in count]
    assert np.allclose(track_counting(block), expected, atol=1e-6)


@pytest.mark.parametrize("num_events", [0, 1, 6])
def test_streamed_over_files_equals_at_once(tmp_path, rng, num_events):
    blocks = [displaced_block(rng, n, jets_per_event=2) for n in (num_events, 13)]
    for i, block in enumerate(blocks):
        write_events(tmp_path / f"{i}.h5", block)
    scores, quantity = track_counting_scores(EventDataset(tmp_path), events_per_block=5)
    assert quantity == "|d0|/σ(d0)"
    assert np.array_equal(scores, track_counting(EventBlock.concatenate(blocks)))


def test_without_errors_the_impact_parameter_itself(tmp_path, rng):
    block = displaced_block(rng, 20, with_errors=False)
    write_events(tmp_path / "paper.h5", block)
    scores, quantity = track_counting_scores(EventDataset(tmp_path / "paper.h5"))
    assert quantity == "|d0|"
    assert np.array_equal(scores, track_counting(block, use_error=False))
    assert scores.max() > 0


def test_setups_are_not_mixed(tmp_path, rng):
    for name, with_errors in (("a", True), ("b", False)):
        write_events(tmp_path / f"{name}.h5", displaced_block(rng, 6, with_errors=with_errors))
    with pytest.raises(PanopTagError, match="paper and the realistic setup separately"):
        track_counting_scores(EventDataset(tmp_path), events_per_block=6)
