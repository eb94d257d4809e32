"""Which events are shown: numbers and ranges as people write them, each once, none that isn't there."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.events import random_block, write_events

from panoptag_pyg.display import parse_events
from panoptag_pyg.display.view import DisplayError
from panoptag_pyg.events import EventDataset


def dataset(path, events):
    return EventDataset(write_events(path, random_block(np.random.default_rng(0), [2] * events, [1] * events)))


@pytest.fixture
def thirty(tmp_path):
    return dataset(tmp_path / "a.h5", 30)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, list(range(20))),
        ("0:20", list(range(20))),
        ("3,7,9", [3, 7, 9]),
        ("9,3,9", [9, 3]),
        (" 4 : 6 , 29", [4, 5, 29]),
        (":3", [0, 1, 2]),
        ("28:", [28, 29]),
        (":", list(range(30))),
        ("5", [5]),
    ],
)
def test_events_are_those_that_were_written(thirty, text, expected):
    assert parse_events(text, thirty) == expected


def test_fewer_events_than_the_default_are_all(tmp_path):
    assert parse_events(None, dataset(tmp_path / "b.h5", 3)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("30", "events 0 to 29"),
        ("0:31", "events 0 to 29"),
        ("40:", "events 0 to 29"),
        ("-1", "not understood at '-1'"),
        ("1;2", "not understood"),
        ("1,,2", "not understood at ''"),
        ("", "not understood"),
        ("0:10:2", "not understood"),
        ("\u0663", "not understood"),
        ("7:3", "holds no event"),
        ("3:3", "holds no event"),
    ],
)
def test_anything_else_is_one_sentence(thirty, text, words):
    with pytest.raises(DisplayError, match=words):
        parse_events(text, thirty)


def test_a_page_holds_so_many(tmp_path):
    many = dataset(tmp_path / "c.h5", 503)
    assert len(parse_events("0:500", many)) == 500
    for text in (":", "0:501", "0:400,400:502"):
        with pytest.raises(DisplayError, match="at most 500"):
            parse_events(text, many)
