"""Layouts are remembered while a tagger runs, each for the tensor that it is of, and forgotten after."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch

from panoptag_pyg.export.plain import PlainOperations
from panoptag_pyg.export.plain.layout import _LAYOUTS, layout_of


def offsets(rng, num_sets=4):
    return torch.from_numpy(np.cumsum([0, *rng.integers(0, 9, num_sets)]))


def assert_is_of(layout, ptr):
    assert torch.equal(layout.ptr, ptr)
    assert torch.equal(layout.count, ptr.diff())
    assert layout.event.tolist() == np.repeat(np.arange(len(ptr) - 1), np.diff(ptr.numpy())).tolist()


def test_one_tensor_has_one_layout(rng):
    ptr = offsets(rng)
    with PlainOperations():
        layout = layout_of(ptr, int(ptr[-1]))
        assert layout_of(ptr, int(ptr[-1])) is layout
        assert layout_of(ptr.clone(), int(ptr[-1])) is not layout
    assert layout_of(ptr, int(ptr[-1])) is not layout


def test_tensors_that_are_gone_leave_no_layout_to_others(rng):
    """Tensors made and dropped at once get the same id again and again."""
    with PlainOperations():
        for _ in range(200):
            ptr = offsets(rng)
            assert_is_of(layout_of(ptr, int(ptr[-1])), ptr)
            del ptr
        known = _LAYOUTS.get()
        assert known is not None
        assert len({layout.ptr.data_ptr() for layout in known.values()}) == len(known)


def test_the_layout_of_another_tensor_with_the_same_id_is_not_taken(rng):
    old, new = offsets(rng), offsets(rng, 5)
    with PlainOperations():
        known = _LAYOUTS.get()
        known[id(new)] = layout_of(old, int(old[-1]))  # as if the id of a tensor that is gone had come again
        assert_is_of(layout_of(new, int(new[-1])), new)


def test_nothing_is_kept_after(rng):
    ptr = offsets(rng)
    gone = weakref.ref(ptr)
    plain = PlainOperations()
    with plain:
        layout_of(ptr, int(ptr[-1]))
    with pytest.raises(RuntimeError), plain:
        layout_of(ptr.clone(), -5)  # no number of rows
    assert _LAYOUTS.get() is None
    del ptr
    gc.collect()
    assert gone() is None


def test_within_itself(rng):
    ptr = offsets(rng)
    plain = PlainOperations()
    with plain:
        outer = layout_of(ptr, int(ptr[-1]))
        with plain:
            assert layout_of(ptr, int(ptr[-1])) is not outer
        assert layout_of(ptr, int(ptr[-1])) is outer
    assert _LAYOUTS.get() is None
