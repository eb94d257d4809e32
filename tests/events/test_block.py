"""EventBlock: cutting, joining and trimming ragged columns."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.events import events_of, random_block

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events import EventBlock
from panoptag_pyg.events.block import check_offsets, lengths_to_offsets, ragged_arange


@pytest.fixture
def block(rng: np.random.Generator) -> EventBlock:
    return random_block(rng, [0, 17, 1, 101, 0, 5], [0, 4, 1, 7, 2, 0])


def test_ragged_arange() -> None:
    assert ragged_arange(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]
    assert ragged_arange(np.array([], int), np.array([], int)).tolist() == []


@pytest.mark.parametrize("indices", [[], [0], [3], [5, 3, 1], [1, 1, 3, 1], [0, 1, 2, 3, 4, 5]])
def test_select(block: EventBlock, indices: list[int]) -> None:
    everything = events_of(block)
    assert events_of(block.select(indices)) == [everything[i] for i in indices]


def test_concatenate_undoes_select(block: EventBlock) -> None:
    parts = [block.select(range(a, b)) for a, b in [(0, 0), (0, 2), (2, 3), (3, 6)]]
    assert events_of(EventBlock.concatenate(parts)) == events_of(block)
    assert EventBlock.concatenate([]).num_events == 0


@pytest.mark.parametrize(("max_pfos", "max_jets"), [(0, None), (1, 3), (13, None), (None, 2), (1000, 0), (17, 7)])
def test_leading(block: EventBlock, max_pfos: int | None, max_jets: int | None) -> None:
    expected = []
    for event in events_of(block):
        kept = sorted(np.argsort(-np.array(event["pfo"]["pt"]), kind="stable")[:max_pfos].tolist())
        jets = sorted(np.argsort(-np.array(event["jet"]["pt"]), kind="stable")[:max_jets].tolist())
        expected.append(
            {
                "event": event["event"],
                "pfo": {name: [values[i] for i in kept] for name, values in event["pfo"].items()},
                "jet": {name: [values[i] for i in jets] for name, values in event["jet"].items()},
                "constituents": [[kept.index(i) for i in event["constituents"][j] if i in kept] for j in jets],
            }
        )
    trimmed = block.leading(max_pfos, max_jets)
    trimmed.validate()
    assert events_of(trimmed) == expected


def test_leading_keeps_the_earlier_of_equal_pt(rng: np.random.Generator) -> None:
    block = random_block(rng, [7], [1])
    block.pfo["pt"][:] = 3
    kept = block.leading(max_pfos=4)
    assert kept.pfo["eta"].tolist() == block.pfo["eta"][:4].tolist()


def test_constituent_rows(block: EventBlock) -> None:
    pt = block.pfo["pt"][block.constituent_pfo]
    by_loop = [e["pfo"]["pt"][i] for e in events_of(block) for jet in e["constituents"] for i in jet]
    assert pt.tolist() == by_loop


def test_validate_names_a_missing_column(block: EventBlock) -> None:
    del block.pfo["dz"]
    with pytest.raises(EventFileError, match=r"my\.h5: column pfo/dz is missing"):
        block.validate("my.h5")


def test_validate_names_the_event_within_the_file(block: EventBlock) -> None:
    block.pfo["eta"][17] = np.nan  # the single PFO of the block's event 2
    with pytest.raises(EventFileError, match="event 102: pfo/eta is nan"):
        block.validate("my.h5", first_event=100)


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([0, 2], "has 2 entries, expected 3"),
        ([1, 2, 5], "runs from 1 to 5, expected 0 to 5"),
        ([0, 2, 4], "runs from 0 to 4, expected 0 to 5"),
        ([0, 6, 5], "falls after entry 1"),
    ],
)
def test_check_offsets(offsets: list[int], message: str) -> None:
    with pytest.raises(EventFileError, match=message):
        check_offsets(np.array(offsets), rows=2, entries=5, what="x: pfo/offsets")


def test_lengths_to_offsets() -> None:
    assert lengths_to_offsets(np.array([2, 0, 3])).tolist() == [0, 2, 2, 5]
