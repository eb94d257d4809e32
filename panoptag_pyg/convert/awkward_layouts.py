"""Any Awkward layout as flat NumPy values and offsets: indexed, masked, regular or packed, they mean the same."""

from __future__ import annotations

from typing import Any

import numpy as np

from panoptag_pyg.convert.numbers import UnfitError

#: Depth of a field that has a list per event, and of one that has a list per jet of each event.
EVENT_AXIS, JET_AXIS = 1, 2
_ROWS = ("event", "entry", "entry")


def jagged(layout: Any, depth: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Flat values of a field and the offsets of each level of lists, outermost first.

    Args:
        layout: layout of one field, such as that of ``events.pfo.pt``.
        depth: how many levels of lists there should be: 0 flat, 1 a list per event, 2 a list per jet.

    Returns:
        values [N], and ``depth`` arrays of offsets that start at 0; values of a type that is not known (no entries at
        all) are float64.

    Raises:
        UnfitError: a None, text, a record or another depth.
    """
    offsets: list[np.ndarray] = []
    for level in range(depth):
        layout = _plain(layout, _ROWS[level])
        if layout.is_unknown:
            # Lists that are all empty may not even know that they would hold lists.
            return np.zeros(0), [*offsets, *(np.zeros(1, np.int64) for _ in range(depth - level))]
        if not layout.is_list or layout.parameter("__array__") in ("string", "bytestring"):
            raise UnfitError(f"has {_levels(level)}, expected {_levels(depth)}")
        packed = layout.to_ListOffsetArray64(True)
        offsets.append(np.asarray(packed.offsets.data))
        layout = packed.content[: offsets[-1][-1]]
    layout = _plain(layout, _ROWS[depth])
    if layout.is_unknown:
        return np.zeros(0), offsets
    if layout.is_record:
        raise UnfitError(f"is a record of {', '.join(layout.fields)}, expected numbers")
    if layout.is_list:
        text = layout.parameter("__array__") in ("string", "bytestring")
        raise UnfitError("is text, expected numbers" if text else f"has more than {_levels(depth)}")
    values = np.asarray(layout.data)
    if values.ndim != 1:
        raise UnfitError(f"has more than {_levels(depth)}")
    return values, offsets


def _plain(layout: Any, row: str) -> Any:
    """``layout`` without indices and options; its first None is an error."""
    while layout.is_indexed or layout.is_option:
        if layout.is_option:
            missing = np.asarray(layout.mask_as_bool(valid_when=False))
            if missing.any():
                raise UnfitError(
                    f"is None at {row} {int(np.argmax(missing))}, expected a value everywhere; drop these with "
                    "ak.drop_none, or fill them with ak.fill_none"
                )
        layout = layout.project()
    if layout.is_union:
        raise UnfitError("mixes several types, expected one")
    if layout.is_regular and not layout.is_numpy:
        return layout.to_ListOffsetArray64(True)
    if layout.is_numpy and np.asarray(layout.data).ndim > 1:
        return layout.to_RegularArray()
    return layout


def _levels(depth: int) -> str:
    return {0: "one number per event", 1: "a list per event", 2: "a list per jet of each event"}[depth]
